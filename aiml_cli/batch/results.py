"""Format and write the results of rows as lines of JSON in the order of the rows."""

import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Condition
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.batch.rows import Row
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
    data: dict[str, Any] = {"data": parse_data(facts["text"])} if is_json else {}
    more = [name for name, is_shown in (("choices", has_choices), ("rounds", has_rounds)) if is_shown]
    result = {name: facts[name] for name in (*ANSWER_KEYS, *more)}
    if result["usage"]:
        del result["usage"]["details"]  # the server's own names for the same counts
    seconds = facts["timing"]["total_s"]
    return json_line({"row": row.number, "hash": row_hash, "input": row.value, **data, **result, "seconds": seconds})


def parse_data(text: str) -> Any:
    """Return the answer parsed as JSON, None if it is not JSON."""
    with suppress(ValueError):
        return parse_answer_json(text)
    return None


class ResultWriter:
    """Writes the results of several threads, if `ordered` in the order of the rows.

    `write_line` gets one complete result at a time, the first one with the `header` before it.
    """

    def __init__(self, write_line: Callable[[bytes], None], jobs: int, *, header: bytes = b"", ordered: bool) -> None:
        self._header = header
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

    def finish(self, *, is_lost: bool, is_complete: bool = False) -> None:
        """Accept no further results; write those that wait for earlier rows, unless the output is lost.

        A run that is complete without a result writes the header alone.
        """
        with self._change:
            self._is_finished = True
            self._change.notify_all()
            if not is_lost:
                for position in sorted(self._waiting):
                    self._write_if_any(self._waiting[position])
            if is_complete and self._header:
                self._write_line(self._header)

    def release_waiters(self) -> None:
        """Let all rows begin, however far ahead they are: nothing more will be written."""
        with self._change:
            self._limit = sys.maxsize
            self._change.notify_all()

    def _write_if_any(self, line: bytes) -> None:
        if line:
            self._write_line(self._header + line)
            self._header = b""
