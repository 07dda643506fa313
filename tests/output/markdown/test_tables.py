"""Tables are drawn as aligned columns at any width, or as records if columns would be too narrow."""

import io
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.markdown import Markdown
from wcwidth import iter_graphemes, wcswidth

from aiml_cli.output.markdown.ansi import STYLE, measure_max_width, measure_width
from aiml_cli.output.markdown.draw_table import Cell, draw_table
from aiml_cli.output.markdown.inline import Span, parse_spans

FAMILY, FLAG, TONE = "👩\u200d👩\u200d👧\u200d👦", "🇩🇪", "👋🏽"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
WIDTHS = (39, 79, 119)  # of terminals with 40, 80 and 120 columns, whose last one stays empty


def parse_cells(row: str) -> list[Cell]:
    return [
        parse_spans(cell.strip()) if cell.strip() else [] for cell in row.removeprefix("|").removesuffix("|").split("|")
    ]


def draw(text: str, width: int) -> list[str]:
    """Draw a table of Markdown with styles; each row has as many cells as the header."""
    header, delimiters, *rows = text.strip().split("\n")
    names = {(True, True): "center", (False, True): "right", (True, False): "left", (False, False): ""}
    marks = [mark.strip() for mark in delimiters.strip("| ").split("|")]
    alignments = [names[mark.startswith(":"), mark.endswith(":")] for mark in marks]
    return draw_table(parse_cells(header), alignments, [parse_cells(row) for row in rows], width)


def draw_plain(text: str, width: int) -> list[str]:
    return [STYLE.sub("", line) for line in draw(text, width)]


def build_table(rows: Iterable[Sequence[str]]) -> str:
    header, *others = ["|" + "|".join(row) + "|" for row in rows]
    return "\n".join([header, "|-" * (header.count("|") - 1) + "|", *others])


