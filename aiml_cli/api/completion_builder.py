"""Fold the events of an answer into what it was in the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aiml_cli.api.audio_builder import AudioBuilder, SpokenAudio, decode_base64
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    CitedFile,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    GeneratedImage,
    Json,
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

CUT = "the stream ended before the answer was complete"
TOO_LONG = "the answer was cut at the length cap"
CAPPED = frozenset({"length", "max_output_tokens", "max_tokens", "MAX_TOKENS", "model_length"})
FILTERED = frozenset({"content_filter", "SAFETY", "safety"})
UNFINISHED = frozenset({"incomplete", "failed", "cancelled", "in_progress", "queued"})


class ToolCall(NamedTuple):
    """Hold one tool call; `arguments` is the text as it came, which may be invalid JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold one choice of an answer. `finish_reason` is None when the server said none."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    finished: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    audio: SpokenAudio | None = None
    images: tuple[bytes, ...] = ()

    @property
    def output_text(self) -> str:
        """Give the text, or what was spoken instead."""
        return self.text or (self.audio.transcript if self.audio else "")


@dataclass(frozen=True, slots=True)
class Completion:
    """Hold an answer as far as it came. There is always a first choice."""

    started: ResponseStarted = field(default_factory=ResponseStarted)
    choices: tuple[Choice, ...] = (Choice(),)
    citations: tuple[Citation, ...] = ()
    usage: Usage | None = None
    reported_error: ErrorEvent | None = None
    status: str | None = None
    ended: bool = False
    files: tuple[CitedFile, ...] = ()
    output: tuple[Mapping[str, Json], ...] = ()

    @property
    def first(self) -> Choice:
        """Give the first choice."""
        return self.choices[0]

    @property
    def is_complete(self) -> bool:
        """Say whether the answer is whole."""
        return not self.reported_error and not self.incomplete_reason

    @property
    def hit_length_limit(self) -> bool:
        """Say whether the length cap, and nothing else, made the answer incomplete."""
        return self.incomplete_reason == TOO_LONG

    @property
    def incomplete_reason(self) -> str:
        """Say in one sentence why the answer is not whole; "" when it is."""
        reasons = {choice.finish_reason for choice in self.choices}
        if not self._arrived:
            return CUT
        if reasons & FILTERED:
            return "the answer was stopped by a content filter"
        if self._refused:
            return "the model refused"
        if reasons & CAPPED:
            return TOO_LONG
        if self.status in UNFINISHED:
            return f"the answer is not complete: its status is {self.status}"
        return ""

    @property
    def _arrived(self) -> bool:
        return self.ended or all(choice.finished for choice in self.choices)

    @property
    def _refused(self) -> bool:
        return any(choice.refusal for choice in self.choices)


