"""Text that arrives in pieces ends on the terminal as text that is drawn at once."""

import random
import re
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_terminal import SAMPLE, SIZES, Terminal, draw_at_once, show_on_terminal, split_text

from aiml_cli.output.markdown.live_region import crop_line
from aiml_cli.output.markdown.live_renderer import MarkdownStream
from aiml_cli.system.sanitize import sanitize

WORDS = [f"w{index}" for index in range(600)]
CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def remove_our_sequences(text: str) -> str:
    """Remove the sequences that move the cursor, erase and color."""
    return re.sub(r"\x1b\[[\d;]*m|\x1b\[\d+A|\r\x1b\[K|\n\x1b\[J\x1b\[A|\x1b\[\?2026[hl]", "", text)


def draw_growing_text(text: str, terminal: Terminal, seed: int) -> list[str]:
    """Draw a text that arrives in random deltas, with redraws at random moments."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    page = MarkdownStream(terminal.write, {})
    for piece in split_text(text, [rng.choice([1, 2, 3, 8, 30]) for _ in range(200)]):
        page.feed(piece, terminal.size)
        if rng.random() < 0.7:
            page.draw(terminal.size, may_redraw=rng.random() < 0.5)
    page.finish(terminal.size)
    return terminal.read_lines()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_a_text_that_arrives_in_pieces_ends_as_the_text_drawn_at_once(size: tuple[int, int], seed: int) -> None:
    assert draw_growing_text(SAMPLE, Terminal(*size), seed) == show_on_terminal(draw_at_once(SAMPLE, size[0]), *size)


def draw_while_resizing(seed: int, terminal: Terminal, sizes: list[tuple[int, int]], environ: dict[str, str]) -> str:
    """Draw 600 words while the terminal changes its size; return everything that was written."""
    rng, wrote = random.Random(seed), []  # noqa: S311 - no secret

    def write(text: str) -> None:
        wrote.append(text)
        terminal.write(text)

    page = MarkdownStream(write, environ)
    for index, word in enumerate(WORDS):
        if index % 97 == 50:
            terminal.resize(*sizes.pop(0))
        page.feed(word + ("\n\n" if index % 40 == 39 else " "), terminal.size)
        page.draw(terminal.size, may_redraw=rng.random() < 0.7)
    page.finish(terminal.size)
    return remove_our_sequences("".join(wrote))


@pytest.mark.parametrize("seed", range(2))
def test_a_screen_that_becomes_larger_keeps_every_word(seed: int) -> None:
    terminal = Terminal(40, 12)
    draw_while_resizing(seed, terminal, [(50 + 10 * step, 14 + 2 * step) for step in range(6)], {})
    assert set(WORDS) <= set(" ".join(terminal.read_lines()).split())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["", "TMUX"])
def test_every_word_is_written_to_a_screen_that_becomes_smaller(seed: int, name: str) -> None:
    sizes = [(60, 20), (100, 8), (30, 5), (80, 24), (20, 10), (40, 12)]  # the emulator itself crops what it held
    assert set(WORDS) <= set(draw_while_resizing(seed, Terminal(80, 24), sizes, {name: "1"}).split())


def test_a_finished_line_is_written_once() -> None:
    wrote: list[str] = []
    page = MarkdownStream(wrote.append, {})
    for piece in split_text("one\n\ntwo\n\n- three\n- four\n\n", [1]):
        page.feed(piece, (80, 24))
        page.draw((80, 24))
    assert [sum(piece.count(word) for piece in wrote) for word in ("one", "two")] == [0, 0]
    assert "".join(wrote).startswith("one\n\ntwo\n\n")


def test_wide_characters_are_cropped_by_their_columns() -> None:
    assert crop_line("漢字漢字", 5) == "漢字…"


def test_text_that_only_adds_to_a_line_is_written_without_a_redraw() -> None:
    wrote: list[str] = []
    page = MarkdownStream(wrote.append, {})
    for piece in ("A few", " words,", " and more."):
        page.feed(piece, (80, 24))
        page.draw((80, 24), may_redraw=False)
    assert wrote == ["A few", " words,", " and more."]


def test_several_lines_are_redrawn_at_once() -> None:
    wrote: list[str] = []
    page = MarkdownStream(wrote.append, {})
    for piece in ("one *two " + "word " * 40, "end* three"):
        page.feed(piece, (80, 24))
        page.draw((80, 24))
    assert (wrote[1].startswith("\x1b[?2026h"), wrote[1].endswith("\x1b[?2026l")) == (True, True)


def test_a_table_is_drawn_row_by_row() -> None:
    terminal = Terminal(40, 12)
    page = MarkdownStream(terminal.write, {})
    rows = [f"|{index}|{index * index}|\n" for index in range(50)]
    for index, row in enumerate(["|a|b|\n", "|-|-|\n", *rows]):
        page.feed(row, terminal.size)
        page.draw(terminal.size)
        shown = [line.split() for line in terminal.screen.display]
        assert index < 2 or [str(index - 2), "│", str((index - 2) ** 2)] in shown
    page.finish(terminal.size)
    drawn = [line.split() for line in terminal.read_lines()]
    assert [drawn.count([str(index), "│", str(index * index)]) for index in range(50)] == [1] * 50


BLOCKS_WITH_TABS = [
    "```\n{}\n```",
    "- x\n\n  ```\n  {}\n  ```",
    "<pre>\n{}\n</pre>",
    "$$\n{}\n$$",
    "`{}`",
    '{{"a": "{}"}}',
    "|a|\n|-|\n|{}|",
]


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("frame", BLOCKS_WITH_TABS)
def test_lines_with_tabs_are_shown_once(frame: str, size: tuple[int, int]) -> None:
    text = frame.format("\t".join(f"c{index}" for index in range(40)))
    whole = Terminal(*size)
    page = MarkdownStream(whole.write, {})
    page.feed(text, size)
    page.finish(size)
    assert draw_growing_text(text, Terminal(*size), 3) == whole.read_lines()


def test_a_paragraph_taller_than_the_screen_scrolls_and_no_word_is_repeated() -> None:
    terminal = Terminal(40, 6)
    page = MarkdownStream(terminal.write, {})
    for piece in split_text("- *" + " ".join(WORDS) + "* end", [15]):
        page.feed(piece, terminal.size)
        page.draw(terminal.size)
    page.finish(terminal.size)
    assert re.findall(r"w\d+", " ".join(terminal.read_lines())) == WORDS


OPEN_BLOCKS = [
    ("|a|b|\n|-|-|\n", "|cell|**two**|\n"), ("|a|b|\n|-|-|\n|", "word "), ("", "word **bold** `code` "), ("", "line\n"),
    ("```python\n", "x = 1  # c\n"), ("```python\n", "x = 1; "), ("", "- item\n"), ("- ", "word "), ("> ", "word "),
    ("", "> line\n"), ("# ", "word "), ("<div>\n", "<b>x</b> "), ("$$\n", "x + y\n"), ("[", "word "), ('{"a": "', "word "),
    ('{"a": [', "1, "), ("<think>", "word "), ("<think>", "x"),
]  # fmt: skip


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize(("opening", "unit"), OPEN_BLOCKS)
def test_the_cost_of_a_redraw_does_not_grow_with_the_open_block(opening: str, unit: str) -> None:
    """A block of 40 kB, compared with one of 2 kB."""

    def measure_redraws(size: int) -> float:
        page = MarkdownStream(lambda _text: None, {})
        page.feed(opening + unit * (size // len(unit)), (80, 24))
        page.draw((80, 24))
        started = process_time()
        for _ in range(10):
            page.feed(unit, (80, 24))
            page.draw((80, 24))
        return process_time() - started

    # The garbage collector may run in one of the measurements.
    assert any(measure_redraws(40_000) < 6 * max(measure_redraws(2_000), 0.01) for _ in range(3))


@pytest.mark.promise("terminal-control")
@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from(["&#27;", "&#x202e;", "\x1b[2J", "\x9b", "\r", "\u202e", "```\x1b\n", "`", "|\n|-|\n", "](", "["]))).map("".join), st.integers(1, 9))  # fmt: skip
def test_any_text_is_drawn_without_an_error_or_a_control_sequence(text: str, size: int) -> None:
    wrote: list[str] = []
    page = MarkdownStream(wrote.append, {})
    for piece in split_text(text, [size]):
        page.feed(piece, (40, 10))
        page.draw((40, 10))
    page.finish((40, 10))
    shown = remove_our_sequences("".join(wrote))
    assert shown == sanitize(shown) or not CONTROL_CHARACTERS.search(shown)


@given(
    st.lists(st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=60), min_size=1, max_size=60),
    st.integers(0, 9),
)
def test_every_word_of_a_plain_text_is_shown(words: list[str], seed: int) -> None:
    shown_text = "".join("".join(draw_growing_text(" ".join(words), Terminal(40, 10), seed)).split())
    assert shown_text == "".join("".join(draw_at_once(" ".join(words), 40)).split())
    assert shown_text == "".join(words)
