"""What the chat endpoint demands beyond the table: messages, tools, formats."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

CHAT_ROLES = ("user", "assistant", "system", "developer", "tool")
TOOL_CHOICES = ("none", "auto", "required")
FORMATS = ("text", "json_object", "json_schema")
MOST_CHOICES = 128  # the upstream's limit; without one a demo could be asked to fill the memory
MOST_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHAT_PARTS: Mapping[str, Mapping[str, str]] = {
    "text": {"text": "string"},
    "image_url": {"image_url": "object"},
    "file": {"file": "object"},
    "input_audio": {"input_audio": "object"},
    "video_url": {"video_url": "object"},
    "refusal": {"refusal": "string"},
}
RESPONSES_ROLES = ("user", "assistant", "system", "developer")
_RESPONSES_PARTS: Mapping[str, Mapping[str, str]] = {
    "input_text": {"text": "string"},
    "input_image": {},
    "input_file": {},
    "output_text": {"text": "string"},
    "refusal": {"refusal": "string"},
}
# The items that are no messages, each with what it requires.
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
# The tools that are run elsewhere, each with what it requires; models differ in which of them they have.
_HOSTED: Mapping[str, Mapping[str, str]] = {
    "web_search_preview": {},
    "web_search_preview_2025_03_11": {},
    "web_search": {},
    "x_search": {},
    "local_shell": {},
    "code_interpreter": {},
    "mcp": {"server_label": "string", "server_url": "string"},
}
_CHOSEN = (
    "function", "web_search_preview", "web_search_preview_2025_03_11", "computer_use_preview", "code_interpreter",
    "mcp",
)  # fmt: skip
Json = Any
Issues = Iterator[str]


def check_chat_body(body: Mapping[str, Json]) -> Issues:
    """Judge the form of a chat request whose types the table has judged."""
    yield from _messages(body.get("messages", MISSING))
    if "stream_options" in body:
        yield from check_properties("stream_options", body["stream_options"], {"include_usage": "boolean"})
    yield from check_range("n", body.get("n") or 1, None, MOST_CHOICES)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        yield "top_logprobs: logprobs must be true"
    if "tools" in body:
        yield from _chat_tools(body["tools"])
    if "tool_choice" in body:
        yield from _chat_tool_choice(body["tool_choice"])
    if "response_format" in body:
        yield from _format(body["response_format"])


def _messages(messages: Json) -> Issues:
    wrong = list(check_length("messages", messages, 1))
    yield from wrong
    if not wrong:
        for index, message in enumerate(messages):
            yield from _message(f"messages.{index}", message)


def _message(path: str, message: Json) -> Issues:
    wrong = list(check_type(path, message, "object"))
    yield from wrong
    if wrong:
        return
    yield from check_choice(f"{path}.role", message.get("role", MISSING), *CHAT_ROLES)
    match message.get("role"):
        case "assistant":
            yield from _assistant(path, message)
        case "tool":
            yield from check_properties(path, message, {"content": "string", "tool_call_id": "string"})
        case _:
            yield from check_content(f"{path}.content", message.get("content", MISSING), _CHAT_PARTS)


def _assistant(path: str, message: Mapping[str, Json]) -> Issues:
    """Judge what the model said earlier: with calls it needs no content."""
    if message.get("content") is not None:
        yield from check_content(f"{path}.content", message["content"], _CHAT_PARTS)
    calls = message.get("tool_calls", [])
    yield from check_length(f"{path}.tool_calls", calls, 0)
    for index, call in enumerate(calls if isinstance(calls, list) else []):
        here = f"{path}.tool_calls.{index}"
        wrong = list(check_properties(here, call, {"id": "string", "function": "object"}))
        yield from wrong or check_properties(
            f"{here}.function", call["function"], {"name": "string", "arguments": "string"}
        )


def check_content(path: str, said: Json, parts: Mapping[str, Mapping[str, str]]) -> Issues:
    """Judge a message's content; `parts` gives each type of part with what it requires."""
    yield from check_type(path, said, "string", "array")
    for index, part in enumerate(said if isinstance(said, list) else []):
        yield from _part(f"{path}.{index}", part, parts)


def _part(path: str, part: Json, parts: Mapping[str, Mapping[str, str]]) -> Issues:
    wrong = list(check_type(path, part, "object")) or list(
        check_choice(f"{path}.type", part.get("type", MISSING), *parts)
    )
    wrong = wrong or list(check_properties(path, part, parts[part["type"]]))
    yield from wrong
    if not wrong and part["type"] == "image_url":
        yield from check_properties(f"{path}.image_url", part["image_url"], {"url": "string"})


def _chat_tools(tools: Json) -> Issues:
    wrong = list(check_length("tools", tools, 0, MOST_TOOLS))
    yield from wrong
    for index, tool in enumerate([] if wrong else tools):
        path = f"tools.{index}"
        bad = list(check_properties(path, tool, {"type": "string", "function": "object"}))
        bad = bad or list(check_choice(f"{path}.type", tool["type"], "function"))
        yield from bad or check_function(f"{path}.function", tool["function"], {"parameters": "object"})


def check_function(path: str, described: Mapping[str, Json], required: Mapping[str, str]) -> Issues:
    """Judge the description of a function, whose name has an alphabet of its own."""
    wrong = list(check_properties(path, described, {"name": "string", **required}))
    yield from wrong
    if not wrong and not _NAME.fullmatch(described["name"]):
        yield f"{path}.name: Invalid"


def _chat_tool_choice(choice: Json) -> Issues:
    if isinstance(choice, str):
        yield from check_choice("tool_choice", choice, *TOOL_CHOICES)
        return
    wrong = list(check_choice("tool_choice.type", choice.get("type", MISSING), "function"))
    yield from wrong or check_function("tool_choice.function", choice.get("function", MISSING), {})


