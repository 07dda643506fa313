"""A file of results that a later run reads and continues."""

import fcntl
import json
import os
import stat
from typing import Any

from aiml_cli.errors import OutputFailed, UsageError


class ResumeFile:
    """An open file of results.

    A row is done if the file has its result without an error, by the hash of the row and the request. If the input
    has a row twice, or was changed between the runs, the row's number decides which result belongs to it.
    """

    def __init__(self, name: str) -> None:
        if name == "-":
            raise UsageError("--resume-from reads a file and adds to it, and - is standard output", "name a file")
        self._name = name
        self._done: dict[str, list[int]] = {}
        self._numbers: set[int] = set()
        try:
            self.fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                raise UsageError(f"{name}: --resume-from needs a regular file")
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            raise UsageError(f"{name}: another run is writing to it", "give each run a file of its own") from None
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror}", "nothing was sent") from None

    def has(self, number: int, digest: str) -> bool:
        """True if a row is done; each result answers for one row."""
        numbers = self._done.get(digest)
        if not numbers:
            return False
        # The result of another row counts if that row has been passed, or if the rows have moved.
        is_moved = number in self._numbers or min(numbers) < number
        match = number if number in numbers else min(numbers) if is_moved else None
        if match is None:
            return False
        numbers.remove(match)
        return True

    def write(self, data: bytes) -> None:
        """Append all of the data or nothing, as a later row may find room again; raise OutputFailed."""
        size, view = os.fstat(self.fd).st_size, memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except OSError as error:
                os.ftruncate(self.fd, size)
                raise OutputFailed(f"{self._name}: {error.strerror}") from None

    def _read(self) -> None:
        """Read which rows are done; remove an incomplete last line."""
        end = 0
        with open(self.fd, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self.fd, end)
                    return
                self._read_line(number, line)
                end += len(line)

    def _read_line(self, number: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            result: Any = json.loads(line)
            row, digest, error = result["row"], result["hash"], result["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            hint = "name a file that --each wrote, or one that is not there yet"
            raise UsageError(f"{self._name}, line {number}: this is no result of --each", hint) from None
        if error is None and isinstance(row, int) and isinstance(digest, str):
            self._done.setdefault(digest, []).append(row)
            self._numbers.add(row)
