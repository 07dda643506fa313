"""A conversation: its messages in order, independent of any endpoint's format."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple


class Image(NamedTuple):
    """An image: an http(s) or `data:` URL. `detail` is auto, low, high or None."""

    url: str
    detail: str | None = None


class Document(NamedTuple):
    """A PDF: its file name, and its bytes as base64."""

    name: str
    data: str


class Sound(NamedTuple):
    """Audio: its bytes as base64. `format` is wav, mp3 or similar."""

    data: str
    format: str


Part = str | Image | Document | Sound


class Message(NamedTuple):
    """A message. `role` is user, assistant, system or developer; a part that is a str is text."""

    role: str
    content: tuple[Part, ...]


class ToolResult(NamedTuple):
    """The output of a tool call."""

    call_id: str
    output: str


class RawMessage(NamedTuple):
    """A message or input item exactly as in the user's file, in the format of either endpoint."""

    item: Mapping[str, Any]


class HistoryMode(IntEnum):
    """How previous turns are sent: by the id of the stored response, in full, or in full without reasoning."""

    BY_ID = 0
    FULL = 1
    WITHOUT_REASONING = 2


AnyMessage = Message | ToolResult | RawMessage


class Conversation(NamedTuple):
    """An immutable list of messages."""

    messages: tuple[AnyMessage, ...] = ()

    def add_message(self, role: str, *content: Part) -> "Conversation":
        """Return a conversation with one more message."""
        return self.extend(Message(role, content))

    def extend(self, *messages: AnyMessage) -> "Conversation":
        """Return a conversation with more messages."""
        return Conversation((*self.messages, *messages))
