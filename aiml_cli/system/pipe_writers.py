"""Find the processes that can still write to standard input if it is a pipe, which ends only when they close it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

PROCESSES = Path("/proc")
# The access mode in the flags of a file descriptor, which are octal.
_OCTAL, _ACCESS_MODE = 8, os.O_WRONLY | os.O_RDWR


class Writers(Enum):
    """Who can still write to a pipe: another process, only our ancestors (or nobody), or unknown."""

    OTHERS = auto()
    ANCESTORS = auto()
    UNKNOWN = auto()


def find_writers(fd: int = 0) -> Writers:
    """Return who can write to a pipe; this is unknown for sockets, over ssh, and without Linux's /proc.

    A process of our own group whose descriptors cannot be read, such as in `sudo cat x | aiml`, counts as a writer.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return Writers.UNKNOWN
        pipe = (PROCESSES / "self" / "fd" / str(fd)).readlink()
        processes = [int(name) for name in os.listdir(PROCESSES) if name.isdecimal()]  # noqa: PTH208 - names are enough
    except OSError:
        return Writers.UNKNOWN
    ours = {os.getpid(), *_list_ancestors(os.getpid())}
    if any(_may_write(process, pipe) for process in processes if process not in ours):
        return Writers.OTHERS
    return Writers.UNKNOWN if "SSH_CONNECTION" in os.environ else Writers.ANCESTORS


def _list_ancestors(process: int) -> Iterator[int]:
    while process > 1 and (fields := _read_status(process)):
        process = int(fields[1])
        yield process


def _read_status(process: int) -> list[str]:
    """Return the fields of a process after its name: state, parent, group, …; [] if it has ended."""
    with suppress(OSError):
        return (PROCESSES / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return []


def _may_write(process: int, pipe: Path) -> bool:
    folder = PROCESSES / str(process)
    try:
        names = os.listdir(folder / "fd")  # noqa: PTH208 - names are enough
    except PermissionError:
        fields = _read_status(process)
        return bool(fields) and fields[0] != "Z" and int(fields[2]) == os.getpgrp()
    except OSError:  # it has ended
        return False
    return any(_is_write_end(folder, name, pipe) for name in names)


def _is_write_end(folder: Path, name: str, pipe: Path) -> bool:
    with suppress(OSError):
        if (folder / "fd" / name).readlink() == pipe:
            for line in (folder / "fdinfo" / name).read_text().splitlines():
                if line.startswith("flags:"):
                    return bool(int(line.split()[1], _OCTAL) & _ACCESS_MODE)
    return False
