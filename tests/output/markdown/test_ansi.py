"""Texts broken into lines that fit, links that a terminal opens, and the widths of characters."""

# ruff: noqa: RUF001

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.loopback import Loopback, delta, stream
from support.pty_run import run_on_pty
from wcwidth import iter_graphemes, wcswidth

from aiml_cli.output.markdown.ansi import (
    STYLE,
    encode_link,
    has_hyperlinks,
    join_spans,
    measure_max_width,
    measure_width,
    strip_colors,
    strip_links,
    strip_styles,
    wrap_lines,
)
from aiml_cli.output.markdown.inline import CODE, Span
from aiml_cli.system.text_width import count_fitting, max_text_width, split_clusters, text_width

FAMILY, FLAG, TONE, KEYCAP = "👩\u200d👩\u200d👧", "🇩🇪", "👋🏽", "1\ufe0f\u20e3"
CLUSTERS = [
    "a", "b", " ", "\u00e4", "漢", "。", "「", "ゃ", "e\u0301", "👩", FLAG, TONE, FAMILY, KEYCAP, "❤\ufe0f",
    "각", "\u1100\u1161\u11a8", "क्षि", "ก\u0e47", "z\u0338\u0321\u0353", "🏴\U000e0067\U000e0062\U000e007f", "(", ")",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(CLUSTERS), max_size=40).map("".join)
SPANS = st.lists(st.builds(Span, TEXTS, st.sampled_from(["", "1", "3;1"])), max_size=6)
WIDEST_CLUSTER = 6


def remove_styles(line: str) -> str:
    return STYLE.sub("", line)


def wrap(text: str, width: int, style: str = "") -> list[str]:
    return [remove_styles(line) for line in wrap_lines([Span(text, style)], width)]


@given(SPANS, st.integers(WIDEST_CLUSTER, 40))
def test_no_line_is_wider_than_the_width(spans: list[Span], width: int) -> None:
    assert all(measure_max_width(line) <= width for line in wrap_lines(spans, width))


@given(SPANS, st.integers(1, 40))
def test_only_spaces_are_lost(spans: list[Span], width: int) -> None:
    drawn = "".join(map(remove_styles, wrap_lines(spans, width)))
    assert drawn.replace(" ", "") == "".join(span.text for span in spans).replace(" ", "")


@pytest.mark.promise("nothing-shortened")
@given(TEXTS, st.integers(1, 12))
@example(FLAG * 9, 3)
@example(TONE * 9, 3)
@example(FAMILY * 3, 3)
@example("क्षि" * 9, 3)
def test_no_character_is_split(text: str, width: int) -> None:
    joined = "".join(text.split())
    expected = list(iter_graphemes(joined))
    drawn = [cluster for line in wrap_lines([Span(joined)], width) for cluster in iter_graphemes(line)]
    assert drawn == expected


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1), st.integers(9, 40))
def test_words_stay_whole(words: list[str], width: int) -> None:
    assert " ".join(wrap_lines([Span(" ".join(words))], width)).split() == words


@given(SPANS, st.integers(2, 40))
def test_each_line_ends_its_own_styles(spans: list[Span], width: int) -> None:
    assert all(not found or found[-1] == "\x1b[m" for found in map(STYLE.findall, wrap_lines(spans, width)))


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("aa bb cc", 5, ["aa bb", "cc"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("漢字漢字", 5, ["漢字", "漢字"]),
        ("ab 漢字漢字", 7, ["ab 漢字", "漢字"]),
        ("漢字ab漢字", 5, ["漢字", "ab漢", "字"]),
        ("中文 and English 混排", 9, ["中文 and", "English", "混排"]),
        ("a\nb", 9, ["a", "b"]),
        ("a\n\nb", 9, ["a", "", "b"]),
        ("", 9, [""]),
        ("한국어 문장", 7, ["한국어", "문장"]),
        (f"{FLAG}{FLAG}{FLAG}", 4, [FLAG] * 3),
    ],
)
def test_lines_are_filled_to_the_width(text: str, width: int, expected: list[str]) -> None:
    assert wrap(text, width) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("漢字漢字。漢字", ["漢字漢", "字。漢", "字"]),
        ("漢字漢！？漢字", ["漢字", "漢！？", "漢字"]),
        ("漢字「漢字」漢", ["漢字", "「漢", "字」漢"]),
        ("漢字漢」。漢", ["漢字", "漢」。", "漢"]),
        ("ラーメンちゃん", ["ラーメ", "ンちゃ", "ん"]),
        ("かきくっけこ", ["かき", "くっけ", "こ"]),
        ("漢字漢, 漢", ["漢字", "漢, 漢"]),
        ("漢字(漢)漢", ["漢字", "(漢)漢"]),
    ],
)
def test_no_line_begins_with_a_closing_mark_or_ends_with_an_opening_one(text: str, expected: list[str]) -> None:
    assert wrap(text, 6) == expected


