"""Convert messages and answers to the formats of the two endpoints, and raw messages between them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.json_values import Json, as_list
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

# The specification says "base64 text", but the gateway's backends require this prefix:
# docs/development/server-quirks.md.
PDF_PREFIX = "data:application/pdf;base64,"
Item = Mapping[str, Json]
_RESULT_TYPES = ("function_call_output", "mcp_approval_response")
TEXT_TYPES = ("text", "input_text", "output_text")


def to_chat_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """Return the messages of a chat request."""
    messages: list[dict[str, Any]] = []
    for message in conversation.messages:
        if isinstance(message, RawMessage):
            _append_raw_message(messages, message.item)
        else:
            messages.append(_to_chat_message(message))
    return messages


def to_input_items(conversation: Conversation) -> str | list[dict[str, Any]]:
    """Return the input of a responses request; a single user message of text is a string, as in the API's examples."""
    match conversation.messages:
        case (Message("user", (str() as text,)),):
            return text
        case messages:
            return [item for message in messages for item in _message_to_items(message)]


def _to_chat_message(message: Message | ToolResult) -> dict[str, Any]:
    match message:
        case Message(role, (str() as text,)):
            return {"role": role, "content": text}
        case Message(role, parts):
            return {"role": role, "content": [_to_chat_part(part) for part in parts]}
        case ToolResult(call_id, output):
            return {"role": "tool", "tool_call_id": call_id, "content": output}


def _to_chat_part(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "text", "text": part}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
        case Document(name, data):
            return {"type": "file", "file": {"filename": name, "file_data": PDF_PREFIX + data}}
        case Sound(data, sound_format):
            return {"type": "input_audio", "input_audio": {"data": data, "format": sound_format}}


def _message_to_items(message: AnyMessage) -> list[dict[str, Any]]:
    match message:
        case Message(role, (str() as text,)):
            return [{"role": role, "content": text}]
        case Message(role, parts):
            return [{"role": role, "content": [_to_input_part(part) for part in parts]}]
        case ToolResult(call_id, output):
            return [{"type": "function_call_output", "call_id": call_id, "output": output}]
        case RawMessage(item):
            return _raw_message_to_items(item)


def _to_input_part(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "input_text", "text": part}
        case Image(url, detail):
            return {"type": "input_image", "image_url": url} | ({"detail": detail} if detail else {})
        case Document(name, data):
            return {"type": "input_file", "filename": name, "file_data": PDF_PREFIX + data}
        case Sound():
            return _to_chat_part(part)


def _append_raw_message(messages: list[dict[str, Json]], item: Item) -> None:
    """Append an item in chat format if it has one; a call goes into the assistant message before it."""
    match item:
        case {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}:
            call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            if not messages or messages[-1].get("role") != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1]["tool_calls"] = [*(messages[-1].get("tool_calls") or []), call]
        case {"type": "function_call_output", "call_id": call_id, "output": output}:
            messages.append({"role": "tool", "tool_call_id": call_id, "content": _join_texts(output)})
        case {"role": _, "content": content}:
            excluded = ("type", "id", "status") if item.get("type") == "message" else ()
            fields = {name: value for name, value in item.items() if name not in excluded}
            messages.append({**fields, "content": _convert_parts(content, _raw_part_to_chat)})
        case _:
            messages.append(dict(item))


def _raw_message_to_items(item: Item) -> list[dict[str, Json]]:
    """Convert a message to input items; the tool calls of a chat message become separate items."""
    match item:
        case {"role": "tool", "tool_call_id": call_id, "content": content}:
            return [{"type": "function_call_output", "call_id": call_id, "output": _join_texts(content)}]
        case {"role": "assistant", "tool_calls": list() as calls}:
            content = item.get("content")
            message = [{"role": "assistant", "content": _convert_assistant_content(content)}] if content else []
            return [*message, *map(_call_to_item, calls)]
        case {"role": "assistant", "content": list() as content} if item.get("type") != "message":
            return [{**item, "content": _convert_assistant_content(content)}]
        case {"role": _, "content": content}:
            return [{**item, "content": _convert_parts(content, _raw_part_to_input)}]
        case _:
            return [dict(item)]


def _call_to_item(call: Json) -> dict[str, Json]:
    match call:
        case {"id": call_id, "function": {"name": name, "arguments": arguments}}:
            return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        case _:
            return dict(call) if isinstance(call, dict) else {"type": "function_call", "arguments": call}


def _join_texts(content: Json) -> Json:
    """Join parts if all are text: a tool result is a string on both endpoints."""
    is_text = isinstance(content, list) and all(part.get("type") in TEXT_TYPES and "text" in part for part in content)
    return "".join(part["text"] for part in content) if is_text else content


def _convert_assistant_content(content: Json) -> Json:
    """Return a string if possible, because output parts require properties that chat does not have."""
    text = _join_texts(content)
    return text if isinstance(text, str) else _convert_parts(content, _raw_part_to_output)


def _convert_parts(content: Json, convert: Callable[[Item], dict[str, Json]]) -> Json:
    return [convert(part) for part in content] if isinstance(content, list) else content


def _raw_part_to_chat(part: Item) -> dict[str, Json]:
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


def _raw_part_to_input(part: Item) -> dict[str, Json]:
    match part:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": dict() as image} if "url" in image:
            fields = {name: value for name, value in image.items() if name != "url"}
            return {"type": "input_image", "image_url": image["url"], **fields}
        case {"type": "image_url", "image_url": str() as url}:
            return {"type": "input_image", "image_url": url}
        case {"type": "file", "file": dict() as file}:
            return {"type": "input_file", **file}
        case _:
            return dict(part)


def _raw_part_to_output(part: Item) -> dict[str, Json]:
    if part.get("type") == "text" and "text" in part:
        return {"type": "output_text", "text": part["text"], "annotations": []}
    return dict(part)


def to_raw_items(message: AnyMessage) -> list[Item]:
    """Return a raw message's item unchanged, and any other message in chat format."""
    return [message.item] if isinstance(message, RawMessage) else list(to_chat_messages(Conversation((message,))))


def is_longer_than(value: Conversation | Sequence[Any], limit: int) -> bool:
    """True if the strings of a conversation or an array have more than `limit` characters."""
    return _count_chars(value) > limit


def _count_chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_count_chars, members))


def get_role_and_text(message: AnyMessage) -> tuple[str, str]:
    """Return the role and the text of a message."""
    match message:
        case Message(role, parts):
            return role, "\n\n".join(part for part in parts if isinstance(part, str))
        case RawMessage(item):
            role = str(item.get("role") or ("tool" if item.get("type") in _RESULT_TYPES else "assistant"))
            return role, _content_to_text(item.get("content") or item.get("output"))
        case _:
            return "tool", message.output


def _content_to_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in as_list(content) if isinstance(part, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str))


def answer_to_items(endpoint: str, completion: Completion) -> list[Item]:
    """Return the output items of a responses answer unchanged, and any other answer as a chat message."""
    if endpoint == "responses" and completion.output:
        return list(completion.output)
    return [message] if (message := _choice_to_message(completion.first)) else []


def _choice_to_message(choice: Choice) -> dict[str, Any] | None:
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
