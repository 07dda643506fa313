"""Read ahead in a thread, so that what came together over the network is handed on together.

The HTTP library hands out one piece per HTTP chunk, which for most servers is one token. Cutting, reading
and writing each alone costs twice as much as all the pieces of a network read at once, and whether more
is at hand can only be told by asking for it. docs/decisions/reading-ahead.md has the figures.
"""

import time
import zlib
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Thread

from aiml_cli.errors import IncompleteAnswer, ServerError
from aiml_cli.system.signals import defer_signals

MOST_WAITING, MOST_BYTES = 400, 256 * 1024
PAUSE_S = 0.001
PIECE = 64 * 1024
# zlib packs 1032 to 1 at its densest; the events of an answer stay below 100 to 1.
SUSPECT_BYTES, SUSPECT_RATIO = 64 * 1024 * 1024, 200
GZIP, ZLIB, RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class _Queue(SimpleQueue[bytes | BaseException | None]):
    """Count the bytes that were put and taken; each count has one thread that writes it."""

    put_in = taken = 0


def ahead(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the pieces as they come, joined where several are there; raise what reading them raised."""
    queue = _Queue()
    with defer_signals():  # a start that is broken off leaves a thread that nobody can wait for
        Thread(target=_pump, args=(pieces, queue), daemon=True).start()
    while True:
        joined: list[bytes] = []
        piece = queue.get()
        while isinstance(piece, bytes):
            joined.append(piece)
            queue.taken += len(piece)
            if queue.empty():
                break
            piece = queue.get()
        if joined:
            yield b"".join(joined)
        if piece is None:
            return
        if isinstance(piece, BaseException):
            raise piece


def _pump(pieces: Iterable[bytes], queue: _Queue) -> None:
    try:
        for piece in pieces:
            queue.put_in += len(piece)
            queue.put(piece)
            # Memory stays bounded when the reader of our output is slower than the network.
            while queue.qsize() > MOST_WAITING or queue.put_in - queue.taken > MOST_BYTES:
                time.sleep(PAUSE_S)
        queue.put(None)
    except BaseException as fault:  # noqa: BLE001 - raised again where the pieces are read
        queue.put(fault)


def unpacked(encodings: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give the bytes of a body by the header that names its encodings, in pieces of 64 KiB at most.

    Raises ServerError for damage, for a bomb, and for an encoding other than gzip and deflate, and IncompleteAnswer
    for an end that comes too early.
    """
    for name in reversed([each.strip() for each in encodings.lower().split(",")]):
        if name in ("gzip", "x-gzip", "deflate"):
            chunks = _Inflater(name).take(chunks)
        elif name not in ("", "identity"):
            raise ServerError(f"the answer is compressed with {name}, which was not asked for", "is --base-url right?")
    return chunks


class _Inflater:
    """Inflate one body, of one member or several."""

    def __init__(self, name: str) -> None:
        self._window = 0 if name == "deflate" else GZIP
        self._box = zlib.decompressobj(self._window or ZLIB)
        self._came = self._gave = 0

    def take(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Give what the chunks hold."""
        held = b""
        for chunk in chunks:
            self._came += len(chunk)
            held += chunk
            if self._came > 1:  # it takes two bytes to tell the two forms of "deflate" apart
                yield from self._all_of(held)
                held = b""
        # A body of no bytes, as that of a 204, is no cut one.
        if self._came and not self._box.eof:
            raise IncompleteAnswer("the connection was cut before the answer was complete", "ask again")

    def _all_of(self, data: bytes) -> Iterator[bytes]:
        """Inflate piece by piece; a full piece may leave more behind without any new bytes."""
        if not self._window:
            # Some servers mean the bare format by "deflate".
            self._window = ZLIB if data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0 else RAW  # noqa: PLR2004
            self._box = zlib.decompressobj(self._window)
        full = True
        while data or full:
            if self._box.eof:
                if not data.startswith(b"\x1f"):  # no other member: padding, which counts for nothing
                    return
                self._box = zlib.decompressobj(self._window)
            piece = self._inflated(data)
            data, full = self._box.unconsumed_tail or self._box.unused_data, len(piece) == PIECE
            if piece:
                yield self._weighed(piece)

    def _inflated(self, data: bytes) -> bytes:
        try:
            return self._box.decompress(data, PIECE)
        except zlib.error as fault:
            raise ServerError(f"the answer could not be decompressed: {fault}", "ask again") from None

    def _weighed(self, piece: bytes) -> bytes:
        self._gave += len(piece)
        if self._gave > max(SUSPECT_BYTES, SUSPECT_RATIO * self._came):
            raise ServerError(f"the answer swells to more than {SUSPECT_BYTES >> 20} MiB when it is decompressed")
        return piece