URL = "https://example.com/a/very/long/path?with=many&parameters=1#and-a-fragment"


@pytest.mark.promise("nothing-shortened")
@pytest.mark.parametrize("width", [8, 20, 40])
@pytest.mark.parametrize(
    "address",
    [URL, f"({URL}).", f"<{URL}>", f"**{URL}**,", f"see:{URL}", f"[1]:{URL}", "www.example.com/" + "a/" * 40,
     "mailto:" + "a" * 50 + "@example.com", "data:image/png;base64," + "A" * 100, "ftp://example.com/" + "b" * 60,
     "https://ja.wikipedia.org/wiki/日本語版ウィキペディアの長い題名です"],
)  # fmt: skip
def test_an_address_is_never_broken(address: str, width: int) -> None:
    lines = wrap(f"words before {address} and words after", width)
    assert address in lines
    assert all(text_width(line) <= width for line in lines if line != address)


@pytest.mark.parametrize("before", ["请访问", "（", "「", "漢字。"])
@pytest.mark.parametrize("after", ["。", "，然后", "）。", ""])
def test_an_address_between_ideographs_is_never_broken(before: str, after: str) -> None:
    assert any(URL in line for line in wrap(before + URL + after, 20))


@pytest.mark.promise("nothing-shortened")
@pytest.mark.parametrize(
    ("code", "width", "lines"),
    [
        ("pip install x", 15, ["run the", "pip install x,", "now"]),
        ("pip install x", 10, ["run the", "pip", "install x,", "now"]),
        ("a   b", 9, ["run the", "a   b,", "now"]),
        ("aaaa    bbbb", 8, ["run the", "aaaa   ", "bbbb,", "now"]),
        ("  x  ", 8, ["run the", "  x  ,", "now"]),
        ("a_long_name_without_blanks", 10, ["run the", "a_long_name_without_blanks,", "now"]),
        ("漢字漢字漢字", 8, ["run the", "漢字漢字漢字,", "now"]),
        ("f(\n  x)", 8, ["run the", "f(", "  x),", "now"]),
    ],
)
def test_code_is_broken_only_at_its_spaces(code: str, width: int, lines: list[str]) -> None:
    drawn = wrap_lines([Span("run the "), Span(code, CODE), Span(", now")], width)
    assert [remove_styles(line) for line in drawn] == lines


@given(st.lists(st.sampled_from(["x", "yy", "漢字", FLAG, " ", "  "]), max_size=30).map("".join), st.integers(4, 20))
def test_code_loses_only_one_space_at_a_line_break(code: str, width: int) -> None:
    drawn = [remove_styles(line) for line in wrap_lines([Span(code, f"1;{CODE}")], width)]
    assert " ".join(drawn) == code


def test_a_style_includes_the_spaces_in_it() -> None:
    assert wrap_lines([Span("a b", "1"), Span(" c")], 9) == ["\x1b[1ma b\x1b[m c"]


def test_each_line_of_a_wrapped_link_is_a_link() -> None:
    begin, end = "\x1b]8;;https://x.example/\x1b\\", "\x1b]8;;\x1b\\"
    spans = [Span("see "), Span("my page", "4", "https://x.example/"), Span(" here")]
    assert wrap_lines(spans, 40) == [f"see \x1b[4m{begin}my page{end}\x1b[m here"]
    assert wrap_lines(spans, 7) == [f"see \x1b[4m{begin}my{end}\x1b[m", f"\x1b[4m{begin}page{end}\x1b[m", "here"]


def test_neighbors_share_a_link_and_no_link_is_left_open() -> None:
    spans = [Span("a", "4", "https://x/"), Span("b", "1", "https://x/"), Span("c", "1", "https://y/"), Span("d", "1")]
    line = join_spans(spans)
    assert line.count("\x1b]8;;https://x/") == line.count("\x1b]8;;https://y/") == 1
    assert line.count("\x1b]8;;\x1b\\") == 2
    assert (measure_width(line), strip_styles(line)) == (4, "abcd")


