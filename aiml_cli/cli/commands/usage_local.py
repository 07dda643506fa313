"""Answer `aiml usage --by`: what this machine spent, by model or day, from its own history."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from aiml_cli.api.model_list import Model, find_model
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog import find_models
from aiml_cli.catalog.pricing import estimate_cost
from aiml_cli.core.find_conversation import read_history
from aiml_cli.output import table
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.settings.resolve import Flags, Settings, resolve
from aiml_cli.settings.urls import host_of
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.history.spending import ESTIMATE, GATEWAY, UNKNOWN, SpendingEntry, read_spending
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

HOURS = {"24h": 24, "7d": 168, "30d": 720}
COLUMNS = (
    table.Column("REQUESTS", 3, right=True),
    table.Column("IN", 4, right=True),
    table.Column("OUT", 5, right=True),
    table.Column("COST", 1, right=True),
    table.Column("NO PRICE", 2, right=True),
)
KEYS = {
    "model": (table.Column("MODEL", 0, least=12), table.Column("ENDPOINT", 6)),
    "day": (table.Column("DAY", 0),),
}
FIELDS = ("requests", "input_tokens", "output_tokens", "cost_usd", "cost_source", "unpriced")
Key = tuple[str, ...]
Price = Callable[[SpendingEntry], SpendingEntry]


@dataclass(frozen=True, slots=True)
class SpendingSum:
    """Hold what several requests took; `unpriced` of them have no known price, and no part in the cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cost_source: str | None = None
    unpriced: int = 0

    def and_(self, entry: SpendingEntry) -> "SpendingSum":
        """Add an entry; the sum is an estimate as soon as a part of it is."""
        source = ESTIMATE if ESTIMATE in (self.cost_source, entry.cost_source) else entry.cost_source
        return SpendingSum(
            self.requests + entry.requests,
            self.input_tokens + entry.input_tokens,
            self.output_tokens + entry.output_tokens,
            self.cost_usd + entry.cost_usd,
            source or self.cost_source,
            self.unpriced + (entry.requests if entry.cost_source == UNKNOWN else 0),
        )


def show_local_usage(flags: Flags, by: str, period: str) -> int:
    """Show what this machine spent, and ask nobody."""
    settings = resolve(read_sources(flags, os.environ))
    since = time.time() - HOURS[period] * 3600 if period in HOURS else 0.0
    found = read_history(lambda history: [each for each in read_spending(history, since) if _is_meant(each, settings)])
    priced = _pricing(settings)
    sums = _summed(map(priced, found), by)
    if settings.options.json:
        write_out(
            json_line({"by": by, "period": period, "rows": [_object(by, *each) for each in sums.items()]}, indent=2)
        )
        return 0
    if not sums and not settings.options.quiet:
        print_err("aiml: nothing was asked in this time that the history knows of")
    return print_out((_spoken if is_terminal(1) else _tsv)(by, sums))


def _is_meant(entry: SpendingEntry, settings: Settings) -> bool:
    """Leave out what the embedded server answered, which takes play money; --demo shows that alone."""
    return entry.model.startswith(("demo/", "demo-")) == bool(settings.options.demo)


def _pricing(settings: Settings) -> Price:
    """Give what estimates the cost of an entry without one, by the stored catalogue of the server that was asked."""
    base_url = settings.options.base_url or ""
    models = find_models.load_stored_models(settings) or []
    cache: dict[str, Model | None] = {}

    def priced(entry: SpendingEntry) -> SpendingEntry:
        if entry.cost_source or entry.host != host_of(base_url) or not entry.input_tokens:
            return entry
        if entry.model not in cache:
            cache[entry.model] = find_model(models, entry.model)
        counts = Usage(entry.input_tokens, entry.output_tokens, cached_tokens=entry.cached_tokens)
        model = cache[entry.model]
        cost = estimate_cost(model.prices, counts) if model else None
        return entry if cost is None else entry._replace(cost_usd=cost, cost_source=ESTIMATE)

    return priced


def _summed(found: Iterable[SpendingEntry], by: str) -> dict[Key, SpendingSum]:
    """Add up: days in their order, models with the dearest first."""
    sums: dict[Key, SpendingSum] = {}
    for entry in found:
        key = (entry.model, entry.endpoint) if by == "model" else (_day(entry.at),)
        sums[key] = sums.get(key, SpendingSum()).and_(entry)
    if by == "day":
        return dict(sorted(sums.items()))
    return dict(sorted(sums.items(), key=lambda each: (-each[1].cost_usd, -each[1].requests, each[0])))


def _day(at: float) -> str:
    """Name the day in this place's time; a damaged time has none."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    except (OverflowError, OSError, ValueError):
        return ""


def _object(by: str, key: Key, sum_: SpendingSum) -> dict[str, Any]:
    """Give a row as documented JSON: every key is always there."""
    named = dict(zip(("model", "endpoint") if by == "model" else ("day",), key, strict=True))
    numbers = {name: getattr(sum_, name) for name in FIELDS} | {"cost_usd": _cost(sum_)}
    return {"model": None, "endpoint": None, "day": None, **named, **numbers}


def _cost(sum_: SpendingSum) -> float | None:
    """Give the cost; None where that of no request is known."""
    return round(sum_.cost_usd, 12) if sum_.cost_source else None


def _tsv(by: str, sums: dict[Key, SpendingSum]) -> str:
    """Write for a program."""
    rows = [
        (*key, str(each.requests), str(each.input_tokens), str(each.output_tokens), *_exactly(each), str(each.unpriced))
        for key, each in sums.items()
    ]
    return table.format_tsv([(*(column.heading.lower() for column in KEYS[by]), *FIELDS), *rows])


def _exactly(sum_: SpendingSum) -> tuple[str, str]:
    cost = _cost(sum_)
    return "" if cost is None else format_dollars(cost), sum_.cost_source or ""


def _spoken(by: str, sums: dict[Key, SpendingSum]) -> str:
    """Write for a reader: a table, and its total where it has more than one row."""
    if not sums:
        return ""
    rows = [(*key, *_cells(each)) for key, each in sums.items()]
    if len(sums) > 1:
        rows.append(("total", *([""] * (len(KEYS[by]) - 1)), *_cells(_total(sums.values()))))
    return table.format_table((*KEYS[by], *COLUMNS), rows, table.table_width())


def _total(sums: Iterable[SpendingSum]) -> SpendingSum:
    """Add sums up."""
    several = list(sums)
    sources = {each.cost_source for each in several if each.cost_source}
    numbers = {
        name: sum(getattr(each, name) for each in several) for name in FIELDS if name not in ("cost_usd", "cost_source")
    }
    cost = sum(each.cost_usd for each in several)
    return replace(
        SpendingSum(),
        **numbers,
        cost_usd=cost,
        cost_source=ESTIMATE if ESTIMATE in sources else GATEWAY if sources else None,
    )


def _cells(sum_: SpendingSum) -> tuple[str, ...]:
    cost = _cost(sum_)
    spoken = (
        ""
        if cost is None
        else f"≈ ${round_dollars(cost)}"
        if sum_.cost_source == ESTIMATE
        else f"${format_dollars(round(cost, 6))}"
    )
    return (
        f"{sum_.requests:,}",
        f"{sum_.input_tokens:,}",
        f"{sum_.output_tokens:,}",
        spoken,
        f"{sum_.unpriced:,}" if sum_.unpriced else "",
    )
