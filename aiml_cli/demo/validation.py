"""Validate a request body with the option table, as the gateway does with its specification."""

from collections.abc import Mapping

from aiml_cli.demo.body_validation import (
    MISSING,
    Issues,
    check_chat_body,
    check_choice,
    check_range,
    check_responses_body,
    check_type,
    json_type,
)
from aiml_cli.demo.errors import GatewayError
from aiml_cli.demo.question import Json
from aiml_cli.settings import value_types
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.value_types import ValueType

TITLE = "Body validation error"
# The paths where null means absent: each specification says so, and the option table has no column for it.
_NULLABLE = {
    "chat": {"n", "logprobs", "top_logprobs"},
    "responses": {
        "include", "instructions", "parallel_tool_calls", "previous_response_id", "prompt", "prompt.variables",
        "prompt.version", "reasoning", "reasoning.effort", "reasoning.summary", "store", "stream", "temperature",
    },
}  # fmt: skip
_TYPES: Mapping[str, tuple[str, ...]] = {
    value_types.SWITCH.name: ("boolean",),
    value_types.TEXT.name: ("string",),
    value_types.JSON.name: ("object", "array"),
    value_types.JSON_OR_WORD.name: ("string", "object"),
    value_types.VARIABLES.name: ("object",),
    value_types.TOOL_RESULTS.name: ("object",),
    value_types.LOCATION.name: ("object",),
    value_types.text_list().name: ("array",),
}
_STRUCTURE_CHECKS = {"chat": check_chat_body, "responses": check_responses_body}


def check_body(body: Mapping[str, Json], endpoint: str) -> None:
    """Raise GatewayError naming every property that is wrong; unknown properties are ignored."""
    # The structure checks rely on the types that the table has checked.
    if issues := _check_by_table(body, endpoint) or _STRUCTURE_CHECKS[endpoint](body):
        raise GatewayError(400, "\n".join([TITLE, *dict.fromkeys(issues)]))


def _check_by_table(body: Mapping[str, Json], endpoint: str) -> Issues:
    issues = check_type("model", body.get("model", MISSING), "string")
    for row in ROWS.values():
        if body_path := row.body_paths.get(endpoint):
            issues += _check_at(body, body_path.path, row.value_type_on(endpoint), _NULLABLE[endpoint])
    return issues


def _check_at(body: Mapping[str, Json], path: str, value_type: ValueType[Json], nullable: set[str]) -> Issues:
    """Check the value at a dotted path and the objects on the way to it."""
    value: Json = body
    names = path.split(".")
    for depth, name in enumerate(names, 1):
        value, prefix = value.get(name, MISSING), ".".join(names[:depth])
        if value is MISSING or (value is None and prefix in nullable):
            return []
        if prefix != path and json_type(value) != "object":
            return check_type(prefix, value, "object")
    return _check_value(path, value, value_type)


def list_json_types(value_type: ValueType[Json]) -> tuple[str, ...]:
    """Return the JSON types of a value type's values, () if the value type is unknown here."""
    if value_type.name.startswith((value_types.number().name, value_types.integer().name)):
        return ("number",)
    if value_type.is_closed and not value_type.is_switch:
        return ("string",)
    return _TYPES.get(value_type.name, ())


def _check_value(path: str, value: Json, value_type: ValueType[Json]) -> Issues:
    expected = list_json_types(value_type)
    if expected and (issues := check_type(path, value, *expected)):
        return issues
    issues = _check_number(path, value, value_type) if json_type(value) == "number" else []
    if json_type(value) == "array" and value_type.is_list:
        for index, element in enumerate(value):
            issues += check_type(f"{path}.{index}", element, "string")
    if value_type.is_closed and not value_type.is_switch:
        issues += check_choice(path, value, *value_type.choices)
    return issues


def _check_number(path: str, value: float, value_type: ValueType[Json]) -> Issues:
    if issues := check_range(path, value, *value_type.limits):
        return issues
    try:
        # 2.0 is a whole number in JSON.
        value_type.parse(str(int(value) if isinstance(value, float) and value.is_integer() else value))
    except ValueError:
        return [f"{path}: Expected integer, received float"]
    return []
