"""Load a schema: from a file, JSON, or the short form `name, age int, mood good|bad, tags: list of str`."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.prompt.file_sources import find_path
from aiml_cli.settings.value_types import MAX_JSON_BYTES, SCHEMA, is_json_text, names_file
from aiml_cli.system.atomic_write import read_bounded

DEFAULT_NAME = "answer"
# Keywords that strict servers reject, or whose subschemas cannot be checked separately.
NON_STRICT_KEYWORDS = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired",
    "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "contains",
})  # fmt: skip
NAMED_SUBSCHEMAS = ("properties", "$defs", "definitions")
Schema = dict[str, Any]
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
JSON_TYPES = ("string", "integer", "number", "boolean")
LIST_PREFIX = "list of "
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_CHOICES = re.compile(r"[^\s|?]+(?:\s*\|\s*[^\s|?]+)+")  # good|bad


@dataclass(frozen=True, slots=True)
class LoadedSchema:
    """A schema; `strict` if servers can enforce it, `is_shorthand` if it was written in the short form."""

    schema: dict[str, Any]
    name: str = DEFAULT_NAME
    strict: bool = True
    is_shorthand: bool = False


def load_schema(value: str, *, is_typed: bool = True) -> LoadedSchema:
    """Load a schema; raise UsageError if it is invalid.

    A value that was not typed is a file name only if it begins with @, /, ~ or a dot, or ends with .json.
    """
    text, path = _read_text(value.strip(), is_typed=is_typed)
    if not text.startswith("{"):
        if path:
            raise UsageError(f"--schema: {path} is not a JSON object", "a schema is an object: {…}")
        return LoadedSchema(parse_shorthand(text), is_shorthand=True)
    schema = _parse_object(text, path or "the schema")
    return LoadedSchema(schema, _make_name(schema), is_strict(schema))


def _read_text(value: str, *, is_typed: bool) -> tuple[str, str]:
    """Return the text, and the file that it was read from or ""."""
    if not _is_file_name(value, is_typed=is_typed):
        return value, ""
    name = value.removeprefix("@")
    try:
        return read_bounded(name, MAX_JSON_BYTES).decode("utf-8-sig").strip(), name
    except UnicodeDecodeError:
        raise UsageError(f"--schema: {name} is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"--schema: {name}: {error.strerror or error}") from None


def _is_file_name(value: str, *, is_typed: bool) -> bool:
    """True for a path, and for a typed value that is neither JSON nor the short form but the name of a file."""
    if names_file(SCHEMA, value):
        return True
    if not is_typed or is_json_text(value) or is_shorthand(value):
        return False
    path = find_path(value)
    return value.endswith(".json") or (path is not None and not path.is_dir())


def _parse_object(text: str, source_name: str) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"--schema: {source_name} is not JSON: {error.msg}, line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise UsageError(f"--schema: {source_name} is nested too deeply") from None
    if schema.get("type") == "json_schema" or (isinstance(schema.get("schema"), dict) and "type" not in schema):
        raise UsageError(
            f"--schema: {source_name} is a complete response format", "pass the schema in it, or use --response-format"
        )
    return schema


def _make_name(schema: dict[str, Any]) -> str:
    """Derive the name from the title; the API allows ASCII letters, digits, _ and -."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title") or "")).strip("_")[:64] or DEFAULT_NAME


def is_strict(schema: dict[str, Any]) -> bool:
    """True if the schema is an object and every object in it requires all its properties and allows no others."""
    try:
        return schema.get("type") == "object" and all(_is_part_strict(part) for part in _list_parts(schema))
    except RecursionError:
        return False


def _list_parts(schema: Any) -> Iterator[Any]:
    yield schema
    if not isinstance(schema, dict):
        return
    inner = [part for key in NAMED_SUBSCHEMAS if isinstance(schema.get(key), dict) for part in schema[key].values()]
    if isinstance(schema.get("anyOf"), list):
        inner += schema["anyOf"]
    if "items" in schema:
        inner.append(schema["items"])
    for part in inner:
        yield from _list_parts(part)


def _is_part_strict(schema: Any) -> bool:
    if not isinstance(schema, dict) or NON_STRICT_KEYWORDS & schema.keys():
        return False
    types = schema.get("type")
    if types != "object" and "properties" not in schema and not (isinstance(types, list) and "object" in types):
        return True
    required = schema.get("required", [])
    return schema.get("additionalProperties") is False and set(required) == set(schema.get("properties", {}))


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
        raise UsageError(
            "--schema: the schema is empty", "list its fields: --schema 'name, age int, tags: list of str'"
        )
    return build_strict_object(properties)


def parse_parameters(text: str, source: str) -> Schema:
    """Return the schema of a function's parameters; `unit?` may be missing, and an empty string has no fields.

    Raises UsageError, whose message begins with `source`, for a malformed field.
    """
    fields = list(_parse_fields(text, source))
    required = [field.name for field in fields if not field.is_optional]
    return {**build_strict_object({field.name: field.schema for field in fields}), "required": required}


def is_shorthand(text: str) -> bool:
    """True if a string is a schema in the short form."""
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
            raise UsageError(f"{source}: the field {field.name!r} appears twice")
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
        raise UsageError(f"{source}: {text!r} is not a field", _make_hint(name, type_name))
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
    """Return the schema of one of these words, or of one of these integers."""
    if all(re.fullmatch(r"-?[0-9]{1,15}", word) for word in words):
        return {"type": "integer", "enum": list(dict.fromkeys(map(int, words)))}
    return {"type": "string", "enum": list(dict.fromkeys(words))}


def _make_hint(name: str, type_name: str) -> str:
    if not _NAME.fullmatch(name):
        return "a name consists of letters, digits, _ and -; a field is NAME TYPE, as in 'age int'"
    return f"{type_name!r} is not a type: use {', '.join(TYPES)}, words such as good|bad, or list of one of these"
