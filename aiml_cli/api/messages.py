"""A conversation: messages in order, before any endpoint gives them its form."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Image(NamedTuple):
    """Show the model an image: an http(s) address, or a `data:` URL. `detail` is auto, low, high or None."""

    url: str
    detail: str | None = None


class Document(NamedTuple):
    """Give the model a PDF: its file name, and its bytes as base64."""

    name: str
    data: str


class Sound(NamedTuple):
    """Let the model hear: bytes as base64. `format` is wav, mp3 and the like."""

    data: str
    format: str


Part = str | Image | Document | Sound


class Message(NamedTuple):
    """Hold what one side said. `role` is user, assistant, system or developer; a part that is a str is text."""

    role: str
    content: tuple[Part, ...]


class ToolResult(NamedTuple):
    """Answer a tool call by its id."""

    call_id: str
    output: str


class RawMessage(NamedTuple):
    """Hold a message or an input item just as a user's file has it, in the form of either endpoint."""

    item: Mapping[str, Any]


AnyMessage = Message | ToolResult | RawMessage


class Conversation(NamedTuple):
    """Hold the turns so far; every change gives a new conversation."""

    messages: tuple[AnyMessage, ...] = ()

    def add_message(self, role: str, *content: Part) -> "Conversation":
        """Add a message."""
        return self.extend(Message(role, content))

    def extend(self, *turns: AnyMessage) -> "Conversation":
        """Add turns."""
        return Conversation((*self.messages, *turns))
