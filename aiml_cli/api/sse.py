"""Split a byte stream into server-sent events, and parse their JSON into events of an answer."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

from aiml_cli.api.json_values import MalformedError, decode_json
from aiml_cli.api.stream_events import ErrorEvent, Event, EventBatch, Finished, StringDelta, TextDelta, ToolCallDelta
from aiml_cli.errors import ServerError

MAX_EVENT_BYTES = 64 * 1024 * 1024
MAX_STRAY_CHARS, MAX_STRAY_TESTS = 64 * 1024, 16
END_MARKS = ("[done]", "done")
MAX_MARK_CHARS = 40
# What servers send to keep a connection open: a word, a number or a time.
_HEARTBEAT = r"(?i)ping|pong|keep-?alive|heart-?beat|processing|waiting|ok|\[(?!err)[a-z_-]{1,20}\]|[\d\s:.,TZ+-]{1,40}"
# A valid line: a field name, which may be unknown, and a colon unless the value is empty.
_FIELD = "\ufeff?[A-Za-z_-]{1,40}(?::|$)"
HandleEvent = Callable[[str, dict[str, Any], EventBatch], None]


class SseEvent(NamedTuple):
    """A server-sent event. `data` is its lines joined, `error` a non-standard field of some servers.

    `is_complete` is False if the stream ended in the middle of the event. `stray` are lines without a field,
    such as an error or a page that a proxy inserts into the stream.
    """

    data: str
    event: str = ""
    error: str = ""
    is_complete: bool = True
    stray: str = ""


def split_events(chunks: Iterable[bytes]) -> Iterator[list[SseEvent]]:
    """Yield the events that each chunk completes, one list for each chunk.

    Accepts CR, LF and CRLF, a byte order mark, comments and unknown fields (WHATWG HTML, section 9.2.6).
    At the end of the stream, an event without its blank line is yielded too: some servers leave that line out.
    Raises ServerError for an event of more than 64 MiB.
    """
    splitter = _EventSplitter()
    for chunk in chunks:
        if events := splitter.feed(chunk):
            yield events
    if events := splitter.finish():
        yield events


class _EventSplitter:
    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the unfinished event
        self._size = 0
        self._is_start = True
        self._is_after_cr = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        if b"\r" in chunk or self._is_after_cr:
            chunk = self._normalize_newlines(chunk)
        if not self._ends_event(chunk):
            self._add_piece(chunk)
            return []
        self._pieces.append(chunk)
        block = b"".join(self._pieces)
        end = block.rfind(b"\n\n")
        self._pieces, self._size = [], 0
        self._add_piece(block[end + 2 :])
        return self._parse_events(block[:end])

    def finish(self) -> list[SseEvent]:
        rest = b"".join(self._pieces)
        return [event._replace(is_complete=rest.endswith(b"\n")) for event in self._parse_events(rest)]

    def _parse_events(self, block: bytes) -> list[SseEvent]:
        text = block.decode("utf-8", "replace")
        if self._is_start:
            text, self._is_start = text.removeprefix("\ufeff"), False
        events = [event for part in text.split("\n\n") if (event := _parse_event(part))]
        if any("\n" in event.data for event in events):
            events = [line for event in events for line in _split_lines(event)]
        return events

    def _ends_event(self, chunk: bytes) -> bool:
        """Look for the blank line only in the new bytes, so that the time is linear in the length of an event."""
        is_split = chunk.startswith(b"\n") and bool(self._pieces) and self._pieces[-1].endswith(b"\n")
        return b"\n\n" in chunk or is_split

    def _add_piece(self, chunk: bytes) -> None:
        if chunk:
            self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            raise ServerError("the server sent an event of more than 64 MiB")

    def _normalize_newlines(self, chunk: bytes) -> bytes:
        """Make every line end in LF, even if a CRLF is split over two chunks."""
        if not chunk:
            return chunk
        ends_in_cr = chunk.endswith(b"\r")
        if self._is_after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._is_after_cr = ends_in_cr
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse_event(block: str) -> SseEvent | None:
    """Parse one event; None for a block of comments and unknown fields."""
    if block.startswith("data: ") and "\n" not in block:
        return SseEvent(block[6:])
    fields: dict[str, list[str]] = {}
    stray: list[str] = []
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        if not name or re.match(_FIELD, line):
            name = "error" if name in ("Error", "ERROR") else name
            fields.setdefault(name, []).append(value.removeprefix(" "))
        else:
            stray.append(line)
    if "data" not in fields and "error" not in fields and not stray:
        return None
    data, error = "\n".join(fields.get("data", ())), "\n".join(fields.get("error", ()))
    return SseEvent(data, fields.get("event", [""])[-1], error, stray="\n".join(stray))


def parse_sse_events(
    stream: Iterable[list[SseEvent]], handle: HandleEvent, *, finish_at_done: bool = True
) -> Iterator[EventBatch]:
    """Call `handle` with each event's JSON object and the batch to extend; yield the batches.

    Stops after an ErrorEvent, the Finished of the answer, or `[DONE]`, which completes the answer if
    `finish_at_done`. An event with invalid JSON, or with text or tool calls of wrong types, becomes an ErrorEvent; so
    does text outside of events if the stream ends before the answer is complete.
    """
    joiner, stray = _SurrogateJoiner(), _StrayText()
    for events in stream:
        batch: EventBatch = []
        for sse in events:
            data = sse.data
            start, is_end = len(batch), _is_end_mark(data)
            if is_end:
                stray.note_end(batch)
                batch += [*stray.finish(), *([Finished()] if finish_at_done else [])]
            else:
                _handle_event(sse, handle, batch, stray)
                if "\\ud" in data or "\\uD" in data or joiner.pending:
                    batch[start:] = joiner.join(batch[start:])
            if is_end or (len(batch) > start and type(batch[-1]) is not TextDelta and _is_end(batch[-1])):
                yield [*batch, *joiner.flush()]
                return
        stray.note_end(batch)
        if batch:
            yield batch
    if rest := [*joiner.flush(), *stray.finish()]:
        yield rest


def _split_lines(sse: SseEvent) -> list[SseEvent]:
    """Split an event whose lines are separate JSON objects: some servers forget the blank lines between events."""
    lines = sse.data.split("\n") if sse.data.startswith("{") else []
    is_split = all(line.startswith("{") and line.endswith("}") for line in lines if not _is_end_mark(line))
    return [sse._replace(data=line) for line in lines] if is_split and lines else [sse]


def _is_end_mark(data: str) -> bool:
    return len(data) < MAX_MARK_CHARS and data.strip(' \t\n"').casefold() in END_MARKS


def _is_end(event: Event) -> bool:
    event_type = type(event)
    return event_type is ErrorEvent or (event_type is Finished and cast("Finished", event).choice is None)


class _StrayText:
    """Text outside of the events of a stream. JSON that reports an error becomes an error immediately.

    Other text explains why an answer is incomplete, and is ignored if it is complete.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = self._tests = 0
        self._has_end = False

    def add(self, text: str) -> EventBatch:
        """Return the error that the text so far reports."""
        if self._size > MAX_STRAY_CHARS:
            return []
        self._pieces.append(text)
        self._size += len(text) + 1
        is_json = self._pieces[0].lstrip().startswith(("{", "[")) and text.rstrip().endswith(("}", "]"))
        if not is_json or self._tests == MAX_STRAY_TESTS:
            return []
        self._tests += 1
        try:
            error = find_error(decode_json("\n".join(self._pieces)))
        except ValueError:
            return []
        return [error] if error else []

    def note_end(self, batch: EventBatch) -> None:
        """Record whether a choice has ended."""
        self._has_end = self._has_end or any(isinstance(event, Finished) for event in batch)

    def finish(self) -> EventBatch:
        """Return the text as an error if no choice has ended."""
        text = "\n".join(self._pieces).strip()
        return [_read_error_text(text[:MAX_STRAY_CHARS])] if text and not self._has_end else []


