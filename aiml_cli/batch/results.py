"""Write what came of a row as a line of JSON."""

from collections.abc import Callable
from contextlib import suppress
from threading import Condition
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.batch.rows import Row
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.schema.check import parse_answer_json

# Of the object that --format json prints; the words are the same.
NAMES = (
    "text", "complete", "finish_reason", "reasoning", "refusal", "tool_calls", "citations", "usage", "cost_usd",
    "cost_source", "model", "id", "request_id", "status", "attempts", "error",
)  # fmt: skip
# How far workers may run ahead of the first row that is still asked, in rows for each worker.
AHEAD = 16


def format_result(row: Row, digest: str | None, answer: Answer, *, is_json: bool, several: bool) -> bytes:
    """Write it; every key is always there, `data` where JSON was asked for, `choices` where several were."""
    found = answer_to_dict(answer)
    more: dict[str, Any] = {"data": _data(found["text"])} if is_json else {}
    names = (*NAMES, "choices") if several else NAMES
    told = {name: found[name] for name in names}
    if told["usage"]:
        del told["usage"]["details"]  # the server's own names for the same counts
    seconds = found["timing"]["total_s"]
    return json_line({"row": row.number, "hash": digest, "input": row.value, **more, **told, "seconds": seconds})


def _data(text: str) -> Any:
    """Read the JSON of an answer; null where it is none."""
    with suppress(ValueError):
        return parse_answer_json(text)
    return None


class OrderedWriter:
    """Hold the results that wait for an earlier one; `write` gets whole lines."""

    def __init__(self, write: Callable[[bytes], None], jobs: int, *, ordered: bool) -> None:
        self._write, self._most, self._ordered = write, AHEAD * jobs, ordered
        self._change = Condition()
        self._waiting: dict[int, bytes] = {}
        self._next = 0
        self._is_over = False

    def wait_for_room(self, place: int) -> None:
        """Wait until a row may be begun; `place` counts those that were, from 0 on."""
        with self._change:
            while self._ordered and place >= self._next + self._most and not self._is_over:
                self._change.wait()

    def put(self, place: int, line: bytes) -> None:
        """Take a result, b"" for a row that has none; raise what writing raises."""
        with self._change:
            if self._is_over:
                return
            if not self._ordered:
                self._out(line)
                return
            self._waiting[place] = line
            while self._next in self._waiting:
                self._out(self._waiting.pop(self._next))
                self._next += 1
            self._change.notify_all()

    def end(self, *, is_gone: bool) -> None:
        """Write what still waits for rows that were not asked, unless nobody reads any more."""
        with self._change:
            self._is_over = True
            self._change.notify_all()
            if not is_gone:
                for place in sorted(self._waiting):
                    self._out(self._waiting[place])

    def release_waiters(self) -> None:
        """Let nobody wait for room any more."""
        with self._change:
            self._most = 1 << 60
            self._change.notify_all()

    def _out(self, line: bytes) -> None:
        if line:
            self._write(line)
