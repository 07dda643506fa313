"""JSON output is one documented object or a line for each event, and always valid JSON."""

import json
import math
import re
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api.answer import Answer, Timing
from aiml_cli.api.completion_builder import Choice, Completion, ToolCall
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    CitedFile,
    ErrorEvent,
    Event,
    Finished,
    Notice,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from aiml_cli.errors import AuthError, IncompleteAnswer, ServerError
from aiml_cli.output.json_output import (
    JsonLinesRenderer,
    JsonRenderer,
    answer_to_dict,
    event_to_dict,
    json_line,
)
from aiml_cli.output.plain_text import NullRenderer

KEYS = [
    *("endpoint", "id", "model", "created", "complete", "finish_reason"),
    *("text", "data", "reasoning", "refusal", "tool_calls", "rounds", "choices", "citations"),
    *("files", "usage", "cost_usd", "cost_source", "cached", "timing", "request_id"),
    *("previous_response_id", "status", "attempts", "error"),
]
TOOL_NOT_RUN = {"result": None, "is_error": None, "allowed_by": None}
CHOICE_KEYS = ["index", "text", "reasoning", "refusal", "tool_calls", "finish_reason", "logprobs"]
COMPLETION = Completion(
    ResponseStarted("c1", "gpt", 1.5),
    (
        Choice(
            0,
            "Hi",
            "Hm",
            "",
            (ToolCall("a", "look", "{oops"),),
            "stop",
            is_finished=True,
            logprobs=(TokenLogprob("Hi", -0.5),),
        ),
        Choice(1, "Ho", finish_reason="stop", is_finished=True),
    ),
    (Citation("https://a.example", "A", 0, 2),),
    Usage(3, 2, 5, 1, 0, 0.01, {"prompt_tokens": 3}),
    has_ended=True,
)
ANSWER = Answer("chat", COMPLETION, None, Timing(0.5, 1.00001), "req", None, 200, 1)


def parse_strictly(data: bytes) -> Any:
    """Parse JSON as other languages do: without NaN and Infinity."""

    def refuse(word: str) -> NoReturn:
        pytest.fail(f"{word} is not valid JSON")

    return json.loads(data, parse_constant=refuse)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        Answer("responses"),
        Answer("chat", error=IncompleteAnswer("cut")),
        Answer("chat", Completion(reported_error=ErrorEvent("busy"))),
    ],
)
def test_every_documented_key_is_always_there(answer: Answer) -> None:
    found = parse_strictly(json_line(answer_to_dict(answer)))
    assert list(found) == KEYS
    assert all(list(choice) == CHOICE_KEYS for choice in found["choices"])
    assert list(found["timing"]) == ["first_token_s", "total_s", "tokens_per_second"]


def test_a_complete_answer_is_written_in_full() -> None:
    found = answer_to_dict(ANSWER)
    assert (found["endpoint"], found["id"], found["model"], found["created"]) == ("chat", "c1", "gpt", 1.5)
    assert (found["complete"], found["finish_reason"], found["text"], found["reasoning"]) == (True, "stop", "Hi", "Hm")
    assert found["tool_calls"] == [{"id": "a", "name": "look", "arguments": "{oops", **TOOL_NOT_RUN}]
    assert [choice["text"] for choice in found["choices"]] == ["Hi", "Ho"]
    assert [choice["reasoning"] for choice in found["choices"]] == ["Hm", None]
    assert [choice["refusal"] for choice in found["choices"]] == [None, None]
    assert found["choices"][0]["logprobs"] == [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]
    assert found["citations"] == [{"url": "https://a.example", "title": "A", "start": 0, "end": 2}]
    assert (found["cost_usd"], found["cost_source"]) == (0.01, "gateway")
    assert found["timing"] == {"first_token_s": 0.5, "total_s": 1.0, "tokens_per_second": pytest.approx(4, abs=0.001)}
    assert (found["request_id"], found["status"], found["attempts"], found["error"]) == ("req", 200, 1, None)
    counts = ["input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"]
    assert [found["usage"][name] for name in counts] == [3, 2, 5, 1, 0]


def test_nothing_is_null_or_empty() -> None:
    found = answer_to_dict(Answer("responses"))
    assert (found["text"], found["tool_calls"], found["citations"], found["files"]) == ("", [], [], [])
    names = ["id", "model", "reasoning", "refusal", "usage", "cost_usd", "cost_source", "status", "error"]
    assert [found[name] for name in names] == [None] * len(names)
    assert found["complete"] is False


def test_the_price_in_a_header_is_used() -> None:
    found = answer_to_dict(Answer("responses", header_cost_usd=0.0))
    assert (found["cost_usd"], found["cost_source"]) == (0.0, "gateway")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            AuthError("the server answered 401: no", "look at the key", status=401, type="auth", code="bad_key"),
            ["the server answered 401: no", "auth", "bad_key", 401, "look at the key", 3],
        ),
        (IncompleteAnswer("the stream ended"), ["the stream ended", "CutShort", None, None, None, 8]),
        (ServerError("busy", type=None, code=None), ["busy", "ServerFailed", None, None, None, 6]),
    ],
)
def test_an_error_is_written_with_the_text_so_far(error: Any, expected: list[object]) -> None:
    found = answer_to_dict(Answer("chat", COMPLETION, error))
    assert [found["error"][name] for name in ("message", "type", "code", "status", "hint", "exit_code")] == expected
    assert (found["text"], found["complete"]) == ("Hi", False)


