"""Blocks of Markdown as lines: marks, gaps, headings, HTML and definitions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_terminal import draw_at_once

from aiml_cli.output.markdown.ansi import strip_styles

PIECES = [
    "a b ", "漢字", "\n", "\n\n", "- ", "  ", "    ", "1. ", "> ", "```\n", "~~~py\n", "# ", "| a | b |\n", "|-|-|\n", "---\n",
    "===\n", "*", "**", "`", "[a]", "[a](u)", "[^1]: ", "<div>\n", "<br>", "<pre>\n", "</pre>\n", "<details>\n", "\\", "$$\n",
    "$", "\\[\n", "\\]", "![i](u)", "https://a.b/c ", "👩‍👩‍👧 ",
]  # fmt: skip


def draw(text: str, columns: int = 80) -> list[str]:
    return [strip_styles(line).rstrip() for line in draw_at_once(text, columns)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb  \nc\\\nd", ["a", "b", "c", "d"]),
        ("# A\nb\n## C", ["A", "b", "", "C"]),
        ("- a\n- b\n\n  c\n- [ ] d\n- [x] e", ["• a", "• b", "", "  c", "☐ d", "☑ e"]),
        ("9. a\n10. b\n    - c", ["9. a", "10. b", "    • c"]),
        ("-\n- a", ["•", "• a"]),
        ("> a\n>\n> > b\n> - c", ["│ a", "│", "│ │ b", "│ • c"]),
        ("a\n\n---\n\nb", ["a", "", "─" * 79, "", "b"]),
        ("```py {1}\nx = 1\n\n  y\n```", ["```py {1}", "x = 1", "", "  y", "```"]),
        ("    a\n      b", ["    a", "      b"]),
        ("$$\na*b*\n  c\n$$", ["$$", "a*b*", "  c", "$$"]),
        ("[^1]: a\n[^2]: b", ["[1] a", "[2] b"]),
    ],
)
def test_blocks_have_their_marks_and_gaps(text: str, lines: list[str]) -> None:
    assert draw(text) == lines


def test_headings_of_all_levels_differ() -> None:
    lines = [draw_at_once(f"{'#' * level} a", 80)[0] for level in range(1, 7)]
    assert len(set(lines)) == len(lines)
    assert {strip_styles(line) for line in lines} == {"a"}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[a]: /u 'T'\n\n[a] and [b][a]", ['a (/u "T") and b (/u "T")']),
        ("[a]\n\n[a]: /u", ["[a]", "", "[a]: /u"]),
        ("[1]: http://a.b\n[2]: http://c.d", ["[1]: http://a.b", "[2]: http://c.d"]),
        ("[1]\n\n[1]: http://a.b\n[2]: http://c.d\nx", ["[1]", "", "[1]: http://a.b", "x", "", "[2]: http://c.d"]),
        ("[a]\n\n[a]: /u\n\n[a]", ["[a]", "", "[a]: /u", "", "a (/u)"]),
        ("b\n\n[a]: /u\nc [a]", ["b", "", "c a (/u)"]),
        ("[a]: /u\n[A]: /v\n\n[a]", ["[A]: /v", "", "a (/u)"]),
        ("[a]: /u\n\nb", ["b", "", "[a]: /u"]),
        ("[a]: /u\n\n| [a] |\n|-|", ["a (/u)", "──────"]),
        ("> [a]: /u\n\n# [a]", ["│", "", "a (/u)"]),
    ],
)
def test_link_definitions_are_hidden_only_if_they_are_used(text: str, lines: list[str]) -> None:
    assert draw(text) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("<details>\n<summary>More <b>x</b></summary>\n\n**a**\n\n</details>\n\nb", ["▸ More <b>x</b>", "", "a", "", "b"]),
        ("<pre>\n a\n\n*b*   c\n</pre>", [" a", "", "*b*   c"]),
        ("<pre class='x'>a\nb</pre>", ["a", "b"]),
        ("<div align='center'>\n  <b>a</b><br>b\n</div>", ["<div align='center'>", "  <b>a</b>", "  b", "</div>"]),
        ("<!-- a\n\nb -->\nc", ["<!-- a", "", "b -->", "c"]),
        ("a<br>b H<sub>2</sub>O", ["a", "b H₂O"]),
        ("<br>\n\na", ["", "", "", "a"]),
    ],
)  # fmt: skip
def test_html_is_text_except_for_a_few_tags(text: str, lines: list[str]) -> None:
    assert draw(text) == lines


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ("| `a | b` | c |", ["a | b", "c"]),
        ("| `a || b` | `c|d` |", ["a || b", "c|d"]),
        ("| $|x|$ | \\(a|b\\) |", ["$|x|$", "\\(a|b\\)"]),
        ("| `a\\|b` | c | |", ["a|b", "c"]),
        ("| a | b | c | d |", ["a", "b | c | d"]),
        ("| `a|b` | c | d |", ["a|b", "c | d"]),
        ("| costs $1 | or $2 | c |", ["costs $1", "or $2 | c"]),
        ("| `a|b` |", ["`a", "b`"]),
    ],
)
def test_extra_bars_in_a_row_are_text(row: str, cells: list[str]) -> None:
    assert [cell.strip() for cell in draw(f"|h|i|\n|-|-|\n{row}")[2].split("│")] == cells


def test_deeply_nested_blocks_leave_room_for_the_text() -> None:
    for line in draw("> " * 59 + "some words that need room " * 3, 40):
        assert len(line) < 40


@pytest.mark.promise("drawing-errors")
@pytest.mark.parametrize("columns", [80, 40, 12])
@given(text=st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_every_letter_is_drawn_in_order(columns: int, text: str) -> None:
    drawn = iter(re.sub(r"\s", "", "".join(draw(text, columns))))
    source = re.sub(r"\[a\]|<[a-z/]+>|https://a\.b/c", "", text)
    assert all(char in drawn for char in source if char in "ab漢字c")
