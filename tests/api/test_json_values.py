"""What is no JSON, or of the wrong type, is told; what is split is joined."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.json_values import (
    MalformedError,
    as_amount,
    as_plain_number,
    require_count,
    require_dict,
    require_list,
    require_str,
)
from aiml_cli.api.sse import SseEvent, join_surrogates, parse_sse_events
from aiml_cli.api.stream_events import ErrorEvent, EventBatch, Finished, TextDelta


def take(name: str, found: dict[str, Any], batch: EventBatch) -> None:
    """Read a text, as a dialect does."""
    batch.append(TextDelta(require_str(found.get("text")) + name))


def heard(*stream: SseEvent) -> EventBatch:
    return [event for batch in parse_sse_events([list(stream)], take) for event in batch]


@pytest.mark.parametrize(
    ("read", "empty"),
    [(require_dict, {}), (require_list, []), (require_str, ""), (require_count, None), (as_plain_number, None)],
)
def test_null_is_nothing(read: Any, empty: object) -> None:
    assert read(None) == empty


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (require_dict, []),
        (require_dict, "x"),
        (require_list, {}),
        (require_list, "x"),
        (require_str, 5),
        (require_count, "5"),
    ],
)
def test_a_value_of_the_wrong_type_is_told(read: Any, wrong: object) -> None:
    with pytest.raises(MalformedError, match="belongs"):
        read(wrong)


@pytest.mark.parametrize(("found", "count"), [(5, 5), (5.0, 5), (0, 0), (10**20, 10**20)])
def test_a_count_may_come_as_a_float(found: float, count: int) -> None:
    assert require_count(found) == count


@pytest.mark.parametrize("found", [float("inf"), float("-inf"), float("nan")])
def test_a_count_that_is_not_finite_is_told(found: float) -> None:
    with pytest.raises(MalformedError):
        require_count(found)


@pytest.mark.parametrize("found", ["5", True, [5], {}])
def test_what_is_no_number_is_none(found: object) -> None:
    assert as_plain_number(found) is None


def test_events_become_what_the_dialect_makes_of_them() -> None:
    assert heard(SseEvent('{"text": "a"}'), SseEvent('{"text": "b"}', "!")) == [TextDelta("a"), TextDelta("b!")]


def test_done_ends_the_stream_and_what_follows_is_not_read() -> None:
    assert heard(SseEvent('{"text": "a"}'), SseEvent("[DONE]"), SseEvent("not JSON"), SseEvent('{"text": "b"}')) == [
        TextDelta("a"),
        Finished(),
    ]


@pytest.mark.promise("broken-event")
@pytest.mark.parametrize("data", ["not JSON", "{", "[1, 2", "null", "5", "[]", '"text"', '{"text": 5}', '{"text": {}}'])
def test_a_broken_event_is_a_fault_that_ends_the_stream(data: str) -> None:
    found = heard(SseEvent('{"text": "a"}'), SseEvent(data), SseEvent('{"text": "b"}'))
    assert found[0] == TextDelta("a")
    assert [type(event) for event in found[1:]] == [ErrorEvent]


@pytest.mark.promise("broken-event")
@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_json_that_is_nested_without_end_is_a_fault(depth: int) -> None:
    assert [type(event) for event in heard(SseEvent("[" * depth + "]" * depth))] == [ErrorEvent]


@pytest.mark.parametrize("data", ['{"text": "hal', "[DON", "{", "nul"])
def test_what_the_end_of_the_stream_cut_is_dropped(data: str) -> None:
    assert heard(SseEvent('{"text": "a"}'), SseEvent(data, is_complete=False)) == [TextDelta("a")]


def test_a_whole_event_counts_though_its_blank_line_is_missing() -> None:
    assert heard(SseEvent('{"text": "a"}', is_complete=False)) == [TextDelta("a")]


@pytest.mark.parametrize("data", ["", " ", "\n"])
def test_an_event_without_data_means_nothing(data: str) -> None:
    assert heard(SseEvent(data), SseEvent('{"text": "a"}')) == [TextDelta("a")]


@pytest.mark.promise("servers-words")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ('{"message": "busy"}', "busy"),
        ('{"error": {"message": "busy"}}', "busy"),
        ('"busy"', "busy"),
        ("busy", "busy"),
    ],
)
def test_the_field_error_is_a_fault_in_the_servers_words(error: str, message: str) -> None:
    assert heard(SseEvent("", error=error)) == [ErrorEvent(message)]


def test_an_error_event_of_plain_text_is_a_fault_in_these_words() -> None:
    assert heard(SseEvent("upstream is busy", "error")) == [ErrorEvent("upstream is busy")]


@pytest.mark.parametrize(
    "deltas",
    [
        [r"party \ud83c\udf89!"],
        [r"party \ud83c", r"\udf89!"],
        [r"party \uD83C", "", r"\uDF89!"],
        ["party ", r"\ud83c", r"\udf89", "!"],
    ],
)
def test_a_character_split_over_deltas_is_joined(deltas: list[str]) -> None:
    found = heard(*(SseEvent('{"text": "' + delta + '"}') for delta in deltas))
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == "party \U0001f389!"


@pytest.mark.parametrize("end", [[], [SseEvent("[DONE]")], [SseEvent('{"text": "!"}')]])
@pytest.mark.parametrize("half", [r"\ud83c", r"\udf89", r"\ud800", r"\udbff", r"\udc00", r"\udfff"])
def test_a_half_that_stays_alone_is_shown_as_such(half: str, end: list[SseEvent]) -> None:
    found = heard(SseEvent('{"text": "a' + half + '"}'), *end)
    assert "".join(event.text for event in found if isinstance(event, TextDelta)).startswith("a\ufffd")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])))
def test_whole_text_can_be_encoded_and_good_text_is_unchanged(text: str) -> None:
    assert join_surrogates(text).encode().decode() == join_surrogates(text)
    assert join_surrogates(text.encode("utf-8", "replace").decode()) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("value", "amount"),
    [("5e-7", 5e-7), ("0", 0.0), (" 12.5\t", 12.5), (".5", 0.5), ("5.", 5.0), (3, 3.0), (0.25, 0.25)],
)
def test_an_amount_is_read_in_any_form_of_a_number(value: Any, amount: float) -> None:
    assert as_amount(value) == amount


@pytest.mark.parametrize(
    "value",
    [None, True, "", "-1", -1, "nan", float("nan"), "inf", float("inf"), "1e999", 10**400, "1_0", "٣", "1 2", [1]],
)
def test_what_is_negative_endless_or_no_number_is_no_amount(value: Any) -> None:
    assert as_amount(value) is None
