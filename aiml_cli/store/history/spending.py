"""Read what requests cost, and sum up by hour and model what those cost whose answers are not saved."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from aiml_cli.store.history.database import History, Report, ignore_progress, open_history, translate_errors

HOUR_S = 3600
ANSWERS_PER_STEP = 200
GATEWAY, ESTIMATE, UNKNOWN = "gateway", "estimate", ""
_COUNT_SUMS = "sum(input_tokens), sum(output_tokens), sum(cached_tokens)"
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


def read_spending(history: History, since: float, report: Report = ignore_progress) -> Iterator[SpendingEntry]:
    """Yield what was spent since a Unix time: on saved answers, without replayed ones, then on other requests.

    Answers of known cost are summed up by day of the local time zone.
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
    """Add the next answers, and return whether there may be more; one that is still streaming is added at its end."""
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
