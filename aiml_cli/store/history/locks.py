"""Say which conversations a live process is writing: a byte of one file is locked for each.

The locks belong to the process and end with it, however that ends; no process number can be taken for another's.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

WHOLE = 0  # the byte that whoever makes, moves or shrinks the file holds; those of conversations begin at 1

# A process loses all its locks on a file when it closes any descriptor of it: there is one, until none is held.
_files: dict[Path, int] = {}
_held: Counter[tuple[Path, int]] = Counter()
_guard = RLock()
# A lock of the file keeps out other processes, and not the other threads of this one.
_alone = RLock()


def acquire(path: Path, byte: int, *, wait: bool = False) -> bool:
    """Lock a byte for this process, and say whether that could be done; raise OSError for a file that cannot be.

    What is taken twice is to be let go twice.
    """
    with _guard:
        try:
            fcntl.lockf(_file(path), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
        except (BlockingIOError, PermissionError):
            _tidy(path)
            return False
        _held[path, byte] += 1
        return True


def release(path: Path, byte: int) -> None:
    """Unlock a byte."""
    with _guard:
        _held[path, byte] -= 1
        if _held[path, byte] <= 0:
            del _held[path, byte]
            with suppress(OSError):
                fcntl.lockf(_file(path), fcntl.LOCK_UN, 1, byte)
        _tidy(path)


def ensure_held(path: Path, byte: int) -> bool:
    """Hold a byte once, however often it was taken; say whether that could be done."""
    with _guard:
        if not is_held(path, byte):
            return acquire(path, byte)
        _held[path, byte] = 1
        return True


@contextmanager
def hold_lock(path: Path, byte: int) -> Iterator[None]:
    """Wait for a byte and hold it meanwhile; raise OSError as `take` does."""
    with _alone:
        acquire(path, byte, wait=True)
        try:
            yield
        finally:
            release(path, byte)


def is_held(path: Path, byte: int) -> bool:
    """Say whether this process holds a byte."""
    return _held[path, byte] > 0


def _file(path: Path) -> int:
    if path not in _files:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        _files[path] = fd
    return _files[path]


def _tidy(path: Path) -> None:
    """Close a file in which nothing is held."""
    if path in _files and not any(each == path for each, _ in _held):
        os.close(_files.pop(path))
