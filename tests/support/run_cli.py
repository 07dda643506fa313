"""The command line of the program, to run it as a process."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

Aiml = Callable[..., "subprocess.CompletedProcess[bytes]"]


def build_command(*arguments: str) -> list[str]:
    """Return the command line that starts the program under test."""
    return [sys.executable, "-m", "aiml_cli", *arguments]


@contextmanager
def replace_stdin(content: bytes | None) -> Iterator[None]:
    """Make file descriptor 0 a pipe with this content in the block, or /dev/null if it is None."""
    before = os.dup(0)
    reader, writer = (os.open(os.devnull, os.O_RDONLY), -1) if content is None else os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    thread = threading.Thread(target=_write_and_close, args=(writer, content or b""))
    thread.start()
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        thread.join()


def _write_and_close(writer: int, content: bytes) -> None:
    if writer != -1:
        with open(writer, "wb", buffering=0) as file, suppress(BrokenPipeError):
            file.write(content)


def build_permission_prefix() -> list[str]:
    """Return a command prefix that makes file modes apply to root; [] if there is none or it is not needed."""
    tool = shutil.which("setpriv") if os.geteuid() == 0 else None
    caps = "-dac_override,-dac_read_search"
    return [tool, f"--bounding-set={caps}", f"--inh-caps={caps}"] if tool else []


IGNORES_PERMISSIONS = os.geteuid() == 0 and not build_permission_prefix()


def can_run_as_others() -> bool:
    """True if root runs the tests, in folders that other users can read too."""
    package = Path(__file__).resolve().parents[2] / "aiml_cli"
    is_readable = all(folder.stat().st_mode & 0o005 == 0o005 for folder in (package, *package.parents))
    return os.geteuid() == 0 and shutil.which("setpriv") is not None and is_readable
