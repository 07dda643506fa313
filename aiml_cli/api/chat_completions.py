"""Build the request body of POST /v1/chat/completions, and parse its stream and its JSON answer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from aiml_cli.api.finish_reasons import choose_worse
from aiml_cli.api.json_values import (
    as_dict,
    as_list,
    as_number,
    as_str,
    require_dict,
    require_list,
    require_str,
    to_text,
)
from aiml_cli.api.message_conversion import to_chat_messages
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import apply_options, apply_overrides
from aiml_cli.api.response_items import SourceCollector, parse_images, parse_logprobs, parse_usage
from aiml_cli.api.sse import SseEvent, collect_events, find_error, parse_sse_events
from aiml_cli.api.stream_events import (
    AudioDelta,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    GeneratedImage,
    PartialText,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
)
from aiml_cli.settings.options import Options, change_options

if TYPE_CHECKING:
    from aiml_cli.api.tool_calls import ToolCallAssembler

NAME = "chat"
PATH = "/chat/completions"
MAX_CHOICES = 128  # the limit for a server that sends several although one was requested
# The properties with reasoning: a string, or an array of parts.
REASONING_NAMES = (
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "reasoning_text",
    "thinking",
    "thinking_content",
    "thinking_blocks",
    "thought",
)
# Properties that only few chunks and few choices have.
_RARE_IN_CHUNK = frozenset({"usage", "meta", "citations", "search_results", "error", "x_groq"})
_RARE_IN_CHOICE = frozenset({"message", "usage", "error", "is_complete"})
_NO_INDEX = object()  # not equal to any index from a server


def build_body(conversation: Conversation, options: Options) -> dict[str, Any]:
    """Build the request body."""
    messages = to_chat_messages(conversation)
    if options.system is not None:
        messages.insert(0, {"role": "system", "content": options.system})
    options = change_options(
        options,
        # The API accepts include_usage only with a stream, and top_logprobs only with logprobs.
        include_usage=options.include_usage if options.stream else None,
        logprobs=True if options.logprobs is None and options.top_logprobs is not None else options.logprobs,
    )
    if options.tools is not None or options.tool_choice is not None or options.response_format is not None:
        options = _convert_formats(options)
    body = apply_options({"model": options.model, "messages": messages}, NAME, options)
    return apply_overrides(body, options.option_)


def _convert_formats(options: Options) -> Options:
    from aiml_cli.api import tool_formats  # few requests have tools or an answer format

    return replace(
        options,
        tools=tool_formats.convert_tools(options.tools, tool_formats.to_chat_tool),
        tool_choice=tool_formats.to_chat_choice(options.tool_choice),
        response_format=tool_formats.to_chat_format(options.response_format),
    )


def parse_stream(stream: Iterable[list[SseEvent]], choice_count: int = 1) -> Iterator[EventBatch]:
    """Yield the events of a stream, one batch for each network read; `choice_count` choices were requested."""
    return parse_sse_events(stream, _ChunkParser(choice_count).feed, finish_at_done=True)


def parse_json(answer: Any, choice_count: int = 1) -> EventBatch:
    """Return the events of a JSON answer; `choice_count` choices were requested."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not choices and (error := find_error(answer)):
        return [error]
    if not choices or not isinstance(choices, list):
        return [ErrorEvent("the server's answer is not a chat completion: it has no choices")]
    names = ("message", "delta", "finish_reason", "text", "error")
    if all(isinstance(each, dict) and not any(map(each.get, names)) for each in choices):
        return [ErrorEvent("the server's answer is not a chat completion: its choices have no message")]

    def fill(batch: EventBatch) -> None:
        parser = _ChunkParser(choice_count)
        deltas = [_message_to_delta(choice) for choice in choices[: max(choice_count, MAX_CHOICES)]]
        parser.feed("", {**answer, "choices": deltas}, batch)
        batch.append(Finished())

    return collect_events(fill)


