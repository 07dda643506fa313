"""Parse the short form of a schema or of a function's parameters: `name, age int, mood good|bad, tags: list of str`."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError

Schema = dict[str, Any]
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
JSON_TYPES = ("string", "integer", "number", "boolean")
LIST_PREFIX = "list of "
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_CHOICES = re.compile(r"[^\s|?]+(?:\s*\|\s*[^\s|?]+)+")  # good|bad


class Field(NamedTuple):
    """A field: its name, the schema of its value, and whether it ends with `?`."""

    name: str
    schema: Schema
    is_optional: bool

    def build_nullable(self) -> Schema:
        """Return the schema for strict servers, where an optional value can be null, never missing."""
        if not self.is_optional:
            return self.schema
        choices = {"enum": [*self.schema["enum"], None]} if "enum" in self.schema else {}
        return {**self.schema, "type": [self.schema["type"], "null"], **choices}


def parse_shorthand(text: str) -> Schema:
    """Return the schema of an object with these fields; raise UsageError for a malformed field."""
    properties = {field.name: field.build_nullable() for field in _parse_fields(text, "--schema")}
    if not properties:
        raise UsageError("--schema: the schema is empty", "say its fields: --schema 'name, age int, tags: list of str'")
    return build_strict_object(properties)


def parse_parameters(text: str, source: str) -> Schema:
    """Return the schema of a function's parameters; `unit?` may be missing, and a text without fields has none.

    Raises UsageError, which begins with `source`, for a malformed field.
    """
    fields = list(_parse_fields(text, source))
    required = [field.name for field in fields if not field.is_optional]
    return {**build_strict_object({field.name: field.schema for field in fields}), "required": required}


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


def _parse_fields(text: str, source: str) -> Iterator[Field]:
    names: set[str] = set()
    for part in _split_fields(text):
        field = _parse_field(part, source)
        if field.name in names:
            raise UsageError(f"{source}: the field {field.name!r} is there twice")
        names.add(field.name)
        yield field


def _parse_field(text: str, source: str) -> Field:
    """Parse `NAME [TYPE][?] [: DESCRIPTION]`; the type may also follow the colon."""
    head, _, description = (piece.strip() for piece in text.partition(":"))
    name, _, type_name = (piece.strip() for piece in head.partition(" "))
    if not type_name:
        first, _, rest = (piece.strip() for piece in description.partition(":"))
        type_name, description = (first, rest) if _parse_type(first.removesuffix("?")) else ("", description)
    is_optional = name.endswith("?") or type_name.endswith("?")
    name, type_name = name.removesuffix("?"), type_name.removesuffix("?").strip()
    schema = _parse_type(type_name or "str")
    if not _NAME.fullmatch(name) or schema is None:
        raise UsageError(f"{source}: {text!r} is no field", _make_hint(name, type_name))
    return Field(name, {**schema, "description": description} if description else schema, is_optional)


def _parse_type(text: str) -> Schema | None:
    """Return the schema of a type, None for an unknown one."""
    if text.startswith(LIST_PREFIX):
        items = _parse_type(text.removeprefix(LIST_PREFIX).strip())
        return items and {"type": "array", "items": items}
    if _CHOICES.fullmatch(text.strip()):
        return _parse_choices([word.strip() for word in text.split("|")])
    json_type = TYPES.get(text.strip(), text.strip())
    return {"type": json_type} if json_type in JSON_TYPES else None


def _parse_choices(words: list[str]) -> Schema:
    """Return the schema of one of these words, or of one of these whole numbers."""
    if all(re.fullmatch(r"-?[0-9]{1,15}", word) for word in words):
        return {"type": "integer", "enum": list(dict.fromkeys(map(int, words)))}
    return {"type": "string", "enum": list(dict.fromkeys(words))}


def _make_hint(name: str, type_name: str) -> str:
    if not _NAME.fullmatch(name):
        return "a name has letters, digits, _ and -; a field is NAME TYPE, as in 'age int'"
    return f"{type_name!r} is no type: use {', '.join(TYPES)}, words such as good|bad, or list of one of these"
