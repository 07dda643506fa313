"""Validate a request body with the option table, and its messages, tools and answer formats."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from aiml_cli.demo.parsed_request import GatewayError, Json
from aiml_cli.settings import value_types
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.value_types import ValueType

_CHAT_ROLES = ("user", "assistant", "system", "developer", "tool")
_TOOL_CHOICES = ("none", "auto", "required")
_FORMATS = ("text", "json_object", "json_schema")
_MAX_CHOICES = 128  # the provider's limit; without one, a request could exhaust the memory
_MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The types of a message's parts, each with its required properties.
_CHAT_PARTS: Mapping[str, Mapping[str, str]] = {
    "text": {"text": "string"},
    "image_url": {"image_url": "object"},
    "file": {"file": "object"},
    "input_audio": {"input_audio": "object"},
    "video_url": {"video_url": "object"},
    "refusal": {"refusal": "string"},
}
_RESPONSES_ROLES = ("user", "assistant", "system", "developer")
_RESPONSES_PARTS: Mapping[str, Mapping[str, str]] = {
    "input_text": {"text": "string"},
    "input_image": {},
    "input_file": {},
    "output_text": {"text": "string"},
    "refusal": {"refusal": "string"},
}
# The input items other than messages, each with its required properties.
_ITEMS: Mapping[str, Mapping[str, str]] = {
    "function_call": {"arguments": "string", "call_id": "string", "name": "string"},
    "function_call_output": {"call_id": "string", "output": "string"},
    "reasoning": {"id": "string", "summary": "array"},
    "item_reference": {"id": "string"},
    "web_search_call": {"id": "string", "status": "string"},
    "code_interpreter_call": {"code": "string", "id": "string", "outputs": "array", "container_id": "string"},
    "mcp_list_tools": {"id": "string", "server_label": "string", "tools": "array"},
    "mcp_approval_request": {"arguments": "string", "id": "string", "name": "string", "server_label": "string"},
    "mcp_approval_response": {"approval_request_id": "string", "approve": "boolean"},
    "mcp_call": {"arguments": "string", "id": "string", "name": "string", "server_label": "string"},
}
# The server-side tools, each with its required properties; no model has all of them.
_HOSTED_TOOLS: Mapping[str, Mapping[str, str]] = {
    "web_search_preview": {},
    "web_search_preview_2025_03_11": {},
    "web_search": {},
    "x_search": {},
    "local_shell": {},
    "code_interpreter": {},
    "mcp": {"server_label": "string", "server_url": "string"},
}
_TOOL_CHOICE_TYPES = (
    "function", "web_search_preview", "web_search_preview_2025_03_11", "computer_use_preview", "code_interpreter",
    "mcp",
)  # fmt: skip
_JSON_TYPES = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
Issues = list[str]
MISSING: Final = object()  # the value of an absent property, because None is a value
TITLE = "Body validation error"
# The paths where null means absent, according to the specifications; the option table has no column for it.
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
    value_types.MODELS.name: ("string",),
    value_types.SCHEMA.name: ("string",),
    value_types.JSON.name: ("object", "array"),
    value_types.JSON_OR_WORD.name: ("string", "object"),
    value_types.VARIABLES.name: ("object",),
    value_types.TOOL_RESULTS.name: ("object",),
    value_types.LOCATION.name: ("object",),
    value_types.text_list().name: ("array",),
}


def check_chat_body(body: Mapping[str, Json]) -> Issues:
    """Check the structure of a chat request whose types were checked with the option table."""
    issues = _check_length("messages", body.get("messages", MISSING), 1)
    issues = issues or _check_each("messages", body["messages"], _check_message)
    if "stream_options" in body:
        issues += _check_properties("stream_options", body["stream_options"], {"include_usage": "boolean"})
    issues += check_range("n", body.get("n") or 1, None, _MAX_CHOICES)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        issues.append("top_logprobs: logprobs must be true")
    if "tools" in body:
        tools = body["tools"]
        issues += _check_length("tools", tools, 0, _MAX_TOOLS) or _check_each("tools", tools, _check_chat_tool)
    if "tool_choice" in body:
        issues += _check_chat_tool_choice(body["tool_choice"])
    if "response_format" in body:
        issues += _check_response_format(body["response_format"])
    return issues


def _check_each(path: str, values: Sequence[Json], check: Callable[[str, Json], Issues]) -> Issues:
    return [issue for index, value in enumerate(values) for issue in check(f"{path}.{index}", value)]


def _check_message(path: str, message: Json) -> Issues:
    if issues := check_type(path, message, "object"):
        return issues
    issues = check_choice(f"{path}.role", message.get("role", MISSING), *_CHAT_ROLES)
    match message.get("role"):
        case "assistant":
            return issues + _check_assistant_message(path, message)
        case "tool":
            return issues + _check_properties(path, message, {"content": "string", "tool_call_id": "string"})
        case _:
            return issues + _check_content(f"{path}.content", message.get("content", MISSING), _CHAT_PARTS)


def _check_assistant_message(path: str, message: Mapping[str, Json]) -> Issues:
    """Check a message from the model, which needs no content if it has tool calls."""
    content, calls = message.get("content"), message.get("tool_calls", [])
    issues = [] if content is None else _check_content(f"{path}.content", content, _CHAT_PARTS)
    path += ".tool_calls"
    return issues + (_check_length(path, calls, 0) or _check_each(path, calls, _check_tool_call))


def _check_tool_call(path: str, call: Json) -> Issues:
    return _check_properties(path, call, {"id": "string", "function": "object"}) or _check_properties(
        f"{path}.function", call["function"], {"name": "string", "arguments": "string"}
    )


def _check_content(path: str, content: Json, part_types: Mapping[str, Mapping[str, str]]) -> Issues:
    """Check a message's content; `part_types` maps each type of part to its required properties."""
    parts = content if isinstance(content, list) else []
    return check_type(path, content, "string", "array") + _check_each(path, parts, partial(_check_part, part_types))


