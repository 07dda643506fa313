"""MCP servers over HTTP: what they get, and answers that are refused or bounded."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support.loopback import Flood, Loopback
from support.mcp_sources import open_server

from aiml_cli.errors import UsageError
from aiml_cli.tools.mcp_config import McpServer

JSON, SSE = "application/json", "text/event-stream"


def build_server(server: Loopback, **more: Any) -> McpServer:
    return McpServer("web", url=f"http://127.0.0.1:{server.port}/mcp", **more)


def build_reply(status: str, body: bytes = b"", *headers: str, content_type: str = JSON) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def build_json_reply(number: int, result: dict[str, Any], *headers: str) -> bytes:
    return build_reply("200 OK", json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode(), *headers)


INITIALIZE_RESULT = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
TOOLS_RESULT = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (build_reply("307 Temporary Redirect", b"", "Location: /other"), "redirects to /other, which is not followed"),
        (build_reply("302 Found", b"", "Location: https://example.com/"), "redirects to https://example.com/, which is not followed"),
        (build_reply("401 Unauthorized"), "(HTTP 401)"),
        (build_reply("404 Not Found"), "(HTTP 404)"),
        (build_reply("500 Oops", b"<html>", content_type="text/html"), "(HTTP 500)"),
        (build_reply("202 Accepted"), "202 Accepted"),
        (build_reply("200 OK", b"hello", content_type="text/plain"), "Unexpected content type"),
        (build_reply("200 OK", b"{}"), "Failed to parse"),
        (build_reply("200 OK", b"data: {}\n\n", content_type=SSE), "Failed to parse"),
        (build_reply("200 OK", b"x", "Content-Encoding: gzip"), "it compresses its answers"),
        ([b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", Flood(b"x" * 65536)], "more than 16 MiB"),
        ([b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ", Flood(b"x" * 65536)], "SSE"),
        (b"", "cannot be used"),
    ],
)  # fmt: skip
def test_an_invalid_answer_is_an_error(server: Loopback, answer: Any, message: str) -> None:
    server.answer_with(*(answer if isinstance(answer, list) else [answer]))
    with pytest.raises(UsageError) as caught, open_server(build_server(server)):
        pass
    assert message in caught.value.message
    assert len(caught.value.message) < 1000
    assert "mcp" not in [thread.name for thread in threading.enumerate()]


def test_a_server_gets_its_headers_and_never_the_api_key(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", "sk-0123456789")
    monkeypatch.setenv("TOKEN", "t-1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # is not asked for this machine
    server.answer_with(build_reply("401 Unauthorized"))
    with pytest.raises(UsageError), open_server(build_server(server, headers={"Authorization": "Bearer ${TOKEN}"})):
        pass
    assert server.requests[0].get_header("Authorization") == "Bearer t-1"
    assert b"sk-0123456789" not in server.requests[0].head + server.requests[0].body


class Handler(BaseHTTPRequestHandler):
    """A server that forgets its first session when the first call arrives."""

    protocol_version = "HTTP/1.1"
    status = 404
    calls = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match body["method"]:
            case "initialize":
                self.answer(body["id"], INITIALIZE_RESULT)
            case "tools/list":
                self.answer(body["id"], TOOLS_RESULT)
            case "tools/call":
                type(self).calls += 1
                if self.calls == 1:
                    self.answer(None, {}, self.status)
                else:
                    self.answer(body["id"], {"content": [{"type": "text", "text": "hi"}]})
            case _:
                self.answer(None, {}, 202)

    def do_GET(self) -> None:
        self.answer(None, {}, 404)

    def do_DELETE(self) -> None:
        self.do_GET()

    def answer(self, number: int | None, result: dict[str, Any], status: int = 200) -> None:
        data = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() if number else b""
        self.send_response(status)
        for name, value in {"Content-Type": JSON, "Content-Length": str(len(data)), "Mcp-Session-Id": "s1"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("status", [400, 404])
def test_a_session_that_the_server_forgot_is_started_again(status: int) -> None:
    handler = type("Handler", (Handler,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_server(McpServer("web", url=f"http://127.0.0.1:{server.server_port}/mcp")) as source:
            assert source.call("echo") == ("hi", False, ())
            assert source.call("echo") == ("hi", False, ())
        server.shutdown()
    assert handler.calls == 3
