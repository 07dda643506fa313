"""Format and write the results of rows as lines of JSON in the order of the rows, and read which rows are done."""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Condition
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.batch.rows import Row
from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.schema.check import parse_answer_json

# The keys that are copied from the object that --format json prints.
ANSWER_KEYS = (
    "text", "complete", "finish_reason", "reasoning", "refusal", "tool_calls", "citations", "usage", "cost_usd",
    "cost_source", "cached", "model", "id", "request_id", "status", "attempts", "error",
)  # fmt: skip
# How many rows per worker may begin after the first row that has no result yet.
MAX_ROWS_AHEAD = 16


def format_result(
    row: Row, row_hash: str | None, answer: Answer, *, is_json: bool, has_choices: bool, has_rounds: bool = False
) -> bytes:
    """Return the result of a row as one line of JSON.

    It always has the same keys, and `data` if JSON was asked for, `choices` if several answers were, and `rounds` if
    tools may be called.
    """
    facts = answer_to_dict(answer)
    data: dict[str, Any] = {"data": _parse_data(facts["text"])} if is_json else {}
    more = [name for name, is_shown in (("choices", has_choices), ("rounds", has_rounds)) if is_shown]
    result = {name: facts[name] for name in (*ANSWER_KEYS, *more)}
    if result["usage"]:
        del result["usage"]["details"]  # the server's own names for the same counts
    seconds = facts["timing"]["total_s"]
    return json_line({"row": row.number, "hash": row_hash, "input": row.value, **data, **result, "seconds": seconds})


def _parse_data(text: str) -> Any:
    """Return the answer parsed as JSON, None if it is not JSON."""
    with suppress(ValueError):
        return parse_answer_json(text)
    return None


class ResultWriter:
    """Writes the results of several threads, if `ordered` in the order of the rows.

    `write_line` gets one complete line at a time.
    """

    def __init__(self, write_line: Callable[[bytes], None], jobs: int, *, ordered: bool) -> None:
        self._write_line, self._limit, self._ordered = write_line, MAX_ROWS_AHEAD * jobs, ordered
        self._change = Condition()
        self._waiting: dict[int, bytes] = {}
        self._next = 0
        self._is_finished = False

    def wait_for_room(self, position: int) -> None:
        """Wait until the row at this position, counted from 0, may begin; without an order, none waits."""
        with self._change:
            while self._ordered and position >= self._next + self._limit and not self._is_finished:
                self._change.wait()

    def write(self, position: int, line: bytes) -> None:
        """Add the result of a row (b"" if it has none), and write all results that are due.

        Errors of `write_line` propagate; after one, nothing more can be written in order.
        """
        with self._change:
            if self._is_finished:
                return
            if not self._ordered:
                self._write_if_any(line)
                return
            self._waiting[position] = line
            while self._next in self._waiting:
                self._write_if_any(self._waiting.pop(self._next))
                self._next += 1
            self._change.notify_all()

    def finish(self, *, is_lost: bool) -> None:
        """Accept no further results; write those that wait for earlier rows, unless the output is lost."""
        with self._change:
            self._is_finished = True
            self._change.notify_all()
            if not is_lost:
                for position in sorted(self._waiting):
                    self._write_if_any(self._waiting[position])

    def release_waiters(self) -> None:
        """Let all rows begin, however far ahead they are: nothing more will be written."""
        with self._change:
            self._limit = sys.maxsize
            self._change.notify_all()

    def _write_if_any(self, line: bytes) -> None:
        if line:
            self._write_line(line)


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
        self._passed: set[int] = set()
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
        self._passed.add(number)
        numbers = self._done.get(digest)
        if not numbers:
            return False
        # The result of another row counts if that row has been passed, or if the rows have moved. Workers ask in any
        # order, so that an earlier row with the same words may still be on its way to its own result.
        is_moved = number in self._numbers or min(numbers) in self._passed
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
