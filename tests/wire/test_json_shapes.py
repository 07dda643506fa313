"""Any JSON value in any field of an answer gives an answer or an error, never an internal error."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.endings import Ask
from support.loopback import USAGE, Loopback, event, json_response, response_object, stream, text_events

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["stop", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1.5,
    "",
    "x",
    "\ud800",
    [],
    [None],
    [[]],
    ["x"],
    {},
    {"x": None},
    [{}],
]
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOKEN_LOGPROBS = [
    {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2, "bytes": None}]}
]
CITATION = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
DELTA = {
    "role": "assistant", "content": "Hel", "reasoning_content": "Hm", "refusal": None, "tool_calls": [CALL],
    "annotations": [CITATION], "audio": {"id": "a", "data": "AA==", "transcript": "t", "expires_at": 1},
}  # fmt: skip
CHUNK = {
    "id": "chat-1", "created": 1, "model": "m", "usage": USAGE, "meta": {"usage": {"credits_used": 1}},
    "citations": ["u"], "search_results": [{"url": "u", "title": "t"}],
    "choices": [{"index": 0, "delta": DELTA, "finish_reason": "stop", "logprobs": {"content": TOKEN_LOGPROBS, "refusal": TOKEN_LOGPROBS}}],
}  # fmt: skip
COMPLETE_CHAT = {
    **CHUNK,
    "choices": [{"index": 0, "message": DELTA, "finish_reason": "stop", "logprobs": {"content": TOKEN_LOGPROBS}}],
}
EVENT_POSITION = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
PART = {
    "type": "output_text",
    "text": "Hel",
    "annotations": [{"type": "url_citation", "url": "u"}],
    "logprobs": TOKEN_LOGPROBS,
}
ITEMS = [
    {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [PART]},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}], "content": []},
    {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "image_generation_call", "id": "g", "result": "AA==", "status": "completed"},
    {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}},
]
COMPLETE_RESPONSE = response_object(
    output=ITEMS, incomplete_details={"reason": "max_output_tokens"}, error={"code": "x", "message": "y"}
)
EVENTS = [
    {"type": "response.created", "response": response_object("", "in_progress", output=[])},
    {"type": "response.output_text.delta", **EVENT_POSITION, "delta": "Hel", "logprobs": TOKEN_LOGPROBS},
    {"type": "response.output_text.done", **EVENT_POSITION, "text": "Hel"},
    {"type": "response.content_part.done", **EVENT_POSITION, "part": PART},
    {
        "type": "response.output_text.annotation.added",
        **EVENT_POSITION,
        "annotation": {"type": "url_citation", "url": "u"},
    },
    {"type": "response.refusal.delta", **EVENT_POSITION, "delta": "No"},
    {"type": "response.reasoning_summary_text.delta", **EVENT_POSITION, "summary_index": 0, "delta": "Hm"},
    {"type": "response.function_call_arguments.delta", **EVENT_POSITION, "delta": "{}"},
    *({"type": "response.output_item.added", **EVENT_POSITION, "item": item} for item in ITEMS),
    *({"type": "response.output_item.done", **EVENT_POSITION, "item": item} for item in ITEMS),
    *({"type": f"response.{how}", "response": COMPLETE_RESPONSE} for how in ("completed", "failed", "incomplete")),
    {"type": "error", "code": "x", "message": "y", "error": {"message": "y"}},
]


def list_paths(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value in a JSON value."""
    yield path
    for key, inner in found.items() if isinstance(found, dict) else enumerate(found if isinstance(found, list) else ()):
        yield from list_paths(inner, (*path, key))


def replace_value(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value in one place."""
    if not path:
        return value
    made = copy.deepcopy(found)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def build_reply(command: str, kind: str, value: Any) -> bytes:
    """Return the bytes of an answer that holds the value."""
    if kind == "json":
        return json_response(value)
    if command == "chat":
        return stream(event(CHUNK), event(json.dumps(value)), event("[DONE]"))
    return stream(
        *text_events("Hel"),
        event(json.dumps(value)),
        event({"type": "response.completed", "response": response_object()}),
    )


COMMANDS_AND_REPLIES = [
    ("chat", "stream", CHUNK),
    ("chat", "json", COMPLETE_CHAT),
    ("respond", "json", COMPLETE_RESPONSE),
]
COMMANDS_AND_REPLIES += [("respond", "stream", each) for each in EVENTS]
FORMATS = st.sampled_from([[], ["--json"], ["--format", "jsonl"], ["-u"]])
PROPERTY_SETTINGS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.promise("malformed-events")
@PROPERTY_SETTINGS
@given(st.data(), JSON | st.sampled_from(ODD_VALUES), FORMATS)
def test_any_value_in_any_field_is_an_answer_or_an_error(
    server: Loopback, ask: Ask, data: st.DataObject, value: Any, flags: list[str]
) -> None:
    command, kind, seed = data.draw(st.sampled_from(COMMANDS_AND_REPLIES))
    path = data.draw(st.sampled_from(sorted(list_paths(seed), key=str)))
    server.scripts[:] = [(build_reply(command, kind, replace_value(seed, path, value)),)]
    assert ask(command, "hi", *flags).code in (0, 6, 8)


@pytest.mark.promise("malformed-events")
@pytest.mark.parametrize("seed", range(len(COMMANDS_AND_REPLIES)))
def test_an_odd_value_in_each_field_is_an_answer_or_an_error(seed: int, server: Loopback, ask: Ask) -> None:
    """Every second field of each: the same items are in several events."""
    command, kind, found = COMMANDS_AND_REPLIES[seed]
    for number, path in enumerate(list(list_paths(found))[seed % 2 :: 2], seed):
        server.scripts[:] = [
            (build_reply(command, kind, replace_value(found, path, ODD_VALUES[number * 7 % len(ODD_VALUES)])),)
        ]
        assert ask(command, "hi").code in (0, 6, 8), path