def test_json_is_written_once_at_the_end() -> None:
    writes: list[bytes] = []
    screen = JsonRenderer(writes.append)
    screen.show([TextDelta("Hi")])
    assert writes == []
    screen.close(ANSWER)
    assert parse_strictly(b"".join(writes)) == parse_strictly(json_line(answer_to_dict(ANSWER)))
    assert b"".join(writes).endswith(b"}\n")


def test_json_lines_come_with_their_batch_and_the_object_is_last() -> None:
    writes: list[bytes] = []
    screen = JsonLinesRenderer(writes.append)
    screen.show([ResponseStarted("c1"), TextDelta("Hel"), ReasoningDelta("Hm", 1)])
    screen.show([Finished("stop", 0)])
    assert [parse_strictly(row) for row in b"".join(writes).splitlines()] == [
        {"type": "text", "choice": 0, "text": "Hel"},
        {"type": "thought", "choice": 1, "text": "Hm"},
    ]
    screen.close(ANSWER)
    assert parse_strictly(writes[-1]) == {"type": "done", **answer_to_dict(ANSWER)}
    assert b"".join(writes).count(b"\n") == 3


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (TextDelta("a"), "text"),
        (ReasoningDelta("a"), "thought"),
        (RefusalDelta("a"), "refusal"),
        (ToolCallDelta(0, "a", "f", "{"), "tool_call"),
        (Citation("https://a.example"), "citation"),
        (CitedFile("file_citation", "f"), "file"),
        (AudioDelta(transcript="a"), "transcript"),
        (TokenLogprob("a", -1.0), "token"),
        (Usage(1), "usage"),
        (Notice("a"), "notice"),
    ],
)
def test_each_event_is_a_line_of_its_documented_type(event: Event, kind: str) -> None:
    found = event_to_dict(event)
    assert found
    assert found["type"] == kind
    assert ("choice" in found) == (kind not in ("usage", "notice"))


@pytest.mark.parametrize("event", [ResponseStarted("c1"), AudioDelta("a"), ErrorEvent("busy"), Finished("stop", 0)])
def test_the_other_events_are_part_of_the_last_line(event: Event) -> None:
    assert event_to_dict(event) is None


@pytest.mark.parametrize("text", ["Grüße, 世界 \U0001f389", '"\\\n\t', "\x1b[2J\x00", "\u2028\u2029", "\x85"])
def test_every_text_comes_back_from_json_in_one_line(text: str) -> None:
    written = json_line({"text": text})
    assert parse_strictly(written) == {"text": text}
    assert written.count(b"\n") == 1


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "\x9b2J", "\x7f", "\u202e", "\u2066", "\U000e0041", "\u200b", "\x90"])
def test_json_on_a_terminal_is_sanitized_like_text(text: str) -> None:
    written = json_line({"text": text})
    assert text[0] not in written.decode()
    assert parse_strictly(written) == {"text": text}


def test_half_a_character_does_not_crash() -> None:
    assert parse_strictly(json_line({"text": "a\ud83c"}))["text"].startswith("a")


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_infinity_and_nan_are_written_as_valid_json(number: float) -> None:
    token = event_to_dict(TokenLogprob("a", number, ({"token": "b", "logprob": number},)))
    assert parse_strictly(json_line(token))["type"] == "token"
    assert (
        parse_strictly(json_line(event_to_dict(Usage(1, cost_usd=number, details={"cost": number}))))["type"] == "usage"
    )


def build_nested_value(depth: int, kind: type = list) -> Any:
    """Return a value with this depth of nesting."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "value",
    [
        10**400, -(10**5000), 10**20000, math.nan, -math.inf, 1e308, build_nested_value(600), build_nested_value(600, dict), build_nested_value(1500), [build_nested_value(990)],
        {"a": [math.inf, build_nested_value(2000), 10**9000]}, (math.nan, ()), {}, [[], {}, math.nan],
    ],
    ids=lambda value: str(type(value)),
)  # fmt: skip
def test_whatever_an_answer_holds_is_written_as_json(value: Any, indent: int | None) -> None:
    usage = Usage(1, details={"odd": value, "after": [1, {"b": "x\x1b"}]})
    written = json_line(event_to_dict(usage), indent)
    depth, deepest = 0, 0
    for bracket in re.findall("[][{}]", written.decode()):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    assert depth == 0
    if deepest < 500:
        assert parse_strictly(written)["details"]["after"] == [1, {"b": "x\x1b"}]
    assert b"after" in written
    assert b"\x1b" not in written


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([None, 2]),
)
def test_an_invalid_number_changes_nothing_else(value: Any, indent: int | None) -> None:
    plain, odd = json_line([value, None], indent), json_line([value, math.nan], indent)
    assert odd == plain


def test_the_raw_format_draws_nothing_itself() -> None:
    screen = NullRenderer()
    screen.show([TextDelta("Hi")])
    assert screen.close(ANSWER) is None  # type: ignore[func-returns-value]
