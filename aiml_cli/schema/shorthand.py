"""Parse the short form of a schema: `name, age int, tags: list of str`."""

import re
from collections.abc import Iterator
from typing import Any

from aiml_cli.errors import UsageError

Schema = dict[str, Any]
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
LIST_PREFIX = "list of "
_NAME = re.compile(r"[A-Za-z_][\w-]*")


def parse_shorthand(text: str) -> Schema:
    """Return the schema of an object with these fields; raise UsageError for a malformed field."""
    properties: dict[str, Schema] = {}
    for field in _split_fields(text):
        name, schema = _parse_field(field)
        if name in properties:
            raise UsageError(f"--schema: the field {name!r} is there twice")
        properties[name] = schema
    if not properties:
        raise UsageError("--schema: the schema is empty", "say its fields: --schema 'name, age int, tags: list of str'")
    return build_strict_object(properties)


def is_shorthand(text: str) -> bool:
    """True if a text is a schema in the short form."""
    try:
        parse_shorthand(text)
    except UsageError:
        return False
    return True


def build_strict_object(properties: dict[str, Schema]) -> Schema:
    """Return the schema of an object with exactly these properties, as strict servers require."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _split_fields(text: str) -> Iterator[str]:
    """Yield the fields; newlines separate them if there are any, so that a description may contain commas."""
    lines = text.strip()
    for part in lines.split("\n") if "\n" in lines else lines.split(","):
        if field := part.strip().removesuffix(",").strip():
            yield field


def _parse_field(text: str) -> tuple[str, Schema]:
    """Parse `NAME [TYPE][?] [: DESCRIPTION]`; the type may also follow the colon."""
    head, _, description = (piece.strip() for piece in text.partition(":"))
    name, _, type_name = (piece.strip() for piece in head.partition(" "))
    if not type_name:
        first, _, rest = (piece.strip() for piece in description.partition(":"))
        type_name, description = (first, rest) if _parse_type(first) else ("", description)
    is_optional = name.endswith("?")
    name = name.removesuffix("?")
    schema = _parse_type((type_name or "str") + ("?" if is_optional and not type_name.endswith("?") else ""))
    if not _NAME.fullmatch(name) or schema is None:
        raise UsageError(f"--schema: {text!r} is no field", _make_hint(name, type_name))
    return name, {**schema, "description": description} if description else schema


def _parse_type(text: str) -> Schema | None:
    """Return the schema of a type, None for an unknown one; optional values can be null, never missing."""
    if text.startswith(LIST_PREFIX):
        items = _parse_type(text.removeprefix(LIST_PREFIX).strip())
        return items and {"type": "array", "items": items}
    json_type = TYPES.get(text.removesuffix("?").strip())
    if json_type is None:
        return None
    return {"type": [json_type, "null"]} if text.endswith("?") else {"type": json_type}


def _make_hint(name: str, type_name: str) -> str:
    if not _NAME.fullmatch(name):
        return "a name has letters, digits, _ and -; a field is NAME TYPE, as in 'age int'"
    return f"{type_name!r} is no type: take {', '.join(TYPES)} or list of one of them"
