"""Elements come out of a stream whole, in order, wherever it is cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.array_items import JsonArraySplitter

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TRICKY = st.text(alphabet='[]{},:"\\ \n`a')
VALUES = st.recursive(
    SCALARS | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=12,
)


def cut(text: str, size: int) -> list[str]:
    """Cut a text that comes in pieces of a size."""
    cutter = JsonArraySplitter()
    return [found for at in range(0, len(text), size) for found in cutter.feed(text[at : at + size])]


@given(st.lists(VALUES, max_size=5), st.integers(1, 40), st.sampled_from([None, 0, 2]), st.booleans())
def test_any_array_cut_anywhere_gives_its_elements(
    values: list[Any], size: int, indent: int | None, plain: bool
) -> None:
    found = cut(json.dumps(values, indent=indent, ensure_ascii=plain), size)
    assert [json.loads(text) for text in found] == values
    assert not any("\n" in text for text in found)


@given(st.lists(VALUES, max_size=4), VALUES.filter(lambda value: not isinstance(value, list)), st.integers(1, 20))
def test_the_array_may_be_a_property_in_a_code_fence(values: list[Any], other: Any, size: int) -> None:
    text = json.dumps({"before": other, "items": values, "after": other}, indent=1)
    assert [json.loads(found) for found in cut(f"```json\n{text}\n```\n", size)] == values


def test_an_element_comes_as_soon_as_it_is_whole() -> None:
    cutter = JsonArraySplitter()
    pieces = ['{"items": [{"a"', ": 1}", " , 2", ', "x', '"]']
    assert [cutter.feed(piece) for piece in pieces] == [[], [], ['{"a":1}'], ["2"], ['"x"']]


def test_numbers_stay_as_the_model_wrote_them() -> None:
    assert cut("[1.10, 12345678901234567890.123, 1e400]", 3) == ["1.10", "12345678901234567890.123", "1e400"]


@pytest.mark.parametrize(
    ("text", "found"),
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
def test_what_is_no_json_ends_the_cutting(text: str, found: list[str]) -> None:
    assert cut(text, 1) == cut(text, 100) == found
