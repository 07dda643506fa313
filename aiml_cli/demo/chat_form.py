"""What the chat endpoint demands beyond the table: messages, tools, formats."""

import re
from collections.abc import Mapping

from aiml_cli.demo.checks import MISSING, Issues, Json, counted, has, one_of, typed, within

ROLES = ("user", "assistant", "system", "developer", "tool")
TOOL_CHOICES = ("none", "auto", "required")
FORMATS = ("text", "json_object", "json_schema")
MOST_CHOICES = 128  # the upstream's limit; without one a demo could be asked to fill the memory
MOST_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARTS: Mapping[str, Mapping[str, str]] = {
    "text": {"text": "string"},
    "image_url": {"image_url": "object"},
    "file": {"file": "object"},
    "input_audio": {"input_audio": "object"},
    "video_url": {"video_url": "object"},
    "refusal": {"refusal": "string"},
}


def chat_form(body: Mapping[str, Json]) -> Issues:
    """Judge the form of a chat request whose types the table has judged."""
    yield from _messages(body.get("messages", MISSING))
    if "stream_options" in body:
        yield from has("stream_options", body["stream_options"], {"include_usage": "boolean"})
    yield from within("n", body.get("n") or 1, None, MOST_CHOICES)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        yield "top_logprobs: logprobs must be true"
    if "tools" in body:
        yield from _tools(body["tools"])
    if "tool_choice" in body:
        yield from _tool_choice(body["tool_choice"])
    if "response_format" in body:
        yield from _format(body["response_format"])


def _messages(messages: Json) -> Issues:
    wrong = list(counted("messages", messages, 1))
    yield from wrong
    if not wrong:
        for index, message in enumerate(messages):
            yield from _message(f"messages.{index}", message)


def _message(path: str, message: Json) -> Issues:
    wrong = list(typed(path, message, "object"))
    yield from wrong
    if wrong:
        return
    yield from one_of(f"{path}.role", message.get("role", MISSING), *ROLES)
    match message.get("role"):
        case "assistant":
            yield from _assistant(path, message)
        case "tool":
            yield from has(path, message, {"content": "string", "tool_call_id": "string"})
        case _:
            yield from content(f"{path}.content", message.get("content", MISSING), _PARTS)


def _assistant(path: str, message: Mapping[str, Json]) -> Issues:
    """Judge what the model said earlier: with calls it needs no content."""
    if message.get("content") is not None:
        yield from content(f"{path}.content", message["content"], _PARTS)
    calls = message.get("tool_calls", [])
    yield from counted(f"{path}.tool_calls", calls, 0)
    for index, call in enumerate(calls if isinstance(calls, list) else []):
        here = f"{path}.tool_calls.{index}"
        wrong = list(has(here, call, {"id": "string", "function": "object"}))
        yield from wrong or has(f"{here}.function", call["function"], {"name": "string", "arguments": "string"})


def content(path: str, said: Json, parts: Mapping[str, Mapping[str, str]]) -> Issues:
    """Judge a message's content; `parts` gives each type of part with what it requires."""
    yield from typed(path, said, "string", "array")
    for index, part in enumerate(said if isinstance(said, list) else []):
        yield from _part(f"{path}.{index}", part, parts)


def _part(path: str, part: Json, parts: Mapping[str, Mapping[str, str]]) -> Issues:
    wrong = list(typed(path, part, "object")) or list(one_of(f"{path}.type", part.get("type", MISSING), *parts))
    wrong = wrong or list(has(path, part, parts[part["type"]]))
    yield from wrong
    if not wrong and part["type"] == "image_url":
        yield from has(f"{path}.image_url", part["image_url"], {"url": "string"})


def _tools(tools: Json) -> Issues:
    wrong = list(counted("tools", tools, 0, MOST_TOOLS))
    yield from wrong
    for index, tool in enumerate([] if wrong else tools):
        path = f"tools.{index}"
        bad = list(has(path, tool, {"type": "string", "function": "object"}))
        bad = bad or list(one_of(f"{path}.type", tool["type"], "function"))
        yield from bad or function(f"{path}.function", tool["function"], {"parameters": "object"})


def function(path: str, described: Mapping[str, Json], required: Mapping[str, str]) -> Issues:
    """Judge the description of a function, whose name has an alphabet of its own."""
    wrong = list(has(path, described, {"name": "string", **required}))
    yield from wrong
    if not wrong and not _NAME.fullmatch(described["name"]):
        yield f"{path}.name: Invalid"


def _tool_choice(choice: Json) -> Issues:
    if isinstance(choice, str):
        yield from one_of("tool_choice", choice, *TOOL_CHOICES)
        return
    wrong = list(one_of("tool_choice.type", choice.get("type", MISSING), "function"))
    yield from wrong or function("tool_choice.function", choice.get("function", MISSING), {})


def _format(wanted: Json) -> Issues:
    wrong = list(typed("response_format", wanted, "object"))
    wrong = wrong or list(one_of("response_format.type", wanted.get("type", MISSING), *FORMATS))
    yield from wrong
    if not wrong and wanted["type"] == "json_schema":
        path = "response_format.json_schema"
        described = wanted.get("json_schema", MISSING)
        yield from function(path, described, {})
        if isinstance(described, dict) and "schema" in described:
            yield from typed(f"{path}.schema", described["schema"], "object")
