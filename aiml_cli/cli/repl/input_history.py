"""Keep what was typed in the REPL, one JSON text a line, for this user alone."""

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

MOST_BYTES = 1024 * 1024
CAREFULLY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class InputHistory(History):
    """Read and add; where that cannot be done, or is not wanted, there is only what was typed just now."""

    def __init__(self, *, keeps: bool = True) -> None:
        super().__init__()
        self._keeps = keeps

    def load_history_strings(self) -> Iterable[str]:
        """Give what was typed, the newest first; a damaged line is none."""
        for line in reversed(_tail(paths.input_history_file())):
            with suppress(ValueError, RecursionError):
                if isinstance(text := json.loads(line), str):
                    yield text

    def store_string(self, string: str) -> None:
        """Add a line, whole, whoever else adds one."""
        if self._keeps:
            with suppress(OSError, AimlError):
                _add(paths.require_path(paths.input_history_file()), json.dumps(string).encode() + b"\n")


def _tail(path: Path | None) -> list[bytes]:
    """Read the last lines of a file of ours; none where there is no such file."""
    if path is None:
        return []
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | CAREFULLY), "rb") as file:
            if file.seek(0, os.SEEK_END) > MOST_BYTES:
                file.seek(-MOST_BYTES, os.SEEK_END)
            else:
                file.seek(0)
            return file.read(MOST_BYTES).splitlines()
    except OSError:
        return []


def _add(path: Path, line: bytes) -> None:
    """Append under a lock; a line that somebody left half written stays a line of its own."""
    atomic_write.make_private_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | CAREFULLY, 0o600)
    try:
        os.fchmod(fd, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        is_whole = not size or os.pread(fd, 1, size - 1) == b"\n"
        os.write(fd, line if is_whole else b"\n" + line)
    finally:
        os.close(fd)
