"""Tables that fit, and what becomes of those that cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown.ansi import STYLE, measure_width
from aiml_cli.output.markdown.block_renderer import draw_table

WIDE = (
    "|"
    + "|".join(f"head{i}" for i in range(9))
    + "|\n"
    + "|-" * 9
    + "|\n|"
    + "|".join(f"value {i}" for i in range(9))
    + "|"
)


def plain(text: str, width: int) -> list[str]:
    return [STYLE.sub("", line) for line in draw_table(text, width)]


def test_columns_stand_where_they_want_to() -> None:
    assert plain("|a|bb|c|\n|:-|-:|:-:|\n|1|2|333|\n|漢字|44|5|", 40) == [
        "a    │ bb │  c",
        "─────┼────┼────",
        "1    │  2 │ 333",
        "漢字 │ 44 │  5",
    ]


def test_long_cells_are_broken() -> None:
    assert plain("|a|b|\n|-|-|\n|x|one two three four|", 18) == [
        "a │ b",
        "──┼───────────────",
        "x │ one two three",
        "  │ four",
    ]


def test_what_has_no_room_is_told_row_by_row() -> None:
    assert plain(WIDE, 40) == [f"head{i}: value {i}" for i in range(9)]


@pytest.mark.parametrize("row", ["|1|", "|1|2|3|", "|", "1"])
def test_a_row_may_have_any_number_of_cells(row: str) -> None:
    assert len(draw_table(f"|a|b|\n|-|-|\n{row}", 40)) == 3


@given(st.lists(st.lists(st.text("ab 漢*`", max_size=30), min_size=1, max_size=5), max_size=4), st.integers(20, 80))
def test_a_table_is_never_wider_than_there_is_room(rows: list[list[str]], width: int) -> None:
    text = "\n".join(["|a|b|c|", "|-|:-:|-:|", *("|" + "|".join(row) + "|" for row in rows)])
    assert all(measure_width(line) <= width for line in draw_table(text, width))
