"""Write files atomically, private files with one writer at a time, and read files and pipes safely.

A symbolic link in place of a private file is an error; it is neither followed nor replaced: its target may be anywhere,
and a link that the user created should not disappear.
"""

import errno
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.system.signals import defer_signals

MEBIBYTE = 1024 * 1024
MAX_FILE_BYTES = 64 * MEBIBYTE
# How long a pipe may be silent: a named pipe that no process has opened for writing, and any other pipe.
WRITER_SECONDS, SILENCE_SECONDS = 2.0, 60.0


def update_file(path: Path, change: Callable[[bytes | None], bytes | None]) -> None:
    """Replace the bytes of a file with what `change` returns for them (None: no file), under a lock.

    Writes nothing if `change` returns None. Raises UsageError for a symbolic link, and OutputFailed if the file cannot
    be written; the old file is then unchanged.
    """
    with _translate_errors(path):
        make_private_folder(path.parent)
        with _lock_file(path):
            refuse_symlink(path)
            data = change(read_file(path))
            if data is not None:
                _replace(path, data)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, replacing an old one; raise the errors of `update_file`."""
    update_file(path, lambda _: data)


def create_file(path: Path, data: bytes) -> None:
    """Create a private file that does not exist yet; raise OutputFailed if that fails."""
    with _translate_errors(path):
        make_private_folder(path.parent)
        write_new_file(path, data, 0o600)


def replace_public_file(path: Path, data: bytes) -> None:
    """Write a file that other users may read, atomically; raise OutputFailed if that fails."""
    with _translate_errors(path):
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(0o755, exist_ok=True)  # zsh rejects a folder that a group can write to
        file = PendingFile(path, path.with_name(f".{path.name}.{os.urandom(4).hex()}"), 0o644)
        try:
            file.write(data)
        except BaseException:
            file.discard()
            raise
        file.commit()


def make_private_folder(path: Path) -> None:
    """Create a directory and its missing parents, which only this user can access."""
    with _translate_errors(path):
        for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            with suppress(FileExistsError):  # another process has just created it
                folder.mkdir(0o700)
                folder.chmod(0o700)  # the umask may have removed the user's own permissions
        status = path.stat()
        if status.st_uid == os.geteuid() and status.st_mode & 0o077:
            path.chmod(0o700)


def refuse_symlink(path: Path) -> None:
    """Raise UsageError for a symbolic link."""
    if path.is_symlink():
        hint = "change the file that it points to, or replace the link with a file"
        raise UsageError(f"{path} is a symbolic link to {path.readlink()}, which is not followed", hint)


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Wait until no other process writes the file; the lock ends with the process, even if it is killed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        os.fchmod(fd, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class PendingFile:
    """A file that is written under another name (`part`), and replaces its target when it is complete.

    Raises OSError. The part is created immediately and must not exist; the umask applies to `mode`.
    """

    def __init__(self, target: Path, part: Path, mode: int = 0o666) -> None:
        self._target, self.part = target, part
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(part, flags, mode)

    def write(self, data: bytes) -> None:
        """Write all of the data."""
        write_all(self.fd, data)

    def commit(self) -> None:
        """Sync the file to disk and replace its target."""
        with defer_signals():  # an interruption could leave neither the part nor the target
            try:
                os.fsync(self.fd)
            finally:
                os.close(self.fd)
            self.part.replace(self._target)
            _sync_folder(self._target.parent)

    def keep(self) -> bool:
        """Keep the file under the name of the part; remove it and return False if it is empty."""
        with defer_signals():
            is_empty = not os.fstat(self.fd).st_size
            with suppress(OSError):  # such as a full disk, which the caller knows about
                os.fsync(self.fd)
            os.close(self.fd)
            if is_empty:
                self.part.unlink(missing_ok=True)
            return not is_empty

    def discard(self) -> None:
        """Remove the file."""
        os.close(self.fd)
        self.part.unlink(missing_ok=True)


def write_all(fd: int, data: bytes) -> None:
    """Write all of the data, in as many calls as needed; raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_new_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Create a file with this content, or no file if that fails; raise OSError (FileExistsError if it exists)."""
    file = PendingFile(path, path, mode)
    try:
        file.write(data)
        os.fsync(file.fd)
    except BaseException:
        file.discard()
        raise
    os.close(file.fd)


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)  # left by a writer that was killed; because of the lock, no other process uses it
    file = PendingFile(path, part, 0o600)
    try:
        os.fchmod(file.fd, 0o600)
        file.write(data)
    except BaseException:
        file.discard()
        raise
    file.commit()


def _sync_folder(path: Path) -> None:
    """Sync a folder, so that a new name in it survives a power failure, if the file system supports it."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputFailed(f"{path}: {error.strerror or error}", "the file was not changed") from None


