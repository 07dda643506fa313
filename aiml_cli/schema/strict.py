"""Say whether a schema keeps to the subset that servers hold a model to."""

from collections.abc import Iterator
from typing import Any

# Words of JSON Schema that strict servers refuse, or whose objects cannot be judged alone.
BEYOND = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired",
    "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "contains",
})  # fmt: skip
NAMED = ("properties", "$defs", "definitions")


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
