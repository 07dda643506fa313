"""Answer `aiml models`: what the catalogue holds, from the server or from the stored copy."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from aiml_cli import __version__
from aiml_cli.api.faults import refused
from aiml_cli.api.models import Model, exact, parse, search, suggest
from aiml_cli.api.prices import MILLION, Price, dollars
from aiml_cli.api.traffic import Request, whole
from aiml_cli.embedded import served
from aiml_cli.errors import AimlError, Misuse, NotAsAsked
from aiml_cli.hosts import is_local
from aiml_cli.screen import table
from aiml_cli.screen.output import is_terminal, say, show
from aiml_cli.screen.safe import visible
from aiml_cli.screen.table import Column
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.resolve import Settings, resolve
from aiml_cli.store.catalogue import Catalogue, load, save
from aiml_cli.store.config import layers
from aiml_cli.way import opened, sender

# What the server itself says of its list: cache-control max-age=60 (2026-08-30).
FRESH_SECONDS = 60
THOUSAND = 1000
QUERY = "include=pricing,modalities,capabilities"
_FIELDS = (
    "id", "name", "developer", "context", "output_limit", "endpoints",
    "input_usd_per_million", "output_usd_per_million", "aliases",
)  # fmt: skip
_COLUMNS = (
    Column("ID", 0),
    Column("NAME", 5, least=16),
    Column("DEVELOPER", 6, least=10),
    Column("CONTEXT", 1, right=True),
    Column("OUTPUT", 7, right=True),
    Column("ENDPOINTS", 4, least=14),
    Column("IN $/M", 2, right=True),
    Column("OUT $/M", 3, right=True),
    Column("ALIASES", 8, least=16),
)


def models(words: Sequence[str], flags: Flags) -> int:
    """Search the catalogue of the settled server."""
    with served(resolve(layers(flags, os.environ))) as settings:
        return browse(list(words), settings, bool(settings.options.json))


def browse(words: list[str], settings: Settings, as_json: bool) -> int:
    """Show the models that hold all the words, or all that is known of the one that a word names.

    Raise NotAsAsked when there is none.
    """
    models = catalogue(settings)
    one = exact(models, words[0]) if len(words) == 1 else None
    found = [one] if one else search(models, words)
    show(_objects(found) if as_json else _details(one) if one else _list(found))
    if not found:
        raise _nothing(models, words)
    return 0


def catalogue(settings: Settings) -> list[Model]:
    """Give the server's models: the stored copy while it is fresh, or when the server cannot be asked.

    A recording is made and read without that copy: who replays it may have another one, or none.
    """
    stored = None if settings.options.record or settings.options.replay else load(_base_url(settings))
    if stored and 0 <= _age(stored) < FRESH_SECONDS:
        return stored.models
    try:
        return _fetched(settings, stored).models
    except AimlError as fault:
        if not stored or isinstance(fault, Misuse):  # wrong settings should be seen
            raise
        if not settings.options.quiet:
            say(f"aiml: {' '.join(fault.message.split())}; this list is {_long(_age(stored))} old")
        return stored.models


def known(settings: Settings) -> list[Model] | None:
    """Give the models of the stored copy, however old, and ask nobody; None when there is no copy."""
    stored = load(_base_url(settings))
    return stored.models if stored else None


def _base_url(settings: Settings) -> str:
    return (settings.options.base_url or "").rstrip("/")


def _fetched(settings: Settings, stored: Catalogue | None) -> Catalogue:
    """Ask the server, which may say that the stored copy still holds; store what it says."""
    base_url, options = _base_url(settings), settings.options
    request = Request("GET", f"{base_url}/models?{QUERY}", _headers(stored))
    with opened(options, base_url) as client, sender(options)(client, request) as reply:
        body = whole(reply)
    fresh = _told(base_url, reply.status, reply.headers, body, stored)
    if not (is_local(base_url) or options.replay):  # the embedded server has another port each time
        save(fresh)
    return fresh


def _headers(stored: Catalogue | None) -> dict[str, str]:
    """Name the program and the copy at hand; the key stays here, for the catalogue is open to all."""
    etag = stored.etag if stored else ""
    fit = etag.isascii() and etag.isprintable()  # a damaged one would spoil the request
    return {"User-Agent": f"aiml/{__version__}"} | ({"If-None-Match": etag} if etag and fit else {})


def _told(base_url: str, status: int, headers: Mapping[str, str], body: bytes, stored: Catalogue | None) -> Catalogue:
    if status == 304 and stored:  # noqa: PLR2004 - not modified
        return replace(stored, fetched=time.time())
    if status != 200:  # noqa: PLR2004 - OK
        raise _refused(status, headers, body)
    return Catalogue(base_url, headers.get("etag", ""), time.time(), body, parse(body))


def _refused(status: int, headers: Mapping[str, str], body: bytes) -> AimlError:
    fault = refused(status, headers, body)
    if status == 404:  # noqa: PLR2004 - of the list itself; no model was asked for
        fault.hint = "is --base-url right?"
    return fault


def _age(stored: Catalogue) -> float:
    return time.time() - stored.fetched


def _long(seconds: float) -> str:
    """Say a time in its largest unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} s"


