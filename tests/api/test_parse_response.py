"""A response is parsed by its status and its first bytes, and any response is an answer or an AimlError."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.answer import error_from_completion
from aiml_cli.api.completion_builder import Completion, CompletionBuilder
from aiml_cli.api.endpoints import ENDPOINT_NAMES, Endpoint, get_endpoint
from aiml_cli.api.parse_response import parse_response
from aiml_cli.api.sse import MAX_EVENT_BYTES, split_events
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AimlError, AuthError, IncompleteAnswer, RequestRejected, ServerError

STREAMS = {
    "chat": b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    "responses": b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
    b'data: {"type":"response.completed","response":{"status":"completed"}}\n\n',
}
BODIES = {
    "chat": b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}',
    "responses": b'{"status":"completed","output":[{"type":"message","content":[{"text":"Hi"}]}]}',
}
CONTENT_TYPES = ["text/event-stream", "text/event-stream; charset=utf-8", "application/json", "text/plain", ""]
COMMENTS = b": PROCESSING\n\n" * 17

every_endpoint = pytest.mark.parametrize("endpoint", [*map(get_endpoint, ENDPOINT_NAMES)], ids=ENDPOINT_NAMES)


def build_completion(batches: Iterator[EventBatch] | list[EventBatch]) -> Completion:
    """Return the completion, after a check that its error can be determined."""
    builder = CompletionBuilder()
    for batch in batches:
        builder.add(batch)
    completion = builder.build()
    error_from_completion(completion, allow_cut=True, background=True)
    return completion


def parse_body(endpoint: Endpoint, body: bytes, content_type: str = "", status: int = 200, size: int = 0) -> Completion:
    step = size or max(1, len(body))
    chunks = (body[start : start + step] for start in range(0, len(body), step))
    return build_completion(parse_response(endpoint, status, {"content-type": content_type}, chunks))


def parse_or_get_error(
    endpoint: Endpoint, body: bytes, content_type: str = "", status: int = 200, size: int = 0
) -> Completion | AimlError:
    """Return the completion or the error of a reply; any other exception is a crash."""
    try:
        return parse_body(endpoint, body, content_type, status, size)
    except AimlError as error:
        return error


@pytest.mark.promise("legal-streams")
@every_endpoint
@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("size", [1, 5, 0])
def test_the_first_bytes_decide_how_a_response_is_parsed(
    endpoint: Endpoint, status: int, content_type: str, size: int
) -> None:
    plain = [STREAMS[endpoint.name], BODIES[endpoint.name]]
    for body in [*plain, COMMENTS + plain[0], b"\xef\xbb\xbf" + plain[0], b"\n" + plain[1], b"\xef\xbb\xbf" + plain[1]]:
        answer = parse_body(endpoint, body, content_type, status, size)
        assert (answer.first.text, answer.is_complete) == ("Hi", True)


@every_endpoint
def test_a_header_may_be_missing_altogether(endpoint: Endpoint) -> None:
    assert build_completion(parse_response(endpoint, 200, {}, iter([STREAMS[endpoint.name]]))).is_complete


@every_endpoint
@pytest.mark.parametrize("start", [b"event: x\n", b"id: 1\n", b"retry: 5\n", b": x\n", b"data: {}\n\n", b"event:x\r\n"])
def test_a_stream_begins_with_any_field(endpoint: Endpoint, start: bytes) -> None:
    assert parse_body(endpoint, start + b"\n" + STREAMS[endpoint.name]).is_complete


@every_endpoint
@pytest.mark.parametrize("body", [b"", b" \n", b"upstream is busy", b"<html>busy</html>", b"{oops", b"\xff\xfe\x00"])
@pytest.mark.parametrize("content_type", ["application/json", ""])
def test_a_body_that_is_neither_a_stream_nor_json_is_a_server_error(
    endpoint: Endpoint, body: bytes, content_type: str
) -> None:
    with pytest.raises(ServerError) as failed:
        parse_body(endpoint, body, content_type)
    assert failed.value.details["status"] == 200
    assert failed.value.message


@every_endpoint
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", '"windows-1252"', "LATIN1", "zip", "odd"])
@pytest.mark.parametrize("size", [5, 0])
def test_a_body_in_another_encoding_is_read(endpoint: Endpoint, charset: str, size: int) -> None:
    name = charset.strip('"')
    text = BODIES[endpoint.name].decode().replace("Hi", "Hé")
    body = text.encode(name if name not in ("zip", "odd") else "utf-8")
    assert parse_body(endpoint, body, f"application/json; charset={charset}", size=size).first.text == "Hé"


@every_endpoint
def test_invalid_bytes_in_a_text_are_replaced(endpoint: Endpoint) -> None:
    body = BODIES[endpoint.name].replace(b"Hi", b"H\xe9!")
    assert parse_body(endpoint, body, "application/json").first.text == "H\ufffd!"


@pytest.mark.promise("server-messages")
@every_endpoint
@pytest.mark.parametrize("body", [b"upstream is busy", b"<html><p>upstream is busy</p></html>"])
def test_a_text_under_200_is_an_error_with_that_text(endpoint: Endpoint, body: bytes) -> None:
    with pytest.raises(ServerError, match="upstream is busy"):
        parse_body(endpoint, body, "text/plain")


@pytest.mark.promise("incomplete-answers")
@every_endpoint
@pytest.mark.parametrize("body", [b"", b"\n\n", COMMENTS, b"event: x\n\n", b"data\n\n", b"data: \n\n"])
def test_a_stream_without_events_is_an_error(endpoint: Endpoint, body: bytes) -> None:
    assert not parse_body(endpoint, body, "text/event-stream").is_complete


@every_endpoint
@pytest.mark.parametrize(
    ("status", "error_class"), [(401, AuthError), (404, RequestRejected), (301, RequestRejected), (503, ServerError)]
)
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_an_error_status_is_an_error_whatever_the_body_says(
    endpoint: Endpoint, status: int, error_class: type[AimlError], content_type: str
) -> None:
    for body in (STREAMS[endpoint.name], BODIES[endpoint.name], b"", b"\xff", b"no"):
        with pytest.raises(error_class, match=str(status)):
            parse_body(endpoint, body, content_type, status)


@every_endpoint
def test_an_error_status_counts_even_if_the_body_is_incomplete(endpoint: Endpoint) -> None:
    def receive() -> Iterator[bytes]:
        yield b'{"error":{"message":"no su'
        raise IncompleteAnswer("the connection was cut")

    with pytest.raises(AuthError, match="401"):
        list(parse_response(endpoint, 401, {}, receive()))


@pytest.mark.promise("memory")
@every_endpoint
def test_no_more_of_an_error_is_read_than_can_be_shown(endpoint: Endpoint) -> None:
    def receive() -> Iterator[bytes]:
        yield from [b"x" * 100_000] * 20
        pytest.fail("an endless error was read on and on")

    with pytest.raises(ServerError, match="xxx"):
        list(parse_response(endpoint, 500, {}, receive()))


@pytest.mark.promise("memory")
@every_endpoint
def test_an_endless_answer_ends_with_an_error(endpoint: Endpoint) -> None:
    piece = b"1" * 8 * 1024 * 1024
    with pytest.raises(ServerError, match="64 MiB"):
        list(parse_response(endpoint, 200, {}, (piece for _ in range(MAX_EVENT_BYTES // len(piece) + 2))))


@every_endpoint
def test_a_stream_is_parsed_as_it_arrives(endpoint: Endpoint) -> None:
    first, _, rest = STREAMS[endpoint.name].partition(b"\n\n")

    def receive() -> Iterator[bytes]:
        yield first + b"\n\n"
        pytest.fail(f"the next bytes were waited for: {rest!r}")

    assert next(parse_response(endpoint, 200, {}, receive()))


@every_endpoint
@pytest.mark.parametrize("depth", [2_000, 100_000])
@pytest.mark.parametrize("start", [b"", b"data: "])
def test_endless_json_does_not_crash(endpoint: Endpoint, depth: int, start: bytes) -> None:
    body = start + b"[" * depth
    assert isinstance(parse_or_get_error(endpoint, body, status=500), ServerError)
    result = parse_or_get_error(endpoint, body, status=200)
    assert isinstance(result, ServerError) or (isinstance(result, Completion) and not result.is_complete)


@every_endpoint
@pytest.mark.parametrize("depth", [100, 101, 500, *range(900, 1_000, 9)])
def test_a_deeply_nested_value_does_not_crash(endpoint: Endpoint, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for good in (BODIES[endpoint.name], STREAMS[endpoint.name]):
        result = parse_or_get_error(endpoint, good.replace(b'"Hi"', nested))
        assert isinstance(result, AimlError) or not result.is_complete


# ---- whatever is sent


@every_endpoint
@settings(deadline=None, max_examples=100)
@given(
    body=st.binary(max_size=60)
    | st.sampled_from(list(STREAMS.values())).flatmap(
        lambda good: st.builds(lambda at, junk: good[:at] + junk + good[at:], st.integers(0, 90), st.binary(max_size=9))
    ),
    status=st.integers(0, 999),
    content_type=st.sampled_from(CONTENT_TYPES) | st.text(max_size=9),
    size=st.integers(1, 30),
)
def test_any_bytes_are_an_answer_or_an_error(
    endpoint: Endpoint, body: bytes, status: int, content_type: str, size: int
) -> None:
    result = parse_or_get_error(endpoint, body, content_type, status, size)
    assert isinstance(result, Completion) or result.message


VALID_EVENTS: dict[str, list[Any]] = {
    "chat": [
        {
            "id": "c1",
            "model": "m",
            "created": 1.5,
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "role": "assistant",
                        "content": [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": [{"text": "b"}]}],
                        "refusal": "no",
                        "reasoning_details": [{"text": "c"}],
                        "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}],
                        "function_call": {"name": "g", "arguments": "{}"},
                        "annotations": [{"url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}],
                        "audio": {"id": "a", "data": "b", "transcript": "c"},
                    },
                    "logprobs": {"content": [{"token": "a", "logprob": -1, "top_logprobs": [{"token": "b"}]}]},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 1, "cost": 0.5, "prompt_tokens_details": {"cached_tokens": 1}},
            "meta": {"usage": {"usd_spent": 0.5}},
            "citations": ["u", {"url": "v"}],
        },
        {"error": {"message": "m", "type": "t", "code": 1, "metadata": {"raw": "r"}}},
        {"choices": None, "base_resp": {"status_code": 1, "status_msg": "m"}, "detail": [{"loc": ["a"], "msg": "m"}]},
    ],
    "responses": [
        {"type": "response.created", "response": {"id": "r", "model": "m", "created_at": 1}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "f", "type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
        },
        {"type": "response.function_call_arguments.delta", "item_id": "f", "output_index": 0, "delta": "{}"},
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 1, "delta": "a", "logprobs": [{}]},
        {"type": "response.reasoning_text.delta", "item_id": "r", "output_index": 2, "delta": "a"},
        {"type": "response.output_text.annotation.added", "annotation": {"url": "u", "title": "t", "start_index": 1}},
        {
            "type": "response.output_item.done",
            "output_index": 1,
            "item": {
                "id": "m",
                "type": "message",
                "content": [{"text": "a", "annotations": [{"url": "u"}], "logprobs": [{"token": "a", "logprob": 1}]}],
            },
        },
        {"type": "response.output_item.done", "item": {"type": "mcp_call", "error": "e", "name": "n"}},
        {"type": "error", "message": "m", "code": "c", "error": {"message": "m"}},
        {
            "type": "response.completed",
            "response": {
                "id": "r",
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "error": {"message": "m"},
                "output": [
                    {"id": "r", "type": "reasoning", "summary": [{"text": "b"}]},
                    {"id": "m", "type": "message", "content": [{"refusal": "no"}]},
                    {"id": "g", "type": "custom_tool_call", "call_id": "d", "name": "n", "input": "x"},
                ],
                "usage": {"input_tokens": 1, "output_tokens_details": {"reasoning_tokens": 1}},
                "meta": {"usage": {"usd_spent": 0.5}},
            },
        },
    ],
}
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**30, float("inf"), float("nan"), "", "x", "\ud83c", "stop", "failed"),
    *([], [None], [[]], ["x"], [{}], {}, {"x": 1}, {"a": {"b": []}}, {"message": "m"}),
]


def list_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the path to every part of a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from list_paths(part, (*path, key))


def replace_part(good: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """Put junk in one place of a good value."""
    bad = copy.deepcopy(good)
    container = bad
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = junk
    return bad


def build_stream(events: list[Any]) -> Iterator[bytes]:
    return (b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def convert_to_json_answer(endpoint: str, event: Any) -> Any:
    """Return the JSON answer that corresponds to an event of a stream."""
    if endpoint == "chat" or not isinstance(event, dict):
        return json.loads(json.dumps(event).replace('"delta"', '"message"'))
    return event.get("response", event)


def find_crashes(endpoint: Endpoint, inputs: list[list[Any]]) -> list[str]:
    """List the inputs that end in neither a Completion nor an AimlError, as a stream or as JSON."""
    crashes = []
    for events in inputs:
        for batches in (
            lambda events=events: endpoint.parse_stream(split_events(build_stream(events))),
            lambda events=events: [
                endpoint.parse_json(convert_to_json_answer(endpoint.name, event)) for event in events
            ],
        ):
            try:
                build_completion(batches())
            except AimlError:
                continue
            except Exception as error:  # noqa: BLE001 - any exception is reported with its cause
                crashes.append(f"{type(error).__name__}: {error}: {events}"[:300])
    return crashes


@pytest.mark.promise("malformed-events")
@every_endpoint
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_a_value_of_the_wrong_type_anywhere_does_not_crash(endpoint: Endpoint, junk: Any) -> None:
    good = VALID_EVENTS[endpoint.name]
    inputs = [[replace_part(event, path, junk)] for event in good for path in list_paths(event)]
    assert find_crashes(endpoint, [*inputs, [junk], *([event, junk] for event in good)]) == []


ANY_JSON = st.recursive(
    st.sampled_from([value for value in JUNK if not isinstance(value, list | dict)]) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "delta", "choices", "message", "error", "response", "item", "item_id", "output", "content"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@pytest.mark.promise("malformed-events")
@every_endpoint
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_any_stream_of_json_is_parsed_without_a_crash(endpoint: Endpoint, data: st.DataObject) -> None:
    good = VALID_EVENTS[endpoint.name]
    events = data.draw(
        st.lists(
            st.sampled_from(good).flatmap(
                lambda event: st.builds(
                    replace_part, st.just(event), st.sampled_from(list(list_paths(event))), ANY_JSON
                )
            )
            | ANY_JSON,
            max_size=4,
        )
    )
    assert find_crashes(endpoint, [events]) == []
