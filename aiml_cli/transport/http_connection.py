"""Send requests over an HTTP/1.1 connection, and read the responses in one piece per network read.

Most servers send each token as an HTTP chunk. Handling each chunk alone, as h11 and httpx do, takes several times as
long as handling all chunks of a network read together; docs/development/decisions/joining-chunks.md has the figures.
"""

import re
import select
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from time import monotonic
from typing import NamedTuple, cast

import h11

from aiml_cli.errors import IncompleteAnswer, ServerError
from aiml_cli.transport.connection import RequestHook

KEEP_ALIVE_SECONDS = 5.0
READ_BYTES, MAX_HEAD_BYTES = 64 * 1024, 100 * 1024
SWITCHING_PROTOCOLS, STATUSES_WITHOUT_BODY = 101, (204, 304)
Origin = tuple[str, str, int]  # scheme, host and port
Timeouts = Mapping[str, float | None]

MAX_PIECE_BYTES = 64 * 1024
# zlib compresses 1032 to 1 at most; the events of an answer stay below 100 to 1.
SUSPECT_BYTES, SUSPECT_RATIO = 64 * 1024 * 1024, 200
# The first bytes of JSON, HTML and events; gzip starts with other bytes.
PLAIN_STARTS = (b"{", b"[", b"<", b":", b"d", b"e", b"i", b"r")
# What precedes the data of a chunk: the end of the previous chunk, the size, and perhaps an extension.
_CHUNK_HEAD = re.compile(rb"\r\n([0-9A-Fa-f]{1,20})[ \t]*(?:;[^\r\n]*)?\r\n")
# An incomplete chunk head, or the complete head of the last chunk, whose trailers have not arrived.
_PARTIAL_HEAD = re.compile(rb"\r?\Z|\r\n[0-9A-Fa-f]{0,20}[ \t]*(?:;[^\r\n]*)?\r?\Z|\r\n0{1,20}[ \t]*(?:;[^\r\n]*)?\r\n")
MAX_CHUNK_HEAD_BYTES, _END_OF_HEAD = 64 * 1024, b"\r\n\r\n"
Finish = Callable[[bool], None]
GZIP, ZLIB, RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class RequestParts(NamedTuple):
    """A request without its URL; `body` is sent piece by piece."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: Iterable[bytes]


class HttpConnection:
    """A connected socket for requests that are sent one at a time.

    h11 writes and reads the heads; response bodies are read without it, because it handles each chunk separately.
    """

    def __init__(self, connected: socket.socket, origin: Origin) -> None:
        self._socket, self._origin = connected, origin
        self._is_idle, self._expires_at = True, monotonic() + KEEP_ALIVE_SECONDS

    def can_send(self, origin: Origin) -> bool:
        """True if the connection is to this server, its last response is complete, and it is still open."""
        is_kept = self._is_idle and origin == self._origin and monotonic() <= self._expires_at
        return is_kept and is_open(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._is_idle = False
        self._socket.close()

    def get_extra_info(self, info: str) -> socket.socket | None:
        """Return the socket under its name, as the streams of httpcore do."""
        return self._socket if info == "socket" else None

    def send(self, request: RequestParts, hook: RequestHook, timeouts: Timeouts) -> "HttpAnswer":
        """Send a request, and return the response when its headers have arrived; raise OSError or h11.ProtocolError."""
        self._is_idle, protocol = False, h11.Connection(h11.CLIENT, MAX_HEAD_BYTES)
        try:
            if self._write_request(protocol, request, timeouts["write"]):
                hook.report_sent()
            hook.expect_head()
            head = self._read_head(protocol, timeouts["read"])
        except BaseException:
            self.close()
            raise
        finally:
            hook.note_head()
        return HttpAnswer(self, protocol, head, timeouts["read"])

    def finish(self, *, is_reusable: bool) -> None:
        """Record that a response is complete, and close the connection if it cannot be used again."""
        if not is_reusable:
            self.close()
        self._is_idle, self._expires_at = is_reusable, monotonic() + KEEP_ALIVE_SECONDS

    def read(self, timeout: float | None) -> bytes:
        """Return the next bytes, b"" at the end of the connection; raise OSError if that fails."""
        self._set_timeout(timeout)
        return self._socket.recv(READ_BYTES)

    def _write_request(self, protocol: h11.Connection, request: RequestParts, timeout: float | None) -> bool:
        """Send the head together with the first piece of the body; return False if not everything could be sent.

        A server may reject a large body before it has read it, and its response can still be read.
        """
        unsent = protocol.send(h11.Request(method=request.method, target=request.target, headers=request.headers))
        try:
            for piece in request.body:
                self._write((unsent or b"") + (protocol.send(h11.Data(data=piece)) or b""), timeout)
                unsent = b""
            self._write((unsent or b"") + (protocol.send(h11.EndOfMessage()) or b""), timeout)
        except TimeoutError:
            raise
        except OSError:
            return False
        return True

    def _write(self, data: bytes, timeout: float | None) -> None:
        self._set_timeout(timeout)
        rest = memoryview(data)
        while rest:  # the timeout of sendall would apply to the complete buffer
            rest = rest[self._socket.send(rest) :]

    def _read_head(self, protocol: h11.Connection, timeout: float | None) -> h11.Response:
        while True:
            event = protocol.next_event()
            if isinstance(event, h11.Response) or getattr(event, "status_code", 0) == SWITCHING_PROTOCOLS:
                return cast("h11.Response", event)
            if event is h11.NEED_DATA:
                if not (data := self.read(timeout)) and protocol.their_state is h11.SEND_RESPONSE:
                    raise h11.RemoteProtocolError("Server disconnected without sending a response.")
                protocol.receive_data(data)

    def _set_timeout(self, timeout: float | None) -> None:
        """Set the timeout of the socket if it differs: each system call lets another thread run."""
        if self._socket.gettimeout() != timeout:
            self._socket.settimeout(timeout)


class HttpAnswer:
    """A response whose headers have arrived; `is_complete` is True as soon as the end of its body has arrived."""

    def __init__(
        self, connection: HttpConnection, protocol: h11.Connection, head: h11.Response, timeout: float | None
    ) -> None:
        self._connection, self._head, self._timeout = connection, head, timeout
        # False if the response closes the connection, or the request was not sent completely.
        self._is_kept, self._first = protocol.our_state is h11.DONE, protocol.trailing_data[0]
        self.status, self.headers = head.status_code, head.headers.raw_items()
        self.is_complete = False

    def read_body(self) -> Iterator[bytes]:
        """Yield the body as it arrives; raise IncompleteAnswer if it ends too early."""
        headers = dict(self._head.headers)
        if self.status in (SWITCHING_PROTOCOLS, *STATUSES_WITHOUT_BODY):
            return read_length(self._first, self._read, 0, self._finish)
        if b"transfer-encoding" in headers:
            return read_chunked(self._first, self._read, self._finish)
        if length := headers.get(b"content-length"):
            return read_length(self._first, self._read, int(length), self._finish)
        return read_to_end(self._first, self._read, self._finish)

    def close(self) -> None:
        """Close the connection, unless the response is complete."""
        if not self.is_complete:
            self._connection.close()

    def _read(self) -> bytes:
        try:
            return self._connection.read(self._timeout)
        except TimeoutError:
            raise make_silence_error() from None
        except OSError:
            raise make_cut_error() from None

    def _finish(self, is_reusable: bool) -> None:
        self.is_complete = True
        self._connection.finish(is_reusable=is_reusable and self._is_kept)


def is_open(connection: socket.socket) -> bool:
    """True if the server has neither closed an idle connection nor sent data; TLS session tickets are not data."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        connection.settimeout(0)
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


