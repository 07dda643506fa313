"""Write what came of a row as a line of JSON."""

from contextlib import suppress
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.batch.rows import Row
from aiml_cli.schema.check import value_in
from aiml_cli.screen.json import as_object, line

# Of the object that --format json prints; the words are the same.
NAMES = (
    "text", "complete", "finish_reason", "reasoning", "refusal", "tool_calls", "citations", "usage", "cost_usd",
    "cost_source", "model", "id", "request_id", "status", "attempts", "error",
)  # fmt: skip


def written(row: Row, digest: str | None, answer: Answer, *, is_json: bool, several: bool) -> bytes:
    """Write it; every key is always there, `data` where JSON was asked for, `choices` where several were."""
    found = as_object(answer)
    more: dict[str, Any] = {"data": _data(found["text"])} if is_json else {}
    names = (*NAMES, "choices") if several else NAMES
    told = {name: found[name] for name in names}
    if told["usage"]:
        del told["usage"]["details"]  # the server's own names for the same counts
    seconds = found["timing"]["total_s"]
    return line({"row": row.number, "hash": digest, "input": row.value, **more, **told, "seconds": seconds})


def _data(text: str) -> Any:
    """Read the JSON of an answer; null where it is none."""
    with suppress(ValueError):
        return value_in(text)
    return None
