"""A server on loopback that records its requests and answers with exactly the given bytes."""

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

TIMEOUT_S = 30.0
TICK_S = 0.1


class Action(Enum):
    """What a server does to a connection besides sending."""

    RESET = auto()
    SILENCE = auto()
    HALF_CLOSE = auto()


RESET = Action.RESET
SILENCE = Action.SILENCE
HALF_CLOSE = Action.HALF_CLOSE


@dataclass(frozen=True)
class Drip:
    """Bytes that are sent a few at a time."""

    data: bytes
    size: int = 1
    every_s: float = 0.02


@dataclass(frozen=True)
class Flood:
    """Bytes that are sent repeatedly, up to a total or until the client leaves."""

    data: bytes
    total: int = 1 << 40


Step = bytes | threading.Event | Drip | Flood | Iterable[bytes] | object


@dataclass
class Request:
    """A request: its head and its body, as bytes."""

    head: bytes
    body: bytes

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def get_header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.strip().decode()
        return None


@dataclass
class Loopback:
    """A server that answers each connection with the next script; the last script serves all that follow.

    A script is a sequence of steps: bytes are sent immediately, a Drip slowly, a Flood without end; an iterable is
    sent piece by piece; an Event is waited for; RESET resets the connection, HALF_CLOSE ends our side of it, SILENCE
    waits until the client leaves. With `skips_request` the server answers before it reads anything.
    `scripts_by_model` is for requests that name different models and arrive in any order.
    """

    scripts: list[Sequence[Step]] = field(default_factory=list)
    scripts_by_model: dict[str, Sequence[Step]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    request_arrived: threading.Event = field(default_factory=threading.Event)
    client_left: threading.Event = field(default_factory=threading.Event)
    tls: ssl.SSLContext | None = None
    skips_request: bool = False
    connections: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"
        self._count = 0
        self._open: set[socket.socket] = set()
        self._is_closed = threading.Event()

    def answer_with(self, *steps: Step) -> None:
        """Add a script for the next connection."""
        self.scripts.append(steps)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down all sockets, because closing one does not wake a thread that waits for it."""
        self._is_closed.set()
        for open_socket in [self._socket, *self._open]:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._handle_connection, args=(connection,), daemon=True).start()

    def _handle_connection(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            request = None if self.skips_request else _read_request(connection)
            if request:
                self.requests.append(request)
            elif not self.skips_request:
                return
            if request and self.scripts_by_model:
                script = self.scripts_by_model[request.json["model"]]
            else:
                script = self.scripts[min(self._count, len(self.scripts) - 1)]
            self._count += 1
            self.request_arrived.set()
            self._run_script(connection, script)
        except TimeoutError:
            pass
        except OSError:
            self.client_left.set()
        finally:
            self._open.discard(connection)
            connection.close()

    def _run_script(self, connection: socket.socket, script: Sequence[Step]) -> None:
        for step in script:
            if isinstance(step, threading.Event):
                self._wait_for_event(step)
            elif step is SILENCE:
                self._wait_for_client(connection)
            else:
                _run_step(connection, step)

    def _wait_for_client(self, connection: socket.socket) -> None:
        """Wait until the client leaves, by a close or a reset."""
        with suppress(ConnectionResetError):
            _end_connection(connection, SILENCE)
        self.client_left.set()

    def _wait_for_event(self, event: threading.Event) -> None:
        for _ in range(int(TIMEOUT_S / TICK_S)):
            if event.wait(TICK_S) or self._is_closed.is_set():
                return


def _read_request(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    request = Request(head, body)
    length = int(request.get_header("content-length") or 0)
    body = bytearray(request.body)
    while len(body) < length:
        body += connection.recv(1 << 20)
    request.body = bytes(body)
    return request


def _run_step(connection: socket.socket, step: Step) -> None:
    match step:
        case bytes():
            connection.sendall(step)
        case Drip():
            _send_slowly(connection, step)
        case Flood():
            for _ in range(step.total // len(step.data)):
                connection.sendall(step.data)
        case Iterable():
            for piece in step:
                connection.sendall(piece)
        case _:
            _end_connection(connection, step)


def _send_slowly(connection: socket.socket, drip: Drip) -> None:
    for start in range(0, len(drip.data), drip.size):
        connection.sendall(drip.data[start : start + drip.size])
        time.sleep(drip.every_s)


def _end_connection(connection: socket.socket, step: object) -> None:
    if step is RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    if step is HALF_CLOSE:
        connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


def http_response(body: bytes, status: str = "200 OK", content_type: str = "application/json", *headers: str) -> bytes:
    """Return a complete HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def json_response(body: Any, status: str = "200 OK", *headers: str) -> bytes:
    """Return an HTTP response with a JSON body."""
    return http_response(json.dumps(body).encode(), status, "application/json", *headers)


# "Connection: close", because the server answers one request per connection.
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(data: Any) -> bytes:
    """Return a server-sent event of a JSON value, or of a text."""
    return b"data: " + (data.encode() if isinstance(data, str) else json.dumps(data).encode()) + b"\n\n"


def delta(text: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    """Return an event of a chat stream."""
    content = {"content": text} if text is not None else {}
    choice = {"index": index, "delta": {**content, **more}, "finish_reason": finish}
    return event({"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def stream(*events: bytes, end: bytes = END) -> bytes:
    """Return an HTTP response with a stream, one chunk per event."""
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


def response_object(text: str = "Hello", status: str = "completed", **more: Any) -> dict[str, Any]:
    """Return a response object of the Responses API."""
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


def text_events(*texts: str) -> list[bytes]:
    """Return the first events of a Responses stream: its creation and its text."""
    position = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = [event({"type": "response.output_text.delta", **position, "delta": text}) for text in texts]
    return [event({"type": "response.created", "response": response_object("", "in_progress", output=[])}), *deltas]


HELLO_RESPONSE = stream(*text_events("Hel", "lo"), event({"type": "response.completed", "response": response_object()}))
