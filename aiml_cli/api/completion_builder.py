"""Build a completion from the events of an answer."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.finish_reasons import Ending, choose_worse, classify_reason
from aiml_cli.api.json_values import Json
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    CitedFile,
    Content,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    GeneratedImage,
    Notice,
    OutputItems,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from aiml_cli.errors import IncompleteAnswer

if TYPE_CHECKING:
    from aiml_cli.api.audio_builder import AudioBuilder, SpokenAudio

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_DELTA_BYTES = 4 * 1024 * 1024  # the journal's thread makes a few copies of each
OBJECT_BYTES = 400  # the approximate size of a small object
STREAM_CUT = "the stream ended before the answer was complete"
LENGTH_REACHED = "the answer was cut off at the token limit"
_SENTENCES = {
    Ending.LENGTH: LENGTH_REACHED,
    Ending.CONTEXT: "the answer was cut off: the context window of the model is full",
    Ending.REFUSAL: "the model refused",
    Ending.FILTER: "the answer was stopped by a content filter",
}


class ToolCall(NamedTuple):
    """A tool call; `arguments` is the string that the model wrote, which may be invalid JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of an answer. `finish_reason` is None if the server sent none."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    is_finished: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    audio: "SpokenAudio | None" = None
    images: tuple[bytes, ...] = ()

    @property
    def output_text(self) -> str:
        """Return the text, or the transcript of the audio."""
        return self.text or (self.audio.transcript if self.audio else "")


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, complete or not. There is always a first choice."""

    started: ResponseStarted = field(default_factory=ResponseStarted)
    choices: tuple[Choice, ...] = (Choice(),)
    citations: tuple[Citation, ...] = ()
    usage: Usage | None = None
    reported_error: ErrorEvent | None = None
    status: str | None = None
    has_ended: bool = False
    files: tuple[CitedFile, ...] = ()
    output: tuple[Mapping[str, Json], ...] = ()

    @property
    def first(self) -> Choice:
        """Return the first choice."""
        return self.choices[0]

    @property
    def is_complete(self) -> bool:
        """True if the server reported no error and the answer is complete."""
        return not self.reported_error and not self.incomplete_reason

    @property
    def hit_length_limit(self) -> bool:
        """True if only a length limit made the answer incomplete: that of the request, or the context window."""
        return not self._is_cut and self.ending in (Ending.LENGTH, Ending.CONTEXT)

    @property
    def is_empty(self) -> bool:
        """True if no choice has text, a tool call, a refusal, audio or an image."""
        return not any(
            choice.output_text or choice.tool_calls or choice.refusal or choice.audio or choice.images
            for choice in self.choices
        )

    @property
    def ending(self) -> Ending:
        """Return how the answer ended according to the server; the worst ending of all choices."""
        refusal = Ending.REFUSAL if any(choice.refusal for choice in self.choices) else Ending.COMPLETE
        return max(classify_reason(self._worst_reason), refusal)

    @property
    def incomplete_reason(self) -> str:
        """Return why the answer is incomplete, in one sentence; "" if it is complete."""
        ending, reason = self.ending, self._worst_reason
        if self._is_cut and ending < Ending.ABORTED:
            return STREAM_CUT
        if ending is Ending.COMPLETE or ending in _SENTENCES:
            return _SENTENCES.get(ending, "")
        if reason == self.status:
            return f"the answer is incomplete: its status is {reason}"
        return f"the answer is incomplete: the server gave {reason} as the reason"

    @property
    def _worst_reason(self) -> str | None:
        worst = self.status
        for choice in self.choices:
            worst = choose_worse(worst, choice.finish_reason)
        return worst

    @property
    def _is_cut(self) -> bool:
        return not self.has_ended and not all(choice.is_finished for choice in self.choices)


class CompletionBuilder:
    """A completion in progress, built from batches of events.

    Texts are byte arrays: a list of 100,000 deltas would take ten times the memory of their text.
    """

    def __init__(self) -> None:
        self._choices: defaultdict[int, _ChoiceBuilder] = defaultdict(_ChoiceBuilder)
        self._started = ResponseStarted()
        # A dict is an ordered set: some servers repeat all sources in each chunk.
        self._sources: dict[Citation | CitedFile, None] = {}
        self.usage: Usage | None = None  # of the current request
        self._error: ErrorEvent | None = None
        self._status: str | None = None
        self._has_ended = False
        self._output: list[Mapping[str, Json]] | None = []
        self._earlier_usage: Usage | None = None
        self._other_size = 0  # approximate bytes of sources and output items

    def reopen(self) -> None:
        """Prepare for the continuation of a truncated answer."""
        self._earlier_usage, self.usage = add_usage(self._earlier_usage, self.usage), None
        self._status, self._has_ended = None, False
        # The output items of both requests together would look like two messages.
        self._output = None
        for choice in self._choices.values():
            choice.is_finished, choice.finish_reason = False, None

    def has_finished(self, count: int) -> bool:
        """True if `count` choices, and all that have begun, have a finish reason."""
        choices = list(self._choices.values())
        return len(choices) >= count and all(choice.is_finished for choice in choices)

    def add(self, batch: EventBatch) -> None:
        """Add a batch of events; raise IncompleteAnswer if the answer exceeds 256 MiB."""
        for event in batch:
            if type(event) is TextDelta:
                self._choices[event.choice].text += event.text.encode()
            else:
                self._add_event(event)
        size = self._other_size + sum(choice.measure() for choice in self._choices.values())
        if size > MAX_ANSWER_BYTES:
            message = f"the answer was cut off at {MAX_ANSWER_BYTES >> 20} MiB"
            raise IncompleteAnswer(message, "ask for a shorter answer", stopped_by="size")

    def build(self) -> Completion:
        """Return the completion so far."""
        choices = [self._choices[index].build(index) for index in sorted(self._choices)] or [Choice()]
        return Completion(
            self._started,
            tuple(choices),
            tuple(source for source in self._sources if isinstance(source, Citation)),
            add_usage(self._earlier_usage, self.usage),
            self._error,
            self._status,
            self._has_ended,
            tuple(source for source in self._sources if isinstance(source, CitedFile)),
            tuple(self._output or ()),
        )

    def deltas_since(self, offsets: dict[tuple[int, str], int]) -> list[tuple[str, int, str]]:
        """Return the kind, choice and text of everything after the offsets, and advance the offsets; thread-safe.

        At most 4 MiB of each text are returned; the next call returns the text after that.
        """
        deltas = []
        for index, choice in list(self._choices.items()):
            for kind, text in (("text", choice.text), ("thought", choice.reasoning), ("refusal", choice.refusal)):
                start = offsets.get((index, kind), 0)
                end = _find_end(text, start + MAX_DELTA_BYTES)
                if end > start:
                    offsets[index, kind] = end
                    deltas.append((kind, index, text[start:end].decode()))
        return deltas

    def _add_event(self, event: Event) -> None:
        match event:
            case ResponseStarted(response_id, model, created):
                old = self._started
                self._started = ResponseStarted(response_id or old.id, model or old.model, created or old.created)
            case Citation() | CitedFile():
                self._sources[event] = None
                self._other_size += OBJECT_BYTES
            case OutputItems(items, is_final) if self._output is not None:
                if is_final:
                    self._output.clear()
                self._output.extend(items)
                self._other_size += OBJECT_BYTES * len(items)
            case OutputItems() | Notice():
                pass
            case Usage():
                self.usage = _update_usage(self.usage, event)
            case ErrorEvent():
                self._error = event
            case Finished():
                self._finish(event)
            case _:
                self._choices[event.choice].add(event)

    def _finish(self, event: Finished) -> None:
        self._status = event.status or self._status
        if event.choice is None:
            self._has_ended = True
            return
        choice = self._choices[event.choice]
        choice.is_finished, choice.finish_reason = True, choose_worse(choice.finish_reason, event.reason)


def _find_end(text: bytearray, limit: int) -> int:
    """Return the end of the last complete character before a limit."""
    end = min(len(text), limit)
    while end < len(text) and text[end] & 0xC0 == 0x80:  # noqa: PLR2004 - a UTF-8 continuation byte
        end -= 1
    return end


def _update_usage(old: Usage | None, new: Usage) -> Usage:
    """Replace only the values that the new usage has: counts and cost may arrive separately."""
    if old is None:
        return new
    changes = {name: value for name, value in new._asdict().items() if value is not None and value != {}}
    return old._replace(**changes)


def add_usage(first: Usage | None, second: Usage | None) -> Usage | None:
    """Add the counts of two requests; the details are those of the second."""
    if first is None or second is None:
        return second or first
    counts: dict[str, Json] = {
        name: (getattr(first, name) or 0) + (getattr(second, name) or 0)
        for name in Usage._fields
        if name != "details" and (getattr(first, name), getattr(second, name)) != (None, None)
    }
    return second._replace(**counts)


class _ChoiceBuilder:
    def __init__(self) -> None:
        self.text, self.reasoning, self.refusal = bytearray(), bytearray(), bytearray()
        self.calls: dict[int, _CallBuilder] = {}
        self.logprobs: list[TokenLogprob] = []
        self.audio: AudioBuilder | None = None
        self.images: list[bytes] = []
        self.is_finished = False
        self.finish_reason: str | None = None
        self.other_size = 0  # of log probabilities, audio and images

    def measure(self) -> int:
        """Return the approximate size in bytes."""
        texts = len(self.text) + len(self.reasoning) + len(self.refusal) + self.other_size
        return texts + sum(call.size for call in self.calls.values())

    def add(self, event: Content) -> None:
        match event:
            case TextDelta(text):
                self.text += text.encode()
            case ReasoningDelta(text):
                self.reasoning += text.encode()
            case RefusalDelta(text):
                self.refusal += text.encode()
            case TokenLogprob():
                self.logprobs.append(event)
                self.other_size += OBJECT_BYTES * (1 + len(event.top))
            case AudioDelta():
                self._add_audio(event)
            case GeneratedImage(data):
                from aiml_cli.api.audio_builder import decode_base64  # few answers have images

                self.images.append(decode_base64(data))
                self.other_size += len(data)
            case ToolCallDelta():
                self.calls.setdefault(event.slot, _CallBuilder()).add(event)

    def _add_audio(self, delta: AudioDelta) -> None:
        from aiml_cli.api.audio_builder import AudioBuilder  # few answers are spoken

        self.audio = self.audio or AudioBuilder()
        self.audio.feed(delta)
        self.other_size += len(delta.data) + len(delta.transcript)

    def build(self, index: int) -> Choice:
        return Choice(
            index,
            self.text.decode(),
            self.reasoning.decode(),
            self.refusal.decode(),
            tuple(call.build() for call in self.calls.values()),
            self.finish_reason,
            self.is_finished,
            tuple(self.logprobs),
            self.audio.build() if self.audio else None,
            tuple(self.images),
        )


class _CallBuilder:
    def __init__(self) -> None:
        self._id = self._name = ""
        self._arguments = bytearray()  # not a string, so that adding many deltas takes linear time

    def add(self, event: ToolCallDelta) -> None:
        self._id, self._name = self._id or event.id, self._name or event.name
        if event.is_whole:
            self._arguments.clear()
        self._arguments += event.arguments.encode()

    @property
    def size(self) -> int:
        return len(self._arguments)

    def build(self) -> ToolCall:
        return ToolCall(self._id, self._name, self._arguments.decode())
