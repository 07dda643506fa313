"""Run `aiml usage`: print the balance and the spending of the key, as the gateway reports them."""

import os
from collections.abc import Iterator

from aiml_cli import __version__
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.error_kinds import explain_unsent_key
from aiml_cli.api.error_response import error_from_status
from aiml_cli.api.json_values import Json, as_dict, as_list, as_number, as_str, decode_json
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import RequestRejected, ServerError, UsageError
from aiml_cli.output.format_money import format_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.output.table import Column, format_details, format_table, format_tsv, table_width
from aiml_cli.settings.options import Option
from aiml_cli.settings.resolve import Flags, Settings, check_conflicts, parse_value, resolve
from aiml_cli.settings.urls import host_of, join_url, root_of
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.stdio import print_out, write_out
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest, read_all

COLUMNS = (Column("MODEL", 0), Column("SPENT", 1, right=True), Column("REQUESTS", 2, right=True))
PERIODS = ("24h", "7d", "30d")
FIELDS = ("what", "model", "amount", "currency", "requests")
OK, NOT_FOUND = 200, 404


def show_gateway_usage(flags: Flags, period_option: Option[str]) -> int:
    """Print the balance and the spending; raise AuthError without a key."""
    settings = resolve(read_sources(flags, os.environ))
    check_conflicts(settings)
    name = period_option.name
    period = parse_value(period_option, flags[name]) if name in flags else period_option.default
    if period not in PERIODS:
        raise UsageError(f"the gateway knows no period {period!r}", f"--period {', '.join(PERIODS)}; or add --by")
    with start_demo_if_asked(settings) as resolved:
        key = resolve_key(ChatRequest(get_endpoint("chat"), (), resolved))
        balance = _fetch_object(resolved, key, "/v2/billing")
        usage = _fetch_object(resolved, key, f"/v2/usage/detail?period={period}")
    if settings.options.json:
        write_out(json_line({"balance": balance, "usage": usage}, indent=2))
        return 0
    return print_out(_format_report(balance, usage, period) if is_terminal(1) else _format_tsv(balance, usage))


def _fetch_object(settings: Settings, key: ApiKey | None, path: str) -> dict[str, Json]:
    """Return a JSON object of the gateway; raise the error of its status."""
    url = join_url(root_of(settings.options.base_url or ""), path)
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    request, send = HttpRequest("GET", url, headers), make_send(settings.options)
    with open_client(settings.options, url) as client, send(client, request) as response:
        body = read_all(response)
    if response.status == NOT_FOUND:  # a server other than the gateway
        raise RequestRejected(f"{host_of(url)} tells neither balance nor spend", "is --base-url that of the gateway?")
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
        raise ServerError(f"what {host_of(url)} says of balance and spend is no JSON object", "is --base-url right?")
    return value


def _format_report(balance: dict[str, Json], usage: dict[str, Json], period: str | None) -> str:
    """Return the balance, the sum and a table of the models, for a terminal."""
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
    models = f"\n{format_table(COLUMNS, rows, table_width())}" if rows else ""
    return format_details([detail for detail in details if detail[1]], table_width()) + models


def _format_tsv(balance: dict[str, Json], usage: dict[str, Json]) -> str:
    """Return a line each for the balance, the sum and every model, for a program."""
    rows = [
        ("balance", "", _format_dollars(balance.get("current_balance")), as_str(balance.get("currency")), ""),
        _build_row("spent", "", usage, usage),
        *(_build_row("model", name, model, usage) for name, model in _list_models(usage)),
    ]
    return format_tsv([FIELDS, *rows])


def _build_row(what: str, model: str, facts: dict[str, Json], usage: dict[str, Json]) -> tuple[str, ...]:
    requests = _format_number(facts.get("requests"), "{:.0f}")
    return what, model, _format_dollars(facts.get("spend")), as_str(usage.get("currency")), requests


def _list_models(usage: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield name and facts of each model, in the order of the gateway: the most expensive first."""
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
