"""Run `aiml usage --by`: print what this machine spent, by model or day, from its history."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog import load_catalog
from aiml_cli.catalog.find_models import find_model
from aiml_cli.catalog.pricing import estimate_cost
from aiml_cli.core.browse_history import read_history
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.output.table import COLUMN_GAP, Column, format_table, format_tsv, table_width
from aiml_cli.settings.resolve import Flags, Settings, resolve
from aiml_cli.settings.urls import host_of
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.history.spending import ESTIMATE, UNKNOWN, SpendingEntry, read_spending
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal
from aiml_cli.system.text_width import text_width

if TYPE_CHECKING:
    from aiml_cli.api.model_list import Model

HOURS = {"24h": 24, "7d": 168, "30d": 720}
PERIOD_NAMES = {"24h": "in the last 24 hours", "7d": "in the last 7 days", "30d": "in the last 30 days"}
COLUMNS = (
    Column("REQUESTS", 3, right=True),
    Column("IN", 5, right=True),
    Column("OUT", 6, right=True),
    Column("COST", 1, right=True),
    Column("NO PRICE", 2, right=True),
)
KEY_COLUMNS = {"model": (Column("MODEL", 0, min_width=12), Column("ENDPOINT", 7)), "day": (Column("DAY", 0),)}
BAR_RANK, MIN_BAR, MAX_BAR = 4, 6, 40
BLOCKS = "▏▎▍▌▋▊▉█"
FIELDS = ("requests", "input_tokens", "output_tokens", "cost_usd", "cost_source", "unpriced")
# Model and endpoint, or a day.
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpendingSum:
    """The sum of several requests; `unpriced` of them have no known price and are not part of the cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cost_source: str | None = None
    unpriced: int = 0

    def add(self, other: "SpendingSum") -> "SpendingSum":
        """Return the sum with another one; it is an estimate if one of them is."""
        sources = (self.cost_source, other.cost_source)
        return SpendingSum(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
            ESTIMATE if ESTIMATE in sources else other.cost_source or self.cost_source,
            self.unpriced + other.unpriced,
        )


def show_local_usage(flags: Flags, by: str, period: str) -> int:
    """Print what this machine spent, from the history alone."""
    settings = resolve(read_sources(flags, os.environ))
    since = time.time() - HOURS[period] * 3600 if period in HOURS else 0.0
    entries = read_history(lambda history: list(read_spending(history, since)))
    estimate = _make_estimator(settings)
    sums = _add_up((estimate(entry) for entry in entries if _is_selected(entry, settings)), by)
    if settings.options.json:
        rows = [_to_dict(by, key, total) for key, total in sums.items()]
        write_out(json_line({"by": by, "period": period, "rows": rows}, indent=2))
        return 0
    if not sums and not settings.options.quiet:
        print_err(f"aiml: no calls {PERIOD_NAMES.get(period, 'yet')}")
    return print_out((_format_table if is_terminal(1) else _format_tsv)(by, sums))


def _is_selected(entry: SpendingEntry, settings: Settings) -> bool:
    """True unless the entry is of the embedded server, whose money is not real; with --demo only for that."""
    return entry.model.startswith(("demo/", "demo-")) == bool(settings.options.demo)


def _make_estimator(settings: Settings) -> Callable[[SpendingEntry], SpendingEntry]:
    """Return a function that adds an estimated cost to entries without one, by the stored catalog of the server."""
    host = host_of(settings.options.base_url or "")
    models = load_catalog.load_stored_models(settings) or []
    cache: dict[str, Model | None] = {}

    def estimate(entry: SpendingEntry) -> SpendingEntry:
        if entry.cost_source or entry.host != host or not entry.input_tokens:
            return entry
        if entry.model not in cache:
            cache[entry.model] = find_model(models, entry.model)
        usage = Usage(entry.input_tokens, entry.output_tokens, cached_tokens=entry.cached_tokens)
        model = cache[entry.model]
        cost = estimate_cost(model.prices, usage) if model else None
        return entry if cost is None else entry._replace(cost_usd=cost, cost_source=ESTIMATE)

    return estimate


