"""Answer `aiml usage`: the balance, and what the key spent, as the gateway says."""

import json
import os
from collections.abc import Iterator
from typing import Any

from aiml_cli import __version__
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.api.error_response import error_from_status
from aiml_cli.api.lenient_json import as_dict, as_list, as_number, as_str
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError, RequestRejected, ServerError, UsageError
from aiml_cli.output import table
from aiml_cli.output.format_money import format_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.settings.conflicts import check_conflicts
from aiml_cli.settings.options import Option
from aiml_cli.settings.resolve import Flags, Settings, parse_value, resolve
from aiml_cli.settings.urls import host_of, origin_of
from aiml_cli.store import key_storage
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.stdio import print_out, write_out
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest, read_all

Json = Any

COLUMNS = (
    table.Column("MODEL", 0),
    table.Column("SPENT", 1, right=True),
    table.Column("REQUESTS", 2, right=True),
)
PERIODS = ("24h", "7d", "30d")
FIELDS = ("what", "model", "amount", "currency", "requests")


def show_gateway_usage(flags: Flags, period: Option[str]) -> int:
    """Show what the gateway says of balance and spend; raise AuthError without a key."""
    settings = resolve(read_sources(flags, os.environ))
    check_conflicts(settings)
    window = parse_value(period, flags[period.name]) if period.name in flags else period.default
    if window not in PERIODS:
        raise UsageError(f"the gateway knows no period {window!r}", f"--period {', '.join(PERIODS)}; or add --by")
    with start_demo_if_asked(settings) as settled:
        key = resolve_key(ChatRequest(ENDPOINTS["chat"], (), settled))
        balance = _asked(settled, key, "/v2/billing")
        spent = _asked(settled, key, f"/v2/usage/detail?period={window}")
    if settings.options.json:
        write_out(json_line({"balance": balance, "usage": spent}, indent=2))
        return 0
    return print_out(_spoken(balance, spent, window) if is_terminal(1) else _tsv(balance, spent))


def _asked(settings: Settings, key: key_storage.ApiKey | None, path: str) -> dict[str, Json]:
    """Ask the gateway for a JSON object; raise what it refuses with, without the key."""
    url = origin_of(settings.options.base_url or "") + path
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    with (
        open_client(settings.options, url) as client,
        make_send(settings.options)(client, HttpRequest("GET", url, headers)) as reply,
    ):
        body = read_all(reply)
    if reply.status != 200:  # noqa: PLR2004 - OK
        raise _refused(error_from_status(reply.status, reply.headers, body), reply.status, url)
    return _object(body, url)


def _refused(fault: AimlError, status: int, url: str) -> AimlError:
    if status == 404:  # noqa: PLR2004 - other servers than the gateway do not count what they are owed
        return RequestRejected(f"{host_of(url)} tells neither balance nor spend", "is --base-url that of the gateway?")
    return fault


def _object(body: bytes, url: str) -> dict[str, Json]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ServerError(f"what {host_of(url)} says of balance and spend is no JSON object", "is --base-url right?")
    return found


def _spoken(balance: dict[str, Json], spent: dict[str, Json], window: str | None) -> str:
    """Write for a reader: the balance, the sum, and a table of the models."""
    facts = [
        ("balance", _money(balance.get("current_balance"), balance)),
        ("spent", " in ".join(filter(None, (_money(spent.get("spend"), spent), window)))),
        ("requests", _number(spent.get("requests"), "{:,.0f}")),
    ]
    rows = [
        (name, _money(each.get("spend"), spent), _number(each.get("requests"), "{:,.0f}"))
        for name, each in _models(spent)
    ]
    listed = f"\n{table.format_table(COLUMNS, rows, table.table_width())}" if rows else ""
    return table.format_details([fact for fact in facts if fact[1]], table.table_width()) + listed


def _tsv(balance: dict[str, Json], spent: dict[str, Json]) -> str:
    """Write for a program: a line each for the balance, the sum and every model."""
    rows = [
        ("balance", "", _dollars(balance.get("current_balance")), as_str(balance.get("currency")), ""),
        _row("spent", "", spent, spent),
        *(_row("model", name, each, spent) for name, each in _models(spent)),
    ]
    return table.format_tsv([FIELDS, *rows])


def _row(what: str, model: str, each: dict[str, Json], spent: dict[str, Json]) -> tuple[str, ...]:
    requests = _number(each.get("requests"), "{:.0f}")
    return what, model, _dollars(each.get("spend")), as_str(spent.get("currency")), requests


def _models(spent: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Give each model of the breakdown, the dearest first, as the gateway has them."""
    for each in map(as_dict, as_list(spent.get("models"))):
        if name := as_str(each.get("model")):
            yield name, each


def _money(amount: Json, said: dict[str, Json]) -> str:
    """Write an amount with its currency and two places at least; "" where there is no amount."""
    number, currency = as_number(amount), as_str(said.get("currency")) or "USD"
    if number is None:
        return ""
    return ("$" if currency == "USD" else f"{currency} ") + max(f"{number:.2f}", format_dollars(number), key=len)


def _dollars(amount: Json) -> str:
    number = as_number(amount)
    return "" if number is None else format_dollars(number)


def _number(value: Json, form: str) -> str:
    number = as_number(value)
    return "" if number is None else form.format(number)