def find_error(value: Any) -> ErrorEvent | None:
    """Return the error that a JSON value reports, or None."""
    from aiml_cli.api.error_response import parse_error  # few answers report one

    return parse_error(value)


def _read_error_text(text: str) -> ErrorEvent:
    from aiml_cli.api.error_response import parse_error_text  # few answers report one

    return parse_error_text(text)


def collect_events(fill: Callable[[EventBatch], None]) -> EventBatch:
    """Return the events of a JSON answer that `fill` adds; a value of the wrong type becomes an ErrorEvent."""
    batch: EventBatch = []
    try:
        fill(batch)
    except MalformedError as error:
        batch.append(_error_to_event(error))
    joiner = _SurrogateJoiner()
    return [*joiner.join(batch), *joiner.flush()]


def _handle_event(sse: SseEvent, handle: HandleEvent, batch: EventBatch, stray: _StrayText) -> None:
    text, error = sse.data, sse.error
    if error:
        batch.append(_read_error_text(error))
        return
    if text:
        try:
            data = decode_json(text)
            if type(data) is dict:
                handle(sse.event, data, batch)
            else:
                batch += _parse_other_json(sse, data, stray)
        except MalformedError as malformed:
            batch.append(_error_to_event(malformed))
        except ValueError:
            batch += _parse_other_text(sse, stray)
    if sse.stray:
        batch += stray.add(sse.stray)