class CompletionBuilder:
    """Take events one batch after the other.

    Texts are kept as bytes: a list of 100,000 deltas would cost ten times what they say.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceBuilder] = {}
        self._begun = ResponseStarted()
        # A dict keeps the order and knows its members: some servers repeat all sources in each chunk.
        self._sources: dict[Citation | CitedFile, None] = {}
        self._usage: Usage | None = None
        self._fault: ErrorEvent | None = None
        self._status: str | None = None
        self._ended = False
        self._output: list[Mapping[str, Json]] | None = []
        self._spent: Usage | None = None

    def reopen(self) -> None:
        """Go on with an answer that was cut: what comes now is its rest."""
        self._spent, self._usage = _sum(self._spent, self._usage), None
        self._status, self._ended = None, False
        # The items of the parts would say the answer in pieces; joined they are one message.
        self._output = None
        for choice in self._choices.values():
            choice.finished, choice.finish_reason = False, None

    @property
    def usage(self) -> Usage | None:
        """Give what the part of the answer took that comes now."""
        return self._usage

    def add(self, batch: EventBatch) -> None:
        """Take what came."""
        for event in batch:
            if type(event) is TextDelta:
                self._choice(event.choice).text += event.text.encode()
            else:
                self._take(event)

    def build(self) -> Completion:
        """Give the answer as far as it came."""
        grown = [self._choices[index].choice(index) for index in sorted(self._choices)] or [Choice()]
        return Completion(
            self._begun,
            tuple(grown),
            tuple(source for source in self._sources if isinstance(source, Citation)),
            _sum(self._spent, self._usage),
            self._fault,
            self._status,
            self._ended,
            tuple(source for source in self._sources if isinstance(source, CitedFile)),
            tuple(self._output or ()),
        )

    def deltas_since(self, marks: dict[tuple[int, str], int]) -> list[tuple[str, int, str]]:
        """Give kind, choice and text of what grew since the marks, and move them; for another thread than `add`'s."""
        grown = []
        for index, choice in list(self._choices.items()):
            for kind, text in (("text", choice.text), ("thought", choice.reasoning), ("refusal", choice.refusal)):
                start, end = marks.get((index, kind), 0), len(text)
                if end > start:
                    marks[index, kind] = end
                    grown.append((kind, index, text[start:end].decode()))
        return grown

    def _choice(self, index: int) -> "_ChoiceBuilder":
        if index not in self._choices:
            self._choices[index] = _ChoiceBuilder()
        return self._choices[index]

    def _take(self, event: Event) -> None:
        match event:
            case ResponseStarted():
                self._begun = _newer(self._begun, event)
            case Citation() | CitedFile():
                self._sources[event] = None
            case OutputItems(items, whole) if self._output is not None:
                self._output = [*(() if whole else self._output), *items]
            case OutputItems():
                pass
            case Usage():
                self._usage = _fuller(self._usage, event)
            case ErrorEvent():
                self._fault = event
            case Finished():
                self._end(event)
            case Notice():
                pass
            case (
                TextDelta()
                | ReasoningDelta()
                | RefusalDelta()
                | ToolCallDelta()
                | TokenLogprob()
                | AudioDelta()
                | GeneratedImage()
            ):
                self._choice(event.choice).add(event)

    def _end(self, done: Finished) -> None:
        self._status = done.status or self._status
        if done.choice is None:
            self._ended = True
            return
        choice = self._choice(done.choice)
        choice.finished, choice.finish_reason = True, done.reason


def _newer(old: ResponseStarted, new: ResponseStarted) -> ResponseStarted:
    return ResponseStarted(new.id or old.id, new.model or old.model, new.created or old.created)


def _fuller(old: Usage | None, new: Usage) -> Usage:
    """Take what is newer; counts and price may come apart."""
    if old is None:
        return new
    newer = {name: value for name, value in new._asdict().items() if value is not None and value != {}}
    return old._replace(**newer)


def _sum(first: Usage | None, second: Usage | None) -> Usage | None:
    """Add the counts of two requests; the details are those of the last."""
    if first is None or second is None:
        return second or first
    counts: dict[str, Json] = {
        name: (getattr(first, name) or 0) + (getattr(second, name) or 0)
        for name in Usage._fields
        if name != "details" and (getattr(first, name), getattr(second, name)) != (None, None)
    }
    return second._replace(**counts)


class _ChoiceBuilder:
    """Hold a choice while it grows."""

    def __init__(self) -> None:
        self.text, self.reasoning, self.refusal = bytearray(), bytearray(), bytearray()
        self.calls: dict[int, dict[str, str]] = {}
        self.tokens: list[TokenLogprob] = []
        self.audio: AudioBuilder | None = None
        self.images: list[bytes] = []
        self.finished = False
        self.finish_reason: str | None = None

    def add(
        self,
        event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | TokenLogprob | AudioDelta | GeneratedImage,
    ) -> None:
        match event:
            case TextDelta(text):
                self.text += text.encode()
            case ReasoningDelta(text):
                self.reasoning += text.encode()
            case RefusalDelta(text):
                self.refusal += text.encode()
            case TokenLogprob():
                self.tokens.append(event)
            case AudioDelta():
                self.audio = self.audio or AudioBuilder()
                self.audio.feed(event)
            case GeneratedImage(data):
                self.images.append(decode_base64(data))
            case ToolCallDelta():
                call = self.calls.setdefault(event.slot, {"id": "", "name": "", "arguments": ""})
                call["id"] = call["id"] or event.id
                call["name"] = call["name"] or event.name
                call["arguments"] += event.arguments

    def choice(self, index: int) -> Choice:
        return Choice(
            index,
            self.text.decode(),
            self.reasoning.decode(),
            self.refusal.decode(),
            tuple(ToolCall(**call) for call in self.calls.values()),
            self.finish_reason,
            self.finished,
            tuple(self.tokens),
            self.audio.build() if self.audio else None,
            tuple(self.images),
        )
