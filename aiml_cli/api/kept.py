"""Give turns and answers as the items that say them again, in a later request."""

from collections.abc import Mapping
from typing import Any

from aiml_cli.api.completion import Choice, Completion
from aiml_cli.api.messages import Conversation, Given, Message, Turn
from aiml_cli.api.parts import chat_messages

Item = Mapping[str, Any]


def items_of(turn: Turn) -> list[Item]:
    """Give a turn as it was typed, or as a file had it."""
    return [turn.item] if isinstance(turn, Given) else list(chat_messages(Conversation((turn,))))


def is_larger(conversation: Conversation, most: int) -> bool:
    """Say whether a conversation holds more than so many characters."""
    return _size(conversation) > most


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_size, members))


def words_of(turn: Turn) -> tuple[str, str]:
    """Give the role and the words of a turn."""
    match turn:
        case Message(role, parts):
            return role, "\n\n".join(part for part in parts if isinstance(part, str))
        case Given(item):
            role = str(item.get("role") or ("tool" if item.get("type") == "function_call_output" else "assistant"))
            return role, _text(item.get("content") or item.get("output"))
        case _:
            return "tool", turn.output


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str))


def items(endpoint: str, completion: Completion) -> list[Item]:
    """Give an answer as it was said: of responses its output items as they came, of chat its message."""
    if endpoint == "responses" and completion.output:
        return list(completion.output)
    return [message] if (message := _message(completion.first)) else []


def _message(choice: Choice) -> dict[str, Any] | None:
    content: Any = choice.words or None
    if choice.refusal:
        parts = [{"type": "text", "text": choice.words}] if choice.words else []
        content = [*parts, {"type": "refusal", "refusal": choice.refusal}]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in choice.tool_calls
    ]
    if content is None and not calls:
        return None
    return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
