"""A conversation: messages in order, before any endpoint gives them its form."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Message:
    """Hold what one side said. `role` is user, assistant, system, developer or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Hold the messages so far; every change gives a new conversation."""

    messages: tuple[Message, ...] = ()

    def said(self, role: str, content: str) -> "Conversation":
        """Add a message."""
        return replace(self, messages=(*self.messages, Message(role, content)))