def _message_to_delta(choice: Any) -> dict[str, Any]:
    """Convert a complete choice to a single delta, which ends the choice even if it has no finish_reason."""
    choice = require_dict(choice)
    delta = choice.get("message") or choice.get("delta") or {"content": as_str(choice.get("text"))}
    return {**choice, "message": None, "delta": delta, "is_complete": True}


class _ChoiceState:
    """The state of one choice of the stream."""

    def __init__(self) -> None:
        self.text, self.reasoning, self.refusal = PartialText(), PartialText(), PartialText()
        self.has_media = self.has_deltas = False
        self._calls: ToolCallAssembler | None = None

    def feed_calls(self, delta: dict[str, Any], index: int, *, is_whole: bool = False) -> Sequence[Event]:
        """Return the pieces of tool calls in a delta or a message."""
        if not (delta.get("tool_calls") or delta.get("function_call")):
            return ()
        if self._calls is None:
            from aiml_cli.api.tool_calls import ToolCallAssembler  # few answers call tools

            self._calls = ToolCallAssembler()
        return self._calls.feed(delta, index, is_whole=is_whole)

    def add(self, event: Event) -> None:
        """Record an event."""
        match event:
            case TextDelta(text):
                self.text.add(text)
            case ReasoningDelta(text):
                self.reasoning.add(text)
            case RefusalDelta(text):
                self.refusal.add(text)
            case AudioDelta() | GeneratedImage():
                self.has_media = True


