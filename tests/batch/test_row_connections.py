"""The connections of a run are reused if possible, and closed if a server takes too long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.loopback import END, HELLO, HELLO_RESPONSE, Drip, Loopback, http_response, json_response
from support.row_runs import parse_results
from support.run_cli import Aiml

CHAT_COMPLETION = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]
}
BUSY_ERROR = {"error": {"message": "busy"}}
ROWS = b"".join(b"row %d\n" % number for number in range(6))


class KeepAliveServer(ThreadingHTTPServer):
    """Answers all requests of a connection with the same bytes; `connections` counts what was accepted."""

    daemon_threads = True

    def __init__(self, reply: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.connections = reply, 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KeepAliveServer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(self.server.reply)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serve(reply: bytes) -> Iterator[KeepAliveServer]:
    """Run a server during the block."""
    with KeepAliveServer(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


def keep_alive(reply: bytes) -> bytes:
    """Return a reply after which the connection stays open."""
    return reply.replace(b"Connection: close\r\n", b"")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(("command", "reply"), [("chat", HELLO), ("respond", HELLO_RESPONSE)])
def test_a_worker_uses_one_connection_for_all_its_rows(command: str, reply: bytes, jobs: int, aiml: Aiml) -> None:
    with serve(keep_alive(reply)) as server:
        ended = aiml(command, "--each", "line", "-j", str(jobs), stdin=ROWS, AIML_BASE_URL=server.url)
    assert [found["text"] for found in parse_results(ended.stdout)] == ["Hello"] * 6
    assert server.connections <= jobs


def test_an_answer_whose_body_never_ends_is_complete_and_the_next_row_gets_a_new_connection(aiml: Aiml) -> None:
    with serve(keep_alive(HELLO).removesuffix(END)) as server:
        ended = aiml("chat", "--each", "line", "-j", "1", stdin=b"a\nb\n", AIML_BASE_URL=server.url)
    assert [found["text"] for found in parse_results(ended.stdout)] == ["Hello", "Hello"]
    assert (ended.returncode, server.connections) == (0, 2)


EXTRA_BYTES = [http_response(b"bad"), HELLO.replace(b"Hel", b"Bad"), HELLO, b"\r\n", b"HTTP/1.1 2"]
REPLIES = {
    "a stream": (HELLO, "Hello"),
    "a whole": (json_response(CHAT_COMPLETION), "Hello"),
    "an error": (json_response(BUSY_ERROR, "400 Bad"), "the server answered 400: busy"),
    "a try again": (json_response(BUSY_ERROR, "503 Busy", "Retry-After: 0"), "the server answered 503: busy"),
}


@pytest.mark.parametrize("extra", EXTRA_BYTES)
@pytest.mark.parametrize("case", REPLIES)
def test_bytes_after_an_answer_are_not_used_for_the_next_row(case: str, extra: bytes, aiml: Aiml) -> None:
    reply, outcome = REPLIES[case]
    with serve(keep_alive(reply) + keep_alive(extra)) as server:
        flags = ["--each", "line", "-j", "1", "--retries", "1"]
        ended = aiml("chat", *flags, stdin=b"a\nb\n", AIML_BASE_URL=server.url)
    results = parse_results(ended.stdout)
    assert [found["text"] or found["error"]["message"] for found in results] == [outcome] * 2
    assert server.connections == (4 if "again" in case else 2)


@pytest.mark.promise("timeouts")
def test_slow_headers_time_out_on_each_of_many_connections(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(b"HTTP/1.1 200 OK\r\n", Drip(b"X-Drip: 1\r\n" * 3000))
    flags = ["--each", "line", "-j", "16", "--timeout", "0.5", "--retries", "0"]
    ended = aiml("chat", *flags, stdin=b"".join(b"row %d\n" % number for number in range(16)))
    results = parse_results(ended.stdout)
    assert (ended.returncode, len(results)) == (7, 16)
    assert all("no answer in time" in found["error"]["message"] for found in results)


@pytest.mark.promise("timeouts")
def test_a_slow_connection_does_not_affect_the_others(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(b"HTTP/1.1 200 OK\r\n", Drip(b"X-Drip: 1\r\n" * 3000))
    server.answer_with(HELLO)
    flags = ["--each", "line", "-j", "4", "--timeout", "3", "--retries", "0"]
    ended = aiml("chat", *flags, stdin=ROWS)
    failed = [found for found in parse_results(ended.stdout) if found["error"]]
    assert (ended.returncode, len(failed)) == (10, 1)
    assert "no answer in time" in failed[0]["error"]["message"]
