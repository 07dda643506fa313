"""Join the chunks of a response body that arrived together, and decompress it.

httpx yields one piece per HTTP chunk, which for most servers is one token. Parsing and writing each alone costs twice
as much as all the pieces of one network read at once. docs/development/decisions/joining-chunks.md has the figures.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from itertools import chain

from aiml_cli.errors import IncompleteAnswer, ServerError

MAX_PIECE_BYTES = 64 * 1024
# zlib compresses 1032 to 1 at most; the events of an answer stay below 100 to 1.
SUSPECT_BYTES, SUSPECT_RATIO = 64 * 1024 * 1024, 200
# The first bytes of JSON, pages and events; gzip begins otherwise.
PLAIN_STARTS = (b"{", b"[", b"<", b":", b"d", b"e", b"i", b"r")
# What follows a chunk if there is another: its size, and at least its first byte.
_NEXT_CHUNK = re.compile(rb"\r\n(?!0+\r)[0-9A-Fa-f]{1,8}\r\n.", re.DOTALL)
_LAST_CHUNK, _END_OF_HEAD = b"\r\n0\r\n\r\n", b"\r\n\r\n"
GZIP, ZLIB, RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def join_chunks(
    chunks: Iterator[bytes], get_last_read: Callable[[], bytes], *, is_chunked: bool, on_excess: Callable[[], object]
) -> Iterator[bytes]:
    """Yield the HTTP chunks of a body, those of one network read as one.

    A chunk waits for the next one only if that is in the same read, which `get_last_read` returns. `on_excess` is
    called after the body if it is not certain that nothing follows it in the last read.
    """
    batch: list[bytes] = []
    last_read = get_last_read()
    end = last_read.find(_END_OF_HEAD) + len(_END_OF_HEAD)
    for chunk in chunks:
        if last_read is not (newest := get_last_read()):
            last_read, end = newest, 0
        end = last_read.find(chunk, end) + len(chunk)
        batch.append(chunk)
        if not _NEXT_CHUNK.match(last_read, end):
            yield b"".join(batch)
            batch = []
    newest = get_last_read()
    rest = last_read[end:] if newest is last_read else newest
    if not _LAST_CHUNK.endswith(rest) if is_chunked else rest:
        on_excess()


def decompress(encodings: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a body decompressed, in pieces of 64 KiB at most; `encodings` is its Content-Encoding header.

    Raises ServerError for damage, a decompression bomb, or an encoding other than gzip and deflate, and
    IncompleteAnswer for a body that ends too early.
    """
    for name in reversed([name.strip() for name in encodings.lower().split(",")]):
        if name in ("gzip", "x-gzip", "deflate"):
            chunks = _Inflater(name).inflate(chunks)
        elif name not in ("", "identity"):
            raise ServerError(f"the answer is compressed with {name}, which was not asked for", "is --base-url right?")
    return chunks


class _Inflater:
    """The decompression of one body, which may have several gzip members."""

    def __init__(self, name: str) -> None:
        self._window_bits = 0 if name == "deflate" else GZIP
        self._decompressor = zlib.decompressobj(self._window_bits or ZLIB)
        self._bytes_in = self._bytes_out = 0

    def inflate(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        pending = b""
        for chunk in chunks:
            self._bytes_in += len(chunk)
            pending += chunk
            if self._window_bits == GZIP and len(pending) == self._bytes_in and pending.lstrip()[:1] in PLAIN_STARTS:
                # A proxy decompressed the body and left the header as it was.
                yield from chain([pending], chunks)
                return
            if self._bytes_in > 1:  # it takes two bytes to tell the two forms of "deflate" apart
                yield from self._inflate_chunk(pending)
                pending = b""
        # A body without bytes, such as that of a 204, is complete.
        if self._bytes_in and not self._decompressor.eof:
            raise IncompleteAnswer("the connection was cut before the answer was complete", "ask again")

    def _inflate_chunk(self, data: bytes) -> Iterator[bytes]:
        if not self._window_bits:
            # Some servers mean the raw format by "deflate".
            self._window_bits = ZLIB if data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0 else RAW  # noqa: PLR2004
            self._decompressor = zlib.decompressobj(self._window_bits)
        is_full = True  # zlib may have more output after a full piece, without new input
        while data or is_full:
            if self._decompressor.eof:
                if not data.startswith(b"\x1f"):  # not another member but padding, which is ignored
                    return
                self._decompressor = zlib.decompressobj(self._window_bits)
            piece = self._inflate_piece(data)
            data = self._decompressor.unconsumed_tail or self._decompressor.unused_data
            is_full = len(piece) == MAX_PIECE_BYTES
            if piece:
                yield piece

    def _inflate_piece(self, data: bytes) -> bytes:
        try:
            piece = self._decompressor.decompress(data, MAX_PIECE_BYTES)
        except zlib.error as error:
            raise ServerError(f"the answer could not be decompressed: {error}", "ask again") from None
        self._bytes_out += len(piece)
        if self._bytes_out > max(SUSPECT_BYTES, SUSPECT_RATIO * self._bytes_in):
            raise ServerError(f"the answer swells to more than {SUSPECT_BYTES >> 20} MiB when it is decompressed")
        return piece