def test_links_and_colors_can_be_removed_separately() -> None:
    line = join_spans([Span("a", "1;36", "https://x/36m")])
    assert strip_links(line) == "\x1b[1;36ma\x1b[m"
    assert strip_colors(line) == "\x1b[1m\x1b]8;;https://x/36m\x1b\\a\x1b]8;;\x1b\\\x1b[m"


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize(
    ("address", "encoded"),
    [
        ("https://x.example/a?b=c&d=%20#e", "https://x.example/a?b=c&d=%20#e"),
        ("HTTP://x/", "HTTP://x/"),
        ("mailto:a@b.example", "mailto:a@b.example"),
        ("ftp://x/", "ftp://x/"),
        ("https://x/ä b", "https://x/%C3%A4%20b"),
        ("https://\u0430\u0440\u0440le.com/ä", "https://xn--le-6kc8da.com/%C3%A4"),
        ("https://x/\x1b\\\x07\x9c\n", "https://x/%1B%5C%07%C2%9C%0A"),
        ("https://x/\ud800", "https://x/?"),
        ("https://x/" + "a" * 3000, ""),
        ("https://x/" + "漢" * 500, ""),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("data:text/html,x", ""),
        ("/relative", ""),
        ("#part", ""),
        ("", ""),
        (" https://x/", ""),
    ],
)
def test_only_harmless_addresses_become_links(address: str, encoded: str) -> None:
    assert encode_link(address) == encoded
    assert remove_styles(join_spans([Span("text", "", address)])) == "text"


