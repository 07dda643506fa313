"""Load the schema of `--schema`, which is a file, JSON or the short form."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.prompt.file_sources import find_path
from aiml_cli.schema import shorthand
from aiml_cli.settings.value_types import MAX_JSON_BYTES, SCHEMA, is_json_text, names_file
from aiml_cli.system.atomic_write import read_bounded

DEFAULT_NAME = "answer"
# Keywords that strict servers reject, or whose subschemas cannot be judged on their own.
NON_STRICT_KEYWORDS = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired",
    "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "contains",
})  # fmt: skip
NAMED_SUBSCHEMAS = ("properties", "$defs", "definitions")


@dataclass(frozen=True, slots=True)
class LoadedSchema:
    """A schema; `strict` if servers can enforce it, `is_shorthand` if it was given in the short form."""

    schema: dict[str, Any]
    name: str = DEFAULT_NAME
    strict: bool = True
    is_shorthand: bool = False


def load_schema(value: str, *, is_typed: bool = True) -> LoadedSchema:
    """Load a schema; raise UsageError if it is invalid.

    A value that was not typed names a file only if it begins with @, /, ~ or a dot, or ends with .json.
    """
    text, path = _read_text(value.strip(), is_typed=is_typed)
    if not text.startswith("{"):
        if path:
            raise UsageError(f"--schema: {path} holds no JSON object", "a schema is an object: {…}")
        return LoadedSchema(shorthand.parse_shorthand(text), is_shorthand=True)
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
    """True for a path, and for what was typed if it is neither JSON nor the short form but the name of a file."""
    if names_file(SCHEMA, value):
        return True
    if not is_typed or is_json_text(value) or shorthand.is_shorthand(value):
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
            f"--schema: {source_name} is a whole answer format", "give the schema in it, or use --response-format"
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
