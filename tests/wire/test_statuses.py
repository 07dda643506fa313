"""An error status is shown with the message of the server, and nothing is written to standard output."""

import json
from typing import Any

import pytest
from support.endings import Ask
from support.loopback import END, HELLO, STREAM, Loopback, chunk, event, http_response, json_response

MESSAGE = "It is broken."
# what the body is, whether it holds words
BODIES: dict[str, tuple[Any, str]] = {
    "error as object": ({"error": {"message": MESSAGE, "type": "x", "code": 7}}, "application/json"),
    "error with a null code": ({"error": {"message": MESSAGE, "code": None, "param": None}}, "application/json"),
    "error as text": ({"error": MESSAGE}, "application/json"),
    "error in error": ({"error": {"error": {"message": MESSAGE}}}, "application/json"),
    "detail as text": ({"detail": MESSAGE}, "application/json"),
    "detail as list": ({"detail": [{"loc": ["body", "x"], "msg": MESSAGE, "type": "value"}]}, "application/json"),
    "detail as object": ({"detail": {"message": MESSAGE}}, "application/json"),
    "errors": ({"errors": [MESSAGE, {"message": "Twice."}]}, "application/json"),
    "an array": ([{"error": {"message": MESSAGE}}], "application/json"),
    "an array of texts": ([MESSAGE], "application/json"),
    "message as object": ({"message": {"message": MESSAGE}, "statusCode": 1}, "application/json"),
    "message and status": ({"status": "error", "message": MESSAGE}, "application/json"),
    "flat": ({"message": MESSAGE, "path": "/v1", "requestId": "r", "statusCode": 9}, "application/json"),
    "a JSON text": (MESSAGE, "application/json"),
    "text": (MESSAGE.encode(), "text/plain"),
    "HTML": (f"<html><head><title>x</title></head><body><h1>{MESSAGE}</h1></body>".encode(), "text/html"),
    "HTML without a type": (f"<!doctype html><p>{MESSAGE}".encode(), ""),
    "a stream": (event({"error": {"message": MESSAGE}}), "text/event-stream"),
    "a named event": (b"event: error\n" + event({"error": MESSAGE}), "text/event-stream"),
    "control characters": (f"\x1b[2J\x07{MESSAGE}\x00\x9b".encode(), "text/plain"),
}
COMMON_BODIES = ("error as object", "text", "HTML")
BODIES_WITHOUT_MESSAGE = {
    "empty": b"", "null": b"null", "an empty object": b"{}", "an empty list": b"[]", "a number": b"0",
    "an empty error": b'{"error": {}}', "blanks": b" \r\n ", "broken JSON": b'{"error', "no text": b"\xff\xfe\x00\x80",
    "deep": b"[" * 100_000, "braces": b'{"a":' * 100_000,
}  # fmt: skip
STATUSES = [400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 425, 429, 431, 451, 499, 500, 501, 502, 503, 504,
            520, 524, 529, 599]  # fmt: skip


def list_possible_codes(status: int) -> tuple[int, ...]:
    """Return the exit codes that a status may mean."""
    match status:
        case 401 | 402 | 403:
            return (3,)
        case 429:
            return (5,)
        case _ if status < 500:
            return (4,)
        case _:
            return (6,)