def _check_part(part_types: Mapping[str, Mapping[str, str]], path: str, part: Json) -> Issues:
    issues = (
        check_type(path, part, "object")
        or check_choice(f"{path}.type", part.get("type", MISSING), *part_types)
        or _check_properties(path, part, part_types[part["type"]])
    )
    if issues or part["type"] != "image_url":
        return issues
    return _check_properties(f"{path}.image_url", part["image_url"], {"url": "string"})


def _check_chat_tool(path: str, tool: Json) -> Issues:
    return (
        _check_properties(path, tool, {"type": "string", "function": "object"})
        or check_choice(f"{path}.type", tool["type"], "function")
        or _check_function(f"{path}.function", tool["function"], {"parameters": "object"})
    )


def _check_function(path: str, function: Json, required: Mapping[str, str]) -> Issues:
    """Check the declaration of a function; `required` has properties besides the name, whose characters are limited."""
    issues = _check_properties(path, function, {"name": "string", **required})
    return issues or ([] if _NAME.fullmatch(function["name"]) else [f"{path}.name: Invalid"])


def _check_chat_tool_choice(choice: Json) -> Issues:
    if isinstance(choice, str):
        return check_choice("tool_choice", choice, *_TOOL_CHOICES)
    issues = check_choice("tool_choice.type", choice.get("type", MISSING), "function")
    return issues or _check_function("tool_choice.function", choice.get("function", MISSING), {})


def _check_response_format(value: Json) -> Issues:
    path = "response_format"
    issues = check_type(path, value, "object") or check_choice(f"{path}.type", value.get("type", MISSING), *_FORMATS)
    if issues or value["type"] != "json_schema":
        return issues
    path, json_schema = f"{path}.json_schema", value.get("json_schema", MISSING)
    issues = _check_function(path, json_schema, {})
    if isinstance(json_schema, dict) and "schema" in json_schema:
        issues += check_type(f"{path}.schema", json_schema["schema"], "object")
    return issues


def check_responses_body(body: Mapping[str, Json]) -> Issues:
    """Check the structure of a Responses request whose types were checked with the option table."""
    issues = _check_input(body.get("input", MISSING))
    if "tools" in body:
        tools = body["tools"]
        issues += _check_length("tools", tools, 0) or _check_each("tools", tools, _check_responses_tool)
    if "tool_choice" in body:
        issues += _check_responses_tool_choice(body["tool_choice"])
    if "text" in body:
        issues += _check_text_format(body["text"])
    if body.get("prompt") is not None:
        issues += _check_properties("prompt", body["prompt"], {"id": "string"})
    return issues


def _check_input(value: Json) -> Issues:
    if not isinstance(value, list):
        return check_type("input", value, "string", "array")
    return _check_length("input", value, 1) or _check_each("input", value, _check_item)