class _ChunkParser:
    """A parser of chunks that keeps the state of the stream."""

    def __init__(self, choice_count: int) -> None:
        self._choices: dict[int, _ChoiceState] = {}
        self._indexes = _ChoiceIndexes(choice_count)
        self._started = ResponseStarted()
        self._not_started = frozenset({"id", "model", "created"})
        self._sources = SourceCollector()
        # The index of the latest choice, if the server uses the same one, and the text of the choice.
        self._plain_index: int | object = _NO_INDEX
        self._plain_text = PartialText()

    def feed(self, name: str, chunk: dict[str, Any], batch: EventBatch) -> None:
        """Add the events of a chunk to the batch."""
        choices = chunk.get("choices")
        if not self._not_started.isdisjoint(chunk):
            self._start(chunk, batch)
        is_plain = type(choices) is list and len(choices) == 1 and self._feed_plain(choices[0], batch)
        if choices and not is_plain:
            self._feed_choices(require_list(choices), batch)
        if choices and _RARE_IN_CHUNK.isdisjoint(chunk) and not name:
            return
        groq = as_dict(chunk.get("x_groq"))
        if "usage" in chunk or "meta" in chunk or "usage" in groq:
            batch.extend(parse_usage(chunk if "usage" in chunk else {**chunk, "usage": groq.get("usage")}))
        if "citations" in chunk or "search_results" in chunk:
            batch.extend(self._sources.add_lists(chunk))
        is_odd = not choices and not name and ("usage" not in chunk or choices is None)
        if groq.get("error"):
            batch.extend(filter(None, [find_error(groq)]))
        if chunk.get("error") or name.casefold() == "error" or is_odd:
            error = find_error(chunk) or (find_error({"error": chunk}) if name else None)
            batch.extend([error] if error else [])

    def _start(self, chunk: dict[str, Any], batch: EventBatch) -> None:
        """Report the id, the model and the time as soon as they are known; some servers send them last."""
        old = self._started
        response_id, model = old.id or as_str(chunk.get("id")) or None, old.model or as_str(chunk.get("model")) or None
        created = old.created or as_number(chunk.get("created")) or None
        new = ResponseStarted(response_id, model, created)
        if new != old:
            self._started = new
            self._not_started = frozenset(
                name for name, value in zip(("id", "model", "created"), new, strict=True) if value is None
            )
            batch.append(new)

    def _feed_plain(self, choice: Any, batch: EventBatch) -> bool:
        """Add a delta that only has text for the latest choice; return False for any other. Runs for each token."""
        if type(choice) is not dict or choice.get("index") != self._plain_index or choice.get("finish_reason"):
            return False
        delta = choice.get("delta")
        if type(delta) is not dict or len(delta) != 1 or type(content := delta.get("content")) is not str:
            return False
        if choice.get("logprobs") or not _RARE_IN_CHOICE.isdisjoint(choice):
            return False
        if content:
            self._plain_text.add(content)
            batch.append(TextDelta(content, cast("int", self._plain_index)))
        return True

    def _feed_choices(self, values: list[Any], batch: EventBatch) -> None:
        choices = [require_dict(value) for value in values]
        for choice, index in zip(choices, self._indexes.assign(choices), strict=True):
            if index is not None:
                state = self._choices.get(index) or self._choices.setdefault(index, _ChoiceState())
                self._feed_choice(choice, state, index, batch)
                is_plain = len(choices) == 1 and choice.get("index") == index
                self._plain_index, self._plain_text = (index if is_plain else _NO_INDEX), state.text

    def _feed_choice(self, choice: dict[str, Any], state: _ChoiceState, index: int, batch: EventBatch) -> None:
        if delta := choice.get("delta") or _find_bare_text(choice):
            self._feed_delta(require_dict(delta), state, index, batch)
            state.has_deltas = True
        if choice.get("logprobs"):
            batch.extend(parse_logprobs(choice["logprobs"], index))
        if not choice.get("finish_reason") and _RARE_IN_CHOICE.isdisjoint(choice):
            return
        if message := choice.get("message"):
            self._feed_message(require_dict(message), state, index, batch)
        if choice.get("usage"):
            batch.extend(parse_usage(choice))
        reason = to_text(choice.get("finish_reason") or "")
        if reason or "is_complete" in choice:
            self._indexes.note_end()
            native = as_str(choice.get("native_finish_reason"))
            batch.append(Finished(choose_worse(native, reason) if native else reason, index))
        if choice.get("error"):
            batch.extend([error] if (error := find_error({"error": choice["error"]})) else [])

    def _feed_delta(self, delta: dict[str, Any], state: _ChoiceState, index: int, batch: EventBatch) -> None:
        for event in _parse_message(delta, index) if len(delta) > 1 or "tool_calls" not in delta else ():
            state.add(event)
            batch.append(event)
        batch.extend(state.feed_calls(delta, index))
        if delta.get("annotations"):
            batch.extend(self._sources.add_annotations(as_list(delta["annotations"]), index))

    def _feed_message(self, message: dict[str, Any], state: _ChoiceState, index: int, batch: EventBatch) -> None:
        """Add what a complete message contains beyond the deltas before it."""
        whole, media = _ChoiceState(), []
        for event in _parse_message(message, index):
            whole.add(event)
            media += [event] if isinstance(event, AudioDelta | GeneratedImage) else []
        parts = (ReasoningDelta, state.reasoning, whole.reasoning), (RefusalDelta, state.refusal, whole.refusal)
        for delta, part, total in (*parts, (TextDelta, state.text, whole.text)):
            text = total.read()
            rest = part.complete(text)
            if not rest and not state.has_deltas and not part.fits(text):
                part.add(rest := text)  # without deltas, each message is treated as one
            batch += [delta(rest, index)] if rest else []
        batch += [] if state.has_media else media
        state.has_media = state.has_media or whole.has_media
        batch += state.feed_calls(message, index, is_whole=True)
        batch += self._sources.add_annotations(as_list(message.get("annotations")), index)


