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

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
STOPPED, CUT = "the answer stopped: no more data arrived", "the connection was cut before the answer was complete"
ENDED = "the stream ended before the answer was complete"
WORDS = {"chat": [delta("Hel"), delta("lo")], "respond": text_events("Hel", "lo")}
LAST = {
    "chat": delta(finish="stop") + event("[DONE]"),
    "respond": event({"type": "response.completed", "response": response_object()}),
}
BOTH = pytest.mark.parametrize("command", ["chat", "respond"])


def chunks(command: str) -> bytes:
    """Make the beginning of a chunked stream that says Hello."""
    return STREAM + b"".join(map(chunk, WORDS[command]))


def body(command: str) -> bytes:
    """Make the events that say Hello."""
    return b"".join(WORDS[command])


# how it ends, what comes, words of stderr
CUTS: dict[str, Any] = {
    "stalled": (lambda of: (chunks(of), SILENCE), STOPPED),
    "stalled in an event": (lambda of: (chunks(of) + chunk(b'data: {"cho'), SILENCE), STOPPED),
    "stalled in a chunk": (lambda of: (chunks(of) + b"ff\r\ndata", SILENCE), STOPPED),
    "chunks without the last": (lambda of: (chunks(of),), CUT),
    "half a chunk": (lambda of: (chunks(of) + b"ff\r\ndata",), CUT),
    "a size that is none": (lambda of: (chunks(of) + b"zz\r\n",), CUT),
    "a reset": (lambda of: (chunks(of), RESET), CUT),
    "fewer bytes than promised": (lambda of: (PLAIN + b"Content-Length: 99999\r\n\r\n" + body(of),), CUT),
    "fewer bytes, then a reset": (lambda of: (PLAIN + b"Content-Length: 99999\r\n\r\n" + body(of), RESET), CUT),
    "fewer bytes, then silence": (lambda of: (PLAIN + b"Content-Length: 99999\r\n\r\n" + body(of), SILENCE), STOPPED),
    "no frame, and closed": (lambda of: (PLAIN + b"\r\n" + body(of),), ENDED),
    "no frame, and silence": (lambda of: (PLAIN + b"\r\n" + body(of), SILENCE), STOPPED),
    "no frame, and a reset": (lambda of: (PLAIN + b"\r\n" + body(of), RESET), CUT),
    "HTTP/1.0, and closed": (lambda of: (b"HTTP/1.0 200 OK\r\n\r\n" + body(of),), ENDED),
    "the last chunk, but no end marker": (lambda of: (chunks(of) + END,), ENDED),
    "an event cut in its middle": (lambda of: (chunks(of) + chunk(LAST[of][:30]) + END,), ""),
}


@pytest.mark.promise("whole-or-told")
@pytest.mark.promise("timeouts")
@pytest.mark.promise("sent-once")
@BOTH
@pytest.mark.parametrize("fault", CUTS)
def test_an_answer_that_is_cut_off_keeps_its_text_and_is_an_error(
    fault: str, command: str, server: Loopback, ask: Ask
) -> None:
    steps, words = CUTS[fault]
    server.answer_with(*steps(command))
    ending = ask(command, "hi", timeout=0.3, retries=2)
    assert (ending.code, ending.stdout, len(server.requests)) == (8, "Hello\n", 1)
    assert words in ending.stderr.splitlines()[0]


WHOLE: dict[str, Any] = {
    "no frame": lambda of: (PLAIN + b"\r\n" + body(of) + LAST[of],),
    "HTTP/1.0": lambda of: (b"HTTP/1.0 200 OK\r\n\r\n" + body(of) + LAST[of],),
    "201": lambda of: (chunks(of).replace(b"200 OK", b"201 Created") + chunk(LAST[of]) + END,),
    "no last chunk": lambda of: (chunks(of) + chunk(LAST[of]),),
    "a reset behind the end": lambda of: (chunks(of) + chunk(LAST[of]) + END, RESET),
    "fewer bytes than promised": lambda of: (PLAIN + b"Content-Length: 9999\r\n\r\n" + body(of) + LAST[of],),
    "text behind the end": lambda of: (chunks(of) + chunk(LAST[of] + event("[DONE]") * 2 + b": bye\n\n") + END,),
    "a trailer": lambda of: (chunks(of) + chunk(LAST[of]) + b"0\r\nX-Cost: 1\r\n\r\n",),
    "chunk extensions": lambda of: (chunks(of) + b"%x;a=b\r\n%s\r\n" % (len(LAST[of]), LAST[of]) + END,),
    "no type": lambda of: (STREAM.replace(b"Content-Type", b"X-Type") + chunk(body(of) + LAST[of]) + END,),
    "a type of text": lambda of: (STREAM.replace(b"event-stream", b"plain") + chunk(body(of) + LAST[of]) + END,),
    "comments that keep it alive": lambda of: (STREAM + chunk(b": ping\n\n") * 17 + chunk(body(of) + LAST[of]) + END,),
    "usage behind the end": lambda of: (chunks(of) + chunk(LAST[of] + event({"choices": [], "usage": None})) + END,),
}