def build_answer(status: int, body: Any, content_type: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http_response(raw, f"{status} So", content_type)


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(
    ("status", "body_name"),
    [
        (status, body_name)
        for status in STATUSES
        for body_name in BODIES
        if status in (400, 429, 500) or body_name in COMMON_BODIES
    ],
)
def test_an_error_status_is_shown_with_the_message_of_the_server(
    status: int, body_name: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(build_answer(status, *BODIES[body_name]))
    ending = ask("chat", "hi")
    assert (ending.code in list_possible_codes(status), ending.stdout, len(server.requests)) == (True, "", 1)
    assert f"aiml: the server answered {status}: " in ending.stderr
    assert MESSAGE in ending.stderr
    assert not {"\x1b", "\x07", "\x00", "\x9b"} & set(ending.stderr)


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("body_name", BODIES_WITHOUT_MESSAGE)
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_status_without_a_message_is_shown_too(
    status: int, body_name: str, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(build_answer(status, BODIES_WITHOUT_MESSAGE[body_name], "application/json"))
    ending = ask(command, "hi")
    assert (ending.code in list_possible_codes(status), ending.stdout) == (True, "")
    assert f"aiml: the server answered {status}" in ending.stderr


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize("message", ["line\n" * 100, "x" * 100_000, "\n".join("y" * 1000 for _ in range(50))])
def test_long_error_messages_are_shortened(message: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(json_response({"error": {"message": message}}, "500 Oops"))
    ending = ask("chat", "hi")
    assert len(ending.stderr.splitlines()) <= 5
    assert len(ending.stderr) < 800


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 500 Oops\r\nContent-Length: 999\r\n\r\nIt is broken.",
        b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nIt is broken.\r\n",
        b"HTTP/1.0 500\r\n\r\nIt is broken.",
        STREAM.replace(b"200 OK", b"500 Oops") + chunk(event({"error": MESSAGE})) + END,
    ],
)
def test_the_message_counts_even_if_the_response_is_cut(reply: bytes, server: Loopback, ask: Ask) -> None:
    server.answer_with(reply)
    ending = ask("chat", "hi")
    assert (ending.code, MESSAGE in ending.stderr) == (6, True)


# reply, words of stderr, exit code
ERRORS_UNDER_200 = [
    (json_response({"error": {"message": MESSAGE}}), MESSAGE, 6),
    (json_response({"error": MESSAGE}), MESSAGE, 6),
    (json_response([{"error": {"message": MESSAGE}}]), MESSAGE, 6),
    (json_response({"detail": MESSAGE}), MESSAGE, 6),
    (json_response({"status": "error", "message": MESSAGE}), MESSAGE, 6),
    (http_response(f"<html><body>{MESSAGE}</body></html>".encode(), "200 OK", "text/html"), MESSAGE, 6),
    (http_response(f"<html><body>{MESSAGE}</body></html>".encode(), "200 OK", "text/event-stream"), MESSAGE, 6),
    (http_response(MESSAGE.encode(), "200 OK", "text/plain"), MESSAGE, 6),
    (http_response(b""), "an empty body", 6),
    (http_response(b" \n"), "an empty body", 6),
    (http_response(b"null"), "", 6),
    (http_response(b"[]"), "", 6),
    (http_response(b"{}"), "", 6),
    (http_response(b"3"), "", 6),
    (http_response(b"{"), "", 6),
    (http_response(b"[" * 100_000), "", 6),
    (http_response(b"\xff\xfe"), "", 6),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "an empty body", 6),
    (b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "an empty body", 6),
    (b"HTTP/1.0 200 OK\r\n\r\n", "an empty body", 6),
    (json_response({"choices": [{"index": 0}]}), "", 8),
    (json_response({"choices": [{"message": None, "finish_reason": None}]}), "", 8),
]


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize(("reply", "words", "code"), ERRORS_UNDER_200)
def test_an_error_under_200_is_an_error(
    reply: bytes, words: str, code: int, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(reply)
    ending = ask(command, "hi", retries=2)
    assert (ending.code in (code, 6), ending.stdout, len(server.requests)) == (True, "", 1)
    assert words in ending.stderr


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize("reply", [http_response(b'{"error": "It is broken."}', "413 Too Large"), HELLO])
def test_an_answer_sent_before_the_request_was_read_is_used(reply: bytes, server: Loopback, ask: Ask) -> None:
    server.skips_request = True
    server.answer_with(reply)
    ending = ask("chat", "hi")
    assert ending.code in (4, 0)