def _add_up(entries: Iterable[SpendingEntry], by: str) -> dict[Key, SpendingSum]:
    """Return the sums: days in their order, models with the most expensive first."""
    sums: dict[Key, SpendingSum] = {}
    for entry in entries:
        key = (entry.model, entry.endpoint) if by == "model" else (_format_day(entry.at),)
        unpriced = entry.requests if entry.cost_source == UNKNOWN else 0
        tokens = entry.input_tokens, entry.output_tokens
        one = SpendingSum(entry.requests, *tokens, entry.cost_usd, entry.cost_source, unpriced)
        sums[key] = sums.get(key, SpendingSum()).add(one)
    if by == "day":
        return dict(sorted(sums.items()))
    return dict(sorted(sums.items(), key=lambda item: (-item[1].cost_usd, -item[1].requests, item[0])))


def _format_day(at: float) -> str:
    """Return the local date; "" for a damaged time."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    except (OverflowError, OSError, ValueError):
        return ""


def _to_dict(by: str, key: Key, total: SpendingSum) -> dict[str, Any]:
    """Return a row as documented JSON: every key is always there."""
    keys = dict(zip(("model", "endpoint") if by == "model" else ("day",), key, strict=True))
    numbers = {name: getattr(total, name) for name in FIELDS} | {"cost_usd": _round_cost(total)}
    return {"model": None, "endpoint": None, "day": None, **keys, **numbers}


def _round_cost(total: SpendingSum) -> float | None:
    return round(total.cost_usd, 12) if total.cost_source else None


def _format_tsv(by: str, sums: dict[Key, SpendingSum]) -> str:
    rows = []
    for key, total in sums.items():
        tokens = str(total.input_tokens), str(total.output_tokens)
        cost = "" if (usd := _round_cost(total)) is None else format_dollars(usd)
        rows.append((*key, str(total.requests), *tokens, cost, total.cost_source or "", str(total.unpriced)))
    return format_tsv([(*(column.heading.lower() for column in KEY_COLUMNS[by]), *FIELDS), *rows])


def _format_table(by: str, sums: dict[Key, SpendingSum]) -> str:
    """Return a table, with a total if there are several rows."""
    if not sums:
        return ""
    has_costs = any(total.cost_usd > 0 for total in sums.values())
    figures = [total.cost_usd if has_costs else total.input_tokens + total.output_tokens for total in sums.values()]
    rows = [(*key, *_build_cells(total)) for key, total in sums.items()]
    if len(sums) > 1:
        total = SpendingSum()
        for part in sums.values():
            total = total.add(part)
        rows.append(("total", *([""] * (len(KEY_COLUMNS[by]) - 1)), *_build_cells(total)))
    columns = (*KEY_COLUMNS[by], *COLUMNS)
    bars = [*_draw_bars(figures, _choose_bar_width(columns, rows, table_width())), ""]
    columns = (*columns, Column("" if has_costs else "IN + OUT", BAR_RANK))
    return format_table(columns, [(*row, bar) for row, bar in zip(rows, bars, strict=False)], table_width())


def _choose_bar_width(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> int:
    """Return the width that is left beside the other columns, or that of a short bar."""
    cells = [(column.heading, *texts) for column, *texts in zip(columns, *rows, strict=True) if any(texts)]
    left = width - sum(max(map(text_width, texts)) + COLUMN_GAP for texts in cells)
    return min(max(left, MIN_BAR), MAX_BAR)


def _draw_bars(figures: Sequence[float], width: int) -> Iterator[str]:
    """Yield a bar for each figure; the longest one is as wide as allowed, and whatever is not 0 can be seen."""
    is_plain = os.environ.get("TERM") == "dumb" or "utf" not in (sys.stdout.encoding or "").lower()
    blocks = "#" if is_plain else BLOCKS
    largest = max(0.0, *figures)
    for figure in figures:
        steps = round(figure / largest * width * len(blocks)) if largest else 0
        full, rest = divmod(max(steps, figure > 0), len(blocks))
        yield blocks[-1] * full + (blocks[rest - 1] if rest else "")


def _build_cells(total: SpendingSum) -> tuple[str, ...]:
    cost = ""
    if (usd := _round_cost(total)) is not None:
        is_estimate = total.cost_source == ESTIMATE
        cost = f"≈ ${round_dollars(usd)}" if is_estimate else f"${format_dollars(round(usd, 6))}"
    counts = f"{total.requests:,}", f"{total.input_tokens:,}", f"{total.output_tokens:,}"
    return (*counts, cost, f"{total.unpriced:,}" if total.unpriced else "")
