"""Write the answer to a file that only a complete answer replaces, and the file of --meta."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.settings.options import Options
from aiml_cli.system.atomic_write import PendingFile, write_all
from aiml_cli.system.stdio import check_stdout, print_err, write_out

META_FIELDS = (
    "endpoint", "model", "id", "finish_reason", "complete", "usage", "cost_usd", "cost_source", "cached",
    "timing", "request_id", "status", "attempts", "error",
)  # fmt: skip
MOUNTS = Path("/proc/self/mountinfo")
MAX_LINKS = 40
MAX_NAME_BYTES = 255


class CannotReplaceError(OSError):
    """An existing file can be written, but not replaced by another one; the message says why."""


class OutputFile:
    """A file that is written under its name with `.part` added, and renamed when the answer is complete.

    An incomplete answer stays in that file, the part. A pipe, a character device such as /dev/null, or an open
    descriptor such as /dev/stderr is written directly. Raises UsageError if the file cannot be written or could not be
    replaced at the end. With `is_resumable`, the name always ends in `.part`, never in `.part1` and so on; an existing
    part is then an error.
    """

    def __init__(self, name: str, *, is_resumable: bool = False) -> None:
        self._name, self._target = name, Path(name)
        self._pending: PendingFile | None = None
        self._is_open = True
        try:
            self._fd = self._open(is_resumable=is_resumable)
        except FileExistsError as error:
            part = self._show(Path(error.filename))
            hint = f"--resume-from {quote(part)} instead of -o continues it; or move it away"
            raise UsageError(f"{part} already exists: the results of a run that did not finish", hint) from None
        except CannotReplaceError as error:
            hint = f"> {name} writes into it, even if the answer is incomplete"
            raise UsageError(f"{name}: cannot be replaced: {error}", hint) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{name}: cannot be written: {reason}") from None

    def _open(self, *, is_resumable: bool) -> int:
        fd = _open_stream(self._name)
        if fd is not None:
            return fd
        self._target = Path(os.path.realpath(self._name))
        self._pending = _open_pending(self._target, is_resumable=is_resumable)
        return self._pending.fd

    @property
    def is_terminal(self) -> bool:
        """True if the output is a terminal, such as /dev/tty."""
        return self._pending is None and os.isatty(self._fd)

    def is_for(self, name: str) -> bool:
        """True if `name` is this regular file, or its part."""
        return self._pending is not None and Path(os.path.realpath(name)) in (self._target, self._pending.part)

    def write(self, data: bytes) -> None:
        """Write all of the data; raise OutputFailed, or ReaderClosed for a pipe."""
        if self._pending is None:
            write_out(data, self._fd, self._name)
            return
        try:
            write_all(self._fd, data)
        except OSError as error:
            raise OutputFailed(f"{self._name}: {error.strerror}") from None

    def close(self, *, complete: bool) -> str:
        """Replace the target if the answer is complete; else return the name of the part, or "" if it is empty.

        Later calls do nothing and return "".
        """
        if not self._is_open:
            return ""
        self._is_open = False
        try:
            if self._pending is None:
                os.close(self._fd)
            elif complete:
                self._pending.commit()
            elif self._pending.keep():
                return self._show(self._pending.part)
        except OSError as error:
            hint = f"the answer is in {self._show(self._pending.part)}" if self._pending else ""
            raise OutputFailed(f"{self._name}: {error.strerror}", hint) from None
        return ""

    def close_and_report(self, *, complete: bool) -> None:
        """Close the file as `close` does; if the answer is incomplete, print the name of the part."""
        if part := self.close(complete=complete):
            print_err(f"aiml: the incomplete answer is in {part}")

    def _show(self, part: Path) -> str:
        """Return the path of the part with the folder as the user typed it, unless the file is a link."""
        if os.path.islink(self._name):  # noqa: PTH114 - Path drops a leading ./
            return str(part)
        return os.path.join(os.path.dirname(self._name), part.name)  # noqa: PTH118, PTH120


def open_output(name: str | None) -> OutputFile | None:
    """Open the file of -o, or return None for a writable standard output; raise UsageError or OutputFailed."""
    if name and not is_stdout(name):
        return OutputFile(name)
    check_stdout()
    return None


def check_audio_file(options: Options) -> None:
    """Raise UsageError if the audio and another output would have the same file."""
    name = options.audio_out or "-"
    for flag, other in (("--output", options.output), ("--meta", options.meta)):
        if other and not is_stdout(name) and os.path.realpath(other) == os.path.realpath(name):
            raise UsageError(f"{name}: {flag} and --audio-out name the same file")


def is_stdout(name: str | None) -> bool:
    """True if a name means standard output: `-`, /dev/stdout, /dev/fd/1, or a link to one of them."""
    return name == "-" or (name is not None and _find_descriptor(name) == 1)


def _find_descriptor(name: str) -> int | None:
    """Return N if a name is /dev/fd/N or a link to it, as /dev/stderr is."""
    folders = ("/dev/fd", os.path.realpath("/dev/fd"))
    with suppress(OSError, ValueError):
        for _ in range(MAX_LINKS):
            folder, last = os.path.split(name)
            if last.isdecimal() and os.path.realpath(folder) in folders:
                return int(last)
            name = os.path.join(folder, os.readlink(name))  # noqa: PTH115, PTH118 - Path would change the name
    return None


def _open_stream(name: str) -> int | None:
    """Open a file that is written directly; return None for a regular or new file, raise OSError for a folder."""
    number = _find_descriptor(name)
    if number is not None:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "it is open for reading only")
        return os.dup(number)
    try:
        mode = Path(name).stat().st_mode
    except FileNotFoundError:
        if name.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        return None
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_APPEND | os.O_NOCTTY)
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: os.strerror(errno.EISDIR), stat.S_IFSOCK: "it is a socket", stat.S_IFBLK: "it is a disk"}
    raise OSError(errno.EINVAL, kinds.get(stat.S_IFMT(mode), os.strerror(errno.EINVAL)))


def _open_pending(target: Path, *, is_resumable: bool) -> PendingFile:
    """Create the part, with the owner and the mode of the file that it will replace; raise OSError."""
    old = target.stat() if target.exists() else None
    if old:
        _check_replaceable(target, old)
    try:
        file = _create_part(target, is_resumable=is_resumable)
    except PermissionError as error:
        if old is None:
            raise
        raise CannotReplaceError(f"its folder is not writable: {error.strerror}") from None
    try:
        if old:
            with suppress(OSError):  # only some users may change the owner
                os.fchown(file.fd, old.st_uid, old.st_gid)
            os.fchmod(file.fd, stat.S_IMODE(old.st_mode))
        _check_space(file.fd)
    except BaseException:
        file.discard()
        raise
    return file


def _check_replaceable(target: Path, old: os.stat_result) -> None:
    """Raise OSError if a file is read-only, immutable or mounted, or in a folder that only its owner may change."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.ETXTBSY:  # a running program can be replaced, but not opened
            raise
    if _is_mount_point(target):
        raise CannotReplaceError("a file system is mounted on it; mount its folder instead")
    folder = target.parent.stat()
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid, old.st_uid):
        raise CannotReplaceError("it belongs to another user, and its folder has the sticky bit")


