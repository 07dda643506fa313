"""A stream that is cut off or reports an error ends with an error, after the text so far."""

from typing import Any

import pytest
from support.endings import Ask
from support.loopback import (
    END,
    RESET,
    SILENCE,
    STREAM,
    Drip,
    Loopback,
    chunk,
    delta,
    event,
    response_object,
    stream,
    text_events,
)

HEAD_WITHOUT_FRAMING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
NO_MORE_DATA, CONNECTION_CUT = (
    "the answer stopped: no more data arrived",
    "the connection was cut before the answer was complete",
)
STREAM_ENDED = "the stream ended before the answer was complete"
HELLO_EVENTS = {"chat": [delta("Hel"), delta("lo")], "respond": text_events("Hel", "lo")}
LAST_EVENT = {
    "chat": delta(finish="stop") + event("[DONE]"),
    "respond": event({"type": "response.completed", "response": response_object()}),
}
both_commands = pytest.mark.parametrize("command", ["chat", "respond"])


def build_chunks(command: str) -> bytes:
    """Make the beginning of a chunked stream that says Hello."""
    return STREAM + b"".join(map(chunk, HELLO_EVENTS[command]))


def build_body(command: str) -> bytes:
    """Make the events that say Hello."""
    return b"".join(HELLO_EVENTS[command])


# how it ends, what comes, words of stderr
CUT_ANSWERS: dict[str, Any] = {
    "stalled": (lambda command: (build_chunks(command), SILENCE), NO_MORE_DATA),
    "stalled in an event": (lambda command: (build_chunks(command) + chunk(b'data: {"cho'), SILENCE), NO_MORE_DATA),
    "stalled in a chunk": (lambda command: (build_chunks(command) + b"ff\r\ndata", SILENCE), NO_MORE_DATA),
    "chunks without the last": (lambda command: (build_chunks(command),), CONNECTION_CUT),
    "half a chunk": (lambda command: (build_chunks(command) + b"ff\r\ndata",), CONNECTION_CUT),
    "a size that is none": (lambda command: (build_chunks(command) + b"zz\r\n",), CONNECTION_CUT),
    "a reset": (lambda command: (build_chunks(command), RESET), CONNECTION_CUT),
    "fewer bytes than promised": (
        lambda command: (HEAD_WITHOUT_FRAMING + b"Content-Length: 99999\r\n\r\n" + build_body(command),),
        CONNECTION_CUT,
    ),
    "fewer bytes, then a reset": (
        lambda command: (HEAD_WITHOUT_FRAMING + b"Content-Length: 99999\r\n\r\n" + build_body(command), RESET),
        CONNECTION_CUT,
    ),
    "fewer bytes, then silence": (
        lambda command: (HEAD_WITHOUT_FRAMING + b"Content-Length: 99999\r\n\r\n" + build_body(command), SILENCE),
        NO_MORE_DATA,
    ),
    "no frame, and closed": (lambda command: (HEAD_WITHOUT_FRAMING + b"\r\n" + build_body(command),), STREAM_ENDED),
    "no frame, and silence": (
        lambda command: (HEAD_WITHOUT_FRAMING + b"\r\n" + build_body(command), SILENCE),
        NO_MORE_DATA,
    ),
    "no frame, and a reset": (
        lambda command: (HEAD_WITHOUT_FRAMING + b"\r\n" + build_body(command), RESET),
        CONNECTION_CUT,
    ),
    "HTTP/1.0, and closed": (lambda command: (b"HTTP/1.0 200 OK\r\n\r\n" + build_body(command),), STREAM_ENDED),
    "the last chunk, but no end marker": (lambda command: (build_chunks(command) + END,), STREAM_ENDED),
    "an event cut in its middle": (
        lambda command: (build_chunks(command) + chunk(LAST_EVENT[command][:30]) + END,),
        "",
    ),
}


