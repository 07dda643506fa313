"""A server on loopback that records what it gets and answers with exactly the bytes it is given."""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 30.0
TICK_S = 0.1


class Sign(Enum):
    """Name what a server does besides sending."""

    RESET = auto()
    SILENCE = auto()
    HALF_CLOSE = auto()


RESET = Sign.RESET
SILENCE = Sign.SILENCE
HALF_CLOSE = Sign.HALF_CLOSE


@dataclass(frozen=True)
class Drip:
    """Send bytes a few at a time."""

    data: bytes
    size: int = 1
    every_s: float = 0.02


@dataclass(frozen=True)
class Flood:
    """Send the same bytes over and over, until so many were sent or the other side is gone."""

    data: bytes
    total: int = 1 << 40


Step = bytes | threading.Event | Drip | Flood | Iterable[bytes] | object


@dataclass
class Request:
    """Hold a request as it came."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            found, _, value = line.partition(b":")
            if found.decode().lower() == name.lower():
                return value.strip().decode()
        return None


@dataclass
class Loopback:
    """Answer each connection with the next script; the last one serves all that follow.

    A script is a sequence of steps: bytes are sent at once, a Drip at its pace, a Flood without end; pieces of an
    iterable are made as they are sent; an Event is waited for; RESET resets the connection, HALF_CLOSE ends our
    side of it, SILENCE waits until the other side leaves. A deaf server does not wait for a request first.
    `models` has scripts of their own for models, whose requests come in any order.
    """

    scripts: list[Sequence[Step]] = field(default_factory=list)
    models: dict[str, Sequence[Step]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    tls: ssl.SSLContext | None = None
    deaf: bool = False
    connections: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"
        self._count = 0
        self._open: set[socket.socket] = set()
        self._over = threading.Event()

    def answers(self, *steps: Step) -> None:
        """Add a script."""
        self.scripts.append(steps)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of all that waits: closing a socket alone wakes nobody."""
        self._over.set()
        for each in [self._socket, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            request = None if self.deaf else _read(connection)
            if request:
                self.requests.append(request)
            elif not self.deaf:
                return
            if request and self.models:
                script = self.models[request.json["model"]]
            else:
                script = self.scripts[min(self._count, len(self.scripts) - 1)]
            self._count += 1
            self.arrived.set()
            self._play(connection, script)
        except OSError:
            self.left.set()
        finally:
            self._open.discard(connection)
            connection.close()

    def _play(self, connection: socket.socket, script: Sequence[Step]) -> None:
        for step in script:
            if isinstance(step, threading.Event):
                self._wait(step)
            elif step is SILENCE:
                self._outwait(connection)
            else:
                _take(connection, step)

    def _outwait(self, connection: socket.socket) -> None:
        """Wait until the other side leaves; a reset is a way to leave."""
        try:
            _turn(connection, SILENCE)
        except ConnectionResetError:
            self.left.set()

    def _wait(self, event: threading.Event) -> None:
        for _ in range(int(PATIENCE_S / TICK_S)):
            if event.wait(TICK_S) or self._over.is_set():
                return


def _read(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    request = Request(head, body)
    length = int(request.header("content-length") or 0)
    body = bytearray(request.body)
    while len(body) < length:
        body += connection.recv(1 << 20)
    request.body = bytes(body)
    return request


def _take(connection: socket.socket, step: Step) -> None:
    match step:
        case bytes():
            connection.sendall(step)
        case Drip():
            _drip(connection, step)
        case Flood():
            for _ in range(step.total // len(step.data)):
                connection.sendall(step.data)
        case Iterable():
            for piece in step:
                connection.sendall(piece)
        case _:
            _turn(connection, step)


def _drip(connection: socket.socket, drip: Drip) -> None:
    for start in range(0, len(drip.data), drip.size):
        connection.sendall(drip.data[start : start + drip.size])
        time.sleep(drip.every_s)


def _turn(connection: socket.socket, step: object) -> None:
    """Do what is no sending."""
    if step is RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    if step is HALF_CLOSE:
        connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


def http(body: bytes, status: str = "200 OK", content_type: str = "application/json", *headers: str) -> bytes:
    """Make a whole reply."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def as_json(found: Any, status: str = "200 OK", *headers: str) -> bytes:
    """Make a JSON reply."""
    return http(json.dumps(found).encode(), status, "application/json", *headers)


# It says that the connection ends, as it does: a client that sent another request there would hear nothing.
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Make one piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(found: Any) -> bytes:
    """Make a server-sent event of a JSON value, or of a text as it is."""
    return b"data: " + (found.encode() if isinstance(found, str) else json.dumps(found).encode()) + b"\n\n"


def delta(text: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    """Make a chunk of a chat stream."""
    said = {"content": text} if text is not None else {}
    choice = {"index": index, "delta": {**said, **more}, "finish_reason": finish}
    return event({"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def stream(*events: bytes, end: bytes = END) -> bytes:
    """Make a chunked stream, each event a chunk."""
    return STREAM + b"".join(map(chunk, events)) + end


USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 5,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
HELLO = stream(
    delta("Hel"),
    delta("lo"),
    delta(finish="stop"),
    event({"id": "chat-1", "model": "m", "choices": [], "usage": USAGE}),
    event("[DONE]"),
)


def response(text: str = "Hello", status: str = "completed", **more: Any) -> dict[str, Any]:
    """Make a response object."""
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part]}
    usage = {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 8,
    }
    facts = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status}
    return {**facts, "error": None, "incomplete_details": None, "output": [message], "usage": usage, **more}


def spoken(*texts: str) -> list[bytes]:
    """Make the events of a response's text."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = [event({"type": "response.output_text.delta", **place, "delta": text}) for text in texts]
    return [event({"type": "response.created", "response": response("", "in_progress", output=[])}), *deltas]


HELLO_RESPONSE = stream(*spoken("Hel", "lo"), event({"type": "response.completed", "response": response()}))