@pytest.mark.promise("any-legal-stream")
@BOTH
@pytest.mark.parametrize("form", WHOLE)
def test_a_complete_answer_is_complete_in_any_framing(form: str, command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(*WHOLE[form](command))
    assert ask(command, "hi", timeout=5) == (0, "Hello\n", "")


@pytest.mark.promise("timeouts")
@BOTH
def test_a_comment_resets_the_timeout(command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(chunks(command), Drip(chunk(b": ping\n\n") * 15, 13, 0.1), chunk(LAST[command]) + END)
    assert ask(command, "hi", timeout=1) == (0, "Hello\n", "")


BUSY = {"message": "It is busy.", "type": "overloaded", "code": "busy"}
INCOMPLETE = {"reason": "max_output_tokens"}
FAILED = response_object("Hello", "failed", error={"code": "server_error", "message": "It is busy."})
# endpoint, what comes after Hello, words of stderr, exit code
REPORTS = [
    ("chat", event({"error": BUSY}), "It is busy.", 6),
    ("chat", event({"error": BUSY}) + event("[DONE]"), "It is busy.", 6),
    ("chat", event({"error": "It is busy."}), "It is busy.", 6),
    ("chat", event({"choices": [], "error": BUSY}) + event("[DONE]"), "It is busy.", 6),
    ("chat", b"event: error\n" + event(BUSY), "It is busy.", 6),
    ("chat", b"event: error\n" + event({"error": BUSY}), "It is busy.", 6),
    ("chat", event({"type": "error", "error": BUSY}), "It is busy.", 6),
    ("chat", b'error: {"message": "It is busy."}\n\n', "It is busy.", 6),
    ("chat", event({"error": {"message": "Provider", "metadata": {"raw": "It is busy."}}}), "It is busy.", 6),
    ("chat", event("{"), "not JSON", 6),
    ("chat", event("null"), "stream ended", 8),
    ("chat", event("It is busy."), "It is busy.", 6),
    ("chat", event("\ufffd {"), "not JSON", 6),
    ("chat", delta(finish="length"), "token limit", 8),
    ("chat", delta(finish="content_filter"), "content filter", 8),
    ("respond", event({"type": "error", "error": BUSY}), "It is busy.", 6),
    ("respond", event({"type": "error", **BUSY}).replace(b'"overloaded"', b'"error"'), "It is busy.", 6),
    ("respond", b"event: error\n" + event({"message": "It is busy."}), "It is busy.", 6),
    ("respond", event({"error": BUSY}), "It is busy.", 6),
    ("respond", event({"type": "response.failed", "response": FAILED}), "It is busy.", 6),
    ("respond", event({"type": "response.completed", "response": FAILED}), "It is busy.", 6),
    ("respond", event({"type": "response.failed", "response": response_object("Hello", "failed")}), "failed", 6),
    ("respond", event({"type": "response.cancelled", "response": response_object("Hello", "cancelled")}), "", 8),
    ("respond", event("{"), "not JSON", 6),
    *(
        ("respond", event({"type": f"response.{name}", "response": inside}), "token limit", 8)
        for name in ("incomplete", "completed")
        for inside in [response_object("Hello", "incomplete", incomplete_details=INCOMPLETE)]
    ),
]


@pytest.mark.promise("whole-or-told")
@pytest.mark.promise("servers-words")
@pytest.mark.promise("sent-once")
@pytest.mark.parametrize(("command", "last", "words", "code"), REPORTS)
def test_an_error_in_the_stream_is_an_error(
    command: str, last: bytes, words: str, code: int, server: Loopback, ask: Ask
) -> None:
    server.answer_with(stream(*WORDS[command], last))
    ending = ask(command, "hi", retries=2)
    assert (ending.code, ending.stdout, len(server.requests)) == (code, "Hello\n", 1)
    assert words in ending.stderr


# what comes under 200, words of stderr, exit code
NOTHING = [
    (stream(), "", 8),
    (stream(b": ping\n\n"), "", 8),
    (stream(b"event: ping\n\n"), "", 8),
    (PLAIN + b"\r\n", "", 8),
    (PLAIN + b"Content-Length: 0\r\n\r\n", "", 8),
]


@pytest.mark.promise("whole-or-told")
@BOTH
@pytest.mark.parametrize(("reply", "words", "code"), NOTHING)
def test_a_stream_without_events_is_an_error(
    reply: bytes, words: str, code: int, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(reply)
    ending = ask(command, "hi")
    assert (ending.code in (code, 6), ending.stdout) == (True, "")
    assert words in ending.stderr
