"""Lock the conversations that this process writes: one byte of a lock file for each.

The locks belong to the process and end with it, even if it is killed. No process ids are stored, because ids are
reused.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

WHOLE_FILE = 0  # locked to create, move or shrink the history; the bytes of conversations begin at 1
_PROBE = 1 << 60  # plus the process id: a byte that no other process locks

# Closing any descriptor of a file releases all locks of the process on it, so each file is opened once.
_descriptors: dict[Path, int] = {}
_counts: Counter[tuple[Path, int]] = Counter()
_guard = RLock()
# File locks exclude other processes, but not the other threads of this one.
_thread_lock = RLock()


def check_support(path: Path) -> None:
    """Raise OSError immediately if the file system cannot lock files, or if the file cannot be opened."""
    with _guard:
        byte = _PROBE + os.getpid()
        try:
            fcntl.lockf(_open_file(path), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            fcntl.lockf(_open_file(path), fcntl.LOCK_UN, 1, byte)
        finally:
            _close_unused(path)


def acquire(path: Path, byte: int, *, wait: bool = False) -> bool:
    """Lock a byte, and return whether it was free; raise OSError if the file cannot be opened.

    A byte that is acquired twice must be released twice.
    """
    with _guard:
        try:
            fcntl.lockf(_open_file(path), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
        except (BlockingIOError, PermissionError):
            _close_unused(path)
            return False
        _counts[path, byte] += 1
        return True


def release(path: Path, byte: int) -> None:
    """Release a byte once."""
    with _guard:
        _counts[path, byte] -= 1
        if _counts[path, byte] <= 0:
            del _counts[path, byte]
            with suppress(OSError):
                fcntl.lockf(_open_file(path), fcntl.LOCK_UN, 1, byte)
        _close_unused(path)


def ensure_held(path: Path, byte: int) -> bool:
    """Lock a byte so that one release unlocks it, however often it was acquired; return whether it was free."""
    with _guard:
        if not is_held(path, byte):
            return acquire(path, byte)
        _counts[path, byte] = 1
        return True


@contextmanager
def hold_lock(path: Path, byte: int) -> Iterator[None]:
    """Wait until a byte is free and lock it for the block; raise OSError as `acquire` does."""
    with _thread_lock:
        acquire(path, byte, wait=True)
        try:
            yield
        finally:
            release(path, byte)


def is_held(path: Path, byte: int) -> bool:
    """True if this process has locked the byte."""
    return _counts[path, byte] > 0


def _open_file(path: Path) -> int:
    if path not in _descriptors:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        _descriptors[path] = fd
    return _descriptors[path]


def _close_unused(path: Path) -> None:
    """Close the file if no byte of it is locked."""
    if path in _descriptors and not any(locked == path for locked, _ in _counts):
        os.close(_descriptors.pop(path))