def _check_item(path: str, item: Json) -> Issues:
    """Check one input item; only messages may leave out their type."""
    if issues := check_type(path, item, "object"):
        return issues
    if (item_type := item.get("type", "message")) != "message":
        issues = check_choice(f"{path}.type", item_type, "message", *_ITEMS)
        return issues or _check_properties(path, item, _ITEMS[item_type])
    issues = check_choice(f"{path}.role", item.get("role", MISSING), *_RESPONSES_ROLES)
    return issues + _check_content(f"{path}.content", item.get("content", MISSING), _RESPONSES_PARTS)


def _check_responses_tool(path: str, tool: Json) -> Issues:
    issues = _check_properties(path, tool, {"type": "string"})
    issues = issues or check_choice(f"{path}.type", tool["type"], "function", *_HOSTED_TOOLS)
    if issues:
        return issues
    if tool["type"] == "function":
        return _check_function(path, tool, {"parameters": "object", "strict": "boolean"})
    issues = _check_properties(path, tool, _HOSTED_TOOLS[tool["type"]])
    if tool["type"] == "code_interpreter":
        issues += check_type(f"{path}.container", tool.get("container", MISSING), "string", "object")
    return issues


def _check_responses_tool_choice(choice: Json) -> Issues:
    if isinstance(choice, str):
        return check_choice("tool_choice", choice, *_TOOL_CHOICES)
    issues = check_choice("tool_choice.type", choice.get("type", MISSING), *_TOOL_CHOICE_TYPES)
    return issues or (_check_function("tool_choice", choice, {}) if choice["type"] == "function" else [])


def _check_text_format(text: Json) -> Issues:
    issues = _check_properties("text", text, {"format": "object"})
    issues = issues or check_choice("text.format.type", text["format"].get("type", MISSING), *_FORMATS)
    if issues or text["format"]["type"] != "json_schema":
        return issues
    return _check_function("text.format", text["format"], {"schema": "object"})


def json_type(value: Json) -> str:
    """Return the name of a value's JSON type."""
    return _JSON_TYPES.get(type(value), "object")


def check_type(path: str, value: Json, *expected: str) -> Issues:
    """Return an issue for a value that is missing or has none of the expected types."""
    if value is MISSING:
        return [f"{path}: Required"]
    if json_type(value) in expected:
        return []
    return [f"{path}: Expected {' | '.join(expected)}, received {json_type(value)}"]


def check_range(path: str, value: float, minimum: float | None, maximum: float | None) -> Issues:
    """Return an issue for a number that is out of range."""
    if minimum is not None and value < minimum:
        return [f"{path}: Number must be greater than or equal to {minimum}"]
    if maximum is not None and value > maximum:
        return [f"{path}: Number must be less than or equal to {maximum}"]
    return []


def check_choice(path: str, value: Json, *words: str) -> Issues:
    """Return an issue for any value but one of these words."""
    if value is MISSING:
        return [f"{path}: Required"]
    if value in words:
        return []
    expected = " | ".join(f"'{word}'" for word in words)
    received = f"'{value}'" if isinstance(value, str) else json_type(value)
    return [f"{path}: Invalid enum value. Expected {expected}, received {received}"]


def _check_properties(path: str, value: Json, required: Mapping[str, str]) -> Issues:
    """Return issues for a value that is not an object or lacks properties; `required` maps names to types."""
    return check_type(path, value, "object") or [
        issue
        for name, expected in required.items()
        for issue in check_type(f"{path}.{name}", value.get(name, MISSING), expected)
    ]


def _check_length(path: str, value: Json, minimum: int, maximum: int | None = None) -> Issues:
    if issues := check_type(path, value, "array"):
        return issues
    if len(value) < minimum:
        return [f"{path}: Array must contain at least {minimum} element(s)"]
    if maximum is not None and len(value) > maximum:
        return [f"{path}: Array must contain at most {maximum} element(s)"]
    return []


_STRUCTURE_CHECKS = {"chat": check_chat_body, "responses": check_responses_body}


def check_body(body: Mapping[str, Json], endpoint: str) -> None:
    """Raise GatewayError with every invalid property; unknown properties are ignored."""
    # The structure checks rely on types that were checked with the table.
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
        # 2.0 is an integer in JSON.
        value_type.parse(str(int(value) if isinstance(value, float) and value.is_integer() else value))
    except ValueError:
        return [f"{path}: Expected integer, received float"]
    return []