@pytest.mark.promise("incomplete-answers")
@pytest.mark.promise("timeouts")
@pytest.mark.promise("sent-once")
@both_commands
@pytest.mark.parametrize("fault", CUT_ANSWERS)
def test_an_answer_that_is_cut_off_keeps_its_text_and_is_an_error(
    fault: str, command: str, server: Loopback, ask: Ask
) -> None:
    steps, words = CUT_ANSWERS[fault]
    server.answer_with(*steps(command))
    ending = ask(command, "hi", timeout=0.3, retries=2)
    assert (ending.code, ending.stdout, len(server.requests)) == (8, "Hello\n", 1)
    assert words in ending.stderr.splitlines()[0]


COMPLETE_ANSWERS: dict[str, Any] = {
    "no frame": lambda command: (HEAD_WITHOUT_FRAMING + b"\r\n" + build_body(command) + LAST_EVENT[command],),
    "HTTP/1.0": lambda command: (b"HTTP/1.0 200 OK\r\n\r\n" + build_body(command) + LAST_EVENT[command],),
    "201": lambda command: (
        build_chunks(command).replace(b"200 OK", b"201 Created") + chunk(LAST_EVENT[command]) + END,
    ),
    "no last chunk": lambda command: (build_chunks(command) + chunk(LAST_EVENT[command]),),
    "a reset behind the end": lambda command: (build_chunks(command) + chunk(LAST_EVENT[command]) + END, RESET),
    "fewer bytes than promised": lambda command: (
        HEAD_WITHOUT_FRAMING + b"Content-Length: 9999\r\n\r\n" + build_body(command) + LAST_EVENT[command],
    ),
    "text behind the end": lambda command: (
        build_chunks(command) + chunk(LAST_EVENT[command] + event("[DONE]") * 2 + b": bye\n\n") + END,
    ),
    "a trailer": lambda command: (build_chunks(command) + chunk(LAST_EVENT[command]) + b"0\r\nX-Cost: 1\r\n\r\n",),
    "chunk extensions": lambda command: (
        build_chunks(command) + b"%x;a=b\r\n%s\r\n" % (len(LAST_EVENT[command]), LAST_EVENT[command]) + END,
    ),
    "no type": lambda command: (
        STREAM.replace(b"Content-Type", b"X-Type") + chunk(build_body(command) + LAST_EVENT[command]) + END,
    ),
    "a type of text": lambda command: (
        STREAM.replace(b"event-stream", b"plain") + chunk(build_body(command) + LAST_EVENT[command]) + END,
    ),
    "comments that keep it alive": lambda command: (
        STREAM + chunk(b": ping\n\n") * 17 + chunk(build_body(command) + LAST_EVENT[command]) + END,
    ),
    "usage behind the end": lambda command: (
        build_chunks(command) + chunk(LAST_EVENT[command] + event({"choices": [], "usage": None})) + END,
    ),
}


