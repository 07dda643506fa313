"""Serve the demo over HTTP on this machine: bytes in, bytes out, one thread a connection."""

import socketserver
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from aiml_cli.demo.errors import GatewayError
from aiml_cli.demo.routes import Gateway, ServerRequest, ServerResponse, error_response
from aiml_cli.errors import UsageError

HOST = "127.0.0.1"
LARGEST = 64 * 1024 * 1024  # bytes of a request's body
_POLL = 0.01  # seconds until the server notices that it shall stop


@contextmanager
def serve(port: int = 0) -> Iterator[str]:
    """Run the server in the background and give its base URL; port 0 takes any that is free.

    Raise UsageError for a port that cannot be used.
    """
    try:
        server = _Server((HOST, port), _Connection)
    except (OSError, OverflowError) as fault:
        raise UsageError(f"port {port} cannot be used: {getattr(fault, 'strerror', None) or fault}") from None
    with server:
        Thread(target=server.serve_forever, args=(_POLL,), name="aiml-demo", daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}/v1"
        finally:
            server.stopping.set()
            server.shutdown()


class _Server(ThreadingHTTPServer):
    """Hold what all connections share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gateway = Gateway()
        self.stopping = Event()

    def server_bind(self) -> None:
        """Bind without asking the name service what this machine is called, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away: that is its right."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """Speak HTTP/1.1 with one client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # every token leaves at once
    path = ""
    server: _Server

    def _answer(self) -> None:
        try:
            call = ServerRequest(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self._body())
        except GatewayError as fault:
            self.send_error(fault.status, fault.message)
        else:
            self._send(self.server.gateway.answer(call))

    # The names that http.server looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        return self.rfile.read(_size(self.headers.get("Content-Length", "0"), 10))

    def _chunks(self) -> Iterator[bytes]:
        left = LARGEST
        while size := _size(self.rfile.readline(1024).partition(b";")[0].decode("latin-1"), 16):
            left -= size
            if left < 0:
                raise GatewayError(413, "The request body is too large")
            yield self.rfile.read(size)
            self.rfile.readline(1024)
        while self.rfile.readline(1024).strip():
            pass  # trailers, which nobody here reads

    def _send(self, reply: ServerResponse) -> None:
        if reply.streamed:
            self._stream(reply)
        else:
            self._document(reply)

    def _head(self, reply: ServerResponse, framing: Mapping[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in {**reply.headers, **framing}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _document(self, reply: ServerResponse) -> None:
        """Send a body whole, or (cut) the first half of what was announced."""
        body = b"".join(reply.frames)
        self.server.stopping.wait(reply.pause)
        self._head(reply, {"Content-Length": str(len(body))} if reply.frames else {})
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if reply.cut else body)
        self.close_connection |= reply.cut

    def _stream(self, reply: ServerResponse) -> None:
        """Send each frame as a chunk of its own; a client of HTTP/1.0 gets them bare, and then the end."""
        chunked = self.request_version != "HTTP/1.0"
        self.close_connection |= reply.cut or not chunked
        self._head(reply, {"Transfer-Encoding": "chunked"} if chunked else {})
        frames = reply.frames[: len(reply.frames) // 2] if reply.cut else reply.frames
        for frame in frames:
            if reply.pause and self.server.stopping.wait(reply.pause):
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame) if chunked else frame)
        if chunked and not reply.cut:
            self.wfile.write(b"0\r\n\r\n")

    def send_error(self, code: int, message: str | None = None, _explain: str | None = None) -> None:
        """Refuse what is no request, in the gateway's shape; what follows it cannot be trusted."""
        self.close_connection = True
        self._send(error_response(code, message or "Bad request", self.path))

    def version_string(self) -> str:
        """Name the server."""
        return "aiml-demo"

    def log_message(self, *_: Any) -> None:
        """Write nothing: standard error belongs to the program around."""


def _size(text: str, base: int) -> int:
    """Read a length; raise Refused for one that is none, or too large."""
    try:
        size = int(text.strip(), base)
    except ValueError:
        size = -1
    if size < 0:
        raise GatewayError(400, "The length of the body cannot be read")
    if size > LARGEST:
        raise GatewayError(413, "The request body is too large")
    return size
