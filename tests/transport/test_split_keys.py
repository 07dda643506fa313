"""A key that a server sends back in pieces is in no file and no output, neither live nor from a recording."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import (
    Loopback,
    chunk,
    delta,
    event,
    http_response,
    json_response,
    response_object,
    stream,
    text_events,
)

from aiml_cli.__main__ import main
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.key_masking import mask_pieces, mask_text
from aiml_cli.transport.recorder import ExchangeRecorder
from aiml_cli.transport.recording_file import RecordedExchange, encode_exchange

KEY = "sk-c4n/ry77a0+3f1="
OTHER_KEY = "sk-other-9b21c6d0"
MAX_KEY_CHARACTERS = 8  # so many characters of the key in a row are too many
RECORDING = "tape.jsonl"
Pieces = Sequence[str]


def build_chat_text(*pieces: str) -> bytes:
    return stream(*[delta(piece) for piece in ("See ", *pieces, " here")], delta(finish="stop"), event("[DONE]"))


def build_chat_reasoning(*pieces: str) -> bytes:
    thoughts = [delta(reasoning_content=piece) for piece in ("So ", *pieces)]
    return stream(*thoughts, delta("Yes"), delta(finish="stop"), event("[DONE]"))


def build_chat_calls(*pieces: str) -> bytes:
    """Return two tool calls whose pieces arrive in turn."""

    def build_call(index: int, arguments: str, **more: Any) -> bytes:
        facts = {"index": index, **more, "function": {"arguments": arguments, **({"name": "f"} if more else {})}}
        return delta(tool_calls=[facts])

    starts = [build_call(index, '{"a": "', id=f"call_{index}", type="function") for index in (0, 1)]
    middles = [build_call(index, piece) for piece in pieces for index in (0, 1)]
    return stream(
        *starts, *middles, *[build_call(index, '"}') for index in (0, 1)], delta(finish="tool_calls"), event("[DONE]")
    )


def build_chat_choices(*pieces: str) -> bytes:
    """Return two choices whose pieces arrive in turn."""
    ends = [delta(finish="stop", index=index) for index in (0, 1)]
    return stream(*[delta(piece, index=index) for piece in pieces for index in (0, 1)], *ends, event("[DONE]"))


def build_chat_without_blank_lines(*pieces: str) -> bytes:
    lines = b"".join(delta(piece).replace(b"\n\n", b"\n") for piece in pieces)
    return stream(lines + delta(finish="stop") + event("[DONE]"))


def build_chat_with_carriage_returns(*pieces: str) -> bytes:
    events = [*map(delta, pieces), delta(finish="stop"), event("[DONE]")]
    return stream(*[piece.replace(b"\n", b"\r\n") for piece in events])


def build_chat_with_several_data_lines(*pieces: str) -> bytes:
    """Return events whose JSON is on several lines."""
    return stream(*[piece.replace(b', "', b',\ndata: "') for piece in map(delta, pieces)], delta(finish="stop"))


def build_chat_parts(*pieces: str) -> bytes:
    """Return an answer without a stream, whose text has parts."""
    parts = [{"type": "text", "text": piece} for piece in pieces]
    message = {"role": "assistant", "content": parts}
    return json_response({"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}]})


def build_responses_text(*pieces: str) -> bytes:
    end = event({"type": "response.completed", "response": response_object("".join(pieces))})
    return stream(*text_events(*pieces), end)


def build_responses_cut(*pieces: str) -> bytes:
    return stream(*text_events(*pieces), end=b"")


def build_responses_calls(*pieces: str) -> bytes:
    """Return two function calls whose pieces arrive in turn."""
    texts = ['{"a": "', *pieces, '"}']
    items = [
        {"type": "function_call", "id": f"fc_{at}", "call_id": f"call_{at}", "name": "f", "arguments": ""}
        for at in (0, 1)
    ]
    added = [
        event({"type": "response.output_item.added", "output_index": at, "item": item}) for at, item in enumerate(items)
    ]
    name = "response.function_call_arguments.delta"
    deltas = [
        event({"type": name, "output_index": at, "item_id": f"fc_{at}", "delta": text})
        for text in texts
        for at in (0, 1)
    ]
    done = [{**item, "arguments": "".join(texts), "status": "completed"} for item in items]
    end = event({"type": "response.completed", "response": response_object("", output=done)})
    return stream(*text_events(), *added, *deltas, end)


def build_responses_reasoning(*pieces: str) -> bytes:
    facts = {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0, "summary_index": 0}
    end = event({"type": "response.completed", "response": response_object()})
    return stream(*text_events(), *[event({**facts, "delta": piece}) for piece in pieces], end)


def build_responses_parts(*pieces: str) -> bytes:
    """Return an answer without a stream, whose message has parts."""
    parts = [{"type": "output_text", "text": piece, "annotations": []} for piece in pieces]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts}
    return json_response(response_object(output=[message]))


def build_broken_json(*pieces: str) -> bytes:
    return http_response(("<p>" + "".join(pieces)).encode(), "200 OK", "text/html")


def build_error_body(*pieces: str) -> bytes:
    """Return an error whose body arrives in pieces."""
    body = json.dumps({"error": {"message": f"Incorrect key: {''.join(pieces)}."}}).encode()
    at = body.index(b"key: ") + 5 + len(pieces[0])
    head = b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    return head + b"\r\n" + chunk(body[:at]) + chunk(body[at:]) + b"0\r\n\r\n"


def build_error_headers(*pieces: str) -> bytes:
    return json_response({"error": {"message": "***"}}, "400 No", f"X-Request-Id: {''.join(pieces)}")


BUILD_CHAT_ANSWERS = [
    build_chat_text, build_chat_reasoning, build_chat_calls, build_chat_choices, build_chat_without_blank_lines, build_chat_with_carriage_returns,
    build_chat_with_several_data_lines, build_chat_parts, build_broken_json, build_error_body, build_error_headers,
]  # fmt: skip
BUILD_RESPONSES_ANSWERS = [
    build_responses_text,
    build_responses_cut,
    build_responses_calls,
    build_responses_reasoning,
    build_responses_parts,
    build_error_body,
]
COMMANDS_AND_BUILDERS = [("chat", build_answer) for build_answer in BUILD_CHAT_ANSWERS] + [
    ("respond", build_answer) for build_answer in BUILD_RESPONSES_ANSWERS
]
FORMATS: dict[str, list[str]] = {
    "text": [], "json": ["--json"], "jsonl": ["--format", "jsonl"], "files": ["--meta", "out.json", "-o", "out.txt"],
}  # fmt: skip
FORMAT_CUTS = {"text": (9,), "json": (4, 9), "jsonl": (1, 17), "files": (13,)}


def split_key(*ends: int) -> list[str]:
    return [KEY[first:end] for first, end in zip((0, *ends), (*ends, len(KEY)), strict=True)]


KEY_CUTS = [(at,) for at in range(1, len(KEY))] + [(1, 2), (1, 17), (4, 9), (8, 10), (9, 17), (5, 6)]


def has_key(text: str) -> bool:
    """True if the text has too many consecutive characters of the key to be a coincidence."""
    return any(KEY[at : at + MAX_KEY_CHARACTERS] in text for at in range(len(KEY) - MAX_KEY_CHARACTERS + 1))


def read_strings(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the strings in JSON, each with its name."""
    stack = [("", value)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            stack += reversed(list(value.items()))
        elif isinstance(value, list):
            stack += reversed([(name, item) for item in value])


def join_recording(path: Path) -> str:
    """Return the texts of a recording: its bodies, and what the strings of each name and index in them make up."""
    texts: dict[Any, str] = {}
    for line in path.read_text().splitlines():
        reply = json.loads(line)["reply"]
        body = "".join(reply["chunks"])
        texts[line] = body + json.dumps(reply["headers"])
        for data in body.replace("\ndata: ", "\n").replace("\r", "").removeprefix("data: ").split("\n\n"):
            for value in parse_values(data.removeprefix("data:")):
                found = json.dumps(value)
                index = [part for part in ('"index": 1', '"output_index": 1') if part in found]
                for name, text in read_strings(value):
                    texts[name, *index] = texts.get((name, *index), "") + text
    return "\0".join(texts.values())


def parse_values(data: str) -> Iterator[Any]:
    """Yield the JSON of an event: on all its lines, or on each of them."""
    for text in (data, *data.split("\n")):
        try:
            yield json.loads(text.removeprefix("data:"))
        except ValueError:
            continue
        if text is data:
            return


def read_response(response: bytes) -> tuple[dict[str, str], list[bytes]]:
    """Return the headers of a response, and the chunks of its body."""
    head, _, body = response.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    chunks = []
    while "transfer-encoding" in headers and body:
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return headers, chunks or [body]


def record_response(response: bytes) -> RecordedExchange:
    """Return what is recorded of a response to a request with the key."""
    headers, chunks = read_response(response)
    request = HttpRequest("POST", "http://localhost/v1/x", {"Authorization": f"Bearer {KEY}"}, b"{}")
    recorder = ExchangeRecorder(request, "http://localhost/v1")
    assert b"".join(recorder.watch(HttpResponse(200, headers, iter(chunks))).chunks) == b"".join(chunks)
    return recorder.build_exchange()


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize(
    ("command", "build_answer"), COMMANDS_AND_BUILDERS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_recording_holds_no_key_wherever_it_is_split(command: str, build_answer: Callable[..., bytes]) -> None:
    for cut in KEY_CUTS:
        exchange = record_response(build_answer(*split_key(*cut)))
        Path(RECORDING).write_bytes(encode_exchange(exchange))
        assert not has_key(join_recording(Path(RECORDING))), (command, cut, exchange)
        assert b"***" in b"".join(exchange.chunks)


@pytest.mark.parametrize(
    ("command", "build_answer"), COMMANDS_AND_BUILDERS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_recording_of_other_text_is_unchanged(command: str, build_answer: Callable[..., bytes]) -> None:
    response = build_answer(KEY[:9], f"\u00e9 {KEY[9:]}")
    assert record_response(response).chunks == read_response(response)[1], command


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    ("command", "build_answer"), COMMANDS_AND_BUILDERS, ids=lambda value: getattr(value, "__name__", value)
)
def test_no_output_and_no_file_shows_a_split_key(
    command: str,
    build_answer: Callable[..., bytes],
    output_format: str,
    server: Loopback,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.answer_with(build_answer(*split_key(*FORMAT_CUTS[output_format])))
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    count = ["-n", "2"] if build_answer is build_chat_choices else []
    call = [command, "hi", *count, "-m", "m", "--retries", "0", "-q", *FORMATS[output_format]]
    shown = []
    for key, flag in ((KEY, "--record"), (KEY, "--replay"), (OTHER_KEY, "--replay"), ("", "--replay")):
        monkeypatch.setenv("AIML_API_KEY", key)
        main([*call, flag, RECORDING])
        shown += [*capfd.readouterr(), *[path.read_text() for path in Path().glob("out*")], *read_history()]
    assert not [text for text in shown if has_key(text)]
    assert not has_key(join_recording(Path(RECORDING)))
    assert any("***" in text for text in shown)


def read_history() -> list[str]:
    """Return all that the history holds."""
    texts = []
    for path in Path().rglob("history*.db"):
        with sqlite3.connect(path) as database:
            texts += list(database.iterdump())
    return texts


@given(st.lists(st.sampled_from([*KEY, KEY[:7], KEY[7:], KEY, "x", "", "\\u002b"]), max_size=12))
def test_the_pieces_of_a_text_are_masked_like_the_whole_text(pieces: list[str]) -> None:
    masked = mask_pieces(pieces, KEY)
    assert "".join(masked) == mask_text("".join(pieces), KEY)
    assert len(masked) == len(pieces)
