"""The demo's HTTP server on the loopback address, with one thread per connection."""

import socketserver
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from aiml_cli.demo.parsed_request import GatewayError
from aiml_cli.demo.routes import Gateway, ServerRequest, ServerResponse, build_error_response
from aiml_cli.errors import UsageError

HOST = "127.0.0.1"
MAX_BODY_BYTES = 64 * 1024 * 1024
_POLL_SECONDS = 0.01  # the longest time that stopping the server takes


@contextmanager
def serve(port: int = 0) -> Iterator[str]:
    """Run the server in a thread and yield its base URL; raise UsageError if the port (0: any) cannot be used."""
    try:
        server = _Server((HOST, port), _Connection)
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {port} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    with server:
        Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="aiml-demo", daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}/v1"
        finally:
            server.stopping.set()
            server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gateway = Gateway()
        self.stopping = Event()

    def server_bind(self) -> None:
        """Bind without looking up the name of this machine, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that the client closed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # every token is sent immediately
    path = ""
    server: _Server

    def _handle(self) -> None:
        try:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = ServerRequest(self.command, self.path, headers, self._read_body())
        except GatewayError as error:
            self.send_error(error.status, error.message)
        else:
            self._send(self.server.gateway.answer(request))

    # The names that http.server looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._read_chunks())
        return self.rfile.read(_parse_size(self.headers.get("Content-Length", "0"), 10))

    def _read_chunks(self) -> Iterator[bytes]:
        left = MAX_BODY_BYTES
        while size := _parse_size(self.rfile.readline(1024).partition(b";")[0].decode("latin-1"), 16):
            left -= size
            if left < 0:
                raise GatewayError(413, "The request body is too large")
            yield self.rfile.read(size)
            self.rfile.readline(1024)
        while self.rfile.readline(1024).strip():
            pass  # trailers are ignored

    def _send(self, response: ServerResponse) -> None:
        (self._send_stream if response.is_stream else self._send_document)(response)

    def _send_head(self, response: ServerResponse, framing: Mapping[str, str]) -> None:
        self.send_response(response.status)
        for name, value in {**response.headers, **framing}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send_document(self, response: ServerResponse) -> None:
        """Send the complete body, or for a cut response only the first half of it."""
        body = b"".join(response.frames)
        self.server.stopping.wait(response.pause)
        self._send_head(response, {"Content-Length": str(len(body))} if response.frames else {})
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if response.is_cut else body)
        self.close_connection |= response.is_cut

    def _send_stream(self, response: ServerResponse) -> None:
        """Send each frame as a chunk; an HTTP/1.0 client gets frames without chunks until the connection closes."""
        is_chunked = self.request_version != "HTTP/1.0"
        self.close_connection |= response.is_cut or not is_chunked
        self._send_head(response, {"Transfer-Encoding": "chunked"} if is_chunked else {})
        frames = response.frames[: len(response.frames) // 2] if response.is_cut else response.frames
        for frame in frames:
            if response.pause and self.server.stopping.wait(response.pause):
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame) if is_chunked else frame)
        if is_chunked and not response.is_cut:
            self.wfile.write(b"0\r\n\r\n")

    def send_error(self, code: int, message: str | None = None, _explain: str | None = None) -> None:
        """Answer a malformed request like the gateway, and close the connection, whose next bytes are meaningless."""
        self.close_connection = True
        self._send(build_error_response(code, message or "Bad request", self.path))

    def version_string(self) -> str:
        return "aiml-demo"

    def log_message(self, *_: Any) -> None:
        """Log nothing: the program that runs the server uses stderr."""


def _parse_size(text: str, base: int) -> int:
    """Parse the length of a body or chunk; raise GatewayError if it is invalid or too large."""
    try:
        size = int(text.strip(), base)
    except ValueError:
        size = -1
    if size < 0:
        raise GatewayError(400, "The length of the body cannot be read")
    if size > MAX_BODY_BYTES:
        raise GatewayError(413, "The request body is too large")
    return size