def _nothing(models: Sequence[Model], words: Sequence[str]) -> AimlError:
    if not words:
        return NotAsAsked("the server lists no models")
    near = suggest(models, "-".join(words))
    hint = f"did you mean {' or '.join(near)}?" if near else "aiml models lists them all"
    return NotAsAsked(f"no model has {' and '.join(map(repr, words))} in its id, alias, name or developer", hint)


def _list(models: Sequence[Model]) -> str:
    if not models:
        return ""
    if is_terminal(1):
        return table.table(_COLUMNS, [_row(model, "{:,}") for model in models], table.width())
    return table.tsv([_FIELDS, *(_row(model, "{}") for model in models)])


def _row(model: Model, count: str) -> list[str]:
    numbers = [count.format(number) if number else "" for number in (model.context, model.output_limit)]
    prices = [_dollars(model.usd(kind)) for kind in ("input", "output")]
    return [
        model.id,
        model.name,
        model.developer,
        *numbers,
        ",".join(model.endpoints),
        *prices,
        ",".join(model.aliases),
    ]


def _details(model: Model) -> str:
    """Write all that is known, one fact a line; what is not known has no line."""
    pairs = [(name, value) for name, value in _facts(model) if value]
    return table.details(pairs, table.width()) if is_terminal(1) else table.tsv(pairs)


def _facts(model: Model) -> Iterator[tuple[str, str]]:
    yield "id", model.id
    yield "name", model.name
    yield "developer", model.developer
    yield "description", model.description
    yield "context", f"{model.context:,} tokens" if model.context else ""
    yield "output limit", f"{model.output_limit:,} tokens" if model.output_limit else ""
    yield from (("price", _spoken(price)) for price in model.prices)
    yield "capabilities", ", ".join(model.capabilities)
    yield "input", ", ".join(model.inputs)
    yield "output", ", ".join(model.outputs)
    yield "endpoints", ", ".join(model.endpoints)
    yield "parameters", ", ".join(model.parameters)
    yield "aliases", ", ".join(model.aliases)
    yield "released", model.released
    yield "knowledge cutoff", model.cutoff
    yield "tags", ", ".join(model.tags)
    yield "documentation", model.url


def _spoken(price: Price) -> str:
    """Say a price in words: `input $1.25 per 1M text tokens`."""
    many = _many(price.per)
    unit = " ".join(filter(None, (price.content, price.unit or "unit"))) + ("s" if many else "")
    held = ", ".join(f"{name} {value}" for name, value in price.when)
    return f"{price.kind} ${dollars(price.usd)} per {many}{unit}".strip() + (f" ({held})" if held else "")


def _objects(models: Sequence[Model]) -> str:
    """Write the models as documented JSON: every key is always there."""
    text = json.dumps([_object(model) for model in models], ensure_ascii=False, indent=2) + "\n"
    return visible(text) if is_terminal(1) else text


def _object(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "aliases": model.aliases,
        "name": model.name or None,
        "developer": model.developer or None,
        "type": model.type or None,
        "description": model.description or None,
        "context": model.context,
        "output_limit": model.output_limit,
        "released": model.released or None,
        "cutoff": model.cutoff or None,
        "url": model.url or None,
        "capabilities": model.capabilities,
        "modalities": {"input": model.inputs, "output": model.outputs},
        "endpoints": model.endpoints,
        "input_usd_per_million": model.usd("input"),
        "output_usd_per_million": model.usd("output"),
        "cached_usd_per_million": model.usd("cached"),
        "prices": [{**asdict(price), "when": dict(price.when)} for price in model.prices],
        "tags": model.tags,
        "parameters": model.parameters,
    }


def _many(number: float) -> str:
    """Write the base of a price as one says it: 1M, 1K; nothing for a single unit."""
    for name, size in (("M", MILLION), ("K", THOUSAND)):
        if number % size == 0:
            return f"{number / size:,.0f}{name} "
    return "" if number == 1 else f"{number:,g} "


def _dollars(amount: float | None) -> str:
    return "" if amount is None else dollars(amount)
