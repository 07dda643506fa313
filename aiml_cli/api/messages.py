"""A conversation: messages in order, before any endpoint gives them its form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Image:
    """Show the model an image: an http(s) address, or a `data:` URL. `detail` is auto, low, high or None."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Give the model a PDF: its file name, and its bytes as base64."""

    name: str
    data: str


@dataclass(frozen=True, slots=True)
class Sound:
    """Let the model hear: bytes as base64. `format` is wav, mp3 and the like."""

    data: str
    format: str


Part = str | Image | Document | Sound


@dataclass(frozen=True, slots=True)
class Message:
    """Hold what one side said. `role` is user, assistant, system or developer; a part that is a str is text."""

    role: str
    content: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Answer a tool call by its id."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class Given:
    """Hold a message or an input item just as a user's file has it, in the form of either endpoint."""

    item: Mapping[str, Any]


Turn = Message | ToolResult | Given


@dataclass(frozen=True, slots=True)
class Conversation:
    """Hold the turns so far; every change gives a new conversation."""

    turns: tuple[Turn, ...] = ()

    def said(self, role: str, *content: Part) -> "Conversation":
        """Add a message."""
        return self.then(Message(role, content))

    def then(self, *turns: Turn) -> "Conversation":
        """Add turns."""
        return replace(self, turns=(*self.turns, *turns))
