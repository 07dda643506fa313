"""Sum up by hour and model what was spent on answers that the history does not keep."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from aiml_cli.store.history.database import History, open_history, translate_errors

HOUR_S = 3600
GATEWAY, ESTIMATE, UNKNOWN = "gateway", "estimate", ""
_SUMS = ("requests", "input_tokens", "output_tokens", "cost_usd")


class SpendingEntry(NamedTuple):
    """Hold what was spent at a time; `cost_source` is gateway, estimate, or "" where the cost is not known."""

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


def add_spending(  # noqa: PLR0917 - a line of a ledger
    model: str,
    endpoint: str,
    requests: int,
    input_tokens: int,
    output_tokens: int,
    cost_usd: float | None,
    cost_source: str | None = GATEWAY,
) -> Path | None:
    """Add to what this hour's requests to a model spent; many processes may do so at once. Raise as `opened` does.

    Gives the name under which a damaged history is kept, where one had to make room.
    """
    source = UNKNOWN if cost_usd is None else cost_source or UNKNOWN
    key = (int(time.time() // HOUR_S), model, endpoint, source)
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    with closing(open_history()) as history, translate_errors(history.path), history.transaction() as change:
        change.execute(
            f"INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}",
            (*key, requests, input_tokens, output_tokens, cost_usd or 0.0),
        )
        return history.moved


def read_spending(history: History, since: float) -> Iterator[SpendingEntry]:
    """Give what was spent since a time: the answers of the history but for replayed ones, then the sums."""
    answers = history.connection.execute(
        "SELECT at, model, endpoint, host, usage, cost_usd, cost_source FROM messages"
        " WHERE role = 'assistant' AND state NOT IN ('failed', 'streaming') AND at >= ?"
        " AND CASE WHEN json_valid(facts) THEN json_extract(facts, '$.replayed') END IS NULL",
        (since,),
    )
    for at, model, endpoint, host, usage, cost, source in answers:
        into, out, cached = _counts(usage)
        known = UNKNOWN if cost is None else source or UNKNOWN
        yield SpendingEntry(at, model, endpoint, host, 1, into, out, cached, cost or 0.0, known)
    sums = history.connection.execute(
        f"SELECT hour, model, endpoint, {', '.join(_SUMS)}, cost_source FROM spent WHERE hour >= ?",
        (int(since // HOUR_S),),
    )
    for hour, model, endpoint, requests, into, out, cost, source in sums:
        yield SpendingEntry(hour * HOUR_S, model, endpoint, "", requests, into, out, 0, cost, source)


def _counts(usage: Any) -> tuple[int, int, int]:
    """Read the tokens in and out, and those that were cached; a disk that turned some bits takes none."""
    try:
        found = json.loads(usage or "{}")
        into, out, cached = (found.get(name) for name in ("input_tokens", "output_tokens", "cached_tokens"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return 0, 0, 0
    into, out, cached = (max(0, count) if isinstance(count, int) else 0 for count in (into, out, cached))
    return into, out, cached