def read_file(path: Path) -> bytes | None:
    """Return the bytes of a file, or None if there is no file; raise UsageError if it cannot be read."""
    try:
        return read_bounded(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def read_bounded(path: str | Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a file or a pipe that the user named.

    Raises OSError if it cannot be read, is a device other than a terminal or /dev/null, or has more than `limit` bytes.
    """
    buffer = io.BytesIO()  # its memory is returned without a copy
    with open_source(path) as source:
        source.refuse_device()
        source.refuse_larger(limit)
        while data := source.read(min(MEBIBYTE, limit + 1 - buffer.tell())):
            buffer.write(data)
            if buffer.tell() > limit:
                raise _build_size_error(limit)
    return buffer.getvalue()


@contextmanager
def open_source(path: str | Path) -> Iterator["NamedFile"]:
    """Open a file, a pipe or a device to read it piece by piece; raise OSError if that fails."""
    try:
        full_path = Path(path).expanduser()
        fd = os.open(full_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (RuntimeError, ValueError) as error:  # an unknown user, or a NUL byte
        raise OSError(errno.EINVAL, str(error)) from None
    try:
        # The pipe of the shell's `<(…)` has no name, so no process can open it for writing later.
        is_named = "/fd/" not in os.path.realpath(full_path)
        yield NamedFile(fd, awaits_writer=is_named and stat.S_ISFIFO(os.fstat(fd).st_mode))
    finally:
        os.close(fd)


class NamedFile:
    """An open file that is read without waiting forever. Methods raise OSError."""

    def __init__(self, fd: int, *, awaits_writer: bool) -> None:
        self._fd, self._awaits_writer = fd, awaits_writer

    def refuse_device(self) -> None:
        """Raise OSError for a device, which may never end, except a terminal and /dev/null."""
        status = os.fstat(self._fd)
        is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        if is_device and not os.isatty(self._fd) and status.st_rdev != Path(os.devnull).stat().st_rdev:
            raise OSError(errno.ENODEV, "this is a device, not a file")

    def require_regular(self) -> None:
        """Raise OSError for a folder, a pipe, a socket or a device."""
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, "this is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "this is not a regular file")

    def refuse_larger(self, limit: int) -> None:
        """Raise OSError if the file is known to have more than `limit` bytes."""
        if os.fstat(self._fd).st_size > limit:
            raise _build_size_error(limit)

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes, or b"" at the end."""
        if self._awaits_writer:
            self._wait(WRITER_SECONDS)
        while True:
            try:
                data = os.read(self._fd, limit)
            except BlockingIOError:  # a process has the pipe open for writing
                if not self._wait(None if os.isatty(self._fd) else SILENCE_SECONDS):
                    raise OSError(
                        errno.ETIMEDOUT, f"nothing was written to this pipe for {SILENCE_SECONDS:g} s"
                    ) from None
                continue
            if self._awaits_writer and not data:
                raise OSError(errno.ETIMEDOUT, "nothing writes to this pipe")
            self._awaits_writer = False
            return data

    def _wait(self, seconds: float | None) -> bool:
        """Wait until there is something to read; return False after a timeout."""
        import select  # few files are pipes

        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))


def _build_size_error(limit: int) -> OSError:
    return OSError(errno.EFBIG, f"more than {limit // MEBIBYTE} MiB cannot be read")


def decode_utf8(data: bytes, path: Path) -> str:
    """Decode UTF-8, with or without a byte order mark; raise UsageError with line and column."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise UsageError(f"{path}, {format_position(before, len(before))}: not UTF-8 text") from None


def format_position(text: str, offset: int) -> str:
    """Return the line and column of an offset in a text, both counted from 1."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"
