"""What an answer is made of: the events that every endpoint speaks and every screen understands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class Begun:
    """Say who answers: the response's id, the model as the server names it, the Unix time of creation."""

    id: str | None = None
    model: str | None = None
    created: float | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Carry a piece of the answer's text."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Thought:
    """Carry a piece of the reasoning. A new `part` is a new paragraph to a reader."""

    text: str
    choice: int = 0
    part: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Carry a piece of the words in which the model refuses."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Carry a piece of a tool call; pieces of one call share a slot, and `arguments` are joined."""

    slot: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Citation:
    """Name a source: of the whole answer, or of its text from `start` to `end` (characters)."""

    url: str
    title: str | None = None
    start: int | None = None
    end: int | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class CitedFile:
    """Name a file on the server: one that was quoted from, or that code wrote. `kind` is the API's own word."""

    kind: str
    id: str
    name: str | None = None
    container_id: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """Carry the log probability of one token, with the alternatives as the server gave them."""

    token: str
    logprob: float
    top: tuple[Mapping[str, Json], ...] = ()
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Audio:
    """Carry a piece of spoken output: base64 data, each piece complete or not, and what was said."""

    id: str = ""
    data: str = ""
    transcript: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """Carry a picture, as base64 data."""

    data: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Count tokens, and the price where the server tells it. Each Usage replaces the one before."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell something that is no part of the answer; a screen that has only a line for it shortens it."""

    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Carry the server's own report of a failure, in the middle of a stream or under status 200."""

    message: str
    type: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """End a choice, or (choice None) the whole answer.

    `reason` is the server's word: stop, length, tool_calls, content_filter, max_output_tokens, …;
    `status` is the state of a response: completed, incomplete, failed, queued, …
    """

    reason: str | None = None
    choice: int | None = None
    status: str | None = None


Source = Citation | CitedFile
Event = Begun | Text | Thought | Refusal | ToolCall | Source | Token | Audio | Image | Usage | Notice | Fault | Done
Batch = list[Event]
