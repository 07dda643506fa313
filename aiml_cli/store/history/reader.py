"""Read from the history: the messages of a conversation, and the cost of requests."""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from aiml_cli.store.history.database import History, Report, decode_row, ignore_progress, open_history, translate_errors
from aiml_cli.store.history.writer import PLAIN_ITEMS, STREAMING, read_pieces

MAX_DEPTH, MAX_DIGITS = 100, 400
# The fact that marks the request for a summary of older turns, and its answer.
SUMMARY = "summary"
PART_OF_SUMMARY = "part"  # a key of that fact if the answer is only a part of the next summary
HOUR_S = 3600
ANSWERS_PER_STEP = 200
GATEWAY, ESTIMATE, UNKNOWN = "gateway", "estimate", ""
_COUNT_SUMS = "sum(input_tokens), sum(output_tokens), sum(cached_tokens)"
_SUMS = ("requests", "input_tokens", "output_tokens", "cost_usd")


class StoredMessage(NamedTuple):
    """A row of the table of messages, with parsed JSON columns. `items` are sent to the API for the message."""

    id: int
    conversation: int
    role: str
    state: str
    at: float
    text: str
    thought: str
    items: Sequence[Any]
    endpoint: str
    host: str
    model: str
    options: dict[str, Any]
    usage: dict[str, Any] | None
    cost_usd: float | None
    cost_source: str | None
    request_id: str | None
    response_id: str | None
    stored: bool
    facts: dict[str, Any]


def read_messages(history: History, conversation: int) -> list[StoredMessage]:
    """Return the messages of a conversation in order; an answer that is still streaming contains its text so far."""
    columns = ", ".join(StoredMessage._fields)
    rows = history.connection.execute(
        f"SELECT {columns} FROM messages WHERE conversation = ? ORDER BY id", (conversation,)
    )
    return [_parse_message(history, StoredMessage(*decode_row(row))) for row in rows]


def parse_column(column: Any, default: Any) -> Any:
    """Parse a JSON column; return the default if it is damaged or has another type.

    Values that are nested too deeply become null, and numbers with too many digits become floats.
    """
    try:
        value = json.loads(column or "null", parse_int=_parse_int)
        # A quick check: brackets may be in strings, but a column with few of them is not nested deeply.
        if isinstance(column, str) and column.count("[") + column.count("{") > MAX_DEPTH:
            value = _cut_depth(value, MAX_DEPTH)
    except (ValueError, TypeError, RecursionError):
        return default
    return value if isinstance(value, type(default)) else default


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _cut_depth(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {name: _cut_depth(item, depth - 1) for name, item in value.items()}
    return [_cut_depth(item, depth - 1) for item in value]


def get_summary_until(facts: Mapping[str, Any]) -> int | None:
    """Return the id of the last message that a summary replaces; None if the message is not a summary."""
    summary = facts.get(SUMMARY)
    until = summary.get("until") if isinstance(summary, dict) else None
    return until if isinstance(until, int) else None


def format_age(then: float) -> str:
    """Format the time since a Unix time in its largest unit: `2 days`, `5 min`; "" for an invalid time."""
    if not isinstance(then, int | float) or not isfinite(then):
        return ""
    seconds = max(0, time.time() - then)
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{int(seconds)} s"


def _parse_message(history: History, row: StoredMessage) -> StoredMessage:
    """Parse the JSON columns of a row, and add the text of an answer that is still streaming."""
    plain_items: Any = [{"role": row.role, "content": row.text}]
    message = row._replace(
        items=plain_items if row.items == PLAIN_ITEMS else parse_column(row.items, []),
        options=parse_column(row.options, {}),
        facts=parse_column(row.facts, {}),
        usage=parse_column(row.usage, {}) or None,
        cost_usd=row.cost_usd if isinstance(row.cost_usd, int | float) else None,
        stored=bool(row.stored),
    )
    if message.state == STREAMING:
        text, thought, _ = read_pieces(history.connection, message.id)
        message = message._replace(text=text, thought=thought)
    return message


class SpendingEntry(NamedTuple):
    """The cost of some requests; `cost_source` is gateway, estimate, or "" if the cost is unknown."""

    at: float
    model: str
    endpoint: str
    host: str
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float
    cost_source: str


def add_spending(  # noqa: PLR0917 - the columns of a row
    model: str,
    endpoint: str,
    requests: int,
    input_tokens: int,
    output_tokens: int,
    cost_usd: float | None,
    cost_source: str | None = GATEWAY,
) -> Path | None:
    """Add requests to the sums of this hour; raise the errors of `open_history`.

    Returns the new path of a damaged history that was moved aside, or None.
    """
    source = UNKNOWN if cost_usd is None else cost_source or UNKNOWN
    key = (int(time.time() // HOUR_S), model, endpoint, source)
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    with closing(open_history()) as history, translate_errors(history.path), history.transaction() as db:
        db.execute(
            f"INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}",
            (*key, requests, input_tokens, output_tokens, cost_usd or 0.0),
        )
        return history.damaged_copy


def read_spending(history: History, since: float, report: Report = ignore_progress) -> Iterator[SpendingEntry]:
    """Yield the spending since a Unix time: for saved answers, except replayed ones, and then for other requests.

    Answers of known cost are summed up by day in the local time zone.
    """
    _count_new_answers(history, report)
    answers = history.connection.execute(
        f"SELECT min(at), model, endpoint, host, count(*), {_COUNT_SUMS}, total(cost_usd), cost_source"
        " FROM costs WHERE at >= ? GROUP BY date(at, 'unixepoch', 'localtime'), model, endpoint, host, cost_source,"
        f" CASE cost_source WHEN '{UNKNOWN}' THEN message END",
        (since,),
    )
    yield from map(SpendingEntry._make, answers)
    sums = history.connection.execute(
        f"SELECT hour, model, endpoint, {', '.join(_SUMS)}, cost_source FROM spent WHERE hour >= ?",
        (int(since // HOUR_S),),
    )
    for hour, model, endpoint, requests, *tokens, cost, source in sums:
        yield SpendingEntry._make((hour * HOUR_S, model, endpoint, "", requests, *tokens, 0, cost, source))


def _count_new_answers(history: History, report: Report) -> None:
    """Add the answers that were written since the last call to the table of costs."""
    (last,) = history.connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()
    position = _read_position(history.connection)
    if position < last:
        history.run_in_slices(_count_some, lambda: report("adding up", _read_position(history.connection), last))


def _count_some(db: sqlite3.Connection) -> bool:
    """Add the next answers, and return whether there may be more; a streaming answer is added when it has ended."""
    position = _read_position(db)
    (last,) = db.execute(
        "SELECT max(id) FROM (SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?)", (position, ANSWERS_PER_STEP)
    ).fetchone()
    if last is None:
        return False
    db.execute(
        "INSERT OR REPLACE INTO costs SELECT * FROM answer_costs WHERE message > ? AND message <= ?", (position, last)
    )
    db.execute("UPDATE positions SET value = ? WHERE name = 'costs'", (last,))
    return True


def _read_position(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT value FROM positions WHERE name = 'costs'").fetchone()[0])
