"""Wrap styled text into lines, each complete with its styles."""

import re
from collections.abc import Iterable, Iterator

from aiml_cli.output.markdown.inline import Span
from aiml_cli.system.text_width import count_fitting, max_text_width, text_width

OFF = "\x1b[m"
STYLE = re.compile(r"\x1b\[[\d;]*m")
_BREAK = re.compile(r"(\n)|[ \t]+")
_COLORS = range(30, 38)


def measure_width(line: str) -> int:
    """Return how many columns a line takes, without its styles."""
    return text_width(STYLE.sub("", line))


def measure_max_width(line: str) -> int:
    """Return how many columns a line takes at most on any terminal, without its styles."""
    return max_text_width(STYLE.sub("", line))


def apply_style(text: str, style: str) -> str:
    """Return the text with its style, which ends after it."""
    return f"\x1b[{style}m{text}{OFF}" if style and text else text


def wrap_lines(spans: Iterable[Span], width: int) -> list[str]:
    """Return lines of at most `width` columns; longer words are broken."""
    lines: list[str] = []
    line: list[Span] = []
    used = 0
    for word in _split_words(spans):
        size = _measure_word(word)
        if not word or (line and used + 1 + size > width):
            lines.append(join_spans(line))
            line, used = [], 0
        if line:
            line.append(Span(" ", line[-1].style if line[-1].style == word[0].style else ""))
            used += 1
        rest = word
        while size > width:
            head, rest = _break_word(rest, width)
            lines.append(join_spans(head))
            size = _measure_word(rest)
        line += rest
        used += size
    return [*lines, join_spans(line)]


def _measure_word(word: Iterable[Span]) -> int:
    return sum(max_text_width(span.text) for span in word)


def _split_words(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Yield each word, which may have several styles, and [] for each hard line break."""
    word: list[Span] = []
    for span in spans:
        text, style, _ = span
        if " " not in text and "\n" not in text and "\t" not in text:
            if text:
                word.append(span)
            continue
        start = 0
        for match in _BREAK.finditer(text):
            if piece := text[start : match.start()]:
                word.append(Span(piece, style))
            if word:
                yield word
                word = []
            if match[1]:
                yield []
            start = match.end()
        if piece := text[start:]:
            word.append(Span(piece, style))
    if word:
        yield word


def _break_word(word: list[Span], width: int) -> tuple[list[Span], list[Span]]:
    """Return the part of a word that fits, at least one character, and the rest."""
    head: list[Span] = []
    for index, (text, style, _) in enumerate(word):
        size = max_text_width(text)
        if size <= width:
            head.append(Span(text, style))
            width -= size
            continue
        cut = count_fitting(text, width, minimum=not head)
        rest = [Span(text[cut:], style), *word[index + 1 :]]
        return ([*head, Span(text[:cut], style)] if cut else head), rest
    return head, []


def join_spans(line: Iterable[Span]) -> str:
    """Return the spans as one string; neighbors with the same style share its escape sequence."""
    pieces: list[str] = []
    current = ""
    for text, style, _ in line:
        if style != current:
            pieces.append((OFF if current else "") + (f"\x1b[{style}m" if style else ""))
            current = style
        pieces.append(text)
    return "".join([*pieces, OFF if current else ""])


def strip_styles(text: str) -> str:
    """Remove colors, bold and underline."""
    return STYLE.sub("", text)


def strip_colors(text: str) -> str:
    """Remove colors only."""
    return STYLE.sub(_remove_colors, text)


def keep_styles(text: str) -> str:
    """Return the text unchanged."""
    return text


def _remove_colors(match: re.Match[str]) -> str:
    numbers = match[0][2:-1].split(";")
    others = [number for number in numbers if not (number.isdigit() and int(number) in _COLORS)]
    return f"\x1b[{';'.join(others)}m" if others else ""
