"""Give the turns of a conversation the form that each endpoint has for them."""

from typing import Any

from aiml_cli.api.messages import Conversation, Document, Given, Image, Message, Part, Sound, ToolResult, Turn


def chat_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """Give the messages of a chat request."""
    return [_chat(turn) for turn in conversation.turns]


def input_items(conversation: Conversation) -> str | list[dict[str, Any]]:
    """Give the input of a response request; one user message of text alone is a plain text, as in the examples."""
    match conversation.turns:
        case (Message("user", (str() as text,)),):
            return text
        case turns:
            return [_item(turn) for turn in turns]


def _chat(turn: Turn) -> dict[str, Any]:
    match turn:
        case Message(role, (str() as text,)):
            return {"role": role, "content": text}
        case Message(role, parts):
            return {"role": role, "content": [_chat_part(part) for part in parts]}
        case ToolResult(call_id, output):
            return {"role": "tool", "tool_call_id": call_id, "content": output}
        case Given(item):
            return dict(item)


def _chat_part(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "text", "text": part}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
        case Document(name, data):
            return {"type": "file", "file": {"filename": name, "file_data": data}}
        case Sound(data, form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def _item(turn: Turn) -> dict[str, Any]:
    match turn:
        case Message(role, (str() as text,)):
            return {"role": role, "content": text}
        case Message(role, parts):
            return {"role": role, "content": [_input_part(part) for part in parts]}
        case ToolResult(call_id, output):
            return {"type": "function_call_output", "call_id": call_id, "output": output}
        case Given(item):
            return dict(item)


def _input_part(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "input_text", "text": part}
        case Image(url, detail):
            return {"type": "input_image", "image_url": url} | ({"detail": detail} if detail else {})
        case Document(name, data):
            return {"type": "input_file", "filename": name, "file_data": data}
        case Sound(data, form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
