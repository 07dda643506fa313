"""Sample JSON that satisfies a simple JSON Schema; its strings say that no model ran."""

import math
from collections.abc import Mapping

from aiml_cli.demo.parsed_request import GatewayError, Json

DEMO_NOTE = "[demo: no model ran]"
_COMMAND = f"echo '{DEMO_NOTE}'"
_REQUIRED_ONLY_DEPTH = 4  # levels; deeper objects have only their required properties
_MAX_DEPTH = 16  # levels; the sample of a schema that refers to itself ends here
_MAX_LENGTH = 1000  # elements or characters, so that a schema cannot exhaust the memory
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/demo",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def make_sample(schema: Json, root: Json = None) -> Json:
    """Return a value that satisfies a schema, which is a part of the schema `root`.

    Raises GatewayError if the schema is invalid.
    """
    try:
        return _make_value(schema, root or schema, 0)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise GatewayError(400, f"Body validation error\nInvalid schema: {error}") from None


def _make_value(schema: Json, root: Json, depth: int) -> Json:
    if not isinstance(schema, dict):
        return DEMO_NOTE
    if "$ref" in schema:
        return _make_value(_resolve_pointer(root, str(schema["$ref"])), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            # The last alternative is usually null, which ends the recursion of a schema that refers to itself.
            return _make_value(schema[keyword][-1 if depth > _REQUIRED_ONLY_DEPTH else 0], root, depth + 1)
    return _make_typed_value(schema, root, depth)


def resolve_reference(schema: Json, root: Json) -> dict[str, Json]:
    """Return the schema that a schema refers to, or itself without a reference; {} if that is not an object."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, dict) or "$ref" not in schema:
            break
        schema = _resolve_pointer(root, str(schema["$ref"]))
    return schema if isinstance(schema, dict) else {}


def _resolve_pointer(root: Json, reference: str) -> Json:
    """Follow a pointer within the schema (`#/$defs/Name`); None if it leads nowhere."""
    value = root
    for step in reference.removeprefix("#").split("/")[1:]:
        value = value.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
    return value


def _make_typed_value(schema: Mapping[str, Json], root: Json, depth: int) -> Json:
    match _choose_type(schema):
        case "object":
            return _make_object(schema, root, depth)
        case "array":
            return _make_array(schema, root, depth)
        case "integer" | "number" as json_type:
            return _make_number(schema, is_integer=json_type == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _make_string(schema)


def _choose_type(schema: Mapping[str, Json]) -> Json:
    types = schema.get("type")
    if isinstance(types, list):
        return next((name for name in types if name != "null"), "null")
    return types or ("object" if "properties" in schema else "array" if "items" in schema else "string")


def _make_object(schema: Mapping[str, Json], root: Json, depth: int) -> Json:
    properties: Mapping[str, Json] = schema.get("properties") or {}
    required = schema.get("required") or []
    names = [*properties, *(name for name in required if name not in properties)]
    if depth > _REQUIRED_ONLY_DEPTH:
        names = [name for name in names if name in required]
    if depth > _MAX_DEPTH:
        return {}
    return {name: _make_property(name, properties.get(name, {}), root, depth + 1) for name in names}


def _make_property(name: str, schema: Json, root: Json, depth: int) -> Json:
    """Return a value of a property; a shell command is a harmless one."""
    value = _make_value(schema, root, depth)
    return _COMMAND if name == "command" and value == DEMO_NOTE else value


def _make_array(schema: Mapping[str, Json], root: Json, depth: int) -> Json:
    minimum = min(schema.get("minItems", 0), _MAX_LENGTH)
    length = minimum if depth > _REQUIRED_ONLY_DEPTH else max(1, minimum)
    length = min(length, schema.get("maxItems", length))
    return [_make_value(schema.get("items", {}), root, depth + 1) for _ in range(length)]


def _make_number(schema: Mapping[str, Json], *, is_integer: bool) -> Json:
    """Return the lowest allowed number; without a minimum, 1 or the highest number below it."""
    step = 1 if is_integer else 0.5
    if "minimum" in schema or "exclusiveMinimum" in schema:
        low = schema["minimum"] if "minimum" in schema else schema["exclusiveMinimum"] + step
        return math.ceil(low) if is_integer else low
    high = min(1, schema.get("maximum", 1), schema.get("exclusiveMaximum", 2) - step)
    return math.floor(high) if is_integer else high


def _make_string(schema: Mapping[str, Json]) -> str:
    text = _FORMATS.get(str(schema.get("format")), DEMO_NOTE)
    return text.ljust(min(schema.get("minLength", 0), _MAX_LENGTH), ".")[: schema.get("maxLength")]
