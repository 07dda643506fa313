"""Cut a byte stream into server-sent events; no I/O, no JSON."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from aiml_cli.api.error_response import parse_error
from aiml_cli.api.lenient_json import MalformedError
from aiml_cli.api.stream_events import (
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from aiml_cli.errors import ServerError

LONGEST = 64 * 1024 * 1024
Spoken = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
HandleEvent = Callable[[str, dict[str, Any], EventBatch], None]


class SseEvent(NamedTuple):
    """Hold one event: its `data` lines joined, its name, the field `error` that some servers add.

    `whole` is False for one that the end of the stream cut.
    """

    data: str
    event: str = ""
    error: str = ""
    whole: bool = True


def split_events(chunks: Iterable[bytes]) -> Iterator[list[SseEvent]]:
    """Give the events that each chunk completes, as one list a chunk.

    Takes CR, LF and CRLF, a byte order mark, comments and unknown fields (WHATWG HTML, section 9.2.6).
    An event that lacks its blank line at the end of the stream is given as well: servers forget it.
    Raises ServerError for an event of more than 64 MiB.
    """
    cutter = _EventSplitter()
    for chunk in chunks:
        if events := cutter.feed(chunk):
            yield events
    if events := cutter.finish():
        yield events


class _EventSplitter:
    """Keep the pieces of an unfinished event."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes; give the events they complete."""
        if b"\r" in chunk or self._after_cr:
            chunk = self._newlines(chunk)
        if not self._ends_event(chunk):
            self._keep(chunk)
            return []
        self._pieces.append(chunk)
        whole = b"".join(self._pieces)
        end = whole.rfind(b"\n\n")
        self._pieces, self._size = [], 0
        self._keep(whole[end + 2 :])
        return self._events(whole[:end])

    def finish(self) -> list[SseEvent]:
        """Give what is left."""
        rest = b"".join(self._pieces)
        return [event._replace(whole=rest.endswith(b"\n")) for event in self._events(rest)]

    def _events(self, block: bytes) -> list[SseEvent]:
        text = block.decode("utf-8", "replace")
        if self._first:
            text, self._first = text.removeprefix("\ufeff"), False
        return [event for part in text.split("\n\n") if (event := _event(part))]

    def _ends_event(self, chunk: bytes) -> bool:
        """Look for the blank line in the new bytes alone, so that a long event costs no second look."""
        if b"\n\n" in chunk:
            return True
        return chunk.startswith(b"\n") and bool(self._pieces) and self._pieces[-1].endswith(b"\n")

    def _keep(self, chunk: bytes) -> None:
        if chunk:
            self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > LONGEST:
            raise ServerError("the server sent an event of more than 64 MiB")

    def _newlines(self, chunk: bytes) -> bytes:
        """Make every line end in LF, also when a CRLF is split over two chunks."""
        if not chunk:
            return chunk
        ends_in_cr = chunk.endswith(b"\r")
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = ends_in_cr
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: str) -> SseEvent | None:
    """Read one event; None when it holds nothing but comments and unknown fields."""
    if block.startswith("data: ") and "\n" not in block:
        return SseEvent(block[6:])
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields and "error" not in fields:
        return None
    return SseEvent(
        "\n".join(fields.get("data", ())), fields.get("event", [""])[-1], "\n".join(fields.get("error", ()))
    )


def parse_sse_events(
    stream: Iterable[list[SseEvent]], take: HandleEvent, *, done_is_whole: bool = True
) -> Iterator[EventBatch]:
    """Hand each event's JSON object to `take`, which adds to the batch what it means.

    Ends at `[DONE]`, which says that the answer is whole where `done_is_whole`, or after a Fault. An event
    that is no JSON object, or whose values have the wrong types, is a Fault too.
    """
    decode = json.JSONDecoder().decode
    halves = SurrogateJoiner()
    for events in stream:
        batch: EventBatch = []
        for sse in events:
            if sse.data == "[DONE]":
                batch.extend([Finished()] if done_is_whole else [])
            else:
                start = len(batch)
                _take(sse, decode, take, batch)
                if "\\ud" in sse.data or "\\uD" in sse.data or halves.waiting:
                    batch[start:] = halves.join(batch[start:])
            if (batch and isinstance(batch[-1], ErrorEvent)) or sse.data == "[DONE]":
                yield [*batch, *halves.flush()]
                return
        if batch:
            yield batch
    if halves.waiting:
        yield halves.flush()


def _take(sse: SseEvent, decode: Callable[[str], Any], take: HandleEvent, batch: EventBatch) -> None:
    try:
        if sse.error:
            batch.append(_reported(sse.error))
            return
        found = decode(sse.data)
        if not isinstance(found, dict):
            raise MalformedError(f"{sse.data[:60]} where a JSON object belongs")
        take(sse.event, found, batch)
    except MalformedError as wrong:
        batch.append(malformed_event(wrong))
    except (ValueError, RecursionError):
        if sse.whole and (sse.data.strip() or sse.event == "error"):
            batch.append(_unreadable(sse))


def malformed_event(wrong: MalformedError) -> ErrorEvent:
    """Make the fault for values of the wrong type."""
    return ErrorEvent(f"the server sent an answer that cannot be read: {wrong}")


def _reported(text: str) -> ErrorEvent:
    """Read the non-standard field `error`."""
    try:
        found = json.loads(text)
    except ValueError:
        return ErrorEvent(text)
    return parse_error(found if isinstance(found, dict) and "error" in found else {"error": found}) or ErrorEvent(text)


def _unreadable(sse: SseEvent) -> ErrorEvent:
    if sse.event == "error":
        return ErrorEvent(sse.data)
    return ErrorEvent(f"the server sent an event that is not JSON: {sse.data[:100]}")


class SurrogateJoiner:
    """Join characters whose two UTF-16 halves came in two deltas; a half that stays alone becomes U+FFFD."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[Any, ...], tuple[Spoken, str]] = {}

    def join(self, events: EventBatch) -> EventBatch:
        """Give the events with whole characters."""
        return [self._joined(event) if isinstance(event, Spoken) else event for event in events]

    def flush(self) -> EventBatch:
        """Give what waited in vain."""
        left, self.waiting = self.waiting, {}
        return [_saying(event, join_surrogates(half)) for event, half in left.values()]

    def _joined(self, event: Spoken) -> Event:
        key = (type(event), event.choice, event.slot if isinstance(event, ToolCallDelta) else 0)
        _, half = self.waiting.pop(key, (event, ""))
        text = half + (event.arguments if isinstance(event, ToolCallDelta) else event.text)
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.waiting[key], text = (event, text[-1]), text[:-1]
        return _saying(event, join_surrogates(text))


def _saying(event: Spoken, text: str) -> Event:
    return event._replace(arguments=text) if isinstance(event, ToolCallDelta) else event._replace(text=text)


def join_surrogates(text: str) -> str:
    """Join the halves within a text; replace those that stay alone."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
