"""What an answer is made of: the events that every endpoint speaks and every screen understands."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

Json = Any
Kind = TypeVar("Kind", bound=type[tuple[Any, ...]])


def compare_by_type(kind: Kind) -> Kind:
    """Make events of two kinds unequal, whatever they hold.

    They are named tuples and no dataclasses because making a class costs 0.05 ms so, and 0.3 ms else: with
    forty of them that is a tenth of the start.
    """

    def equal(mine: Any, other: object) -> bool:
        return type(mine) is type(other) and tuple.__eq__(mine, other)  # type: ignore[operator]

    def unequal(mine: Any, other: object) -> bool:
        return not equal(mine, other)

    vars_of: Any = kind
    vars_of.__eq__, vars_of.__ne__, vars_of.__hash__ = equal, unequal, tuple.__hash__
    return kind


@compare_by_type
class ResponseStarted(NamedTuple):
    """Say who answers: the response's id, the model as the server names it, the Unix time of creation."""

    id: str | None = None
    model: str | None = None
    created: float | None = None


@compare_by_type
class TextDelta(NamedTuple):
    """Carry a piece of the answer's text."""

    text: str
    choice: int = 0


@compare_by_type
class ReasoningDelta(NamedTuple):
    """Carry a piece of the reasoning. A new `part` is a new paragraph to a reader."""

    text: str
    choice: int = 0
    part: int = 0


@compare_by_type
class RefusalDelta(NamedTuple):
    """Carry a piece of the words in which the model refuses."""

    text: str
    choice: int = 0


@compare_by_type
class ToolCallDelta(NamedTuple):
    """Carry a piece of a tool call; pieces of one call share a slot, and `arguments` are joined."""

    slot: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    choice: int = 0


@compare_by_type
class Citation(NamedTuple):
    """Name a source: of the whole answer, or of its text from `start` to `end` (characters)."""

    url: str
    title: str | None = None
    start: int | None = None
    end: int | None = None
    choice: int = 0


@compare_by_type
class CitedFile(NamedTuple):
    """Name a file on the server: one that was quoted from, or that code wrote. `kind` is the API's own word."""

    kind: str
    id: str
    name: str | None = None
    container_id: str | None = None
    choice: int = 0


@compare_by_type
class TokenLogprob(NamedTuple):
    """Carry the log probability of one token, with the alternatives as the server gave them."""

    token: str
    logprob: float
    top: tuple[Mapping[str, Json], ...] = ()
    choice: int = 0


@compare_by_type
class AudioDelta(NamedTuple):
    """Carry a piece of spoken output: base64 data, each piece complete or not, and what was said."""

    id: str = ""
    data: str = ""
    transcript: str = ""
    choice: int = 0


@compare_by_type
class GeneratedImage(NamedTuple):
    """Carry a picture, as base64 data."""

    data: str
    choice: int = 0


@compare_by_type
class OutputItems(NamedTuple):
    """Carry output items as the server sent them, to be sent again; `whole` ones replace those before."""

    items: tuple[Mapping[str, Json], ...]
    whole: bool = False


@compare_by_type
class Usage(NamedTuple):
    """Count tokens, and the price where the server tells it. Each Usage replaces the one before."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    details: Mapping[str, Json] = MappingProxyType({})


@compare_by_type
class Notice(NamedTuple):
    """Tell something that is no part of the answer; a screen that has only a line for it shortens it."""

    text: str


@compare_by_type
class ErrorEvent(NamedTuple):
    """Carry the server's own report of a failure, in the middle of a stream or under status 200."""

    message: str
    type: str | None = None
    code: str | None = None


@compare_by_type
class Finished(NamedTuple):
    """End a choice, or (choice None) the whole answer.

    `reason` is the server's word: stop, length, tool_calls, content_filter, max_output_tokens, …;
    `status` is the state of a response: completed, incomplete, failed, queued, …
    """

    reason: str | None = None
    choice: int | None = None
    status: str | None = None


CitedSource = Citation | CitedFile
Content = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | TokenLogprob | AudioDelta | GeneratedImage
Event = ResponseStarted | Content | CitedSource | OutputItems | Usage | Notice | ErrorEvent | Finished
EventBatch = list[Event]
