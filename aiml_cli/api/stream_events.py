"""Typed events of a stream, and the text that its pieces add up to."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from aiml_cli.api.json_values import Json

EventClass = TypeVar("EventClass", bound=type[tuple[Any, ...]])


def compare_by_type(event_class: EventClass) -> EventClass:
    """Make events of different classes unequal, even if their fields are equal.

    Events are named tuples because creating such a class takes 0.05 ms, and a dataclass 0.3 ms: with forty of
    them that is a tenth of the start-up time.
    """

    def is_equal(self: Any, other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)  # type: ignore[operator]

    target: Any = event_class
    target.__eq__, target.__hash__ = is_equal, tuple.__hash__
    target.__ne__ = lambda self, other: not is_equal(self, other)
    return event_class


@compare_by_type
class ResponseStarted(NamedTuple):
    """The start of a response: its id, the model as the server names it, the Unix time of creation."""

    id: str | None = None
    model: str | None = None
    created: float | None = None


@compare_by_type
class TextDelta(NamedTuple):
    """A piece of the text."""

    text: str
    choice: int = 0


@compare_by_type
class ReasoningDelta(NamedTuple):
    """A piece of the reasoning. A new `part` starts a new paragraph."""

    text: str
    choice: int = 0
    part: int = 0


@compare_by_type
class RefusalDelta(NamedTuple):
    """A piece of the message in which the model refuses."""

    text: str
    choice: int = 0


@compare_by_type
class ToolCallDelta(NamedTuple):
    """A piece of a tool call. The pieces of one call share a slot; their `arguments` are joined.

    With `is_whole` the arguments replace those so far.
    """

    slot: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    choice: int = 0
    is_whole: bool = False


@compare_by_type
class Citation(NamedTuple):
    """A source: of the whole answer, or of its text from `start` to `end` (characters)."""

    url: str
    title: str | None = None
    start: int | None = None
    end: int | None = None
    choice: int = 0


@compare_by_type
class CitedFile(NamedTuple):
    """A file on the server that the answer cites, or that code wrote. `kind` is the API's type."""

    kind: str
    id: str
    name: str | None = None
    container_id: str | None = None
    choice: int = 0


@compare_by_type
class TokenLogprob(NamedTuple):
    """The log probability of one token, and the alternatives as the server sends them."""

    token: str
    logprob: float
    top: tuple[Mapping[str, Json], ...] = ()
    choice: int = 0


@compare_by_type
class AudioDelta(NamedTuple):
    """A piece of spoken output: base64 data, split anywhere, and its transcript."""

    id: str = ""
    data: str = ""
    transcript: str = ""
    choice: int = 0


@compare_by_type
class GeneratedImage(NamedTuple):
    """An image, as base64 data."""

    data: str
    choice: int = 0


@compare_by_type
class OutputItems(NamedTuple):
    """Output items as the server sends them, for later requests. Final ones replace all earlier ones."""

    items: tuple[Mapping[str, Json], ...]
    is_final: bool = False


@compare_by_type
class Usage(NamedTuple):
    """Token counts, and the cost if the server reports it. Each Usage updates the one before."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    details: Mapping[str, Json] = MappingProxyType({})


@compare_by_type
class Notice(NamedTuple):
    """A message that is not part of the answer. Renderers may shorten it to one line."""

    text: str


@compare_by_type
class ErrorEvent(NamedTuple):
    """An error that the server reports, in a stream or in a body; `status` is the HTTP status in it."""

    message: str
    type: str | None = None
    code: str | None = None
    status: int | None = None


@compare_by_type
class Finished(NamedTuple):
    """The end of a choice or, if `choice` is None, of the whole answer.

    `reason` is the server's: stop, length, tool_calls, content_filter, max_output_tokens, …
    `status` is the status of a response: completed, incomplete, failed, queued, …
    """

    reason: str | None = None
    choice: int | None = None
    status: str | None = None


CitedSource = Citation | CitedFile
StringDelta = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
Content = StringDelta | TokenLogprob | AudioDelta | GeneratedImage
Event = ResponseStarted | Content | CitedSource | OutputItems | Usage | Notice | ErrorEvent | Finished
EventBatch = list[Event]


TEXT_ENCODING = ("utf-8", "surrogatepass")  # a surrogate pair may be split over two deltas


class PartialText:
    """The text so far. It was shown and cannot change, so the complete text only adds its end."""

    __slots__ = ("_data", "has_logprobs")

    def __init__(self) -> None:
        self._data = bytearray()
        self.has_logprobs = False

    def __bool__(self) -> bool:
        return bool(self._data)

    def read(self) -> str:
        """Return the text."""
        return self._data.decode(*TEXT_ENCODING)

    def add(self, piece: str) -> None:
        """Add the next delta."""
        self._data += piece.encode(*TEXT_ENCODING)

    def complete(self, whole: str) -> str:
        """Return what the complete text adds; "" if the two differ in more than whitespace at the start."""
        whole_data, data = _normalize(whole.encode(*TEXT_ENCODING)), _normalize(self._data)
        if not whole_data.startswith(data):
            whole_data, data = whole_data.lstrip(), data.lstrip()
        if not whole_data.startswith(data):
            return ""
        rest = whole_data[len(data) :]
        self._data += rest
        return rest.decode(*TEXT_ENCODING)

    def rest_after(self, whole: str) -> str:
        """Return the rest of the text so far after `whole`; "" if it does not begin with `whole`."""
        data = whole.encode(*TEXT_ENCODING)
        return self._data[len(data) :].decode(*TEXT_ENCODING) if self._data.startswith(data) else ""

    def fits(self, whole: str) -> bool:
        """True if one of the two texts is a prefix of the other, apart from whitespace around them."""
        whole_data, data = _normalize(whole.encode(*TEXT_ENCODING)).strip(), _normalize(self._data).strip()
        return whole_data.startswith(data) or data.startswith(whole_data)


def _normalize(data: bytes | bytearray) -> bytes | bytearray:
    """Join the surrogates of characters that were split over two deltas."""
    if b"\xed" not in data:
        return data
    text = data.decode(*TEXT_ENCODING)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass").encode(*TEXT_ENCODING)
