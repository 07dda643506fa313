"""Write private files whole or not at all, one writer at a time.

A symbolic link in the place of a file is never written through and never replaced: it is refused, because
its target may lie anywhere, and a link that somebody made on purpose should not vanish.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiml_cli.errors import OutputFailed, UsageError


def update_file(path: Path, change: Callable[[bytes | None], bytes | None]) -> None:
    """Replace a file by what `change` makes of its bytes (None: there is none), as the only writer.

    Nothing is written when it gives None.
    Raises UsageError for a symbolic link and OutputFailed when the disk refuses; the old file is whole then.
    """
    with _in_words(path):
        make_private_folder(path.parent)
        with _locked(path):
            refuse_symlink(path)
            new = change(read_file(path))
            if new is not None:
                _replace(path, new)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in the place of whatever was there; raise as `update` does."""
    update_file(path, lambda _: data)


def create_file(path: Path, data: bytes) -> None:
    """Make a file under a name that nobody else uses; raise OutputFailed."""
    with _in_words(path):
        make_private_folder(path.parent)
        _write(path, data)


def make_private_folder(path: Path) -> None:
    """Make a directory, and those above it that are missing, for this user alone."""
    with _in_words(path):
        for each in reversed([each for each in (path, *path.parents) if not each.exists()]):
            with suppress(FileExistsError):  # another process was quicker
                each.mkdir(0o700)
                each.chmod(0o700)  # the umask may have taken what we need ourselves
        facts = path.stat()
        if facts.st_uid == os.geteuid() and facts.st_mode & 0o077:
            path.chmod(0o700)


def refuse_symlink(path: Path) -> None:
    """Raise UsageError for a symbolic link."""
    if path.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link to {path.readlink()}, and is not written through",
            "change the file that it names, or put a file in the place of the link",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process writes the file; the lock ends with the process, however that ends."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        os.fchmod(lock, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, data: bytes) -> None:
    """Write beside the file, then take its place; the lock is held."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # left by a writer that was killed: the lock says that nobody uses it
    _write(beside, data)
    beside.replace(path)
    _settle(path.parent)


def _write(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, to the disk; leave none where that fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        try:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _settle(path: Path) -> None:
    """Make the new name last through a power cut, where the file system can."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise OutputFailed(f"{path}: {fault.strerror or fault}", "what was there before is unchanged") from None


def read_file(path: Path) -> bytes | None:
    """Read a file; None when there is none. Raises UsageError when there is one that cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise UsageError(f"{path}: {fault.strerror or fault}") from None


def decode_utf8(data: bytes, path: Path) -> str:
    """Read bytes as UTF-8, with or without a byte order mark; raise UsageError naming line and column."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = data[: fault.start].decode()
        raise UsageError(f"{path}, {line_and_column(before, len(before))}: not UTF-8 text") from None


def line_and_column(text: str, offset: int) -> str:
    """Name an offset in a text by line and column, both counted from 1."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"