@pytest.mark.parametrize(
    ("environ", "has_links"),
    [
        ({"VTE_VERSION": "7400"}, True),
        ({"VTE_VERSION": "4999"}, False),
        ({"VTE_VERSION": "new"}, False),
        ({"KITTY_WINDOW_ID": "1"}, True),
        ({"WEZTERM_PANE": "0"}, True),
        ({"ITERM_SESSION_ID": "w0t0p0"}, True),
        ({"TERM_PROGRAM": "iTerm.app"}, True),
        ({"TERM_PROGRAM": "vscode"}, True),
        ({"TERM_PROGRAM": "ghostty"}, True),
        ({"TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"WT_SESSION": "x"}, True),
        ({"ALACRITTY_WINDOW_ID": "1"}, True),
        ({"KONSOLE_VERSION": "220401"}, True),
        ({}, False),
        ({"TERM": "linux", "FORCE_HYPERLINK": "1"}, False),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, False),
        ({"TERM": "", "KITTY_WINDOW_ID": "1"}, False),
        ({"FORCE_HYPERLINK": "1"}, True),
        ({"FORCE_HYPERLINK": "0", "KITTY_WINDOW_ID": "1"}, False),
        ({"FORCE_HYPERLINK": "", "KITTY_WINDOW_ID": "1"}, True),
        ({"TMUX": "x", "KITTY_WINDOW_ID": "1"}, False),
        ({"TMUX": "x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.3a"}, False),
        ({"TMUX": "x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.4"}, True),
        ({"TMUX": "x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.10"}, True),
        ({"TMUX": "x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "next-3.6"}, True),
        ({"TMUX": "x", "TERM_PROGRAM": "tmux"}, False),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, False),
        ({"STY": "1.tty", "KITTY_WINDOW_ID": "1"}, False),
    ],
)
def test_links_are_sent_only_to_terminals_known_to_support_them(environ: dict[str, str], has_links: bool) -> None:
    assert has_hyperlinks({"TERM": "xterm-256color", **environ}) is has_links


@pytest.mark.parametrize(
    ("arguments", "environ", "has_links"),
    [
        ([], {"KITTY_WINDOW_ID": "1"}, True),
        ([], {"FORCE_HYPERLINK": "1"}, True),
        ([], {"KITTY_WINDOW_ID": "1", "NO_COLOR": "1"}, True),
        (["--color", "never"], {"KITTY_WINDOW_ID": "1"}, False),
        (["--format", "text"], {"KITTY_WINDOW_ID": "1"}, False),
        ([], {"FORCE_HYPERLINK": "0", "KITTY_WINDOW_ID": "1"}, False),
        ([], {}, False),
    ],
)
def test_links_reach_only_terminals_that_show_them(
    arguments: list[str], environ: dict[str, str], has_links: bool, server: Loopback
) -> None:
    server.answer_with(stream(delta("See [this page](https://x.example/a).\n"), delta(finish="stop")))
    wrote, code, _ = run_on_pty(server, "chat", "hi", *arguments, **environ)
    assert (code, b"\x1b]8;;https://x.example/a\x1b\\" in wrote, b"\x1b]8;;" in wrote) == (0, has_links, has_links)
    assert b"https://x.example/a" in re.sub(rb"\x1b\]8;[^\x1b]*\x1b\\", b"", wrote)


@pytest.mark.parametrize(
    ("text", "width", "max_width"),
    [
        ("abc", 3, 3),
        ("e\u0301", 1, 1),
        ("漢字", 4, 4),
        (FAMILY, 2, 6),
        (FLAG, 2, 4),
        (FLAG + "🇫🇷", 4, 8),
        ("🇩", 2, 2),
        (TONE, 2, 4),
        (KEYCAP, 2, 2),
        ("❤", 1, 1),
        ("❤\ufe0f", 2, 2),
        ("✅", 2, 2),
        ("🏴\U000e0067\U000e0062\U000e007f", 2, 2),
        ("🏳\ufe0f\u200d🌈", 2, 4),
        ("각", 2, 2),
        ("\u1100\u1161\u11a8", 2, 2),
        ("क्षि", 2, 2),
        ("ක්\u200dෂ", 2, 2),
        ("z\u0338\u0321", 1, 1),
        ("ｱ", 1, 1),
        ("…─①", 3, 3),
    ],
)
def test_widths_are_those_of_wcwidth_with_a_maximum_for_other_terminals(text: str, width: int, max_width: int) -> None:
    assert (text_width(text), max_text_width(text)) == (width, max_width)
    assert wcswidth(text) == width


@given(TEXTS)
def test_characters_are_split_as_unicode_says(text: str) -> None:
    assert list(split_clusters(text)) == list(iter_graphemes(text))


@given(TEXTS, st.integers(0, 20), st.integers(0, 3))
def test_text_is_cut_only_between_whole_characters(text: str, width: int, minimum: int) -> None:
    count = count_fitting(text, width, minimum=minimum)
    assert text[:count] == "" or list(iter_graphemes(text))[: len(list(iter_graphemes(text[:count])))] == list(
        iter_graphemes(text[:count])
    )
    assert max_text_width(text[:count]) <= width or minimum
    assert count >= min(minimum, len(text))


BUILD_SPANS: dict[str, Callable[[int], list[Span]]] = {
    "ideographs": lambda n: [Span("漢字" * n)],
    "ideographs and marks": lambda n: [Span("漢字，" * n)],
    "letters and ideographs": lambda n: [Span("a漢" * n)],
    "small letters": lambda n: [Span("ちょっと" * n)],
    "one word": lambda n: [Span("ab" * n)],
    "emoji": lambda n: [Span("🚀" * n)],
    "families": lambda n: [Span(FAMILY * n)],
    "joiners": lambda n: [Span("👩" + "\u200d👩" * n)],
    "flags": lambda n: [Span(FLAG * n)],
    "skin tones": lambda n: [Span(TONE * n)],
    "marks on one letter": lambda n: [Span("e" + "\u0301" * n)],
    "Hangul": lambda n: [Span("한국" * n)],
    "Hangul parts": lambda n: [Span("\u1100\u1161\u11a8" * n)],
    "Devanagari": lambda n: [Span("क्षि" * n)],
    "Thai": lambda n: [Span("ภาษาไทย" * n)],
    "opening marks": lambda n: [Span("「" * n)],
    "closing marks": lambda n: [Span("漢" + "」" * n)],
    "parentheses": lambda n: [Span("漢" + "(" * n)],
    "parentheses before an ideograph": lambda n: [Span("漢((" * n)],
    "blanks": lambda n: [Span("  " * n + "漢")],
    "line breaks": lambda n: [Span("\n" * n)],
    "an address": lambda n: [Span("漢https://" + "a/" * n)],
    "addresses": lambda n: [Span("漢https://x " * n)],
    "words": lambda n: [Span("word " * n)],
    "code": lambda n: [Span("a b" * n, CODE)],
    "blanks in code": lambda n: [Span("a" + "  " * n, CODE)],
    "styles": lambda n: [Span("a", "1"), Span("b ")] * n,
    "styles in one word": lambda n: [Span("a", "1"), Span("b")] * n,
    "links": lambda n: [Span("a ", "4", "https://x/"), Span("b ")] * n,
    "one long link": lambda n: [Span("a " * n, "4", "https://x/" + "y" * n)],
}


def measure_seconds(spans: list[Span]) -> float:
    best = 9e9
    for _ in range(3):
        start = time.process_time()
        wrap_lines(spans, 79)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize("shape", BUILD_SPANS)
def test_wrapping_is_linear(shape: str) -> None:
    small, large = (measure_seconds(BUILD_SPANS[shape](size)) for size in (300, 3000))
    assert large < 40 * small + 0.01, f"{small:.4f} s, {large:.4f} s"


def test_every_ideograph_is_two_columns_wide() -> None:
    from aiml_cli.output.markdown.ansi import _HAS_IDEOGRAPHS

    chars = [char for char in map(chr, range(0x2E80, 0x31400, 7)) if re.match(_HAS_IDEOGRAPHS, char) and char.isalnum()]
    assert len(chars) > 7_000
    assert {char for char in chars if text_width(char) != 2} == set()
