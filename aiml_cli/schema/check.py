"""Hold an answer's text against a schema, and say in one sentence where it fails."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from aiml_cli.errors import Misuse

Check = Callable[[Any], str]
FENCED = re.compile(r"\s*```[^\n`]*\n(.*?)\s*```\s*", re.DOTALL)
LONGEST = 300
DATA = ("enum", "const", "default", "examples")
KINDS = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "null"}


def checker(schema: dict[str, Any]) -> Check:
    """Give a function that says what is wrong with a value, "" for nothing; raise Misuse for what is no schema."""
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
        raise Misuse(f"--schema: no JSON Schema: {fault.json_path}: {_short(fault.message)}") from None
    except Unresolvable as fault:
        raise Misuse(f"--schema: a reference leads nowhere: {_short(str(fault))}") from None
    except RecursionError:
        raise Misuse("--schema: the schema refers to itself without end") from None

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


def value_in(text: str) -> Any:
    """Read the JSON of an answer, in a code fence or without; raise ValueError with the place of the fault."""
    fenced = FENCED.fullmatch(text)
    try:
        return json.loads((fenced[1] if fenced else text).removeprefix("\ufeff"), parse_constant=_refuse)
    except json.JSONDecodeError as fault:
        raise ValueError(f"line {fault.lineno}, column {fault.colno}: {fault.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def kind_of(value: Any) -> str:
    """Name the kind of a JSON value."""
    return KINDS.get(type(value), "a number")


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _short(text: str) -> str:
    """Leave out the middle of what quotes half an answer."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
