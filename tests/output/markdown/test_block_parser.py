"""Markdown is parsed into blocks, however it is cut when it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_terminal import SAMPLE, split_text

from aiml_cli.output.markdown.block_parser import (
    LINES_PER_SLICE,
    MAX_CONTAINERS,
    MAX_OPEN_LENGTH,
    BlockParser,
    MarkdownBlock,
)
from aiml_cli.output.markdown.block_syntax import split_cells

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
    "[a]: /u\n",
    "<pre>\n",
    "<div>",
    "</pre>\n",
    "$$\n",
    "\\[\n",
    "\\]",
    "é漢",
]
MARKDOWN = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=4)), max_size=40).map("".join)
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def parse(text: str, sizes: list[int] | None = None) -> list[MarkdownBlock]:
    parser = BlockParser()
    blocks = [block for piece in (split_text(text, sizes) if sizes else [text]) for block in parser.feed(piece)]
    return [*blocks, *parser.finish()]


@given(MARKDOWN, SIZES)
def test_the_blocks_of_a_text_do_not_depend_on_how_it_is_cut(text: str, sizes: list[int]) -> None:
    assert parse(text, sizes) == parse(text)


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_a_long_sample_gives_the_same_blocks_however_it_is_cut(size: int) -> None:
    assert parse(SAMPLE, [size]) == parse(SAMPLE)


@given(MARKDOWN, SIZES)
def test_reading_the_open_blocks_changes_nothing(text: str, sizes: list[int]) -> None:
    parser, blocks = BlockParser(), []
    for piece in split_text(text, sizes):
        blocks += parser.feed(piece)
        assert parser.open_blocks() == parser.open_blocks()
    assert [*blocks, *parser.finish()] == parse(text)


@given(MARKDOWN, SIZES)
def test_the_open_blocks_are_those_of_the_text_so_far(text: str, sizes: list[int]) -> None:
    parser, blocks = BlockParser(), []
    for piece in split_text(text, sizes):
        blocks += parser.feed(piece)
    assert [*blocks, *parser.open_blocks()] == parse(text)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("a\nb\n\nc", [("paragraph", "a\nb", []), ("paragraph", "c", [])]),
        ("# a #\n## b", [("heading", "a", []), ("heading", "b", [])]),
        ("### ###\n#\tb\\#", [("heading", "", []), ("heading", "b\\#", [])]),
        ("a\n===\nb\n---", [("heading", "a", []), ("heading", "b", [])]),
        ("#hashtag", [("paragraph", "#hashtag", [])]),
        ("a\n***", [("paragraph", "a", []), ("rule", "", [])]),
        ("    ***\n    # b", [("code", "***\n# b", [])]),
        ("a\n    ---\n    # b", [("paragraph", "a\n---\n# b", [])]),
        ("- a\n- b", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-"])]),
        ("*\ta\n*\tb", [("paragraph", "a", ["*"]), ("paragraph", "b", ["*"])]),
        ("- a\n  - b", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-", "-"])]),
        ("- a\n    - b\n    - c", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-", "-"]), ("paragraph", "c", ["-", "-"])]),
        ("- a\n - b\n  - c", [("paragraph", letter, ["-"]) for letter in "abc"]),
        ("1. a\n1. b", [("paragraph", "a", ["1."]), ("paragraph", "b", ["2."])]),
        ("1. a\n2. b\n\n## H\n\n1. c", [("paragraph", "a", ["1."]), ("paragraph", "b", ["2."]), ("heading", "H", []), ("paragraph", "c", ["1."])]),
        ("1. a\n\n> q\n\n1. b", [("paragraph", "a", ["1."]), ("paragraph", "q", [">"]), ("paragraph", "b", ["1."])]),
        ("1. a\n1) b\n- c\n7. d", [("paragraph", "a", ["1."]), ("paragraph", "b", ["1)"]), ("paragraph", "c", ["-"]), ("paragraph", "d", ["7."])]),
        ("1. a\n   - b\n2. c\n   - d", [("paragraph", "a", ["1."]), ("paragraph", "b", ["1.", "-"]), ("paragraph", "c", ["2."]), ("paragraph", "d", ["2.", "-"])]),
        ("1. a\n  - b\n2. c", [("paragraph", "a", ["1."]), ("paragraph", "b", ["-"]), ("paragraph", "c", ["2."])]),
        ("- a\n\n  b", [("paragraph", "a", ["-"]), ("paragraph", "b", ["-"])]),
        ("-\n\n  b", [("paragraph", "", ["-"]), ("paragraph", "b", [])]),
        ("in\n1986. It", [("paragraph", "in\n1986. It", [])]),
        ("> a\nb\n> > c", [("paragraph", "a\nb", [">"]), ("paragraph", "c", [">", ">"])]),
        ("> a\n- b", [("paragraph", "a", [">"]), ("paragraph", "b", ["-"])]),
        ("```py\nx\n```\ny", [("fence", "x", []), ("paragraph", "y", [])]),
        ("````\n```\n````", [("fence", "```", [])]),
        ("```\nx", [("fence", "x", [])]),
        ("``` a`b", [("paragraph", "``` a`b", [])]),
        ("- ```\n  x\n  ```", [("fence", "x", ["-"])]),
        ("    x\n\n    y", [("code", "x\n\ny", [])]),
        ("|a|b|\n|-|-|\n|1|2|\n\nc", [("table", "|a|b|\n|-|-|\n|1|2|", []), ("paragraph", "c", [])]),
        ("x\n|a|\n|-|", [("paragraph", "x", []), ("table", "|a|\n|-|", [])]),
        ("|a|\n|-|\nb\n- c", [("table", "|a|\n|-|\nb", []), ("paragraph", "c", ["-"])]),
        ("a | b\nc", [("paragraph", "a | b\nc", [])]),
        ("|a|b|\n|-|", [("paragraph", "|a|b|\n|-|", [])]),
        ("[^1]: a\n[^2]: b", [("paragraph", "a", ["[1]"]), ("paragraph", "b", ["[2]"])]),
        ("[1]: u\n[2]: <v> 't'\nx", [("definition", "[1]: u", []), ("definition", "[2]: <v> 't'", []), ("paragraph", "x", [])]),
        ("[1]: u 't' x\n[2]:", [("paragraph", "[1]: u 't' x\n[2]:", [])]),
        ("a\n[1]: u", [("paragraph", "a\n[1]: u", [])]),
        ("<div>\n*a*\n\n*b*", [("html", "<div>\n*a*", []), ("paragraph", "*b*", [])]),
        ("<pre>\na\n\n*b*\n</pre>\nc", [("html", "<pre>\na\n\n*b*\n</pre>", []), ("paragraph", "c", [])]),
        ("<b>\n\na\n<b>", [("html", "<b>", []), ("paragraph", "a\n<b>", [])]),
        ("<b>x", [("paragraph", "<b>x", [])]),
        ("$$\na_1\n= b\n$$\nc", [("formula", "$$\na_1\n= b\n$$", []), ("paragraph", "c", [])]),
        ("a\n\\[\n- b\n\\]", [("paragraph", "a", []), ("formula", "\\[\n- b\n\\]", [])]),
        ("\\begin{align*}\n# a\n\\end{align*}", [("formula", "\\begin{align*}\n# a\n\\end{align*}", [])]),
        ("a $$\nb\n$$\nc", [("paragraph", "a $$\nb\n$$\nc", [])]),
        ("a \\[\n\\begin{b}\nc\n\\end{b}\n\\]", [("paragraph", "a \\[\n\\begin{b}\nc\n\\end{b}\n\\]", [])]),
        ("a $$b$$\n$$\nc\n$$", [("paragraph", "a $$b$$", []), ("formula", "$$\nc\n$$", [])]),
        ("\\[\na\n\nb_1\n\\]", [("formula", "\\[\na\n\nb_1\n\\]", [])]),
        ("\\[\na\n\nb", [("formula", "\\[\na", []), ("paragraph", "b", [])]),
        ("\\\\[\na\n\\\\]", [("formula", "\\\\[\na\n\\\\]", [])]),
        ("$$a$$ b\n\\[x](y)", [("paragraph", "$$a$$ b\n\\[x](y)", [])]),
    ],
)  # fmt: skip
def test_markdown_has_blocks(text: str, blocks: list[tuple[str, str, list[str]]]) -> None:
    assert [(each.kind, each.text, [container.mark for container in each.containers]) for each in parse(text)] == blocks


def join_text(blocks: list[MarkdownBlock]) -> str:
    return "".join(block.text for block in blocks)


@pytest.mark.parametrize(
    "text",
    ["word " * 4000, "long sentence. " * 900, "line\n" * 3000, "漢字" * 9000, "w" * 20_000, "- " + "**a** [b](c) " * 1500],
    ids=["words", "sentences", "lines", "cjk", "one word", "marks"],
)  # fmt: skip
def test_a_long_paragraph_is_emitted_in_parts_without_loss(text: str) -> None:
    expected = text.removeprefix("- ").replace(" ", "").replace("\n", "")
    whole = parse(text)
    assert parse(text, [1]) == parse(text, [700, 5000]) == whole
    assert join_text(whole).replace(" ", "").replace("\n", "") == expected


def test_the_open_text_stays_small() -> None:
    parser = BlockParser()
    assert len(parser.feed("word " * MAX_OPEN_LENGTH)) > 1
    assert len(join_text(parser.open_blocks())) <= MAX_OPEN_LENGTH + len("word ")


def test_a_long_paragraph_is_cut_outside_of_links_and_emphasis() -> None:
    sentence = "See [the docs. They](http://a.b/c. d) or **this one. And** `that. Too`. "
    for block in parse(sentence * 200):
        assert block.text.count("[") == block.text.count("](")
        assert block.text.count("**") % 2 == block.text.count("`") % 2 == 0


@pytest.mark.parametrize("mark", [">", "- ", "1. ", "> - "])
def test_deep_nesting_is_bounded(mark: str) -> None:
    (block, *_) = parse(mark * 500 + "a")
    assert len(block.containers) == MAX_CONTAINERS


def test_code_is_emitted_before_its_fence_ends() -> None:
    blocks = BlockParser().feed("```\n" + "x\n" * (LINES_PER_SLICE + 1))
    assert [(block.kind, block.is_last, block.text.count("x")) for block in blocks] == [
        ("fence", False, LINES_PER_SLICE)
    ]


def test_a_cell_may_contain_an_escaped_bar() -> None:
    assert split_cells(r"| a \| b | c |") == ["a | b", "c"]
