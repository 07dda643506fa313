"""A proxy on loopback that tunnels to one port, or sends a given response."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

TIMEOUT_S = 30.0
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class Proxy:
    """A proxy that tunnels to `port` whatever host is requested, or sends another `response`."""

    port: int = 0
    response: bytes = ESTABLISHED
    request_heads: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone does not wake accept()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._handle_connection, args=(connection,), daemon=True).start()

    def _handle_connection(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                head += piece
            self.request_heads.append(head)
            connection.sendall(self.response)
            if self.response == ESTABLISHED:
                with socket.create_connection(("127.0.0.1", self.port)) as upstream:
                    _relay(connection, upstream)


def _relay(client: socket.socket, upstream: socket.socket) -> None:
    """Forward bytes both ways until both sides are done."""
    back = threading.Thread(target=_forward, args=(upstream, client), daemon=True)
    back.start()
    _forward(client, upstream)
    back.join(TIMEOUT_S)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
