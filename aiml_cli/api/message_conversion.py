"""Give the turns of a conversation the form that each endpoint has for them."""

from collections.abc import Mapping
from typing import Any

from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.messages import (
    AnyMessage,
    Conversation,
    Document,
    Image,
    Message,
    Part,
    RawMessage,
    Sound,
    ToolResult,
)

# The specification says "base64 text"; what is behind the gateway wants it like this (docs/server-quirks.md).
PDF = "data:application/pdf;base64,"
Json = Any
Item = Mapping[str, Json]
TEXTS = ("text", "input_text", "output_text")


def to_chat_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """Give the messages of a chat request."""
    messages: list[dict[str, Any]] = []
    for turn in conversation.messages:
        if isinstance(turn, RawMessage):
            append_chat_message(messages, turn.item)
        else:
            messages.append(_chat(turn))
    return messages


def to_input_items(conversation: Conversation) -> str | list[dict[str, Any]]:
    """Give the input of a response request; one user message of text alone is a plain text, as in the examples."""
    match conversation.messages:
        case (Message("user", (str() as text,)),):
            return text
        case turns:
            return [item for turn in turns for item in _items(turn)]


def _chat(turn: Message | ToolResult) -> dict[str, Any]:
    match turn:
        case Message(role, (str() as text,)):
            return {"role": role, "content": text}
        case Message(role, parts):
            return {"role": role, "content": [_chat_part(part) for part in parts]}
        case ToolResult(call_id, output):
            return {"role": "tool", "tool_call_id": call_id, "content": output}


def _chat_part(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "text", "text": part}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
        case Document(name, data):
            return {"type": "file", "file": {"filename": name, "file_data": PDF + data}}
        case Sound(data, form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def _items(turn: AnyMessage) -> list[dict[str, Any]]:
    match turn:
        case Message(role, (str() as text,)):
            return [{"role": role, "content": text}]
        case Message(role, parts):
            return [{"role": role, "content": [_input_part(part) for part in parts]}]
        case ToolResult(call_id, output):
            return [{"type": "function_call_output", "call_id": call_id, "output": output}]
        case RawMessage(item):
            return message_to_items(item)


def _input_part(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "input_text", "text": part}
        case Image(url, detail):
            return {"type": "input_image", "image_url": url} | ({"detail": detail} if detail else {})
        case Document(name, data):
            return {"type": "input_file", "filename": name, "file_data": PDF + data}
        case Sound(data, form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def append_chat_message(messages: list[dict[str, Json]], item: Item) -> None:
    """Add an item to the messages of a chat request; a call goes to the assistant's message that it belongs to.

    What has no plain counterpart is added as it is.
    """
    match item:
        case {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}:
            call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            last = messages[-1] if messages else {}
            if last.get("role") != "assistant":
                last = {"role": "assistant", "content": None}
                messages.append(last)
            last["tool_calls"] = [*(last.get("tool_calls") or []), call]
        case {"type": "function_call_output", "call_id": call_id, "output": output}:
            messages.append({"role": "tool", "tool_call_id": call_id, "content": _joined_text(output)})
        case {"role": _, "content": content}:
            left_out = ("type", "id", "status") if item.get("type") == "message" else ()
            kept = {name: value for name, value in item.items() if name not in left_out}
            messages.append({**kept, "content": _each(content, _as_chat_part)})
        case _:
            messages.append(dict(item))


def message_to_items(item: Item) -> list[dict[str, Json]]:
    """Give the input items that a message of chat means: its calls become items of their own."""
    match item:
        case {"role": "tool", "tool_call_id": call_id, "content": content}:
            return [{"type": "function_call_output", "call_id": call_id, "output": _joined_text(content)}]
        case {"role": "assistant", "tool_calls": list() as calls}:
            said = item.get("content")
            message = [{"role": "assistant", "content": _said(said)}] if said else []
            return [*message, *map(_as_call_item, calls)]
        case {"role": "assistant", "content": list() as content} if item.get("type") != "message":
            return [{**item, "content": _said(content)}]
        case {"role": _, "content": content}:
            return [{**item, "content": _each(content, _as_input_part)}]
        case _:
            return [dict(item)]


def _as_call_item(call: Json) -> dict[str, Json]:
    match call:
        case {"id": call_id, "function": {"name": name, "arguments": arguments}}:
            return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        case _:
            return dict(call) if isinstance(call, dict) else {"type": "function_call", "arguments": call}


def _joined_text(content: Json) -> Json:
    """Join parts of text: the result of a tool is one text on both endpoints."""
    is_text = isinstance(content, list) and all(part.get("type") in TEXTS and "text" in part for part in content)
    return "".join(part["text"] for part in content) if is_text else content


def _said(content: Json) -> Json:
    """Give what the assistant said as text, for its parts demand more than chat knows of them."""
    text = _joined_text(content)
    return text if isinstance(text, str) else _each(content, _as_output_part)


def _each(content: Json, change: Any) -> Json:
    return [change(part) for part in content] if isinstance(content, list) else content


def _as_chat_part(part: Item) -> dict[str, Json]:
    match part:
        case {"type": "input_text" | "output_text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str() as url}:
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case {"type": "input_file"} if "file_url" not in part:
            return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}
        case _:
            return dict(part)


def _as_input_part(part: Item) -> dict[str, Json]:
    match part:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": dict() as image} if "url" in image:
            facts = {name: value for name, value in image.items() if name != "url"}
            return {"type": "input_image", "image_url": image["url"], **facts}
        case {"type": "image_url", "image_url": str() as url}:
            return {"type": "input_image", "image_url": url}
        case {"type": "file", "file": dict() as facts}:
            return {"type": "input_file", **facts}
        case _:
            return dict(part)


def _as_output_part(part: Item) -> dict[str, Json]:
    """Give a part of the assistant's the form that it had when it was said."""
    if part.get("type") == "text" and "text" in part:
        return {"type": "output_text", "text": part["text"], "annotations": []}
    return dict(part)


def to_items(turn: AnyMessage) -> list[Item]:
    """Give a turn as it was typed, or as a file had it."""
    return [turn.item] if isinstance(turn, RawMessage) else list(to_chat_messages(Conversation((turn,))))


def exceeds_size(conversation: Conversation, most: int) -> bool:
    """Say whether a conversation holds more than so many characters."""
    return _character_count(conversation) > most


def _character_count(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_character_count, members))


def role_and_text(turn: AnyMessage) -> tuple[str, str]:
    """Give the role and the words of a turn."""
    match turn:
        case Message(role, parts):
            return role, "\n\n".join(part for part in parts if isinstance(part, str))
        case RawMessage(item):
            role = str(item.get("role") or ("tool" if item.get("type") == "function_call_output" else "assistant"))
            return role, _content_text(item.get("content") or item.get("output"))
        case _:
            return "tool", turn.output


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str))


def answer_to_items(endpoint: str, completion: Completion) -> list[Item]:
    """Give an answer as it was said: of responses its output items as they came, of chat its message."""
    if endpoint == "responses" and completion.output:
        return list(completion.output)
    return [message] if (message := _assistant_message(completion.first)) else []


def _assistant_message(choice: Choice) -> dict[str, Any] | None:
    content: Any = choice.output_text or None
    if choice.refusal:
        parts = [{"type": "text", "text": choice.output_text}] if choice.output_text else []
        content = [*parts, {"type": "refusal", "refusal": choice.refusal}]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in choice.tool_calls
    ]
    if content is None and not calls:
        return None
    return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
