"""JSON values of a server are decoded and checked; events that were split are joined."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api.json_values import (
    MalformedError,
    as_amount,
    as_int,
    as_number,
    decode_json,
    require_dict,
    require_list,
    require_str,
)
from aiml_cli.api.sse import SseEvent, join_surrogates, parse_sse_events
from aiml_cli.api.stream_events import ErrorEvent, EventBatch, Finished, TextDelta


def append_text(name: str, found: dict[str, Any], batch: EventBatch) -> None:
    """Append the text of an event to the batch, as the parser of an endpoint does."""
    batch.append(TextDelta(require_str(found.get("text")) + name))


def parse_events(*stream: SseEvent) -> EventBatch:
    return [event for batch in parse_sse_events([list(stream)], append_text) for event in batch]


@pytest.mark.parametrize(
    ("convert", "expected"),
    [(require_dict, {}), (require_list, []), (require_str, ""), (as_int, None), (as_number, None)],
)
def test_null_counts_as_missing(convert: Any, expected: object) -> None:
    assert convert(None) == expected


@pytest.mark.parametrize(
    ("convert", "value"),
    [
        (require_dict, []),
        (require_dict, "x"),
        (require_list, {}),
        (require_list, "x"),
        (require_str, 5),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error(convert: Any, value: object) -> None:
    with pytest.raises(MalformedError, match="instead of"):
        convert(value)


@pytest.mark.parametrize(
    ("raw", "count"),
    [(5, 5), (5.0, 5), (5.9, 5), (0, 0), ("3", 3), (2**63 - 1, 2**63 - 1)]
    + [(value, None) for value in (10**20, 10**400, -1, "", "x", "-3", "1e3", True, [5], {}, None, 1e300)]
    + [(float(value), None) for value in ("inf", "-inf", "nan")],
)  # fmt: skip
def test_a_count_is_a_64_bit_number_or_none(raw: object, count: int | None) -> None:
    assert as_int(raw) == count


@pytest.mark.parametrize("value", ["5", True, [5], {}, 10**400, float("inf"), float("nan")])
def test_a_value_that_is_not_a_finite_number_is_none(value: object) -> None:
    assert as_number(value) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-12", -12),
        (str(2**63 - 1), 2**63 - 1),
        (str(10**20), 1e20),
        (str(10**400), None),
        (f"-{10**400}", None),
        ("9" * 100_000, None),
        ("1e400", None),
        ("-1e400", None),
        ("NaN", None),
        ("[Infinity,-Infinity]", [None, None]),
        ("1.5e3", 1500.0),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_number_beyond_64_bits_is_a_float_or_null(text: str, value: object) -> None:
    assert decode_json(text) == value


def get_depth(value: Any) -> int:
    """Return how deep a value is nested."""
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


@pytest.mark.parametrize("depth", [1, 99, 100, 101, 600, 20_000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"]}":', "}]"), ("[[],", "]")])
def test_a_value_nested_deeper_than_100_is_null(opening: str, closing: str, depth: int) -> None:
    text = f'{{"kept":"[{{","deep":{opening * depth}7{closing * depth},"also":[1]}}'
    value = decode_json(text)
    assert (value["kept"], value["also"]) == ("[{", [1])
    assert get_depth(value) == min(100, 1 + depth * len(closing) + opening.count("[]"))


@pytest.mark.parametrize("text", ["[" * 20_000, "{" * 5_000 + "}" * 4_999, "[" * 300 + "}" * 300, '["' + "[" * 500])
def test_unbalanced_brackets_are_not_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_json(text)


@pytest.mark.parametrize(
    "text", ["[" + "{}," * 2_000_000 + "1]", "[" + "1," * 2_000_001 + "1]"], ids=["objects", "numbers"]
)
def test_json_with_too_many_values_is_refused_before_it_is_built(text: str) -> None:
    with pytest.raises(MalformedError, match="2 million"):
        decode_json(text)


def test_commas_in_a_text_do_not_count_as_values() -> None:
    assert decode_json('["' + "," * 2_000_001 + '"]') == ["," * 2_000_001]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**62), 2**62)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(), inner, max_size=10),
        max_leaves=50,
    )
)
def test_ordinary_json_is_decoded_unchanged(value: Any) -> None:
    assert decode_json(json.dumps(value)) == value
    assert decode_json(json.dumps(value, ensure_ascii=False)) == value


def test_each_event_is_parsed_by_the_dialect() -> None:
    assert parse_events(SseEvent('{"text": "a"}'), SseEvent('{"text": "b"}', "!")) == [TextDelta("a"), TextDelta("b!")]


def test_done_ends_the_stream_and_nothing_after_it_is_read() -> None:
    assert parse_events(
        SseEvent('{"text": "a"}'), SseEvent("[DONE]"), SseEvent("not JSON"), SseEvent('{"text": "b"}')
    ) == [
        TextDelta("a"),
        Finished(),
    ]


@pytest.mark.promise("malformed-events")
@pytest.mark.parametrize("data", ["{", "[1, 2", '{"text": 5}', '{"text": {}}', '{"text": "a" "b"}', "[" * 100_000])
def test_a_broken_event_ends_the_stream_with_an_error(data: str) -> None:
    found = parse_events(SseEvent('{"text": "a"}'), SseEvent(data), SseEvent('{"text": "b"}'))
    assert found[0] == TextDelta("a")
    assert [type(event) for event in found[1:]] == [ErrorEvent]


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("name", ["", "ping", "status", "message"])
@pytest.mark.parametrize(
    "data", ["null", "5", "[]", '""', "ping", "keep-alive", "2023-02-20 08:40:33", "1700000000.5", " ", "true"]
)
def test_an_event_that_only_keeps_the_connection_open_is_skipped(data: str, name: str) -> None:
    assert parse_events(SseEvent('{"text": "a"}'), SseEvent(data, name), SseEvent('{"text": "b"}')) == [
        TextDelta("a"),
        TextDelta("b"),
    ]


@pytest.mark.parametrize("data", ["not JSON", '"the model is gone"', "502 Bad Gateway", "<h1>Gone</h1>"])
def test_plain_text_in_a_stream_becomes_an_error_at_its_end(data: str) -> None:
    cut = parse_events(SseEvent('{"text": "a"}'), SseEvent(data), SseEvent('{"text": "b"}'))
    assert [type(event) for event in cut] == [TextDelta, TextDelta, ErrorEvent]
    ended = parse_events(SseEvent('{"text": "a"}'), SseEvent(data), SseEvent("[DONE]"))
    assert [type(event) for event in ended] == [TextDelta, ErrorEvent, Finished]


@pytest.mark.promise("malformed-events")
@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_an_event_that_is_nested_too_deeply_does_not_lose_its_text(depth: int) -> None:
    assert parse_events(SseEvent('{"text": "a", "x": %s}' % ("[" * depth + "]" * depth))) == [TextDelta("a")]


@pytest.mark.parametrize("data", ['{"text": "hal', "[DON", "{", "nul"])
def test_an_event_cut_by_the_end_of_the_stream_is_dropped(data: str) -> None:
    assert parse_events(SseEvent('{"text": "a"}'), SseEvent(data, is_complete=False)) == [TextDelta("a")]


def test_a_complete_event_counts_without_its_blank_line() -> None:
    assert parse_events(SseEvent('{"text": "a"}', is_complete=False)) == [TextDelta("a")]


@pytest.mark.parametrize("data", ["", " ", "\n"])
def test_an_event_without_data_is_skipped(data: str) -> None:
    assert parse_events(SseEvent(data), SseEvent('{"text": "a"}')) == [TextDelta("a")]


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ('{"message": "busy"}', "busy"),
        ('{"error": {"message": "busy"}}', "busy"),
        ('"busy"', "busy"),
        ("busy", "busy"),
    ],
)
def test_the_error_field_is_an_error_with_the_message_of_the_server(error: str, message: str) -> None:
    assert parse_events(SseEvent("", error=error)) == [ErrorEvent(message)]


def test_an_error_event_of_plain_text_is_an_error_with_that_text() -> None:
    assert parse_events(SseEvent("upstream is busy", "error")) == [ErrorEvent("upstream is busy")]


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
    found = parse_events(*(SseEvent('{"text": "' + delta + '"}') for delta in deltas))
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == "party \U0001f389!"


@pytest.mark.parametrize("end", [[], [SseEvent("[DONE]")], [SseEvent('{"text": "!"}')]])
@pytest.mark.parametrize("surrogate", [r"\ud83c", r"\udf89", r"\ud800", r"\udbff", r"\udc00", r"\udfff"])
def test_half_a_character_is_shown_as_a_replacement_character(surrogate: str, end: list[SseEvent]) -> None:
    found = parse_events(SseEvent('{"text": "a' + surrogate + '"}'), *end)
    assert "".join(event.text for event in found if isinstance(event, TextDelta)).startswith("a\ufffd")


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_can_be_encoded_and_valid_text_is_unchanged(text: str) -> None:
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
def test_a_value_that_is_negative_infinite_or_not_a_number_is_not_an_amount(value: Any) -> None:
    assert as_amount(value) is None
