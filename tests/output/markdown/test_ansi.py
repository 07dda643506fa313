"""Texts broken into lines that fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown.ansi import STYLE, measure_max_width, wrap_lines
from aiml_cli.output.markdown.inline import Span
from aiml_cli.system.terminal import max_text_width, text_width

TEXTS = st.text(st.sampled_from("ab c\u00e4漢e\u0301👩🇩🇪👋🏽 "), max_size=60)
SPANS = st.lists(st.builds(Span, TEXTS, st.sampled_from(["", "1", "3;1"])), max_size=6)


@given(SPANS, st.integers(2, 40))
def test_no_line_is_wider_than_there_is_room(spans: list[Span], width: int) -> None:
    assert all(measure_max_width(line) <= width for line in wrap_lines(spans, width))


@given(SPANS, st.integers(2, 40))
def test_nothing_but_blanks_is_lost(spans: list[Span], width: int) -> None:
    drawn = "".join(STYLE.sub("", line) for line in wrap_lines(spans, width))
    assert drawn.replace(" ", "") == "".join(span.text for span in spans).replace(" ", "")


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1), st.integers(9, 40))
def test_words_stay_whole(words: list[str], width: int) -> None:
    assert " ".join(wrap_lines([Span(" ".join(words))], width)).split() == words


@given(SPANS, st.integers(2, 40))
def test_each_line_ends_its_own_styles(spans: list[Span], width: int) -> None:
    assert all(not found or found[-1] == "\x1b[m" for found in map(STYLE.findall, wrap_lines(spans, width)))


@pytest.mark.parametrize(
    ("text", "width", "filled"),
    [
        ("aa bb cc", 5, ["aa bb", "cc"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("漢字漢字", 5, ["漢字", "漢字"]),
        ("a\nb", 9, ["a", "b"]),
        ("", 9, [""]),
    ],
)
def test_lines_are_filled(text: str, width: int, filled: list[str]) -> None:
    assert wrap_lines([Span(text)], width) == filled


def test_a_style_goes_over_the_blanks_in_it() -> None:
    assert wrap_lines([Span("a b", "1"), Span(" c")], 9) == ["\x1b[1ma b\x1b[m c"]


def test_what_is_joined_counts_by_its_parts_where_it_must_fit() -> None:
    assert [measure("👩\u200d👩\u200d👧") for measure in (text_width, max_text_width)] == [2, 6]