def draw_with_rich(text: str, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(Markdown(text))
    return [line.rstrip() for line in console.file.getvalue().strip("\n").split("\n")]  # type: ignore[attr-defined]


def split_words(lines: Iterable[str]) -> list[str]:
    return re.findall(r"[^\s│─┼]+", "\n".join(lines))


def find_separators(line: str) -> list[int]:
    """Return the columns of a terminal in which a line has separators."""
    return [measure_width(line[: match.start()]) for match in re.finditer("[│┼]", line)]


def test_columns_are_as_wide_as_their_cells() -> None:
    assert draw_plain("|a|bb|c|\n|:-|-:|:-:|\n|1|2|333|\n|漢字|44|5|", 40) == [
        "a    │ bb │  c",
        "─────┼────┼────",
        "1    │  2 │ 333",
        "漢字 │ 44 │  5",
    ]


def test_long_cells_are_wrapped_between_words() -> None:
    assert draw_plain("|a|b|\n|-|-|\n|x|one two three four|", 18) == [
        "a │ b",
        "──┼───────────────",
        "x │ one two three",
        "  │ four",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_without_rows_is_shown(width: int) -> None:
    assert draw_plain("|Name|Age|\n|-|-|", width) == ["Name │ Age", "─────┼────"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_with_one_column_is_shown(width: int) -> None:
    assert draw_plain("|Name|\n|-|\n|x|", width) == ["Name", "────", "x"]


def test_an_empty_header_takes_no_line() -> None:
    assert draw_plain("| | |\n|-|-|\n|a|b|", 40) == ["a │ b"]
    assert draw_plain("| | |\n|-|-|", 40)[-1] == "──┼──"


def test_a_line_break_in_a_cell_breaks_the_line() -> None:
    cells: list[Cell] = [[Span("one"), Span("\n"), Span("two", "1")], [Span("x")]]
    lines = draw_table([[Span("a")], [Span("b")]], ["", ""], [cells], 40)
    assert [STYLE.sub("", line) for line in lines] == ["a   │ b", "────┼──", "one │ x", "two │ "]


def test_names_are_bold_and_keep_their_own_styles() -> None:
    head, *_ = draw_table([[Span("a"), Span("b", "3")]], [""], [], 40)
    assert head == "\x1b[1ma\x1b[m\x1b[1;3mb\x1b[m"


@pytest.mark.promise("nothing-shortened")
@pytest.mark.parametrize("cell", [FLAG * 4, TONE * 4, FAMILY * 2, "e\u0301" * 30, "क्षि" * 12, "각" * 12, "❤\ufe0f" * 9])
@pytest.mark.parametrize("width", [20, 24, *WIDTHS])
def test_no_character_is_split_and_columns_stay_aligned(cell: str, width: int) -> None:
    text = build_table(
        [["Key", "Value", "Rest"], ["a", cell, "z"], ["b", "x", "some words"], [cell[:1] + "b", "x", cell]]
    )
    lines = draw_plain(text, width)
    drawn = [cluster for line in lines for cluster in iter_graphemes(line)]
    assert set(iter_graphemes(cell)) <= set(drawn)
    assert drawn.count(next(iter_graphemes(cell))) >= 2 * len(list(iter_graphemes(cell)))
    if "┼" in lines[1]:
        assert {tuple(find_separators(line)) for line in lines} == {tuple(find_separators(lines[1]))}
    assert all(wcswidth(line) == measure_width(line) <= width for line in lines)


@pytest.mark.parametrize("emoji", [FLAG, TONE, FAMILY, FLAG + TONE])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_fits_a_terminal_that_joins_no_emoji(emoji: str, width: int) -> None:
    words = "many words that fill the whole column and go on to the next line"
    text = build_table([["Name", "Text"], [f"{emoji} x", words], ["y", f"{words} {emoji} {words}"]])
    assert all(measure_max_width(line) <= width for line in draw(text, width))


def test_short_columns_are_columns_as_long_as_they_fit() -> None:
    rows = [["Name", *MONTHS], *[[name, *(str(n * 37) for n in range(1, 13))] for name in ("Alpha", "Beta", "Gamma")]]
    for width in WIDTHS[1:]:
        lines = draw_plain(build_table(rows), width)
        assert len(lines) == len(rows) + 1
        assert split_words(lines) == [word for row in rows for word in row]
    assert len(draw_plain(build_table(rows), 39)) <= 6 * 3


def test_records_have_a_name_before_each_value_and_short_ones_share_a_line() -> None:
    rows = [[f"head{i}" for i in range(9)], [f"value{i}" for i in range(9)], [f"v{i}" for i in range(8)] + [""]]
    assert draw_plain(build_table(rows), 40) == [
        "head0: value0 │ head1: value1",
        "head2: value2 │ head3: value3",
        "head4: value4 │ head5: value5",
        "head6: value6 │ head7: value7",
        "head8: value8",
        "",
        "head0: v0 │ head1: v1 │ head2: v2",
        "head3: v3 │ head4: v4 │ head5: v5",
        "head6: v6 │ head7: v7 │ head8:",
    ]


def test_a_table_without_rows_that_is_too_wide_lists_its_column_names() -> None:
    assert draw_plain(build_table([[f"head{i}" for i in range(9)]]), 30) == [
        "head0 │ head1 │ head2 │ head3", "head4 │ head5 │ head6 │ head7", "head8",
    ]  # fmt: skip


URL = "https://example.com/a/long/path/that/goes/on?and=on&and=on"


@pytest.mark.promise("nothing-shortened")
@pytest.mark.parametrize("unbreakable", [URL, f"`{'x' * 50}`", f"<{URL}>", f"`{URL}`"])
@pytest.mark.parametrize("width", [24, *WIDTHS])
def test_addresses_and_code_are_not_broken(unbreakable: str, width: int) -> None:
    text = build_table([["Name", "Where", "Why"], ["a", unbreakable, "because it is so"], ["b", "c", "d"]])
    lines = draw_plain(text, width)
    assert any(unbreakable.strip("<>`") in line for line in lines)
    assert all(measure_width(line) <= max(width, len(unbreakable.strip("<>`"))) for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_code_in_tables_is_broken_only_at_spaces(width: int) -> None:
    code = 'git commit --amend -m "a long message"'
    rows = [["Command", "Purpose"], [f"`{code}`", "Change the last commit and its message"], ["`git push`", "Send"]]
    lines = draw_plain(build_table(rows), width)
    assert [word for word in split_words(line.split("│")[0] for line in lines) if word in code.split()] == [
        *code.split(), "git",
    ]  # fmt: skip


TYPICAL_TABLES = {
    "short": [["Name", "Age", "City"], ["Alice", "30", "Berlin"], ["Bob", "4", "New York"]],
    "long text": [
        ["Feature", "Description"],
        ["Responsibility", "Describes the configuration of the implementation in detail, with many words in it"],
        ["Speed", "Fast"],
    ],
    "comparison": [
        ["Feature", "Python", "Go", "Rust"],
        ["Typing", "Dynamic with optional hints", "Static, inferred", "Static with powerful inference"],
        ["Concurrency", "asyncio, threads limited by a lock", "Goroutines", "async/await and threads"],
    ],
    "emoji": [
        ["Task", "State"],
        ["Write the tests", "✅ done"],
        [f"Say {TONE} to {FLAG}", "❌"],
        [FAMILY, "⚠\ufe0f soon"],
    ],
    "ideographs": [
        ["语言", "特点", "用途"],
        ["Python", "语法简单，易于学习，有丰富的第三方库支持，适合快速开发。", "数据分析、人工智能"],  # noqa: RUF001
    ],
    "marks": [
        ["Word", "Language"],
        ["cafe\u0301 re\u0301sume\u0301", "French"],
        ["नमस्ते दुनिया", "Hindi"],
        ["한국어", "Korean"],
    ],
    "steps": [
        ["#", "Step", "Result"],
        ["1", "Open the **settings** and choose *Network*", "A list of networks appears on the left"],
        ["2", "Enter the password", "The symbol turns green after a few seconds"],
    ],
    "months": [["Name", *MONTHS], ["Alpha", *map(str, range(100, 1300, 100))]],
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TYPICAL_TABLES)
def test_a_table_is_at_least_as_good_as_that_of_rich(name: str, width: int) -> None:
    rows = TYPICAL_TABLES[name]
    text = build_table(rows)
    lines, rich_lines = draw_plain(text, width), draw_with_rich(text, width + 1)
    words = [
        word for row in rows for cell in row for word in re.findall(r"[\w\u0300-\u036f/#'-]+", cell.replace("*", ""))
    ]
    lost = [word for word in words if word not in "\n".join(lines)]
    assert [word for word in lost if word in "\n".join(rich_lines) and word.isascii()] == []
    assert "…" not in "".join(lines)
    assert all(measure_width(line) <= width for line in lines)
    if "…" not in "".join(rich_lines):
        assert len(lines) <= len(rich_lines)
        assert "┼" in lines[1]


WORDS = st.sampled_from(["a", "word", "longer", "漢字", FLAG, TONE, "e\u0301", "internationalization", "-", "1,000"])
CELLS = st.lists(WORDS, max_size=12).map(" ".join)


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)),
       st.integers(20, 120))  # fmt: skip
def test_no_text_is_lost_and_no_line_is_too_wide(rows: list[list[str]], width: int) -> None:
    cells = [[[Span(cell)] if cell else [] for cell in row] for row in rows]
    lines = draw_table(cells[0], ["", "left", "right", "center", "", "right"][: len(rows[0])], cells[1:], width)
    assert all(measure_width(line) <= width for line in lines)
    text = re.sub(r"[\s│─┼:]", "", STYLE.sub("", "".join(lines)))
    assert Counter("".join("".join(cell.split()) for row in rows for cell in row)) <= Counter(text)


@given(st.lists(st.lists(st.sampled_from(["x", "some words", "漢字", FAMILY]), min_size=3, max_size=3), max_size=5))
def test_rows_that_grow_leave_a_table(rows: list[list[str]]) -> None:
    lines = draw_plain(build_table([["a", "b", "c"], *rows]), 79)
    assert len(lines) == 2 + len(rows)


def measure_seconds(rows: Sequence[Sequence[Cell]], width: int) -> float:
    best = 9e9
    for _ in range(3):
        start = time.process_time()
        draw_table([[Span("head")]] * len(rows[0]), [""] * len(rows[0]), rows, width)
        best = min(best, time.process_time() - start)
    return best


BUILD_TABLE_ROWS = {
    "rows": lambda n: [[[Span(str(i))], [Span("a few words")], [Span("漢字")], [Span("b", "1"), Span("c")]] for i in range(n)],
    "wrapped rows": lambda n: [[[Span("many words " * 9)], [Span("漢字。" * 30)]] for _ in range(n // 10)],
    "records": lambda n: [[[Span("x" * 12)]] * 12 for _ in range(n // 5)],
    "columns": lambda n: [[[Span("x")]] * n],
    "a long cell": lambda n: [[[Span("word " * n)], [Span("漢字，" * n)], [Span(FAMILY * n)]]],  # noqa: RUF001
    "styles": lambda n: [[[Span("a", "1"), Span("b ")] * n, [Span("x")]]],
    "line breaks": lambda n: [[[Span("a\n" * n)], [Span("x")]]],
}  # fmt: skip


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize("shape", BUILD_TABLE_ROWS)
def test_drawing_is_linear(shape: str) -> None:
    small, large = (measure_seconds(BUILD_TABLE_ROWS[shape](size), 79) for size in (100, 1000))  # type: ignore[no-untyped-call]
    assert large < 40 * small + 0.02, f"{small:.4f} s, {large:.4f} s"
