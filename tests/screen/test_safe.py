"""Nothing that others say can drive a terminal, however it is split."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.screen.safe import visible

ANYTHING = st.text(
    st.characters(exclude_categories=[])
    | st.sampled_from("\x1b\x9b\x07\r\x08\x7f\x90\u202e\u2066\u200f\u200b\ufeff\u2028\U000e0041[]0m;\n\t")
)
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = set("\u061c\u200e\u200f\u2028\u2029\u200b\u2060\ufeff")


def drives(character: str) -> bool:
    """Say whether a character could do more than show itself, by the Unicode tables."""
    if unicodedata.category(character) == "Cc":
        return character not in "\n\t"
    tag = "\U000e0000" <= character <= "\U000e007f"
    return tag or unicodedata.bidirectional(character) in BIDI or character in MARKS


@settings(deadline=None)
@given(ANYTHING)
def test_nothing_that_drives_a_terminal_gets_through(text: str) -> None:
    assert not [character for character in visible(text) if drives(character)]


@settings(deadline=None)
@given(ANYTHING, ANYTHING)
def test_a_sequence_that_is_split_is_no_less_harmless(start: str, end: str) -> None:
    assert visible(start) + visible(end) == visible(start + end)


@settings(deadline=None)
@given(ANYTHING)
def test_what_drives_nothing_is_left_as_it_is(text: str) -> None:
    good = "".join(character for character in text if unicodedata.category(character) in ("Lu", "Ll", "Nd", "Po", "So"))
    assert visible(good) == good


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tabs\tand\nlines\n",
        "Grüße, 世界, مرحبا",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f3f3\ufe0f\u200d\U0001f308",
        "\u0645\u06cc\u200c\u062e\u0648",
        "e\u0301",
    ],
)
def test_good_text_is_shown_untouched(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b]8;;http://evil\x1b\\", "\\x1b]8;;http://evil\\x1b\\"),
        ("\x1bP+q\x1b\\", "\\x1bP+q\\x1b\\"),
        ("\x9b31m", r"\x9b31m"),
        ("yes\rno\x08", r"yes\x0dno\x08"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_drives_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown
