"""Every form of a stream that the WHATWG standard allows gives the same answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.endings import Ask
from support.loopback import Drip, Loopback, delta, event, response_object, text_events

TEXT = "Zoë \U0001f389 a\u2028b\x85c"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def replace_escapes(raw: bytes) -> bytes:
    """Write the escapes of JSON as the characters themselves."""
    return b"\n\n".join(_replace_escapes_of_event(part) for part in raw.split(b"\n\n"))


def _replace_escapes_of_event(part: bytes) -> bytes:
    if not part.startswith(b"data: {"):
        return part
    return b"data: " + json.dumps(json.loads(part[6:]), ensure_ascii=False).encode()


STREAM_BODIES = {
    "chat": replace_escapes(delta(TEXT) + delta(finish="stop") + event("[DONE]")),
    "respond": replace_escapes(
        b"".join(text_events(TEXT)) + event({"type": "response.completed", "response": response_object(TEXT)})
    ),
}
# A JSON value may be cut into several data lines wherever a blank may stand.
CHANGE_STREAM: dict[str, Callable[[bytes], bytes]] = {
    "LF": lambda raw: raw,
    "CR": lambda raw: raw.replace(b"\n", b"\r"),
    "CRLF": lambda raw: raw.replace(b"\n", b"\r\n"),
    "all three": lambda raw: raw.replace(b"\n\n", b"\r\n\r", 1),
    "a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "no blank behind the colon": lambda raw: raw.replace(b"data: ", b"data:"),
    "two blanks behind the colon": lambda raw: raw.replace(b"data: {", b"data:  {"),
    "comments": lambda raw: b":\n: ping\n\n" + raw.replace(b"\n\n", b"\n:x\n\n: data: {\n\n"),
    "an id": lambda raw: raw.replace(b"data: ", b"id: 7\ndata: "),
    "an id with NUL": lambda raw: raw.replace(b"data: ", b"id: \x00\ndata: "),
    "a retry": lambda raw: b"retry: 10\n\nretry: soon\n\n" + raw,
    "a name": lambda raw: raw.replace(b"data: {", b"event: message\ndata: {"),
    "an empty name": lambda raw: raw.replace(b"data: {", b"event:\ndata: {"),
    "unknown fields": lambda raw: raw.replace(b"data: ", b"padding: xxxx\nDATA: {\n data: {\ndata : {\ndata: "),
    "a field without a colon": lambda raw: raw.replace(b"data: ", b"id\nretry\nnonsense\ndata: "),
    "several data lines": lambda raw: raw.replace(b'data: {"', b'data: {\ndata: "'),
    "an empty data line": lambda raw: raw.replace(b'data: {"', b'data: {\ndata\ndata:\ndata: "'),
    "many blank lines": lambda raw: b"\n\n\n" + raw.replace(b"\n\n", b"\n\n\n\n\n"),
    "events without data": lambda raw: b"event: ping\n\nid: 1\n\n" + raw,
    "an empty event": lambda raw: b"data\n\ndata:\n\n" + raw,
    "no blank line at the end": lambda raw: raw.removesuffix(b"\n"),
    "no line end at the end": lambda raw: raw.removesuffix(b"\n\n") + b"\n",
}


@pytest.mark.promise("legal-streams")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("stream_form", CHANGE_STREAM)
def test_every_form_of_a_stream_gives_the_same_answer(
    stream_form: str, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(HEAD + CHANGE_STREAM[stream_form](STREAM_BODIES[command]))
    assert ask(command, "hi") == (0, f"{TEXT}\n", "")


@pytest.mark.promise("legal-streams")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("stream_form", ["LF", "CR", "CRLF"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_stream_may_come_byte_by_byte(size: int, stream_form: str, command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(HEAD, Drip(CHANGE_STREAM[stream_form](STREAM_BODIES[command]), size, 0))
    assert ask(command, "hi") == (0, f"{TEXT}\n", "")


# null, missing and empty: what gateways send where the documents promise more
CHUNKS_WITH_NULL_AND_MISSING_FIELDS: list[Any] = [
    [{"choices": None}, {"choices": []}, {}],
    [{"choices": [{"delta": None}]}, {"choices": [{}]}, {"choices": [{"index": None, "delta": {"content": None}}]}],
    [{"choices": [], "usage": None}, {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}],
    [{"choices": [{"delta": {"role": "assistant", "content": "", "refusal": "", "audio": {}, "tool_calls": []}}]}],
    [{"choices": [{"delta": {"content": []}, "finish_reason": ""}], "created": 1.5, "id": None}],
    [{"type": "ping"}, {"object": "something.new", "value": [1, 2]}],
]


@pytest.mark.promise("legal-streams")
@pytest.mark.parametrize("chunks", CHUNKS_WITH_NULL_AND_MISSING_FIELDS)
def test_missing_and_null_fields_are_ignored(chunks: list[Any], server: Loopback, ask: Ask) -> None:
    noise = b"".join(map(event, chunks))
    server.answer_with(
        HEAD + noise + delta("Hel") + noise + delta("lo") + delta(finish="stop") + noise + event("[DONE]")
    )
    assert ask("chat", "hi") == (0, "Hello\n", "")
