"""Settle what the answer must be: how it is asked for, and what is checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiml_cli.errors import Misuse
from aiml_cli.schema import dsl
from aiml_cli.schema.check import Check, checker, kind_of, value_in
from aiml_cli.schema.load import Loaded, load
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source

ONLY = "Answer with JSON only: no other words, and no code fence."


@dataclass(frozen=True, slots=True)
class Wanted:
    """Hold what was asked for. `form` is the answer format; a schema that is not `native` is told in words."""

    checks: tuple[Check, ...]
    form: Mapping[str, Any] | None = None
    native: bool = True

    def put(self, options: Options) -> Options:
        """Put it into what is sent."""
        if self.form is None:
            return options
        if self.native:
            return replace(options, response_format=self.form)
        schema = json.dumps(self.form["json_schema"]["schema"], ensure_ascii=False)
        words = f"{ONLY} It must meet this JSON Schema:\n{schema}"
        return replace(options, system=f"{options.system}\n\n{words}" if options.system else words)

    def wrong(self, text: str) -> str:
        """Say in one sentence what is wrong with an answer, "" for nothing."""
        try:
            value = value_in(text)
        except ValueError as fault:
            return f"the answer is not JSON: {fault}"
        return next(filter(None, (check(value) for check in self.checks)), "")


def want(settings: Settings, *, native: bool) -> Wanted:
    """Settle it; raise Misuse for what is no schema, and for flags that exclude each other."""
    options = settings.options
    _exclude(settings)
    last = (_of_items,) if options.items else ()
    if options.schema:
        found = load(options.schema, is_typed=settings.sources["schema"] in (Source.FLAG, Source.SET))
        loaded = _listed(found) if options.items else found
        facts = {"name": loaded.name, "schema": loaded.schema, "strict": loaded.strict}
        return Wanted((_of_schema(loaded), *last), {"type": "json_schema", "json_schema": facts}, native)
    if options.json_object:
        return Wanted((_of_object, *last), {"type": "json_object"})
    return Wanted(last)


def _exclude(settings: Settings) -> None:
    options = settings.options
    mine = "--schema" if options.schema else "--json-object" if options.json_object else ""
    if mine and options.response_format is not None:
        raise Misuse(f"{mine} and --response-format exclude each other", "give one of them")
    theirs = "--json" if options.json else f"--format {options.format}"
    formed = options.json or (settings.sources["format"] is Source.FLAG and options.format not in ("md", "text"))
    if options.items and formed:
        raise Misuse(f"--items and {theirs} exclude each other", "give one of them")


def _listed(loaded: Loaded) -> Loaded:
    """Ask for a list of what the short form describes; servers want an object at the top."""
    return (
        replace(loaded, schema=dsl.closed({"items": {"type": "array", "items": loaded.schema}}))
        if loaded.ours
        else loaded
    )


def _of_schema(loaded: Loaded) -> Check:
    check = checker(loaded.schema)

    def wrong(value: Any) -> str:
        fault = check(value)
        return fault and f"the answer does not meet the schema: {fault}"

    return wrong


def _of_object(value: Any) -> str:
    return "" if isinstance(value, dict) else f"the answer is not a JSON object but {kind_of(value)}"


def _of_items(value: Any) -> str:
    if isinstance(value, list):
        return ""
    arrays = [name for name, inner in value.items() if isinstance(inner, list)] if isinstance(value, dict) else []
    if len(arrays) > 1:
        return f"the answer has several arrays, {', '.join(map(repr, arrays))}; the elements of the first are printed"
    return "" if arrays else "the answer has no array at its top"
