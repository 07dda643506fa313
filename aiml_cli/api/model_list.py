"""The catalogue of models, off the wire in either shape that it has had."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import reduce
from math import isfinite
from typing import Any

from aiml_cli.api.error_response import error_from_event, parse_error
from aiml_cli.api.lenient_json import as_count, as_dict, as_list, as_number, as_str, as_str_tuple, to_word
from aiml_cli.errors import ServerError

Json = Any
MOST_SUGGESTIONS = 3
# Until the summer of 2026 an entry listed paths and features; since then its type is all that tells (2026-09).
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
MILLION = 1_000_000
_ORIGINS = {"provided": "input", "generated": "output"}


@dataclass(frozen=True, slots=True)
class Price:
    """Hold what `per` units cost in US dollars.

    `kind` is input, output, cached, cache_write or the server's own word, "" when it has none; `when` names
    the properties of a request for which the price holds.
    """

    kind: str
    unit: str
    content: str
    usd: float
    per: float
    when: tuple[tuple[str, str], ...] = ()

    @property
    def per_million(self) -> float:
        """Give the price of a million units."""
        return round(self.usd / self.per * MILLION, 9)


@dataclass(frozen=True, slots=True)
class Model:
    """Hold all that the catalogue says of one id; what it does not say is empty or None.

    `endpoints` are "chat", "responses", and types of the server's that this program does not speak.
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
        """Give the price of a million text tokens; None when it is unknown or depends on the request."""
        return price_per_million(self.prices, kind)


def parse_models(data: bytes) -> list[Model]:
    """Read a catalogue as it came; raise ServerError when it is none."""
    try:
        return read_models(json.loads(data))
    except (ValueError, RecursionError):
        raise ServerError("the server's list of models is not JSON", "is --base-url right?") from None


def read_models(body: Json) -> list[Model]:
    """Read a catalogue: `data` of an object, or a bare array; what is malformed in it is left out.

    An id that is listed once for each endpoint becomes one model. Raise ServerError when there is no list.
    """
    together: dict[str, list[dict[str, Json]]] = {}
    for entry in _entries(body):
        if isinstance(entry, dict) and (name := as_str(entry.get("id"))):
            together.setdefault(name, []).append(entry)
    models = [_merged(map(_model, entries)) for entries in together.values()]
    return sorted(models, key=lambda model: (model.id.casefold(), model.id))


def search_models(models: Iterable[Model], words: Sequence[str]) -> list[Model]:
    """Choose the models whose id, aliases, name or developer hold every word, in any case."""
    wanted = [word.casefold() for word in words]
    return [model for model in models if all(word in _haystack(model) for word in wanted)]


def find_model(models: Sequence[Model], word: str) -> Model | None:
    """Find the one model that a word names: an id before an alias, the same case before any."""
    folded = word.casefold()
    named = (
        [model for model in models if model.id == word]
        or [model for model in models if model.id.casefold() == folded]
        or [model for model in models if folded in map(str.casefold, model.aliases)]
    )
    return named[0] if len(named) == 1 else None


def suggest_models(models: Iterable[Model], word: str) -> list[str]:
    """List ids near a mistyped one; dots, dashes and the vendor's prefix make no difference."""
    plain: dict[str, str] = {}
    for model in models:
        for name in (model.id, *model.aliases):
            plain.setdefault(_plain(name), model.id)
            plain.setdefault(_plain(name.rpartition("/")[2]), model.id)
    near = get_close_matches(_plain(word), plain, 3 * MOST_SUGGESTIONS)
    return list(dict.fromkeys(plain[name] for name in near))[:MOST_SUGGESTIONS]


def _plain(name: str) -> str:
    return name.casefold().replace(".", "-").replace("_", "-")


def _haystack(model: Model) -> str:
    return "\n".join((model.id, *model.aliases, model.name, model.developer)).casefold()


def _entries(body: Json) -> list[Json]:
    found = body.get("data") if isinstance(body, dict) else body
    if isinstance(found, list):
        return found
    if fault := parse_error(body):
        raise error_from_event(fault)
    raise ServerError("the server's answer is no list of models", "is --base-url right?")


def _model(entry: dict[str, Json]) -> Model:
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
        endpoints=_endpoints(entry),
        prices=tuple(parse_prices(as_dict(entry.get("pricing")))),
        tags=as_str_tuple(entry.get("tags")),
        parameters=as_str_tuple(entry.get("supported_parameters")) or as_str_tuple(entry.get("parameters")),
    )


def _endpoints(entry: Mapping[str, Json]) -> tuple[str, ...]:
    """Say where a model can be asked: its paths tell when it has any, else its features and its type."""
    features = (name for name in as_str_tuple(entry.get("features")) if name in _ENDPOINTS)
    said = as_str_tuple(entry.get("endpoints")) or (*features, *filter(None, [as_str(entry.get("type"))]))
    return _ranked(_ENDPOINTS.get(name, name) for name in said)


def _ranked(endpoints: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(endpoints), key=lambda name: _RANKS.get(name, len(_RANKS))))


def _merged(entries: Iterable[Model]) -> Model:
    """Make one model of the entries that share an id; the chat entry speaks first."""
    speaking = sorted(entries, key=lambda model: [_RANKS.get(name, len(_RANKS)) for name in model.endpoints or ("",)])
    model = reduce(_joined, speaking)
    return replace(model, endpoints=_ranked(model.endpoints))


def _joined(one: Model, other: Model) -> Model:
    """Fill what one entry leaves open; lists are joined, but not prices: each endpoint has its own."""
    values: dict[str, Any] = {}
    for name in (cell.name for cell in fields(Model)):
        mine, theirs = getattr(one, name), getattr(other, name)
        both = isinstance(mine, tuple) and name != "prices"
        values[name] = tuple(dict.fromkeys(mine + theirs)) if both else mine or theirs
    return Model(**values)


def parse_prices(pricing: Mapping[str, Json], when: tuple[tuple[str, str], ...] = ()) -> Iterator[Price]:
    """Read the `units` of a fixed price, and the `variants` of one that depends on the request."""
    if pricing.get("currency") not in (None, "USD"):
        return
    for unit in map(as_dict, as_list(pricing.get("units"))):
        yield from _price(unit, when)
    for variant in map(as_dict, as_list(pricing.get("variants"))):
        held = tuple((name, to_word(value)) for name, value in as_dict(variant.get("when")).items())
        yield from _price(variant, held)
        yield from (p for unit in map(as_dict, as_list(variant.get("units"))) for p in _price(unit, held))


def _price(unit: Mapping[str, Json], when: tuple[tuple[str, str], ...]) -> Iterator[Price]:
    """Read one price; none where its amount or its base is missing, for either alone says nothing."""
    usd, per = as_number(unit.get("price")), as_number(unit.get("per"))
    if usd is None or not per or per < 0 or usd < 0 or not isfinite(usd / per * MILLION):
        return
    origin = as_str(unit.get("origin"))
    kind = _ORIGINS.get(origin, origin or as_str(unit.get("measure")))
    name = as_str(unit.get("name")) or as_str(unit.get("unit"))
    yield Price(kind, name, as_str(unit.get("content")), usd, per, when)


def price_per_million(prices: Iterable[Price], kind: str) -> float | None:
    """Give the price of a million text tokens; None when it is unknown or depends on the request."""
    text = (price for price in prices if price.unit == "token" and price.content in {"", "text"})
    found = {price.per_million for price in text if price.kind == kind}
    return found.pop() if len(found) == 1 else None