@pytest.mark.promise("legal-streams")
@both_commands
@pytest.mark.parametrize("framing", COMPLETE_ANSWERS)
def test_a_complete_answer_is_complete_in_any_framing(framing: str, command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(*COMPLETE_ANSWERS[framing](command))
    assert ask(command, "hi", timeout=5) == (0, "Hello\n", "")


@pytest.mark.promise("timeouts")
@both_commands
def test_a_comment_resets_the_timeout(command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(
        build_chunks(command), Drip(chunk(b": ping\n\n") * 15, 13, 0.1), chunk(LAST_EVENT[command]) + END
    )
    assert ask(command, "hi", timeout=1) == (0, "Hello\n", "")


BUSY_ERROR = {"message": "It is busy.", "type": "overloaded", "code": "busy"}
INCOMPLETE = {"reason": "max_output_tokens"}
FAILED_RESPONSE = response_object("Hello", "failed", error={"code": "server_error", "message": "It is busy."})
# endpoint, what comes after Hello, words of stderr, exit code
REPORTED_ERRORS = [
    ("chat", event({"error": BUSY_ERROR}), "It is busy.", 6),
    ("chat", event({"error": BUSY_ERROR}) + event("[DONE]"), "It is busy.", 6),
    ("chat", event({"error": "It is busy."}), "It is busy.", 6),
    ("chat", event({"choices": [], "error": BUSY_ERROR}) + event("[DONE]"), "It is busy.", 6),
    ("chat", b"event: error\n" + event(BUSY_ERROR), "It is busy.", 6),
    ("chat", b"event: error\n" + event({"error": BUSY_ERROR}), "It is busy.", 6),
    ("chat", event({"type": "error", "error": BUSY_ERROR}), "It is busy.", 6),
    ("chat", b'error: {"message": "It is busy."}\n\n', "It is busy.", 6),
    ("chat", event({"error": {"message": "Provider", "metadata": {"raw": "It is busy."}}}), "It is busy.", 6),
    ("chat", event("{"), "not JSON", 6),
    ("chat", event("null"), "stream ended", 8),
    ("chat", event("It is busy."), "It is busy.", 6),
    ("chat", event("\ufffd {"), "not JSON", 6),
    ("chat", delta(finish="length"), "token limit", 8),
    ("chat", delta(finish="content_filter"), "content filter", 8),
    ("respond", event({"type": "error", "error": BUSY_ERROR}), "It is busy.", 6),
    ("respond", event({"type": "error", **BUSY_ERROR}).replace(b'"overloaded"', b'"error"'), "It is busy.", 6),
    ("respond", b"event: error\n" + event({"message": "It is busy."}), "It is busy.", 6),
    ("respond", event({"error": BUSY_ERROR}), "It is busy.", 6),
    ("respond", event({"type": "response.failed", "response": FAILED_RESPONSE}), "It is busy.", 6),
    ("respond", event({"type": "response.completed", "response": FAILED_RESPONSE}), "It is busy.", 6),
    ("respond", event({"type": "response.failed", "response": response_object("Hello", "failed")}), "failed", 6),
    ("respond", event({"type": "response.cancelled", "response": response_object("Hello", "cancelled")}), "", 8),
    ("respond", event("{"), "not JSON", 6),
    *(
        ("respond", event({"type": f"response.{name}", "response": inside}), "token limit", 8)
        for name in ("incomplete", "completed")
        for inside in [response_object("Hello", "incomplete", incomplete_details=INCOMPLETE)]
    ),
]


@pytest.mark.promise("incomplete-answers")
@pytest.mark.promise("server-messages")
@pytest.mark.promise("sent-once")
@pytest.mark.parametrize(("command", "error_event", "words", "code"), REPORTED_ERRORS)
def test_an_error_in_the_stream_is_an_error(
    command: str, error_event: bytes, words: str, code: int, server: Loopback, ask: Ask
) -> None:
    server.answer_with(stream(*HELLO_EVENTS[command], error_event))
    ending = ask(command, "hi", retries=2)
    assert (ending.code, ending.stdout, len(server.requests)) == (code, "Hello\n", 1)
    assert words in ending.stderr


# what comes under 200, words of stderr, exit code
EMPTY_STREAMS = [
    (stream(), "", 8),
    (stream(b": ping\n\n"), "", 8),
    (stream(b"event: ping\n\n"), "", 8),
    (HEAD_WITHOUT_FRAMING + b"\r\n", "", 8),
    (HEAD_WITHOUT_FRAMING + b"Content-Length: 0\r\n\r\n", "", 8),
]


@pytest.mark.promise("incomplete-answers")
@both_commands
@pytest.mark.parametrize(("reply", "words", "code"), EMPTY_STREAMS)
def test_a_stream_without_events_is_an_error(
    reply: bytes, words: str, code: int, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(reply)
    ending = ask(command, "hi")
    assert (ending.code in (code, 6), ending.stdout) == (True, "")
    assert words in ending.stderr