class _ChoiceIndexes:
    """Maps a server's indexes to choices: some servers increment the index although one choice was requested."""

    def __init__(self, choice_count: int) -> None:
        self._limit = choice_count if choice_count > 1 else MAX_CHOICES
        self._is_plural = choice_count > 1
        self._known: set[int] = set()
        self._latest: int | None = None
        # The server's indexes that are mapped to a single choice.
        self._seen: set[int] = set()
        self._latest_seen: int | None = None
        self._has_ended = False

    def assign(self, choices: Sequence[dict[str, Any]]) -> list[int | None]:
        """Return the index of each choice of a chunk; None for a choice beyond the limit."""
        values = [choice.get("index") for choice in choices]
        indexes = [value if type(value) is int and value >= 0 else place for place, value in enumerate(values)]
        if len(choices) > 1:
            self._is_plural = True
            if len(set(indexes)) < len(indexes):  # some choices share an index
                indexes = list(range(len(indexes)))
        elif not self._is_plural:
            indexes = [self._assign_single(indexes[0], is_piece=not choices[0].get("finish_reason"))]
        self._latest = indexes[-1]
        return [self._admit(index) for index in indexes]

    def _admit(self, index: int) -> int | None:
        if index not in self._known:
            if len(self._known) == self._limit:
                return None
            self._known.add(index)
        return index

    def _assign_single(self, index: int, *, is_piece: bool) -> int:
        """Return the latest choice for an index that only counts up, unless that choice has ended."""
        latest = index if self._latest_seen is None else self._latest_seen
        is_other = index not in (latest, latest + 1)
        self._is_plural = (is_piece and is_other) or (self._has_ended and index not in self._seen)
        self._latest_seen = index
        if len(self._seen) < MAX_CHOICES:
            self._seen.add(index)
        return index if self._is_plural or self._latest is None else self._latest

    def note_end(self) -> None:
        """Record that a choice has ended: a new index begins another choice."""
        self._has_ended = True


def _parse_message(message: dict[str, Any], index: int) -> Iterator[Event]:
    """Yield reasoning, refusal, text, audio and images of a delta or a message; reasoning precedes the text."""
    content, refusal = message.get("content"), require_str(message.get("refusal"))
    if reasoning := _find_reasoning(message):
        yield ReasoningDelta(reasoning, index)
    if refusal:
        yield RefusalDelta(refusal, index)
    if message.get("audio"):
        yield from _parse_audio(as_dict(message["audio"]), index)
    if message.get("images"):
        yield from _parse_image_parts(as_list(message["images"]), index)
    if isinstance(content, str):
        yield from [TextDelta(content, index)] if content else []
    else:
        yield from _parse_parts([content] if isinstance(content, dict) else require_list(content), index)


def _find_bare_text(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text of a choice without a delta or message, as in the older completions API, as a message."""
    text = choice.get("text")
    return {"content": text} if text and not choice.get("message") else {}


def _find_reasoning(delta: Mapping[str, Any]) -> str:
    """Return the reasoning from the first field that has any; some servers send it in two fields at once."""
    for name in REASONING_NAMES:
        if delta.get(name) and (reasoning := "".join(_parse_texts(delta[name]))):
            return reasoning
    return ""


def _parse_parts(content: list[Any], index: int) -> Iterator[Event]:
    for part in content:
        if isinstance(part, str):
            yield TextDelta(part, index)
            continue
        part = require_dict(part)  # noqa: PLW2901 - the same part, its type now known
        match part.get("type"):
            case "thinking" | "reasoning":
                texts = _parse_texts(part.get("thinking") or part.get("text"))
                yield from (ReasoningDelta(text, index) for text in texts)
            case "refusal":
                yield RefusalDelta(require_str(part.get("refusal")), index)
            case "image_url":
                yield from _parse_image_parts([part], index)
            case _:
                yield TextDelta(require_str(part.get("text")), index)


def _parse_texts(content: Any) -> Iterator[str]:
    for part in [content] if isinstance(content, str | dict) else as_list(content):
        fields = {"text": part} if isinstance(part, str) else as_dict(part)
        yield next(filter(None, (as_str(fields.get(name)) for name in ("text", "thinking", "summary", "content"))), "")


def _parse_image_parts(parts: list[Any], index: int) -> Iterator[Event]:
    """Yield the images that OpenRouter's models send as data URLs."""
    urls = [part.get("image_url") for part in map(as_dict, parts)]
    images = parse_images([url.get("url") if isinstance(url, dict) else url for url in urls])
    yield from (image._replace(choice=index) for image in images)


def _parse_audio(audio: dict[str, Any], index: int) -> Iterator[AudioDelta]:
    audio_id, data, transcript = (as_str(audio.get(name)) for name in ("id", "data", "transcript"))
    if data or transcript:
        yield AudioDelta(audio_id, data, transcript, index)