def _format(wanted: Json) -> Issues:
    wrong = list(check_type("response_format", wanted, "object"))
    wrong = wrong or list(check_choice("response_format.type", wanted.get("type", MISSING), *FORMATS))
    yield from wrong
    if not wrong and wanted["type"] == "json_schema":
        path = "response_format.json_schema"
        described = wanted.get("json_schema", MISSING)
        yield from check_function(path, described, {})
        if isinstance(described, dict) and "schema" in described:
            yield from check_type(f"{path}.schema", described["schema"], "object")


def check_responses_body(body: Mapping[str, Json]) -> Issues:
    """Judge the form of a Responses request whose types the table has judged."""
    yield from _input(body.get("input", MISSING))
    if "tools" in body:
        yield from _responses_tools(body["tools"])
    if "tool_choice" in body:
        yield from _responses_tool_choice(body["tool_choice"])
    if "text" in body:
        yield from _text(body["text"])
    if body.get("prompt") is not None:
        yield from check_properties("prompt", body["prompt"], {"id": "string"})


def _input(said: Json) -> Issues:
    yield from check_type("input", said, "string", "array")
    if isinstance(said, list):
        yield from check_length("input", said, 1)
        for index, item in enumerate(said):
            yield from _item(f"input.{index}", item)


def _item(path: str, item: Json) -> Issues:
    """Judge one item; a message needs no type, anything else has one."""
    wrong = list(check_type(path, item, "object"))
    yield from wrong
    if wrong:
        return
    if item.get("type", "message") == "message":
        yield from check_choice(f"{path}.role", item.get("role", MISSING), *RESPONSES_ROLES)
        yield from check_content(f"{path}.content", item.get("content", MISSING), _RESPONSES_PARTS)
    else:
        unknown = list(check_choice(f"{path}.type", item["type"], "message", *_ITEMS))
        yield from unknown or check_properties(path, item, _ITEMS[item["type"]])


def _responses_tools(tools: Json) -> Issues:
    wrong = list(check_length("tools", tools, 0))
    yield from wrong
    for index, tool in enumerate([] if wrong else tools):
        yield from _tool(f"tools.{index}", tool)


def _tool(path: str, tool: Json) -> Issues:
    wrong = list(check_properties(path, tool, {"type": "string"}))
    wrong = wrong or list(check_choice(f"{path}.type", tool["type"], "function", *_HOSTED))
    if wrong:
        yield from wrong
    elif tool["type"] == "function":
        yield from check_function(path, tool, {"parameters": "object", "strict": "boolean"})
    else:
        yield from check_properties(path, tool, _HOSTED[tool["type"]])
        if tool["type"] == "code_interpreter":
            yield from check_type(f"{path}.container", tool.get("container", MISSING), "string", "object")


def _responses_tool_choice(choice: Json) -> Issues:
    if isinstance(choice, str):
        yield from check_choice("tool_choice", choice, *TOOL_CHOICES)
        return
    wrong = list(check_choice("tool_choice.type", choice.get("type", MISSING), *_CHOSEN))
    yield from wrong
    if not wrong and choice["type"] == "function":
        yield from check_function("tool_choice", choice, {})


def _text(text: Json) -> Issues:
    wrong = list(check_properties("text", text, {"format": "object"}))
    wrong = wrong or list(check_choice("text.format.type", text["format"].get("type", MISSING), *FORMATS))
    yield from wrong
    if not wrong and text["format"]["type"] == "json_schema":
        yield from check_function("text.format", text["format"], {"schema": "object"})


class _Missing:
    """Stand for a property that is not there; None is a value."""


MISSING: Final = _Missing()


def json_type(value: Json) -> str:
    """Name the JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def check_type(path: str, value: Json, *expected: str) -> Issues:
    """Complain of a value that is missing, or of none of the expected types."""
    if value is MISSING:
        yield f"{path}: Required"
    elif json_type(value) not in expected:
        yield f"{path}: Expected {' | '.join(expected)}, received {json_type(value)}"


def check_range(path: str, value: Json, low: float | None, high: float | None) -> Issues:
    """Complain of a number that is out of range."""
    if low is not None and value < low:
        yield f"{path}: Number must be greater than or equal to {low}"
    if high is not None and value > high:
        yield f"{path}: Number must be less than or equal to {high}"


def check_choice(path: str, value: Json, *words: str) -> Issues:
    """Complain of anything but one of these words."""
    if value is MISSING:
        yield f"{path}: Required"
    elif value not in words:
        expected = " | ".join(f"'{word}'" for word in words)
        shown = f"'{value}'" if isinstance(value, str) else json_type(value)
        yield f"{path}: Invalid enum value. Expected {expected}, received {shown}"


def check_properties(path: str, value: Json, required: Mapping[str, str]) -> Issues:
    """Complain of what is no object, or lacks properties; `required` gives their names and types."""
    wrong = list(check_type(path, value, "object"))
    yield from wrong
    if not wrong:
        for name, kind in required.items():
            yield from check_type(f"{path}.{name}", value.get(name, MISSING), kind)


def check_length(path: str, value: Json, fewest: int, most: int | None = None) -> Issues:
    """Complain of what is no array, or of too few or too many elements."""
    wrong = list(check_type(path, value, "array"))
    yield from wrong
    if not wrong and len(value) < fewest:
        yield f"{path}: Array must contain at least {fewest} element(s)"
    if not wrong and most is not None and len(value) > most:
        yield f"{path}: Array must contain at most {most} element(s)"
