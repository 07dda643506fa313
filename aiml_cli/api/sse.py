"""Cut a byte stream into server-sent events; no I/O, no JSON."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aiml_cli.errors import ServerFailed

LONGEST = 64 * 1024 * 1024


class Sse(NamedTuple):
    """Hold one event: its `data` lines joined, its name, the field `error` that some servers add.

    `whole` is False for one that the end of the stream cut.
    """

    data: str
    event: str = ""
    error: str = ""
    whole: bool = True


def cut(chunks: Iterable[bytes]) -> Iterator[list[Sse]]:
    """Give the events that each chunk completes, as one list a chunk.

    Takes CR, LF and CRLF, a byte order mark, comments and unknown fields (WHATWG HTML, section 9.2.6).
    An event that lacks its blank line at the end of the stream is given as well: servers forget it.
    Raises ServerFailed for an event of more than 64 MiB.
    """
    cutter = _Cutter()
    for chunk in chunks:
        if events := cutter.take(chunk):
            yield events
    if events := cutter.end():
        yield events


class _Cutter:
    """Keep the pieces of an unfinished event."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._first = True
        self._after_cr = False

    def take(self, chunk: bytes) -> list[Sse]:
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

    def end(self) -> list[Sse]:
        """Give what is left."""
        rest = b"".join(self._pieces)
        return [event._replace(whole=rest.endswith(b"\n")) for event in self._events(rest)]

    def _events(self, block: bytes) -> list[Sse]:
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
            raise ServerFailed("the server sent an event of more than 64 MiB")

    def _newlines(self, chunk: bytes) -> bytes:
        """Make every line end in LF, also when a CRLF is split over two chunks."""
        if not chunk:
            return chunk
        ends_in_cr = chunk.endswith(b"\r")
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = ends_in_cr
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: str) -> Sse | None:
    """Read one event; None when it holds nothing but comments and unknown fields."""
    if block.startswith("data: ") and "\n" not in block:
        return Sse(block[6:])
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields and "error" not in fields:
        return None
    return Sse("\n".join(fields.get("data", ())), fields.get("event", [""])[-1], "\n".join(fields.get("error", ())))
