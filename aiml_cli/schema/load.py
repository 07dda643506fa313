"""Load a schema from what `--schema` says: a file, JSON, or the short form."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.schema import shorthand

NAME = "answer"
# Words of JSON Schema that strict servers refuse, or whose objects cannot be judged alone.
BEYOND = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired",
    "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "contains",
})  # fmt: skip
NAMED = ("properties", "$defs", "definitions")


@dataclass(frozen=True, slots=True)
class LoadedSchema:
    """Hold a schema. `strict`: it keeps to the subset that servers can hold a model to. `ours`: no JSON was given."""

    schema: dict[str, Any]
    name: str = NAME
    strict: bool = True
    ours: bool = False


def load_schema(said: str, *, is_typed: bool = True) -> LoadedSchema:
    """Read a schema; raise UsageError when it is none.

    A short form that was not typed now is never taken for the name of a file in the current directory.
    """
    text, where = _text(said.strip(), is_typed=is_typed)
    if not text.startswith("{"):
        if where:
            raise UsageError(f"--schema: {where} holds no JSON object", "a schema is an object: {…}")
        return LoadedSchema(shorthand.parse_shorthand(text), ours=True)
    schema = _object(text, where or "the schema")
    return LoadedSchema(schema, _name(schema), is_strict(schema))


def _text(said: str, *, is_typed: bool) -> tuple[str, str]:
    """Give the text, and the file that it comes from, "" for none."""
    if said.startswith("{"):
        return said, ""
    name = said.removeprefix("@")
    may_be_file = is_typed or name.startswith(("/", "~"))
    if name == said and not (may_be_file and _is_file(name)) and not name.endswith(".json"):
        return said, ""
    try:
        return Path(name).expanduser().read_bytes().decode("utf-8-sig").strip(), name
    except UnicodeDecodeError:
        raise UsageError(f"--schema: {name} is not UTF-8 text") from None
    except (OSError, RuntimeError) as fault:  # expanduser knows no such user
        raise UsageError(f"--schema: {name}: {getattr(fault, 'strerror', None) or fault}", "nothing was sent") from None


def _is_file(name: str) -> bool:
    """Say whether there is something to read under a name; `<(…)` of a shell is a pipe."""
    try:
        path = Path(name).expanduser()
        return path.exists() and not path.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long, or with a zero byte: no name of a file
        return False


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as fault:
        raise UsageError(
            f"--schema: {where} is not JSON: {fault.msg}, line {fault.lineno}, column {fault.colno}"
        ) from None
    except RecursionError:
        raise UsageError(f"--schema: {where} is nested too deeply") from None
    if schema.get("type") == "json_schema" or (isinstance(schema.get("schema"), dict) and "type" not in schema):
        raise UsageError(
            f"--schema: {where} is a whole answer format", "give the schema in it, or use --response-format"
        )
    return schema


def _name(schema: dict[str, Any]) -> str:
    """Name the schema by its title, in the letters that the API allows."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title") or "")).strip("_")[:64] or NAME


def is_strict(schema: dict[str, Any]) -> bool:
    """Say whether an object is at the top, and every object requires all it has and allows no more."""
    try:
        return schema.get("type") == "object" and all(_keeps(part) for part in _parts(schema))
    except RecursionError:
        return False


def _parts(schema: Any) -> Iterator[Any]:
    """Give a schema and those in it."""
    yield schema
    if not isinstance(schema, dict):
        return
    inner = [part for word in NAMED if isinstance(schema.get(word), dict) for part in schema[word].values()]
    if isinstance(schema.get("anyOf"), list):
        inner += schema["anyOf"]
    if "items" in schema:
        inner.append(schema["items"])
    for part in inner:
        yield from _parts(part)


def _keeps(schema: Any) -> bool:
    if not isinstance(schema, dict) or BEYOND & schema.keys():
        return False
    kind = schema.get("type")
    if kind != "object" and "properties" not in schema and not (isinstance(kind, list) and "object" in kind):
        return True
    required = schema.get("required", [])
    return schema.get("additionalProperties") is False and set(required) == set(schema.get("properties", {}))
