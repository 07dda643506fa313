"""Read the short form of a schema: `name, age int, tags: list of str`."""

import re
from collections.abc import Iterator
from typing import Any

from aiml_cli.errors import UsageError

Schema = dict[str, Any]
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
LIST = "list of "
_NAME = re.compile(r"[A-Za-z_][\w-]*")


def parse_shorthand(text: str) -> Schema:
    """Make the schema of an object that has each field; raise UsageError for what is no list of fields."""
    properties: dict[str, Schema] = {}
    for part in _parts(text):
        name, schema = _field(part)
        if name in properties:
            raise UsageError(f"--schema: the field {name!r} is there twice")
        properties[name] = schema
    if not properties:
        raise UsageError("--schema: the schema is empty", "say its fields: --schema 'name, age int, tags: list of str'")
    return strict_object(properties)


def strict_object(properties: dict[str, Schema]) -> Schema:
    """Make the schema of an object with all of these properties and no other, as strict servers want it."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _parts(text: str) -> Iterator[str]:
    """Cut at newlines when there are any, so that a description may hold commas."""
    lines = text.strip()
    for part in lines.split("\n") if "\n" in lines else lines.split(","):
        if field := part.strip().removesuffix(",").strip():
            yield field


def _field(part: str) -> tuple[str, Schema]:
    """Read `NAME [TYPE][?] [: DESCRIPTION]`; a type may stand behind the colon as well."""
    head, _, about = (piece.strip() for piece in part.partition(":"))
    name, _, kind = (piece.strip() for piece in head.partition(" "))
    if not kind:
        first, _, rest = (piece.strip() for piece in about.partition(":"))
        kind, about = (first, rest) if _type(first) else ("", about)
    optional = name.endswith("?")
    name = name.removesuffix("?")
    schema = _type((kind or "str") + ("?" if optional and not kind.endswith("?") else ""))
    if not _NAME.fullmatch(name) or schema is None:
        raise UsageError(f"--schema: {part!r} is no field", _hint(name, kind))
    return name, {**schema, "description": about} if about else schema


def _type(text: str) -> Schema | None:
    """Give the schema of a type; what may be left out is null then, for strict servers want every property."""
    if text.startswith(LIST):
        items = _type(text.removeprefix(LIST).strip())
        return items and {"type": "array", "items": items}
    name = TYPES.get(text.removesuffix("?").strip())
    if name is None:
        return None
    return {"type": [name, "null"]} if text.endswith("?") else {"type": name}


def _hint(name: str, kind: str) -> str:
    if not _NAME.fullmatch(name):
        return "a name has letters, digits, _ and -; a field is NAME TYPE, as in 'age int'"
    return f"{kind!r} is no type: take {', '.join(TYPES)} or list of one of them"