def _is_mount_point(target: Path) -> bool:
    """True if a file system is mounted on a file, as containers do; a rename fails there (EBUSY)."""
    name = os.fsencode(target)
    for char in b"\\ \t\n":  # as the kernel escapes them; the backslash first
        name = name.replace(bytes([char]), b"\\%03o" % char)
    try:
        return any(line.split(b" ")[4] == name for line in MOUNTS.read_bytes().splitlines())
    except (OSError, IndexError):  # only Linux has this list, and can mount on a file
        return False


def _create_part(target: Path, *, is_resumable: bool) -> PendingFile:
    """Create the part under a name that no earlier answer uses, and lock it as --resume-from does."""
    file, number = None, 0
    while file is None:
        try:
            file = PendingFile(target, target.with_name(_add_suffix(target, f".part{number or ''}")))
        except FileExistsError:
            if is_resumable:
                raise
            number += 1
    with suppress(OSError):  # not every file system has locks
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _add_suffix(path: Path, suffix: str) -> str:
    """Return a name with a suffix, shortened if it is too long for the file system."""
    try:
        limit = os.pathconf(path.parent, "PC_NAME_MAX")
    except (OSError, ValueError):
        limit = MAX_NAME_BYTES
    stem = path.name
    while len(os.fsencode(path.name)) <= limit < len(os.fsencode(stem + suffix)):
        stem = stem[:-1]
    return stem + suffix


def _check_space(fd: int) -> None:
    """Raise OSError if the disk is full."""
    write_all(fd, b"\n")
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)


class MetaFile:
    """The file of --meta, written at the end of complete and incomplete answers; `-` is standard output.

    The constructor opens it, so that UsageError is raised before the request costs anything.
    """

    def __init__(self, name: str) -> None:
        self._file = open_output(name)

    def close(self, answer: Answer) -> None:
        """Write the fields of the answer; raise OutputFailed."""
        self._write_json(_select_fields(answer))

    def close_all(self, answers: Iterable[Answer]) -> None:
        """Write the fields of several answers as an array; raise OutputFailed."""
        self._write_json([_select_fields(answer) for answer in answers])

    def _write_json(self, value: Any) -> None:
        data, is_written = json_line(value, indent=2), False
        if self._file is None:
            write_out(data)
            return
        try:
            self._file.write(data)
            is_written = True
        finally:
            self._file.close(complete=is_written)


def _select_fields(answer: Answer) -> dict[str, Any]:
    fields = answer_to_dict(answer)
    return {name: fields[name] for name in META_FIELDS}


def open_meta_file(name: str, output: OutputFile | None) -> MetaFile:
    """Open the file of --meta; raise UsageError, and close the answer's own file unchanged, if that fails."""
    try:
        if output and output.is_for(name):
            raise UsageError(f"{name}: --output and --meta name the same file")
        return MetaFile(name)
    except (UsageError, OutputFailed):
        if output:
            output.close(complete=False)
        raise
