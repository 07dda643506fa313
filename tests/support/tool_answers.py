"""Answers that call tools, on both endpoints, streamed or not; tool files for them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.loopback import Loopback, delta, event, json_response, response_object, stream, text_events


class Call(NamedTuple):
    """A tool call; arguments that are not a string are written as JSON."""

    name: str
    arguments: Any = ""
    id: str = "call_1"

    @property
    def text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
RESPONSE_USAGE = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}


def build_answer(
    endpoint: str, text: str = "", calls: Sequence[Call] = (), *, streamed: bool = True, **more: Any
) -> bytes:
    """Return an answer with a text and calls; `more` are properties of the message, or of the response."""
    if endpoint == "chat":
        return _chat_stream(text, calls, more) if streamed else _chat_json(text, calls, more)
    items = [*more.pop("before", []), *([_message(text)] if text else []), *map(_to_item, calls)]
    response = response_object(text, output=items, usage=RESPONSE_USAGE, **more)
    if not streamed:
        return json_response(response)
    added = [
        event({"type": "response.output_item.done", "output_index": index, "item": item})
        for index, item in enumerate(items)
        if item["type"] != "message"
    ]
    return stream(*text_events(*text), *added, event({"type": "response.completed", "response": response}))


def _chat_stream(text: str, calls: Sequence[Call], more: dict[str, Any]) -> bytes:
    pieces = [
        {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
        for index, call in enumerate(calls)
    ]
    last = event({"id": "chat-1", "model": "m", "choices": [], "usage": USAGE})
    called = [delta(tool_calls=[piece]) for piece in pieces]
    finish = delta(finish="tool_calls" if calls else "stop")
    return stream(*([delta(**more)] if more else []), *map(delta, text), *called, finish, last, event("[DONE]"))


def _chat_json(text: str, calls: Sequence[Call], more: dict[str, Any]) -> bytes:
    tool_calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}} for call in calls
    ]
    message = {"role": "assistant", "content": text or None, **({"tool_calls": tool_calls} if calls else {}), **more}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return json_response({"id": "chat-1", "model": "m", "choices": [choice], "usage": USAGE})


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def _to_item(call: Call) -> dict[str, Any]:
    facts = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "status": "completed"}
    return {**facts, "name": call.name, "arguments": call.text}


def write_tool_file(name: str, *run: str, params: str = "", **more: Any) -> Path:
    """Write a tool file into the config folder of the test."""
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "tools"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {"description": f"About {name}.", "run": list(run), **({"params": params} if params else {}), **more}
    path = folder / f"{name}.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()), encoding="utf-8")
    path.chmod(0o600)
    return path


def read_tool_results(server: Loopback, request: int = -1) -> list[tuple[str, str]]:
    """Return the id and text of each tool result in a request."""
    body = server.requests[request].json
    return [
        (item.get("tool_call_id") or item["call_id"], item["content"] if "content" in item else item["output"])
        for item in body.get("messages") or body["input"]
        if item.get("role") == "tool" or item.get("type") == "function_call_output"
    ]