def make_cut_error() -> IncompleteAnswer:
    """Return the error for a body that ends too early."""
    return IncompleteAnswer("the connection was cut before the answer was complete", "try again")


def make_silence_error() -> IncompleteAnswer:
    """Return the error for a body that stops arriving."""
    return IncompleteAnswer("the answer stopped: no more data arrived", "try again, or wait longer with --timeout")


def read_chunked(first: bytes, read: Callable[[], bytes], finish: Finish) -> Iterator[bytes]:
    """Yield the data of a chunked body: one piece for all chunks of a network read.

    `first` has been read already; `read` returns more, b"" at the end of the connection. As soon as the end of the body
    has arrived, `finish` is called: with True if nothing follows it. Raises IncompleteAnswer.
    """
    decoder, data = _ChunkDecoder(), first
    while True:
        piece = decoder.feed(data)
        if decoder.rest is not None:
            finish(not decoder.rest)
        if piece:
            yield piece
        if decoder.rest is not None:
            return
        if decoder.is_broken or not (data := read()):
            raise make_cut_error()


class _ChunkDecoder:
    """Decodes a chunked body; `rest` contains the bytes after the body, None before its end has arrived."""

    def __init__(self) -> None:
        self._pending, self._left = b"\r\n", 0
        self.rest: bytes | None = None

    @property
    def is_broken(self) -> bool:
        """True if the pending bytes are not the beginning of a chunk's head."""
        return len(self._pending) > MAX_CHUNK_HEAD_BYTES or not _PARTIAL_HEAD.match(self._pending)

    def feed(self, data: bytes) -> bytes:
        """Return the data of the chunks, including that of a last one that is still incomplete."""
        data, position, pieces = self._pending + data, 0, []
        while True:
            if self._left:
                pieces.append(piece := data[position : position + self._left])
                position, self._left = position + len(piece), self._left - len(piece)
            if self._left or not (head := _CHUNK_HEAD.match(data, position)):
                break
            self._left = int(head[1], 16)
            if not self._left:
                end = data.find(_END_OF_HEAD, head.end() - 2)  # of the trailers, or of the head if there are none
                self.rest = data[end + len(_END_OF_HEAD) :] if end >= 0 else None
                break
            position = head.end()
        self._pending = data[position:]
        return b"".join(pieces)


