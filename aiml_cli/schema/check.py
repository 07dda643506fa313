"""Settle what the answer must be: how it is asked for, and what is checked."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.schema import shorthand
from aiml_cli.schema.load import LoadedSchema, load_schema
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source

ONLY = "Answer with JSON only: no other words, and no code fence."
Check = Callable[[Any], str]
FENCED = re.compile(r"\s*```[^\n`]*\n(.*?)\s*```\s*", re.DOTALL)
LONGEST = 300
DATA = ("enum", "const", "default", "examples")
KINDS = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "null"}


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """Hold what was asked for. `form` is the answer format; a schema that is not `native` is told in words."""

    checks: tuple[Check, ...]
    form: Mapping[str, Any] | None = None
    native: bool = True

    def apply(self, options: Options) -> Options:
        """Put it into what is sent."""
        if self.form is None:
            return options
        if self.native:
            return replace(options, response_format=self.form)
        schema = json.dumps(self.form["json_schema"]["schema"], ensure_ascii=False)
        words = f"{ONLY} It must meet this JSON Schema:\n{schema}"
        return replace(options, system=f"{options.system}\n\n{words}" if options.system else words)

    def find_error(self, text: str) -> str:
        """Say in one sentence what is wrong with an answer, "" for nothing."""
        try:
            value = parse_answer_json(text)
        except ValueError as fault:
            return f"the answer is not JSON: {fault}"
        return next(filter(None, (check(value) for check in self.checks)), "")


def build_response_spec(settings: Settings, *, native: bool) -> ResponseSpec:
    """Settle it; raise UsageError for what is no schema, and for flags that exclude each other."""
    options = settings.options
    last = (_of_items,) if options.items else ()
    if options.schema:
        found = load_schema(options.schema, is_typed=settings.sources["schema"] in (Source.FLAG, Source.SET))
        loaded = _listed(found) if options.items else found
        facts = {"name": loaded.name, "schema": loaded.schema, "strict": loaded.strict}
        return ResponseSpec((_of_schema(loaded), *last), {"type": "json_schema", "json_schema": facts}, native)
    if options.json_object:
        return ResponseSpec((_of_object, *last), {"type": "json_object"})
    return ResponseSpec(last)


def _listed(loaded: LoadedSchema) -> LoadedSchema:
    """Ask for a list of what the short form describes; servers want an object at the top."""
    return (
        replace(loaded, schema=shorthand.strict_object({"items": {"type": "array", "items": loaded.schema}}))
        if loaded.ours
        else loaded
    )


def _of_schema(loaded: LoadedSchema) -> Check:
    check = make_checker(loaded.schema)

    def wrong(value: Any) -> str:
        fault = check(value)
        return fault and f"the answer does not meet the schema: {fault}"

    return wrong


def _of_object(value: Any) -> str:
    return "" if isinstance(value, dict) else f"the answer is not a JSON object but {json_type(value)}"


def _of_items(value: Any) -> str:
    if isinstance(value, list):
        return ""
    arrays = [name for name, inner in value.items() if isinstance(inner, list)] if isinstance(value, dict) else []
    if len(arrays) > 1:
        return f"the answer has several arrays, {', '.join(map(repr, arrays))}; the elements of the first are printed"
    return "" if arrays else "the answer has no array at its top"


def make_checker(schema: dict[str, Any]) -> Check:
    """Give a function that says what is wrong with a value, "" for nothing; raise UsageError for what is no schema."""
    # Costs a tenth of a second, which only those who give a schema wait for.
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    made = validator_for(schema, default=Draft202012Validator)
    # A registry of its own: without one a reference to an address would be fetched.
    validator = made(schema, registry=EMPTY_REGISTRY)
    try:
        made.check_schema(schema)
        for part in _referring(schema):
            validator.evolve(schema=part).is_valid(None)
    except SchemaError as fault:
        raise UsageError(f"--schema: no JSON Schema: {fault.json_path}: {_short(fault.message)}") from None
    except Unresolvable as fault:
        raise UsageError(f"--schema: a reference leads nowhere: {_short(str(fault))}") from None
    except RecursionError:
        raise UsageError("--schema: the schema refers to itself without end") from None

    def check(value: Any) -> str:
        try:
            fault = best_match(validator.iter_errors(value))
        except Unresolvable as dangling:
            return f"a reference of the schema leads nowhere: {_short(str(dangling))}"
        except RecursionError:
            return "it is nested too deeply to be checked"
        return f"{fault.json_path}: {_short(fault.message)}" if fault else ""

    return check


def _referring(schema: Any) -> Iterator[dict[str, Any]]:
    """Give the parts of a schema that refer to others, but not those below an `$id` of their own."""
    if isinstance(schema, list):
        for part in schema:
            yield from _referring(part)
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield {"$ref": schema["$ref"]}
        for word, part in schema.items():
            if word not in DATA and not (isinstance(part, dict) and "$id" in part):
                yield from _referring(part)


def parse_answer_json(text: str) -> Any:
    """Read the JSON of an answer, in a code fence or without; raise ValueError with the place of the fault."""
    fenced = FENCED.fullmatch(text)
    try:
        return json.loads((fenced[1] if fenced else text).removeprefix("\ufeff"), parse_constant=_refuse)
    except json.JSONDecodeError as fault:
        raise ValueError(f"line {fault.lineno}, column {fault.colno}: {fault.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_type(value: Any) -> str:
    """Name the kind of a JSON value."""
    return KINDS.get(type(value), "a number")


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _short(text: str) -> str:
    """Leave out the middle of what quotes half an answer."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
