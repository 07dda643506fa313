"""Split a byte stream into server-sent events, and parse their JSON into events of an answer."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from aiml_cli.api.error_response import parse_error
from aiml_cli.api.json_values import MalformedError
from aiml_cli.api.stream_events import ErrorEvent, Event, EventBatch, Finished, StringDelta, ToolCallDelta
from aiml_cli.errors import ServerError

MAX_EVENT_BYTES = 64 * 1024 * 1024
HandleEvent = Callable[[str, dict[str, Any], EventBatch], None]


class SseEvent(NamedTuple):
    """A server-sent event. `data` is its joined lines, `error` a non-standard field of some servers.

    `is_complete` is False if the stream ended in the middle of the event.
    """

    data: str
    event: str = ""
    error: str = ""
    is_complete: bool = True


def split_events(chunks: Iterable[bytes]) -> Iterator[list[SseEvent]]:
    """Yield the events that each chunk completes, one list for a chunk.

    Accepts CR, LF and CRLF, a byte order mark, comments and unknown fields (WHATWG HTML, section 9.2.6).
    Yields an event without its blank line at the end of the stream too: servers forget it.
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
        return [event for part in text.split("\n\n") if (event := _parse_event(part))]

    def _ends_event(self, chunk: bytes) -> bool:
        """Look for the blank line in the new bytes alone, so that the time is linear in an event's length."""
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
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields and "error" not in fields:
        return None
    data, error = "\n".join(fields.get("data", ())), "\n".join(fields.get("error", ()))
    return SseEvent(data, fields.get("event", [""])[-1], error)


def parse_sse_events(
    stream: Iterable[list[SseEvent]], handle: HandleEvent, *, finish_at_done: bool = True
) -> Iterator[EventBatch]:
    """Call `handle` with each event's JSON object and the batch to extend; yield the batches.

    Stops after an ErrorEvent or at `[DONE]`, which completes the answer if `finish_at_done`. An event that is
    not a JSON object, or has values of the wrong types, becomes an ErrorEvent.
    """
    decode = json.JSONDecoder().decode
    joiner = _SurrogateJoiner()
    for events in stream:
        batch: EventBatch = []
        for sse in events:
            if sse.data == "[DONE]":
                batch.extend([Finished()] if finish_at_done else [])
            else:
                start = len(batch)
                _handle_event(sse, decode, handle, batch)
                if "\\ud" in sse.data or "\\uD" in sse.data or joiner.pending:
                    batch[start:] = joiner.join(batch[start:])
            if (batch and isinstance(batch[-1], ErrorEvent)) or sse.data == "[DONE]":
                yield [*batch, *joiner.flush()]
                return
        if batch:
            yield batch
    if joiner.pending:
        yield joiner.flush()


def collect_events(fill: Callable[[EventBatch], None]) -> EventBatch:
    """Return the events of a JSON answer that `fill` adds; a value of the wrong type becomes an ErrorEvent."""
    batch: EventBatch = []
    try:
        fill(batch)
    except MalformedError as error:
        batch.append(_error_to_event(error))
    joiner = _SurrogateJoiner()
    return [*joiner.join(batch), *joiner.flush()]


def _handle_event(sse: SseEvent, decode: Callable[[str], Any], handle: HandleEvent, batch: EventBatch) -> None:
    try:
        if sse.error:
            batch.append(_parse_error_field(sse.error))
            return
        data = decode(sse.data)
        if not isinstance(data, dict):
            raise MalformedError(f"{sse.data[:60]} where a JSON object belongs")
        handle(sse.event, data, batch)
    except MalformedError as error:
        batch.append(_error_to_event(error))
    except (ValueError, RecursionError):
        if sse.is_complete and (sse.data.strip() or sse.event == "error"):
            is_error = sse.event == "error"
            message = sse.data if is_error else f"the server sent an event that is not JSON: {sse.data[:100]}"
            batch.append(ErrorEvent(message))


def _error_to_event(error: MalformedError) -> ErrorEvent:
    return ErrorEvent(f"the server sent an answer that cannot be read: {error}")


def _parse_error_field(text: str) -> ErrorEvent:
    try:
        error = json.loads(text)
    except ValueError:
        return ErrorEvent(text)
    return parse_error(error if isinstance(error, dict) and "error" in error else {"error": error}) or ErrorEvent(text)


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
