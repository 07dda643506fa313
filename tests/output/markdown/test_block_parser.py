"""Text cut into blocks: which, and that it does not matter how it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_terminal import SAMPLE, split_text

from aiml_cli.output.markdown.block_parser import (
    LINES_PER_SLICE,
    MAX_OPEN_LENGTH,
    BlockParser,
    MarkdownBlock,
    split_cells,
)

# What Markdown is made of, so that wild texts are often Markdown too.
MARKS = [
    "\n",
    "\n\n",
    "- ",
    "  ",
    "    ",
    "1. ",
    "> ",
    "```",
    "~~~\n",
    "# ",
    "|",
    "|-|-|\n",
    "---\n",
    "===\n",
    "\t",
    "a b",
    "[^1]: ",
    "é漢",
]
MARKDOWN = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=4)), max_size=40).map("".join)
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def cut(text: str, sizes: list[int] | None = None) -> list[MarkdownBlock]:
    cutter = BlockParser()
    blocks = [block for piece in (split_text(text, sizes) if sizes else [text]) for block in cutter.feed(piece)]
    return [*blocks, *cutter.finish()]


@given(MARKDOWN, SIZES)
def test_how_a_text_is_cut_makes_no_difference(text: str, sizes: list[int]) -> None:
    assert cut(text, sizes) == cut(text)


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_the_sample_gives_the_same_blocks_however_it_comes(size: int) -> None:
    assert cut(SAMPLE, [size]) == cut(SAMPLE)


@given(MARKDOWN, SIZES)
def test_looking_at_the_open_end_changes_nothing(text: str, sizes: list[int]) -> None:
    cutter, blocks = BlockParser(), []
    for piece in split_text(text, sizes):
        blocks += cutter.feed(piece)
        assert cutter.open_blocks() == cutter.open_blocks()
    assert [*blocks, *cutter.finish()] == cut(text)


@given(MARKDOWN, SIZES)
def test_the_open_end_is_what_the_text_would_be_if_it_ended_there(text: str, sizes: list[int]) -> None:
    cutter, blocks = BlockParser(), []
    for piece in split_text(text, sizes):
        blocks += cutter.feed(piece)
    assert [*blocks, *cutter.open_blocks()] == cut(text)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("a\nb\n\nc", [("paragraph", "a\nb", []), ("paragraph", "c", [])]),
        ("# a #\n## b", [("heading", "a", []), ("heading", "b", [])]),
        ("a\n===\nb\n---", [("heading", "a", []), ("heading", "b", [])]),
        ("#hashtag", [("paragraph", "#hashtag", [])]),
        ("a\n***", [("paragraph", "a", []), ("rule", "", [])]),
        ("- a\n- b", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-"])]),
        ("- a\n  - b", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-", "-"])]),
        ("1. a\n1. b", [("paragraph", "a", ["1."]), ("paragraph", "b", ["2."])]),
        ("1. a\n  - b", [("paragraph", "a", ["1."]), ("paragraph", "b", ["1.", "-"])]),
        ("- a\n\n  b", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-"])]),
        ("in\n1986. It", [("paragraph", "in\n1986. It", [])]),
        ("> a\nb\n> > c", [("paragraph", "a\nb", [">"]), ("paragraph", "c", [">", ">"])]),
        ("```py\nx\n```\ny", [("fence", "x", []), ("paragraph", "y", [])]),
        ("````\n```\n````", [("fence", "```", [])]),
        ("```\nx", [("fence", "x", [])]),
        ("- ```\n  x\n  ```", [("fence", "x", ["-"])]),
        ("    x\n\n    y", [("code", "x\n\ny", [])]),
        ("|a|b|\n|-|-|\n|1|2|\n\nc", [("table", "|a|b|\n|-|-|\n|1|2|", []), ("paragraph", "c", [])]),
        ("a | b\nc", [("paragraph", "a | b\nc", [])]),
        ("[^1]: a", [("paragraph", "a", ["[1]"])]),
    ],
)  # fmt: skip
def test_markdown_is_read(text: str, blocks: list[tuple[str, str, list[str]]]) -> None:
    assert [(block.kind, block.text, [frame.mark for frame in block.containers]) for block in cut(text)] == blocks


def test_a_paragraph_without_an_end_is_given_in_pieces() -> None:
    cutter = BlockParser()
    given_so_far = cutter.feed("word " * MAX_OPEN_LENGTH)
    assert len(given_so_far) > 1
    assert sum(len(block.text) for block in cutter.open_blocks()) <= MAX_OPEN_LENGTH + len("word ")


@pytest.mark.parametrize("line", ["|-|", "| - |", "===", "---"])
def test_a_long_paragraph_has_no_underline_once_its_text_is_shown(line: str) -> None:
    first, *_ = cut("w" * (MAX_OPEN_LENGTH + 1) + f"\n{line}\n")
    assert (first.kind, first.text) == ("paragraph", "w" * (MAX_OPEN_LENGTH + 1))


def test_code_is_given_before_its_fence_ends() -> None:
    blocks = BlockParser().feed("```\n" + "x\n" * (LINES_PER_SLICE + 1))
    assert [(block.kind, block.is_last, block.text.count("x")) for block in blocks] == [
        ("fence", False, LINES_PER_SLICE)
    ]


def test_a_cell_may_hold_an_escaped_bar() -> None:
    assert split_cells(r"| a \| b | c |") == ["a | b", "c"]
