"""Make JSON that satisfies a simple JSON Schema, and says in its texts that no model made it."""

import math
from collections.abc import Mapping
from typing import Any

from aiml_cli.demo.errors import GatewayError

Json = Any

DEMO = "[demo: no model ran]"
_SHALLOW = 4  # levels; further down only what is required is made,
_DEEPEST = 16  # and here a schema that names itself ends
_MOST = 1000  # elements or characters: a demo fills no memory
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/demo",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def make_sample(schema: Json) -> Json:
    """Make a value; words of the schema that are not known here are ignored. Raise Refused for what is no schema."""
    try:
        return _made(schema, schema, 0)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as fault:
        raise GatewayError(400, f"Body validation error\nInvalid schema: {fault}") from None


def _made(schema: Json, root: Json, depth: int) -> Json:
    if not isinstance(schema, dict):
        return DEMO
    if "$ref" in schema:
        return _made(_pointed(root, str(schema["$ref"])), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            # The last of several is most often null: the way out of a schema that names itself.
            return _made(schema[word][-1 if depth > _SHALLOW else 0], root, depth + 1)
    return _typed(schema, root, depth)


def _pointed(root: Json, reference: str) -> Json:
    """Follow a pointer within the schema (`#/$defs/Name`)."""
    place = root
    for step in reference.removeprefix("#").split("/")[1:]:
        place = place.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(place, dict) else None
    return place


def _typed(schema: Mapping[str, Json], root: Json, depth: int) -> Json:
    match _type(schema):
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, depth)
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema)


def _type(schema: Mapping[str, Json]) -> Json:
    named = schema.get("type")
    if isinstance(named, list):
        return next((word for word in named if word != "null"), "null")
    return named or ("object" if "properties" in schema else "array" if "items" in schema else "string")


def _object(schema: Mapping[str, Json], root: Json, depth: int) -> Json:
    """Fill every property; far down only those that are required."""
    properties: Mapping[str, Json] = schema.get("properties") or {}
    required = schema.get("required") or []
    names = [*properties, *(name for name in required if name not in properties)]
    if depth > _SHALLOW:
        names = [name for name in names if name in required]
    return {name: _made(properties.get(name, {}), root, depth + 1) for name in names} if depth <= _DEEPEST else {}


def _array(schema: Mapping[str, Json], root: Json, depth: int) -> Json:
    fewest = min(schema.get("minItems", 0), _MOST)
    length = fewest if depth > _SHALLOW else max(1, fewest)
    return [_made(schema.get("items", {}), root, depth + 1) for _ in range(min(length, schema.get("maxItems", length)))]


def _number(schema: Mapping[str, Json], *, whole: bool) -> Json:
    """Take the lowest number that is allowed; without a lowest 1, or the highest below it."""
    step = 1 if whole else 0.5
    if "minimum" in schema or "exclusiveMinimum" in schema:
        low = schema["minimum"] if "minimum" in schema else schema["exclusiveMinimum"] + step
        return math.ceil(low) if whole else low
    high = min(1, schema.get("maximum", 1), schema.get("exclusiveMaximum", 2) - step)
    return math.floor(high) if whole else high


def _text(schema: Mapping[str, Json]) -> str:
    text = _FORMATS.get(str(schema.get("format")), DEMO)
    return text.ljust(min(schema.get("minLength", 0), _MOST), ".")[: schema.get("maxLength")]
