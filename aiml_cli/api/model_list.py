"""The list of models as the gateway sends it, in either of its two formats."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from math import isfinite
from typing import Any

from aiml_cli.api.error_response import error_from_event, parse_error
from aiml_cli.api.json_values import (
    Json,
    as_count,
    as_dict,
    as_list,
    as_number,
    as_str,
    as_str_tuple,
    decode_json,
    to_text,
)
from aiml_cli.errors import ServerError

MILLION = 1_000_000
# Until the summer of 2026 an entry listed paths and features; since then only its type names its endpoint (2026-09).
_ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/chat/completions": "chat",
    "openai/chat-completions": "chat",
    "openai/chat-completion": "chat",
    "chat-completion": "chat",
    "/v1/responses": "responses",
    "/responses": "responses",
    "openai/responses/submit": "responses",
    "openai/response-api": "responses",
    "responses": "responses",
}
_RANKS = {"chat": 0, "responses": 1}
_ORIGINS = {"provided": "input", "generated": "output"}


@dataclass(frozen=True, slots=True)
class Price:
    """What `per` units cost in US dollars.

    `kind` is input, output, cached, cache_write or the server's own name ("" if it has none); `when` lists the
    properties of the requests that the price applies to.
    """

    kind: str
    unit: str
    content: str
    usd: float
    per: float
    when: tuple[tuple[str, str], ...] = ()

    @property
    def per_million(self) -> float:
        """Return the price of a million units."""
        return round(self.usd / self.per * MILLION, 9)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the list; values that the list does not have are empty or None.

    `endpoints` are "chat", "responses", and other types of the server, which this program does not support.
    """

    id: str
    aliases: tuple[str, ...] = ()
    name: str = ""
    developer: str = ""
    type: str = ""
    description: str = ""
    context: int | None = None
    output_limit: int | None = None
    released: str = ""
    cutoff: str = ""
    url: str = ""
    capabilities: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    prices: tuple[Price, ...] = ()
    tags: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def price_per_million(self, kind: str) -> float | None:
        """Return the price of a million text tokens; None if it is unknown or depends on the request."""
        return price_per_million(self.prices, kind)


def parse_models(data: bytes) -> list[Model]:
    """Parse the body of a list of models; raise ServerError if it is not one."""
    try:
        return build_models(decode_json(data.decode("utf-8-sig")))
    except ValueError:
        raise ServerError("the server's list of models is not JSON", "check --base-url") from None


def build_models(body: Json) -> list[Model]:
    """Return the models of `data` in an object, or of an array; malformed values are left out.

    An id that is listed once per endpoint becomes one model. Raises ServerError if there is no list.
    """
    entries_by_id: dict[str, list[dict[str, Json]]] = {}
    for entry in _list_entries(body):
        if isinstance(entry, dict) and (name := as_str(entry.get("id"))):
            entries_by_id.setdefault(name, []).append(entry)
    models = [_merge_models(map(_build_model, entries)) for entries in entries_by_id.values()]
    return sorted(models, key=lambda model: (model.id.casefold(), model.id))


def _list_entries(body: Json) -> list[Json]:
    entries = body.get("data") if isinstance(body, dict) else body
    if isinstance(entries, list):
        return entries
    if error := parse_error(body):
        raise error_from_event(error)
    raise ServerError("the server's answer is not a list of models", "check --base-url")


def _build_model(entry: dict[str, Json]) -> Model:
    info, modalities = as_dict(entry.get("info")), as_dict(entry.get("modalities"))
    return Model(
        id=as_str(entry["id"]),
        aliases=as_str_tuple(entry.get("aliases")),
        name=as_str(info.get("name")),
        developer=as_str(info.get("developer")),
        type=as_str(entry.get("type")),
        description=as_str(info.get("description")),
        context=as_count(info.get("contextLength")),
        output_limit=as_count(info.get("outputMax")) or as_count(info.get("maxTokens")),
        released=as_str(info.get("releasedAt")),
        cutoff=as_str(info.get("cutoffAt")),
        url=as_str(info.get("docsUrl")) or as_str(info.get("docs_url")) or as_str(info.get("url")),
        capabilities=as_str_tuple(entry.get("capabilities")) or as_str_tuple(entry.get("features")),
        inputs=as_str_tuple(modalities.get("input")),
        outputs=as_str_tuple(modalities.get("output")),
        endpoints=_parse_endpoints(entry),
        prices=tuple(parse_prices(as_dict(entry.get("pricing")))),
        tags=as_str_tuple(entry.get("tags")),
        parameters=as_str_tuple(entry.get("supported_parameters")) or as_str_tuple(entry.get("parameters")),
    )


def _parse_endpoints(entry: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the endpoints of the entry's paths if it has any, else those of its features and its type."""
    features = (name for name in as_str_tuple(entry.get("features")) if name in _ENDPOINTS)
    names = as_str_tuple(entry.get("endpoints")) or (*features, *filter(None, [as_str(entry.get("type"))]))
    return _sort_endpoints(_ENDPOINTS.get(name, name) for name in names)


def _sort_endpoints(endpoints: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(endpoints), key=_rank))


def _rank(endpoint: str) -> int:
    return _RANKS.get(endpoint, len(_RANKS))


def _merge_models(models: Iterable[Model]) -> Model:
    """Merge the entries of one id; the entry of the chat endpoint takes precedence."""
    model = reduce(_merge_pair, sorted(models, key=lambda model: [_rank(name) for name in model.endpoints or ("",)]))
    return replace(model, endpoints=_sort_endpoints(model.endpoints))


def _merge_pair(first: Model, second: Model) -> Model:
    """Fill empty fields of the first model from the second; join lists, except prices, which belong to one endpoint."""
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(Model)):
        mine, theirs = getattr(first, name), getattr(second, name)
        is_joined = isinstance(mine, tuple) and name != "prices"
        values[name] = tuple(dict.fromkeys(mine + theirs)) if is_joined else mine or theirs
    return Model(**values)


def parse_prices(pricing: Mapping[str, Json], when: tuple[tuple[str, str], ...] = ()) -> Iterator[Price]:
    """Yield the `units` of a fixed price, and the `variants` of a price that depends on the request."""
    if pricing.get("currency") not in (None, "USD"):
        return
    for unit in map(as_dict, as_list(pricing.get("units"))):
        yield from _parse_price(unit, when)
    for variant in map(as_dict, as_list(pricing.get("variants"))):
        conditions = tuple((name, to_text(value)) for name, value in as_dict(variant.get("when")).items())
        for unit in (variant, *map(as_dict, as_list(variant.get("units")))):
            yield from _parse_price(unit, conditions)


def _parse_price(unit: Mapping[str, Json], when: tuple[tuple[str, str], ...]) -> Iterator[Price]:
    """Yield a price if it has both an amount and the number of units that the amount is for."""
    usd, per = as_number(unit.get("price")), as_number(unit.get("per"))
    if usd is None or not per or per < 0 or usd < 0 or not isfinite(usd / per * MILLION):
        return
    origin = as_str(unit.get("origin"))
    kind = _ORIGINS.get(origin, origin or as_str(unit.get("measure")))
    name = as_str(unit.get("name")) or as_str(unit.get("unit"))
    yield Price(kind, name, as_str(unit.get("content")), usd, per, when)


def price_per_million(prices: Iterable[Price], kind: str) -> float | None:
    """Return the price of a million text tokens; None if it is unknown or depends on the request."""
    text_prices = (price for price in prices if price.unit == "token" and price.content in {"", "text"})
    amounts = {price.per_million for price in text_prices if price.kind == kind}
    return amounts.pop() if len(amounts) == 1 else None
