"""Sum up by hour and model what requests cost whose answers are not saved in the history."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from aiml_cli.store.history.database import History, open_history, translate_errors
from aiml_cli.store.history.reader import parse_column

HOUR_S = 3600
GATEWAY, ESTIMATE, UNKNOWN = "gateway", "estimate", ""
_SUMS = ("requests", "input_tokens", "output_tokens", "cost_usd")


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
    """Add requests to the sums of this hour; return where a damaged history was moved to. Raise as `open_history`."""
    source = UNKNOWN if cost_usd is None else cost_source or UNKNOWN
    key = (int(time.time() // HOUR_S), model, endpoint, source)
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    with closing(open_history()) as history, translate_errors(history.path), history.transaction() as db:
        db.execute(
            f"INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}",
            (*key, requests, input_tokens, output_tokens, cost_usd or 0.0),
        )
        return history.damaged_copy


def read_spending(history: History, since: float) -> Iterator[SpendingEntry]:
    """Yield the cost of each answer saved since a Unix time, without replayed ones, then the sums."""
    answers = history.connection.execute(
        "SELECT at, model, endpoint, host, usage, cost_usd, cost_source FROM messages"
        " WHERE role = 'assistant' AND state NOT IN ('failed', 'streaming') AND at >= ?"
        " AND CASE WHEN json_valid(facts) THEN json_extract(facts, '$.replayed') END IS NULL",
        (since,),
    )
    for at, model, endpoint, host, usage, cost, source in answers:
        cost_source = UNKNOWN if cost is None else source or UNKNOWN
        tokens = _parse_usage(usage)
        yield SpendingEntry._make((at, model, endpoint, host, 1, *tokens, cost or 0.0, cost_source))
    sums = history.connection.execute(
        f"SELECT hour, model, endpoint, {', '.join(_SUMS)}, cost_source FROM spent WHERE hour >= ?",
        (int(since // HOUR_S),),
    )
    for hour, model, endpoint, requests, *tokens, cost, source in sums:
        yield SpendingEntry._make((hour * HOUR_S, model, endpoint, "", requests, *tokens, 0, cost, source))


def _parse_usage(column: Any) -> list[int]:
    """Return the input, output and cached tokens; a damaged value counts as 0."""
    usage = parse_column(column, {})
    counts = (usage.get(name) for name in ("input_tokens", "output_tokens", "cached_tokens"))
    return [max(0, count) if isinstance(count, int) else 0 for count in counts]
