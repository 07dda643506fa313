"""Give the turns of a conversation the form that each endpoint has for them."""

from typing import Any

from aiml_cli.api.messages import Conversation, Document, Given, Image, Message, Part, Sound, ToolResult, Turn

# The specification says "base64 text"; what is behind the gateway wants it like this (docs/server-quirks.md).
PDF = "data:application/pdf;base64,"


def chat_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """Give the messages of a chat request."""
    messages: list[dict[str, Any]] = []
    for turn in conversation.turns:
        if isinstance(turn, Given):
            from aiml_cli.api.forms import add_as_message  # few conversations come from a file

            add_as_message(messages, turn.item)
        else:
            messages.append(_chat(turn))
    return messages


def input_items(conversation: Conversation) -> str | list[dict[str, Any]]:
    """Give the input of a response request; one user message of text alone is a plain text, as in the examples."""
    match conversation.turns:
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


def _items(turn: Turn) -> list[dict[str, Any]]:
    match turn:
        case Message(role, (str() as text,)):
            return [{"role": role, "content": text}]
        case Message(role, parts):
            return [{"role": role, "content": [_input_part(part) for part in parts]}]
        case ToolResult(call_id, output):
            return [{"type": "function_call_output", "call_id": call_id, "output": output}]
        case Given(item):
            from aiml_cli.api.forms import as_items  # few conversations come from a file

            return as_items(item)


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
