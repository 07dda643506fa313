"""Save the input of the REPL: one JSON string per line, in a file that only this user can read."""

import fcntl
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

from aiml_cli.errors import AimlError
from aiml_cli.store import paths
from aiml_cli.system import atomic_write

MAX_BYTES = 1024 * 1024
OPEN_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class InputHistory(History):
    """The history of the line editor; it is only in memory if it is not saved or its file cannot be written."""

    def __init__(self, *, is_saved: bool = True) -> None:
        super().__init__()
        self._is_saved = is_saved

    def load_history_strings(self) -> Iterable[str]:
        """Yield the saved input, the newest first; damaged lines are skipped."""
        path = paths.input_history_file()
        for line in reversed(_read_tail(path) if path else []):
            with suppress(ValueError, RecursionError):
                if isinstance(text := json.loads(line), str):
                    yield text

    def store_string(self, string: str) -> None:
        """Append a line to the file, which other processes may do at the same time."""
        if self._is_saved:
            with suppress(OSError, AimlError):
                _append_line(paths.require_path(paths.input_history_file()), json.dumps(string).encode() + b"\n")


def _read_tail(path: Path) -> list[bytes]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | OPEN_FLAGS), "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - MAX_BYTES, 0))
            return file.read(MAX_BYTES).splitlines()
    except OSError:
        return []


def _append_line(path: Path, line: bytes) -> None:
    """Append under a lock; end an incomplete last line first."""
    atomic_write.make_private_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | OPEN_FLAGS, 0o600)
    try:
        os.fchmod(fd, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        is_complete = not size or os.pread(fd, 1, size - 1) == b"\n"
        os.write(fd, line if is_complete else b"\n" + line)
    finally:
        os.close(fd)
