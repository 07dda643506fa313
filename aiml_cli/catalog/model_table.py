"""Print models as a table, one of them in detail, or all as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from aiml_cli.api.model_list import MILLION, Model, Price
from aiml_cli.catalog.find_models import fetch_models, find_model, search_models, suggest_models
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
    Column("NAME", 5, min_width=16),
    Column("DEVELOPER", 6, min_width=10),
    Column("CONTEXT", 1, right=True),
    Column("OUTPUT", 7, right=True),
    Column("ENDPOINTS", 4, min_width=14),
    Column("IN $/M", 2, right=True),
    Column("OUT $/M", 3, right=True),
    Column("ALIASES", 8, min_width=16),
)


def show_models(words: list[str], settings: Settings, as_json: bool) -> int:
    """Print the models that match all the words, or one in detail if a word names it; raise AnswerMismatch if none."""
    models = fetch_models(settings)
    model = find_model(models, words[0]) if len(words) == 1 else None
    matches = [model] if model else search_models(models, words)
    print_out(_format_json(matches) if as_json else _format_details(model) if model else _format_list(matches))
    if not matches:
        raise _build_error(models, words)
    return 0


def _build_error(models: Sequence[Model], words: Sequence[str]) -> AimlError:
    if not words:
        return AnswerMismatch("the server's list of models is empty")
    similar = suggest_models(models, "-".join(words))
    hint = f"did you mean {' or '.join(similar)}?" if similar else "aiml models lists them all"
    return AnswerMismatch(f"no model has {' and '.join(map(repr, words))} in its id, alias, name or developer", hint)


def _format_list(models: Sequence[Model]) -> str:
    if not models:
        return ""
    if is_terminal(1):
        return table.format_table(_COLUMNS, [_build_row(model, "{:,}") for model in models], table.table_width())
    return table.format_tsv([_FIELDS, *(_build_row(model, "{}") for model in models)])


def _build_row(model: Model, count_format: str) -> list[str]:
    counts = [count_format.format(count) if count else "" for count in (model.context, model.output_limit)]
    prices = [_format_dollars(model.price_per_million(kind)) for kind in ("input", "output")]
    endpoints, aliases = ",".join(model.endpoints), ",".join(model.aliases)
    return [model.id, model.name, model.developer, *counts, endpoints, *prices, aliases]


def _format_details(model: Model) -> str:
    pairs = [(name, value) for name, value in _list_facts(model) if value]
    return table.format_details(pairs, table.table_width()) if is_terminal(1) else table.format_tsv(pairs)


def _list_facts(model: Model) -> Iterator[tuple[str, str]]:
    yield "id", model.id
    yield "name", model.name
    yield "developer", model.developer
    yield "description", model.description
    yield "context", f"{model.context:,} tokens" if model.context else ""
    yield "output limit", f"{model.output_limit:,} tokens" if model.output_limit else ""
    yield from (("price", _format_price(price)) for price in model.prices)
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


def _format_price(price: Price) -> str:
    """Format a price as in `input $1.25 per 1M text tokens`."""
    count = _format_unit_count(price.per)
    unit = " ".join(filter(None, (price.content, price.unit or "unit"))) + ("s" if count else "")
    conditions = ", ".join(f"{name} {value}" for name, value in price.when)
    text = f"{price.kind} ${format_dollars(price.usd)} per {count}{unit}".strip()
    return text + (f" ({conditions})" if conditions else "")


def _format_json(models: Sequence[Model]) -> str:
    """Format the models as the documented JSON; every key is always present."""
    text = json.dumps([_model_to_dict(model) for model in models], ensure_ascii=False, indent=2) + "\n"
    return sanitize(text) if is_terminal(1) else text


def _model_to_dict(model: Model) -> dict[str, Any]:
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


def _format_unit_count(count: float) -> str:
    """Format the units of a price as 1M or 1K, and a single unit as ""."""
    for suffix, size in (("M", MILLION), ("K", THOUSAND)):
        if count % size == 0:
            return f"{count / size:,.0f}{suffix} "
    return "" if count == 1 else f"{count:,g} "


def _format_dollars(amount: float | None) -> str:
    return "" if amount is None else format_dollars(amount)
