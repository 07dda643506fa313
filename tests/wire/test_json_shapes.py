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
ODD: list[Any] = [None, True, 0, -1, 10**400, 1.5, "", "x", "\ud800", [], [None], [[]], ["x"], {}, {"x": None}, [{}]]
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOP = [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2, "bytes": None}]}]
CITED = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
DELTA = {
    "role": "assistant", "content": "Hel", "reasoning_content": "Hm", "refusal": None, "tool_calls": [CALL],
    "annotations": [CITED], "audio": {"id": "a", "data": "AA==", "transcript": "t", "expires_at": 1},
}  # fmt: skip
CHUNK = {
    "id": "chat-1", "created": 1, "model": "m", "usage": USAGE, "meta": {"usage": {"credits_used": 1}},
    "citations": ["u"], "search_results": [{"url": "u", "title": "t"}],
    "choices": [{"index": 0, "delta": DELTA, "finish_reason": "stop", "logprobs": {"content": TOP, "refusal": TOP}}],
}  # fmt: skip
WHOLE = {**CHUNK, "choices": [{"index": 0, "message": DELTA, "finish_reason": "stop", "logprobs": {"content": TOP}}]}
PLACE = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
PART = {"type": "output_text", "text": "Hel", "annotations": [{"type": "url_citation", "url": "u"}], "logprobs": TOP}
ITEMS = [
    {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [PART]},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}], "content": []},
    {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "image_generation_call", "id": "g", "result": "AA==", "status": "completed"},
    {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}},
]
FULL = response_object(
    output=ITEMS, incomplete_details={"reason": "max_output_tokens"}, error={"code": "x", "message": "y"}
)
EVENTS = [
    {"type": "response.created", "response": response_object("", "in_progress", output=[])},
    {"type": "response.output_text.delta", **PLACE, "delta": "Hel", "logprobs": TOP},
    {"type": "response.output_text.done", **PLACE, "text": "Hel"},
    {"type": "response.content_part.done", **PLACE, "part": PART},
    {"type": "response.output_text.annotation.added", **PLACE, "annotation": {"type": "url_citation", "url": "u"}},
    {"type": "response.refusal.delta", **PLACE, "delta": "No"},
    {"type": "response.reasoning_summary_text.delta", **PLACE, "summary_index": 0, "delta": "Hm"},
    {"type": "response.function_call_arguments.delta", **PLACE, "delta": "{}"},
    *({"type": "response.output_item.added", **PLACE, "item": item} for item in ITEMS),
    *({"type": "response.output_item.done", **PLACE, "item": item} for item in ITEMS),
    *({"type": f"response.{how}", "response": FULL} for how in ("completed", "failed", "incomplete")),
    {"type": "error", "code": "x", "message": "y", "error": {"message": "y"}},
]


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value in a JSON value."""
    yield path
    for key, inner in found.items() if isinstance(found, dict) else enumerate(found if isinstance(found, list) else ()):
        yield from places(inner, (*path, key))


def put(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value in one place."""
    if not path:
        return value
    made = copy.deepcopy(found)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def reply(command: str, kind: str, value: Any) -> bytes:
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


SEEDS = [("chat", "stream", CHUNK), ("chat", "json", WHOLE), ("respond", "json", FULL)]
SEEDS += [("respond", "stream", each) for each in EVENTS]
FORMATS = st.sampled_from([[], ["--json"], ["--format", "jsonl"], ["-u"]])
WILD = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.promise("broken-event")
@WILD
@given(st.data(), JSON | st.sampled_from(ODD), FORMATS)
def test_any_value_in_any_field_is_an_answer_or_an_error(
    server: Loopback, ask: Ask, data: st.DataObject, value: Any, flags: list[str]
) -> None:
    command, kind, seed = data.draw(st.sampled_from(SEEDS))
    path = data.draw(st.sampled_from(sorted(places(seed), key=str)))
    server.scripts[:] = [(reply(command, kind, put(seed, path, value)),)]
    assert ask(command, "hi", *flags).code in (0, 6, 8)


@pytest.mark.promise("broken-event")
@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_an_odd_value_in_each_field_is_an_answer_or_an_error(seed: int, server: Loopback, ask: Ask) -> None:
    """Every second field of each: the same items are in several events."""
    command, kind, found = SEEDS[seed]
    for number, path in enumerate(list(places(found))[seed % 2 :: 2], seed):
        server.scripts[:] = [(reply(command, kind, put(found, path, ODD[number * 7 % len(ODD)])),)]
        assert ask(command, "hi").code in (0, 6, 8), path
