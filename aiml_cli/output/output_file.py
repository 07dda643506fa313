"""Write the answer to a file that only a complete answer replaces."""

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

FIELDS = (
    "endpoint", "model", "id", "finish_reason", "complete", "usage", "cost_usd", "cost_source", "timing",
    "request_id", "status", "attempts", "error",
)  # fmt: skip


class OutputFile:
    """Write beside the file under a name of its own; take its place at the end.

    What an incomplete answer left keeps the file's name with `.part` added. What is no regular file (a pipe,
    a terminal, /dev/null) is written as it is.
    """

    def __init__(self, name: str) -> None:
        self._target = Path(os.path.realpath(name))
        self._pending: PendingFile | None = None
        try:
            # /dev/stdout leads to a file too, but what it names is this very output.
            is_device = name.startswith(("/dev/", "/proc/"))
            if is_device or (self._target.exists() and not self._target.is_file()):
                self._fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_APPEND)
            else:
                self._pending = self._open_pending(name)
                self._fd = self._pending.fd
        except OSError as fault:
            raise UsageError(f"{name}: cannot be written: {fault.strerror}", "nothing was sent") from None

    def _open_pending(self, name: str) -> PendingFile:
        """Open a new file, with the owner and the mode of the one that it will replace."""
        if self._target.exists() and not os.access(self._target, os.W_OK):
            raise PermissionError(13, "Permission denied", name)
        file = PendingFile(self._target, self._target.with_name(f".{os.urandom(4).hex()}.part"))
        if self._target.exists():
            old = self._target.stat()
            with suppress(OSError):  # only some may give a file away
                os.fchown(file.fd, old.st_uid, old.st_gid)
            os.fchmod(file.fd, stat.S_IMODE(old.st_mode))
        return file

    @property
    def is_terminal(self) -> bool:
        """True if the output is a terminal, such as /dev/tty."""
        return self._pending is None and os.isatty(self._fd)

    def is_for(self, name: str) -> bool:
        """True if this is the regular file of that name."""
        return self._pending is not None and Path(os.path.realpath(name)) == self._target

    def write(self, data: bytes) -> None:
        """Write all of it; raise OutputFailed."""
        try:
            write_all(self._fd, data)
        except OSError as fault:
            raise OutputFailed(f"{self._target}: {fault.strerror}") from None

    def close(self, *, complete: bool) -> str:
        """Take the place of the file when the answer is complete; else return the name of the part, "" for none."""
        file = self._pending
        if file is None:
            os.close(self._fd)
            return ""
        try:
            if complete:
                file.commit()
                return ""
            return str(file.keep(self._free_name) or "")
        except OSError as fault:
            raise OutputFailed(f"{self._target}: {fault.strerror}", f"what came is in {file.part}") from None

    def _free_name(self) -> Path:
        """Return a name that no part of an earlier answer has."""
        names = (self._target.with_name(f"{self._target.name}.part{number or ''}") for number in count())
        return next(name for name in names if not name.exists())


class MetaFile:
    """Write the file of `--meta`, whole, whatever the answer became.

    It is opened at once: raises UsageError where it cannot be written, before anything is paid for.
    """

    def __init__(self, name: str) -> None:
        self._file = OutputFile(name)

    def close(self, answer: Answer) -> None:
        """Write the file; raise OutputFailed."""
        self._put(_known(answer))

    def close_all(self, answers: Iterable[Answer]) -> None:
        """Write what is known of several answers; raise OutputFailed."""
        self._put([_known(answer) for answer in answers])

    def _put(self, known: Any) -> None:
        self._file.write(json_line(known, indent=2))
        self._file.close(complete=True)


def _known(answer: Answer) -> dict[str, Any]:
    known = answer_to_dict(answer)
    return {name: known[name] for name in FIELDS}


def open_meta_file(name: str, answer: OutputFile | None) -> MetaFile:
    """Open the file; raise UsageError where that cannot be, and leave the answer's own file as it was."""
    try:
        if answer and answer.is_for(name):
            raise UsageError(f"{name}: --output and --meta name the same file", "nothing was sent")
        return MetaFile(name)
    except UsageError:
        if answer:
            answer.close(complete=False)
        raise
