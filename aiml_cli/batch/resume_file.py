"""Keep results in a file that a later run goes on with: what is done is known, and what is new is added."""

import fcntl
import json
import os
import stat
from typing import Any

from aiml_cli.errors import OutputFailed, UsageError


class ResumeFile:
    """Hold an open file of results.

    A row is done when the file has its result without an error, by the hash of the row and the request. Where the
    input has a row twice, or was changed between the runs, its number helps to tell which is which.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._done: dict[str, list[int]] = {}
        self._numbers: set[int] = set()
        try:
            self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise UsageError(f"{name}: --resume-from needs a regular file")
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            raise UsageError(f"{name}: another run is writing to it", "give each run a file of its own") from None
        except OSError as fault:
            raise UsageError(f"{name}: {fault.strerror}", "nothing was sent") from None

    def has(self, number: int, digest: str) -> bool:
        """Say whether a row is done; each result answers for one row."""
        numbers = self._done.get(digest)
        if not numbers:
            return False
        # Another row's result is ours when that row has been passed, or when the rows have moved.
        moved = number in self._numbers or min(numbers) < number
        found = number if number in numbers else min(numbers) if moved else None
        if found is None:
            return False
        numbers.remove(found)
        return True

    def write(self, data: bytes) -> None:
        """Add to the file, all of it or nothing: another row may find room again; raise OutputFailed."""
        size, view = os.fstat(self._fd).st_size, memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as fault:
                os.ftruncate(self._fd, size)
                raise OutputFailed(f"{self._name}: {fault.strerror}") from None

    @property
    def fd(self) -> int:
        """Give the open file."""
        return self._fd

    def _read(self) -> None:
        """Learn what is done; a last line that was not written whole is taken away."""
        end = 0
        with open(self._fd, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._fd, end)
                    return
                self._learn(number, line)
                end += len(line)

    def _learn(self, number: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found: Any = json.loads(line)
            row, digest, error = found["row"], found["hash"], found["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            hint = "name a file that --each wrote, or one that is not there yet"
            raise UsageError(f"{self._name}, line {number}: this is no result of --each", hint) from None
        if error is None and isinstance(row, int) and isinstance(digest, str):
            self._done.setdefault(digest, []).append(row)
            self._numbers.add(row)
