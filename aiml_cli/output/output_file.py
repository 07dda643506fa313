"""Write the answer to a file that only a complete answer replaces, and the file of --meta."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.system.atomic_write import PendingFile, write_all

META_FIELDS = (
    "endpoint", "model", "id", "finish_reason", "complete", "usage", "cost_usd", "cost_source", "timing",
    "request_id", "status", "attempts", "error",
)  # fmt: skip


class OutputFile:
    """A file that is written under a temporary name next to it, and renamed when the answer is complete.

    An incomplete answer is saved with `.part` added to the name. A pipe, a terminal or a device such as /dev/null
    is written directly. Raises UsageError if the file cannot be opened.
    """

    def __init__(self, name: str) -> None:
        self._target = Path(os.path.realpath(name))
        self._pending: PendingFile | None = None
        try:
            # /dev/stdout may resolve to a regular file, but it means this process's own output.
            is_device = name.startswith(("/dev/", "/proc/"))
            if is_device or (self._target.exists() and not self._target.is_file()):
                self._fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_APPEND)
            else:
                self._pending = self._open_pending(name)
                self._fd = self._pending.fd
        except OSError as error:
            raise UsageError(f"{name}: cannot be written: {error.strerror}", "nothing was sent") from None

    def _open_pending(self, name: str) -> PendingFile:
        """Open a new file with the owner and the mode of the file that it will replace."""
        if self._target.exists() and not os.access(self._target, os.W_OK):
            raise PermissionError(13, "Permission denied", name)
        file = PendingFile(self._target, self._target.with_name(f".{os.urandom(4).hex()}.part"))
        if self._target.exists():
            old = self._target.stat()
            with suppress(OSError):  # only some users may change the owner
                os.fchown(file.fd, old.st_uid, old.st_gid)
            os.fchmod(file.fd, stat.S_IMODE(old.st_mode))
        return file

    @property
    def is_terminal(self) -> bool:
        """True if the output is a terminal, such as /dev/tty."""
        return self._pending is None and os.isatty(self._fd)

    def is_for(self, name: str) -> bool:
        """True if `name` is this regular file."""
        return self._pending is not None and Path(os.path.realpath(name)) == self._target

    def write(self, data: bytes) -> None:
        """Write all of the data; raise OutputFailed."""
        try:
            write_all(self._fd, data)
        except OSError as error:
            raise OutputFailed(f"{self._target}: {error.strerror}") from None

    def close(self, *, complete: bool) -> str:
        """Replace the target if the answer is complete; else return the name of the part, or "" if it is empty."""
        file = self._pending
        if file is None:
            os.close(self._fd)
            return ""
        try:
            if complete:
                file.commit()
                return ""
            return str(file.save_as(self._find_free_name) or "")
        except OSError as error:
            raise OutputFailed(f"{self._target}: {error.strerror}", f"what came is in {file.part}") from None

    def _find_free_name(self) -> Path:
        """Return a name for the part that no earlier answer uses."""
        names = (self._target.with_name(f"{self._target.name}.part{number or ''}") for number in count())
        return next(name for name in names if not name.exists())


class MetaFile:
    """The file of --meta, written at the end of complete and incomplete answers alike.

    It is opened at once, so that UsageError is raised before the request costs anything.
    """

    def __init__(self, name: str) -> None:
        self._file = OutputFile(name)

    def close(self, answer: Answer) -> None:
        """Write the fields of the answer; raise OutputFailed."""
        self._write_json(_select_fields(answer))

    def close_all(self, answers: Iterable[Answer]) -> None:
        """Write the fields of several answers as an array; raise OutputFailed."""
        self._write_json([_select_fields(answer) for answer in answers])

    def _write_json(self, value: Any) -> None:
        self._file.write(json_line(value, indent=2))
        self._file.close(complete=True)


def _select_fields(answer: Answer) -> dict[str, Any]:
    fields = answer_to_dict(answer)
    return {name: fields[name] for name in META_FIELDS}


def open_meta_file(name: str, output: OutputFile | None) -> MetaFile:
    """Open the file of --meta; raise UsageError, and close the answer's own file unchanged, if that fails."""
    try:
        if output and output.is_for(name):
            raise UsageError(f"{name}: --output and --meta name the same file", "nothing was sent")
        return MetaFile(name)
    except UsageError:
        if output:
            output.close(complete=False)
        raise
