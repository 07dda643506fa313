"""Run `aiml usage`: print what the gateway reports for the key, or, with --by, what this machine spent."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiml_cli import __version__
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.error_kinds import explain_unsent_key
from aiml_cli.api.error_response import error_from_status
from aiml_cli.api.json_values import Json, as_dict, as_list, as_number, as_str, decode_json
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog import find_models
from aiml_cli.catalog.find_models import find_model
from aiml_cli.catalog.pricing import estimate_cost
from aiml_cli.core.browse_history import read_history
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import RequestRejected, ServerError, UsageError
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.output.table import COLUMN_GAP, Column, format_details, format_table, format_tsv, table_width
from aiml_cli.settings.options import Option
from aiml_cli.settings.resolve import Flags, Settings, check_conflicts, parse_value, resolve
from aiml_cli.settings.urls import host_of, join_url, root_of
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.history.reader import ESTIMATE, UNKNOWN, SpendingEntry, read_spending
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal
from aiml_cli.system.text_width import text_width
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest, read_all

if TYPE_CHECKING:
    from aiml_cli.api.model_list import Model


GATEWAY_COLUMNS = (Column("MODEL", 0), Column("SPENT", 1, right=True), Column("REQUESTS", 2, right=True))
PERIODS = ("24h", "7d", "30d")
GATEWAY_FIELDS = ("what", "model", "amount", "currency", "requests")
OK, NOT_FOUND = 200, 404


def show_gateway_usage(flags: Flags, period_option: Option[str]) -> int:
    """Print the balance and the spending; raise AuthError without a key."""
    settings = resolve(read_sources(flags, os.environ))
    check_conflicts(settings)
    name = period_option.name
    period = parse_value(period_option, flags[name]) if name in flags else period_option.default
    if period not in PERIODS:
        raise UsageError(
            f"the gateway does not support the period {period!r}", f"use one of {', '.join(PERIODS)}, or add --by"
        )
    with start_demo_if_asked(settings) as resolved:
        key = resolve_key(ChatRequest(get_endpoint("chat"), (), resolved))
        balance = _fetch_object(resolved, key, "/v2/billing")
        usage = _fetch_object(resolved, key, f"/v2/usage/detail?period={period}")
    if settings.options.json:
        write_out(json_line({"balance": balance, "usage": usage}, indent=2))
        return 0
    return print_out(_format_report(balance, usage, period) if is_terminal(1) else _format_gateway_tsv(balance, usage))


def _fetch_object(settings: Settings, key: ApiKey | None, path: str) -> dict[str, Json]:
    """Fetch a JSON object from the gateway; raise the error of the status code."""
    url = join_url(root_of(settings.options.base_url or ""), path)
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    request, send = HttpRequest("GET", url, headers), make_send(settings.options)
    with open_client(settings.options, url) as client, send(client, request) as response:
        body = read_all(response)
    if response.status == NOT_FOUND:  # a server other than the gateway
        raise RequestRejected(f"{host_of(url)} does not report balance and spending", "check --base-url")
    if response.status != OK:
        error = error_from_status(response.status, response.headers, body)
        if key is None:
            explain_unsent_key(error)
        raise error
    return _parse_object(body, url)


def _parse_object(body: bytes, url: str) -> dict[str, Json]:
    try:
        value = decode_json(body.decode("utf-8-sig"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServerError(f"the balance that {host_of(url)} reports is not a JSON object", "check --base-url")
    return value


def _format_report(balance: dict[str, Json], usage: dict[str, Json], period: str | None) -> str:
    """Return the report for a terminal: the balance, the total and a table of the models."""
    spent = " in ".join(filter(None, (_format_money(usage.get("spend"), usage), period)))
    details = [
        ("balance", _format_money(balance.get("current_balance"), balance)),
        ("spent", spent),
        ("requests", _format_number(usage.get("requests"), "{:,.0f}")),
    ]
    rows = [
        (name, _format_money(model.get("spend"), usage), _format_number(model.get("requests"), "{:,.0f}"))
        for name, model in _list_models(usage)
    ]
    models = f"\n{format_table(GATEWAY_COLUMNS, rows, table_width())}" if rows else ""
    return format_details([detail for detail in details if detail[1]], table_width()) + models


def _format_gateway_tsv(balance: dict[str, Json], usage: dict[str, Json]) -> str:
    """Return the report as TSV: a line each for the balance, the total and every model."""
    rows = [
        ("balance", "", _format_dollars(balance.get("current_balance")), as_str(balance.get("currency")), ""),
        _build_row("spent", "", usage, usage),
        *(_build_row("model", name, model, usage) for name, model in _list_models(usage)),
    ]
    return format_tsv([GATEWAY_FIELDS, *rows])


def _build_row(what: str, model: str, facts: dict[str, Json], usage: dict[str, Json]) -> tuple[str, ...]:
    requests = _format_number(facts.get("requests"), "{:.0f}")
    return what, model, _format_dollars(facts.get("spend")), as_str(usage.get("currency")), requests


def _list_models(usage: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield each model's name and figures, in the order of the gateway: the most expensive first."""
    for model in map(as_dict, as_list(usage.get("models"))):
        if name := as_str(model.get("model")):
            yield name, model


def _format_money(amount: Json, facts: dict[str, Json]) -> str:
    """Return an amount with its currency and at least two decimals, or ""."""
    number, currency = as_number(amount), as_str(facts.get("currency")) or "USD"
    if number is None:
        return ""
    return ("$" if currency == "USD" else f"{currency} ") + max(f"{number:.2f}", format_dollars(number), key=len)


def _format_dollars(amount: Json) -> str:
    number = as_number(amount)
    return "" if number is None else format_dollars(number)


def _format_number(value: Json, template: str) -> str:
    number = as_number(value)
    return "" if number is None else template.format(number)


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
    """The total of several requests; `unpriced` is the number without a known price, which the cost leaves out."""

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
    """Print what this machine spent, according to the history."""
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
    """True unless the entry is of the demo server, whose costs are not real; with --demo, true only for those."""
    return entry.model.startswith(("demo/", "demo-")) == bool(settings.options.demo)


def _make_estimator(settings: Settings) -> Callable[[SpendingEntry], SpendingEntry]:
    """Return a function that adds an estimated cost to entries without one, from the stored catalog of the server."""
    host = host_of(settings.options.base_url or "")
    models = find_models.load_stored_models(settings) or []
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
    """Return the totals: days in order, or models with the most expensive first."""
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
    """Return a row as the documented JSON object, which always has all keys."""
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
    """Return the table, with a total if there are several rows."""
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
    """Return the width that the other columns leave, within the limits of a bar."""
    cells = [(column.heading, *texts) for column, *texts in zip(columns, *rows, strict=True) if any(texts)]
    left = width - sum(max(map(text_width, texts)) + COLUMN_GAP for texts in cells)
    return min(max(left, MIN_BAR), MAX_BAR)


def _draw_bars(figures: Sequence[float], width: int) -> Iterator[str]:
    """Yield a bar for each figure; the longest is `width` columns wide, and any figure above 0 is visible."""
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
