"""Write files whole or not at all; private files one writer at a time.

A symbolic link in the place of a private file is never written through and never replaced: it is refused, because
its target may be anywhere, and a link that somebody made on purpose should not vanish.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.system.signals import defer_signals


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
        write_new_file(path, data, 0o600)


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


class PendingFile:
    """A file that is written under a name of its own, and takes the place of its target when it is complete.

    Raises OSError. The part is created at once and must not exist; the umask applies to `mode`.
    """

    def __init__(self, target: Path, part: Path, mode: int = 0o666) -> None:
        self._target, self.part = target, part
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(part, flags, mode)

    def write(self, data: bytes) -> None:
        """Write all of it."""
        write_all(self.fd, data)

    def commit(self) -> None:
        """Put the file on the disk and in the place of its target."""
        with defer_signals():  # half done, it would be left under a name that nobody knows
            self._close()
            self.part.replace(self._target)
            _sync_folder(self._target.parent)

    def keep(self, name: Callable[[], Path]) -> Path | None:
        """Put the file on the disk under another name, made only now; remove it and return None if it is empty."""
        with defer_signals():
            size = os.fstat(self.fd).st_size
            self._close()
            if not size:
                self.part.unlink()
                return None
            return self.part.rename(name())

    def discard(self) -> None:
        """Remove the file."""
        os.close(self.fd)
        self.part.unlink(missing_ok=True)

    def _close(self) -> None:
        os.fsync(self.fd)
        os.close(self.fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of the data, in as many calls as it takes; raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_new_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Create a file with this content, and leave none if that fails; raise OSError, FileExistsError if there is one."""
    file = PendingFile(path, path, mode)
    try:
        file.write(data)
        os.fsync(file.fd)
    except BaseException:
        file.discard()
        raise
    os.close(file.fd)


def _replace(path: Path, data: bytes) -> None:
    """Write beside the file, then take its place; the lock is held."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # left by a writer that was killed: the lock says that nobody uses it
    file = PendingFile(path, beside, 0o600)
    try:
        os.fchmod(file.fd, 0o600)
        file.write(data)
    except BaseException:
        file.discard()
        raise
    file.commit()


def _sync_folder(path: Path) -> None:
    """Make a new name survive a power cut, where the file system can."""
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