def read_length(first: bytes, read: Callable[[], bytes], length: int, finish: Finish) -> Iterator[bytes]:
    """Yield a body of `length` bytes; the other arguments are those of `read_chunked`."""
    data, left = first, length
    while True:
        piece, left = data[:left], left - len(data)
        if left <= 0:
            finish(left == 0)
        if piece:
            yield piece
        if left <= 0:
            return
        if not (data := read()):
            raise make_cut_error()


def read_to_end(first: bytes, read: Callable[[], bytes], finish: Finish) -> Iterator[bytes]:
    """Yield a body that ends with its connection; the arguments are those of `read_chunked`."""
    data = first or read()
    while data:
        yield data
        data = read()
    finish(False)


def decompress(encodings: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a body decompressed, in pieces of 64 KiB at most; `encodings` is its Content-Encoding header.

    Raises ServerError for invalid data, a decompression bomb, or an encoding other than gzip and deflate, and
    IncompleteAnswer for a body that ends too early.
    """
    for name in reversed([name.strip() for name in encodings.lower().split(",")]):
        if name in ("gzip", "x-gzip", "deflate"):
            chunks = _Inflater(name).inflate(chunks)
        elif name not in ("", "identity"):
            raise ServerError(f"the answer is compressed with {name}, which was not requested", "check --base-url")
    return chunks


class _Inflater:
    """Decompresses one body, which may have several gzip members."""

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
            raise make_cut_error()

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
            raise ServerError(f"the answer could not be decompressed: {error}", "try again") from None
        self._bytes_out += len(piece)
        if self._bytes_out > max(SUSPECT_BYTES, SUSPECT_RATIO * self._bytes_in):
            raise ServerError(f"the answer expands to more than {SUSPECT_BYTES >> 20} MiB when it is decompressed")
        return piece
