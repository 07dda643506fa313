"""A failed connection or a missing response head is an error in time."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.endings import Ask
from support.loopback import HALF_CLOSE, HELLO, RESET, SILENCE, Drip, Flood, Loopback, Step

NO_ANSWER = "no answer in time"
CONNECTION_CLOSED = "the connection was closed without an answer"
NOT_HTTP = "the response is not HTTP"
ENDLESS_HEADER = b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 100_000

# what comes for an answer, words of stderr, exit code
INVALID_HEADS: dict[str, tuple[tuple[Step, ...], str, int]] = {
    "closed at once": ((), CONNECTION_CLOSED, 7),
    "reset": ((RESET,), CONNECTION_CLOSED, 7),
    "half closed": ((HALF_CLOSE,), CONNECTION_CLOSED, 7),
    "silent": ((SILENCE,), NO_ANSWER, 7),
    "garbage": ((b"\x00\xff\x16garbage\r\n\r\n",), NOT_HTTP, 6),
    "another protocol": ((b"220 mail.test ESMTP\r\n",), CONNECTION_CLOSED, 7),
    "no version": ((b"200 OK\r\n\r\n",), NOT_HTTP, 6),
    "no number": ((b"HTTP/1.1 OK\r\n\r\n",), NOT_HTTP, 6),
    "a number too large": ((b"HTTP/1.1 20000 OK\r\n\r\n",), NOT_HTTP, 6),
    "half a status line, then the end": ((b"HTTP/1.1 2",), CONNECTION_CLOSED, 7),
    "half a status line, then silence": ((b"HTTP/1.1 2", SILENCE), NO_ANSWER, 7),
    "half the headers, then the end": ((b"HTTP/1.1 200 OK\r\nContent-Type: te",), CONNECTION_CLOSED, 7),
    "half the headers, then a reset": ((b"HTTP/1.1 200 OK\r\nContent-Type: te", RESET), CONNECTION_CLOSED, 7),
    "half the headers, then silence": ((b"HTTP/1.1 200 OK\r\nContent-Type: te", SILENCE), NO_ANSWER, 7),
    "headers that drip": ((b"HTTP/1.1 200 OK\r\n", Drip(b"X-Drip: 1\r\n" * 500)), NO_ANSWER, 7),
    "a status line that drips": ((Drip(b"HTTP/1.1 200 O" + b"K" * 500),), NO_ANSWER, 7),
    "hints that drip": ((Drip(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, 28),), NO_ANSWER, 7),
    "hints without end": ((Flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),), NO_ANSWER, 7),
    "a header without a name": ((b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",), NOT_HTTP, 6),
    "a header without end": ((ENDLESS_HEADER, Flood(b"x" * 65536, 1 << 24)), NOT_HTTP, 6),
    "headers without end": ((b"HTTP/1.1 200 OK\r\n", Flood(b"X-A: b\r\n" * 4096, 1 << 24)), NOT_HTTP, 6),
    "a length that is none": ((b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",), NOT_HTTP, 6),
    "two lengths": ((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",), NOT_HTTP, 6),
}


@pytest.mark.promise("timeouts")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("fault", INVALID_HEADS)
def test_a_missing_or_invalid_response_head_is_an_error_in_time(
    fault: str, command: str, server: Loopback, ask: Ask
) -> None:
    steps, words, code = INVALID_HEADS[fault]
    server.answer_with(*steps)
    ending = ask(command, "hi", timeout=0.3)
    assert (ending.code, ending.stdout, len(server.requests)) == (code, "", 1)
    assert words in ending.stderr.splitlines()[0]
    assert ending.stderr.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize("steps", [(), (b"220 hello\r\n",), (RESET,), (SILENCE,)], ids=repr)
def test_a_server_that_does_not_read_the_request_is_an_error(
    steps: tuple[Step, ...], server: Loopback, ask: Ask
) -> None:
    server.skips_request = True
    server.answer_with(*steps)
    ending = ask("chat", "hi", timeout=0.3)
    assert (ending.code in (6, 7), ending.stdout) == (True, "")


@pytest.fixture
def refusing_url() -> Iterator[str]:
    """Yield the URL of a port that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{place.getsockname()[1]}/v1"


@pytest.fixture
def unresponsive_url() -> Iterator[str]:
    """Yield the URL of a port whose queue is full, so that a connection is neither accepted nor refused."""
    with ExitStack() as stack:
        place = stack.enter_context(socket.socket())
        place.bind(("127.0.0.1", 0))
        place.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(place.getsockname())
        yield f"http://127.0.0.1:{place.getsockname()[1]}/v1"


@pytest.mark.promise("timeouts")
def test_an_address_that_never_answers_is_an_error_in_time(unresponsive_url: str, ask: Ask) -> None:
    ending = ask("chat", "hi", url=unresponsive_url, timeout=0.3)
    assert (ending.code, ending.stdout) == (7, "")
    assert "no connection within 0.3 s" in ending.stderr


@pytest.mark.promise("retries")
def test_a_refused_connection_is_retried_and_each_attempt_is_shown(refusing_url: str, ask: Ask) -> None:
    ending = ask("chat", "hi", url=refusing_url, retries=1)
    first, last, hint = ending.stderr.splitlines()
    assert (ending.code, ending.stdout) == (7, "")
    assert "Connection refused; trying again in " in first
    assert "Connection refused" in last
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("name", ["http://no-such-host.invalid/v1", "http://xn--/v1", "http://a..b/v1", "http://[::1"])
def test_an_unknown_host_name_is_an_error(name: str, ask: Ask) -> None:
    ending = ask("chat", "hi", url=name, timeout=3)
    assert (ending.code in (2, 3, 7), ending.stdout) == (True, "")


@pytest.mark.promise("legal-streams")
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_informational_responses_before_the_answer_are_skipped(head: bytes, server: Loopback, ask: Ask) -> None:
    server.answer_with(head, HELLO)
    assert ask("chat", "hi") == (0, "Hello\n", "")


@pytest.mark.promise("timeouts")
def test_slow_headers_that_end_in_time_are_an_answer(server: Loopback, ask: Ask) -> None:
    server.answer_with(Drip(HELLO, 16, 0.001))
    assert ask("chat", "hi", timeout=20) == (0, "Hello\n", "")


@pytest.mark.promise("timeouts")
def test_the_header_timeout_does_not_apply_to_the_body(server: Loopback, ask: Ask) -> None:
    head, _, body = HELLO.partition(b"\r\n\r\n")
    server.answer_with(head + b"\r\n\r\n", Drip(body, 50, 0.1))
    assert ask("chat", "hi", timeout=1) == (0, "Hello\n", "")