def _parse_other_json(sse: SseEvent, data: Any, stray: _StrayText) -> EventBatch:
    """Return the errors of JSON that is not an object; numbers and the like only keep the connection open."""
    if error := find_error(data):
        return [error]
    return _parse_other_text(sse._replace(data=data), stray) if isinstance(data, str) else []


def _parse_other_text(sse: SseEvent, stray: _StrayText) -> EventBatch:
    """Return the errors of text that is not JSON; invalid JSON is an error: a part of the answer may be lost."""
    text = sse.data.strip()
    if sse.event.casefold() == "error":
        return [_read_error_text(text or "the server reported an error without a message")]
    if not sse.is_complete or sse.event not in ("", "message") or not text or re.fullmatch(_HEARTBEAT, text):
        return []
    if "{" in text or text.startswith("["):
        return [ErrorEvent(f"the server sent an event that is not JSON: {text[:100]}")]
    return stray.add(text)


def _error_to_event(error: MalformedError) -> ErrorEvent:
    return ErrorEvent(f"the server sent an answer that cannot be decoded: {error}")


class _SurrogateJoiner:
    """A joiner of characters whose UTF-16 surrogates are in two deltas; an unpaired one becomes U+FFFD."""

    def __init__(self) -> None:
        self.pending: dict[tuple[Any, ...], tuple[StringDelta, str]] = {}

    def join(self, events: EventBatch) -> EventBatch:
        return [self._join_event(event) if isinstance(event, StringDelta) else event for event in events]

    def flush(self) -> EventBatch:
        pending, self.pending = self.pending, {}
        return [_replace_text(event, join_surrogates(half)) for event, half in pending.values()]

    def _join_event(self, event: StringDelta) -> Event:
        key = (type(event), event.choice, event.slot if isinstance(event, ToolCallDelta) else 0)
        _, half = self.pending.pop(key, (event, ""))
        text = half + (event.arguments if isinstance(event, ToolCallDelta) else event.text)
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.pending[key], text = (event, text[-1]), text[:-1]
        return _replace_text(event, join_surrogates(text))


def _replace_text(event: StringDelta, text: str) -> Event:
    return event._replace(arguments=text) if isinstance(event, ToolCallDelta) else event._replace(text=text)


def join_surrogates(text: str) -> str:
    """Join the surrogate pairs of a text; replace unpaired ones."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
