"""Format the result of a row as a line of JSON, and write results in the order of the rows."""

from collections.abc import Callable
from contextlib import suppress
from threading import Condition
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.batch.rows import Row
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.schema.check import parse_answer_json

# The keys that a result has in common with the object of --format json.
ANSWER_KEYS = (
    "text", "complete", "finish_reason", "reasoning", "refusal", "tool_calls", "citations", "usage", "cost_usd",
    "cost_source", "model", "id", "request_id", "status", "attempts", "error",
)  # fmt: skip
# How many rows per worker may run ahead of the first row without a result.
AHEAD = 16


def format_result(row: Row, digest: str | None, answer: Answer, *, is_json: bool, several: bool) -> bytes:
    """Return the line; every key is always there, `data` if JSON was asked for, `choices` if several were."""
    facts = answer_to_dict(answer)
    data: dict[str, Any] = {"data": _parse_data(facts["text"])} if is_json else {}
    result = {name: facts[name] for name in ((*ANSWER_KEYS, "choices") if several else ANSWER_KEYS)}
    if result["usage"]:
        del result["usage"]["details"]  # the server's own names for the same counts
    seconds = facts["timing"]["total_s"]
    return json_line({"row": row.number, "hash": digest, "input": row.value, **data, **result, "seconds": seconds})


def _parse_data(text: str) -> Any:
    with suppress(ValueError):
        return parse_answer_json(text)
    return None


class OrderedWriter:
    """The results that wait for that of an earlier row; `write` gets whole lines."""

    def __init__(self, write: Callable[[bytes], None], jobs: int, *, ordered: bool) -> None:
        self._write_line, self._limit, self._ordered = write, AHEAD * jobs, ordered
        self._change = Condition()
        self._waiting: dict[int, bytes] = {}
        self._next = 0
        self._is_finished = False

    def wait_for_room(self, position: int) -> None:
        """Wait until the row at this position, counted from 0, may begin."""
        with self._change:
            while self._ordered and position >= self._next + self._limit and not self._is_finished:
                self._change.wait()

    def write(self, position: int, line: bytes) -> None:
        """Write a result, or b"" for a row without one, once those before it are written; raise what `write` raises."""
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
        """Write what still waits for earlier rows, unless the output is lost; accept no further results."""
        with self._change:
            self._is_finished = True
            self._change.notify_all()
            if not is_lost:
                for position in sorted(self._waiting):
                    self._write_if_any(self._waiting[position])

    def release_waiters(self) -> None:
        """End all waits for room."""
        with self._change:
            self._limit = 1 << 60
            self._change.notify_all()

    def _write_if_any(self, line: bytes) -> None:
        if line:
            self._write_line(line)
