"""Elements of an array are taken from a stream in order, wherever it is cut."""

import json
import tracemalloc
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api.stream_events import TextDelta
from aiml_cli.output.array_items import ItemsRenderer, JsonArraySplitter

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON_LIKE_TEXT = st.text(alphabet='[]{},:"\\ \n`a')
VALUES = st.recursive(
    SCALARS | JSON_LIKE_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_LIKE_TEXT, inner, max_size=4),
    max_leaves=12,
)


def split_array(text: str, size: int) -> list[str]:
    """Cut a text that comes in pieces of a size."""
    cutter = JsonArraySplitter()
    return [found.decode() for at in range(0, len(text), size) for found in cutter.feed(text[at : at + size])]


@given(st.lists(VALUES, max_size=5), st.integers(1, 40), st.sampled_from([None, 0, 2]), st.booleans())
def test_any_array_cut_anywhere_gives_its_elements(
    values: list[Any], size: int, indent: int | None, plain: bool
) -> None:
    found = split_array(json.dumps(values, indent=indent, ensure_ascii=plain), size)
    assert [json.loads(text) for text in found] == values
    assert not any("\n" in text for text in found)


@given(st.lists(VALUES, max_size=4), VALUES.filter(lambda value: not isinstance(value, list)), st.integers(1, 20))
def test_the_array_may_be_a_property_in_a_code_fence(values: list[Any], other: Any, size: int) -> None:
    text = json.dumps({"before": other, "items": values, "after": other}, indent=1)
    assert [json.loads(found) for found in split_array(f"```json\n{text}\n```\n", size)] == values


def test_an_element_is_returned_as_soon_as_it_is_complete() -> None:
    cutter = JsonArraySplitter()
    pieces = ['{"items": [{"a"', ": 1}", " , 2", ', "x', '"]']
    assert [cutter.feed(piece) for piece in pieces] == [[], [], [b'{"a":1}'], [b"2"], [b'"x"']]


def test_numbers_stay_as_the_model_wrote_them() -> None:
    assert split_array("[1.10, 12345678901234567890.123, 1e400]", 3) == ["1.10", "12345678901234567890.123", "1e400"]


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("", []),
        ("[]", []),
        ("Here is one: [1]", []),
        ('"[1]"', []),
        ('{"a": {"b": [1]}} [2]', []),
        ("[1, 2", ["1"]),
        ("[1,]", ["1"]),
        ("[1 2, 3]", []),
        ("[NaN, 1]", []),
        ('[{"a": 1], 2]', []),
        ("[1] [2]", ["1"]),
        ('{"a": [1], "b": [2]}', ["1"]),
    ],
)
def test_text_that_is_not_json_ends_the_search_for_elements(text: str, elements: list[str]) -> None:
    assert split_array(text, 1) == split_array(text, 100) == elements


TOKENS = st.sampled_from([
    *'[]{},:"\\a10-.e+ \n\té', "true", "null", "false", '"a"', '"k":', "\\u12aF", "[]", "{}", "1.5", '{"a":1}', "[1,2]", "NaN",
])  # fmt: skip


@given(st.lists(TOKENS, max_size=12).map("".join), st.integers(1, 9))
def test_only_valid_json_is_an_element(inner: str, size: int) -> None:
    text = f'[{{"x": {inner}}}]'
    try:
        values = json.loads(text, parse_constant=lambda word: 1 / (word == ""))
    except (ValueError, ZeroDivisionError):
        for found in split_array(text, size):
            json.loads(found)
    else:
        assert [json.loads(found) for found in split_array(text, size)] == values


@given(st.text(alphabet="\ufeff \n\r\t`[1]j", max_size=12), st.integers(1, 5))
def test_the_text_before_the_json_may_be_cut_anywhere(head: str, size: int) -> None:
    assert split_array(f"{head}[1, 2]", size) == split_array(f"{head}[1, 2]", 100)


BUILD_LONG_ELEMENT = {
    "text": lambda n: '{"a": "' + "x" * n + '"}',
    "blanks in a text": lambda n: '{"a": "' + " " * n + '"}',
    "escapes": lambda n: '"' + "\\n" * (n // 2) + '"',
    "quotes": lambda n: '"' + '\\"' * (n // 2) + '"',
    "other letters": lambda n: '"' + "ä世" * (n // 5) + '"',
    "an emoji": lambda n: '"\U0001f389' + "x" * n + '"',
    "short texts": lambda n: "[" + '"ab",' * (n // 5) + "1]",
    "numbers": lambda n: "[" + "123456," * (n // 7) + "1]",
    "a number": lambda n: "1" * n,
    "objects": lambda n: "[" + '{"a":1},' * (n // 8) + "1]",
    "lists": lambda n: "[" + "[]," * (n // 3) + "1]",
    "nested": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "blanks": lambda n: "[1" + " " * n + "]",
    "blanks between": lambda n: "[" + "1 ,\n" * (n // 4) + "1]",
    "blanks before": lambda n: " " * n + "1",
}


def count_rendered_bytes(text: str, size: int) -> int:
    """Render a text that comes in pieces, and return how many bytes were written."""
    written = 0

    def write(data: bytes) -> None:
        nonlocal written
        written += len(data)

    renderer = ItemsRenderer(write)
    for at in range(0, len(text), size):
        renderer.show([TextDelta(text[at : at + size])])
    return written


@pytest.mark.promise("memory")
@pytest.mark.parametrize("kind", BUILD_LONG_ELEMENT)
@pytest.mark.parametrize(
    ("length", "size"),
    [(80_000, 16_384), (10_000, 3), (20_000, 1_000_000), pytest.param(500_000, 1_000_000, marks=pytest.mark.slow)],
)
def test_an_element_takes_four_times_its_bytes_at_most(kind: str, length: int, size: int) -> None:
    text = f"[{BUILD_LONG_ELEMENT[kind](length)}]"
    tracemalloc.start()
    try:
        assert count_rendered_bytes(text, size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * length + 400_000


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize("head", ["", " ", "```", "```\n ", "[", '["', "[1, ", "{", '{"a": '])
@pytest.mark.parametrize("unit", [" ", "x", "[", "{", '"', "\\", "`", "\n", ",", "1", "[]", '{"a":', '"",', "] ["])
def test_any_text_is_split_in_linear_time(head: str, unit: str) -> None:
    def measure_seconds(length: int) -> float:
        start = process_time()
        count_rendered_bytes(head + unit * (length // len(unit)), 7)
        return process_time() - start

    seconds = [min(measure_seconds(length) for _ in range(2)) for length in (2_000, 20_000)]
    assert seconds[1] < max(40 * seconds[0], 0.1)
