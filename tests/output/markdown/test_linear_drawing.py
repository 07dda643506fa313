"""Drawing takes time in proportion to the text, for all constructs and scripts."""

import time
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown.ansi import wrap_lines
from aiml_cli.output.markdown.inline import Span, parse_spans
from aiml_cli.output.markdown.live_renderer import MarkdownStream

SIZE = (80, 24)
TIMES_LONGER = 10
MAX_GROWTH = 2.5 * TIMES_LONGER  # less than that of n log n is noise
ATTEMPTS = 3  # other programs take processor time too
MIN_SECONDS = 0.003  # a text that takes less is drawn several times to be measured
NOISE_SECONDS = 0.0005  # a text that takes less counts as this

REPEATED_UNITS = [
    "word ", "A sentence. ", "line\n", "paragraph\n\n", "# heading *x*\n", "# " + "x ", "## a #\n", "a\n=\n", "***\n", "- item\n",
    "1. item\n", "- [ ] task\n", "> quote\n", "> ", "- ", "```\ncode\n```\n", "    code\n", "|a|b|\n", "|-", "|", "|-|\n",
    "[^", "[^1]: note\n", "[1]: http://a.b\n", "[a][b] ", "[a](b) ", "[a](", "![", "[", "]", "[a]: <", "![a](b 'c') ",
    "**a** ", "*a **b ", "*a_ ", "**", "***a ", "_a", "~~a~~ ", "~", "`a` ", "`", "``a` ", "\\*", "\\", "&amp;", "&a", "&#x41;",
    "$a$ ", "$", "$$\nx\n$$\n", "\\(", "\\(x\\) ", "\\[", "\\begin{a}", "<div>\n", "<a ", "<a b='", "<!--", "<?", "<br>",
    "[a\n", "**a\n", "<sub>2</sub>", "<details>\n", "<pre>\nx\n</pre>\n", "<http://a.b> ", "http://a.b/c ", "www.", "http://", "https://a.b/(", "\t",
    " ", "\n", "\u00a0", "漢字", "漢字、", "**注意。**请 ", "한국어 ", "العربية ", "עברית ", "ภาษาไทย", "हिन्दी ", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽",
    "a\u0301\u0302", "\u200d", '{"a": [1, 2]}\n', "{", "[[", "a|b\n",
]  # fmt: skip
OPENINGS_AND_UNITS: list[tuple[str, str]] = [
    ("```py\n", "x = 1  # comment\n"), ("```\n", "x"), ("```json\n", '{"a": "b"}'), ("$$\n", "x\n"), ("<pre>\n", "x\n"),
    ("|a|b|\n|-|-|\n", "|some text|more|\n"), ("|a|b|\n|-|-|\n|", "x "), ("> a\n", "b\n"), ("- " * 60 + "a\n", "\n"),
    ("- " * 60 + "a\n", "a\n"), ("- a\n  ", "word "), ("1. a\n", "   - b\n"), ("# ", "*a* "), ("http://", "a"), ("", "w"),
    ("![a](data:image/png;base64,", "A"), ("<think>", "word "), ("a ", "*"), ("[a](", "("), ("http://a.b/", ")"),
]  # fmt: skip


def build_text(opening: str, unit: str, length: int) -> str:
    return (opening + unit * (length // len(unit) + 1))[:length]


def measure_drawing(text: str, pieces: Callable[[str], Iterable[str]]) -> float:
    """Return the seconds of CPU that drawing a text takes."""
    runs = 0
    started = time.process_time()
    while (spent := time.process_time() - started) < MIN_SECONDS or not runs:
        stream = MarkdownStream(lambda _text: None, {})
        for piece in pieces(text):
            stream.feed(piece, SIZE)
        stream.finish(SIZE)
        runs += 1
    return spent / runs


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize("length", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("opening", "unit"), [*(("", unit) for unit in REPEATED_UNITS), *OPENINGS_AND_UNITS])
def test_ten_times_the_text_takes_about_ten_times_as_long(opening: str, unit: str, length: int) -> None:
    for pieces in (lambda text: [text], list):
        small, large = build_text(opening, unit, length), build_text(opening, unit, TIMES_LONGER * length)
        growths = (
            measure_drawing(large, pieces) / max(measure_drawing(small, pieces), NOISE_SECONDS) for _ in range(ATTEMPTS)
        )
        assert any(growth <= MAX_GROWTH for growth in growths)


@given(st.lists(st.sampled_from(["word", "a", " ", "  ", "\n", "longer-than-most"]), max_size=40).map("".join))
def test_plain_text_is_wrapped_as_text_with_styles_is(text: str) -> None:
    with_style = wrap_lines([Span(f"{text}\n"), Span("end", "1")], 20)
    assert wrap_lines([Span(text)], 20) == with_style[:-1]


@pytest.mark.parametrize("text", ["*a **b _c ", "a `b` `c`", "<b <c", "[a][b] c", "**a *b* c** d"])
def test_neighbors_of_one_style_are_one_span(text: str) -> None:
    spans = parse_spans(text)
    assert all(before[1:] != after[1:] for before, after in pairwise(spans))
