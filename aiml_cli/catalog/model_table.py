"""Show models as a table, one in detail, or as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from aiml_cli.api.model_list import MILLION, Model, Price, find_model, search_models, suggest_models
from aiml_cli.catalog.find_models import fetch_models
from aiml_cli.errors import AimlError, AnswerMismatch
from aiml_cli.output import table
from aiml_cli.output.format_money import format_dollars
from aiml_cli.output.table import Column
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import print_out
from aiml_cli.system.terminal import is_terminal

THOUSAND = 1000
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


def show_models(words: list[str], settings: Settings, as_json: bool) -> int:
    """Show the models that hold all the words, or all that is known of the one that a word names.

    Raise AnswerMismatch when there is none.
    """
    models = fetch_models(settings)
    one = find_model(models, words[0]) if len(words) == 1 else None
    found = [one] if one else search_models(models, words)
    print_out(_objects(found) if as_json else _details(one) if one else _list(found))
    if not found:
        raise _nothing(models, words)
    return 0


def _nothing(models: Sequence[Model], words: Sequence[str]) -> AimlError:
    if not words:
        return AnswerMismatch("the server lists no models")
    near = suggest_models(models, "-".join(words))
    hint = f"did you mean {' or '.join(near)}?" if near else "aiml models lists them all"
    return AnswerMismatch(f"no model has {' and '.join(map(repr, words))} in its id, alias, name or developer", hint)


def _list(models: Sequence[Model]) -> str:
    if not models:
        return ""
    if is_terminal(1):
        return table.format_table(_COLUMNS, [_row(model, "{:,}") for model in models], table.table_width())
    return table.format_tsv([_FIELDS, *(_row(model, "{}") for model in models)])


def _row(model: Model, count: str) -> list[str]:
    numbers = [count.format(number) if number else "" for number in (model.context, model.output_limit)]
    prices = [_dollars(model.price_per_million(kind)) for kind in ("input", "output")]
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
    return table.format_details(pairs, table.table_width()) if is_terminal(1) else table.format_tsv(pairs)


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
    return f"{price.kind} ${format_dollars(price.usd)} per {many}{unit}".strip() + (f" ({held})" if held else "")


def _objects(models: Sequence[Model]) -> str:
    """Write the models as documented JSON: every key is always there."""
    text = json.dumps([_object(model) for model in models], ensure_ascii=False, indent=2) + "\n"
    return sanitize(text) if is_terminal(1) else text


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
        "input_usd_per_million": model.price_per_million("input"),
        "output_usd_per_million": model.price_per_million("output"),
        "cached_usd_per_million": model.price_per_million("cached"),
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
    return "" if amount is None else format_dollars(amount)
