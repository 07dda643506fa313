"""Break pieces of text into lines that fit, each complete with its styles."""

import re
from collections.abc import Callable, Iterable, Iterator

from aiml_cli.output.markdown.inline import Span
from aiml_cli.system.terminal import count_fitting, max_text_width, text_width

OFF = "\x1b[m"
STYLE = re.compile(r"\x1b\[[\d;]*m")
_BREAK = re.compile(r"(\n)|[ \t]+")
_STYLE = re.compile(r"\x1b\[([\d;]*)m")
_COLOURS = range(30, 38)
Tone = Callable[[str], str]


def styled_width(line: str) -> int:
    """Give how many columns a line takes, its styles left out."""
    return text_width(STYLE.sub("", line))


def max_styled_width(line: str) -> int:
    """Give how many columns a line takes at most, its styles left out."""
    return max_text_width(STYLE.sub("", line))


def apply_style(text: str, style: str) -> str:
    """Give a text in its style."""
    return f"\x1b[{style}m{text}{OFF}" if style and text else text


def wrap_lines(spans: Iterable[Span], width: int) -> list[str]:
    """Fill lines of at most so many columns; a word that is longer is broken."""
    filled: list[str] = []
    line: list[Span] = []
    used = 0
    for word in _words(spans):
        size = sum(max_text_width(span.text) for span in word)
        if not word or (line and used + 1 + size > width):
            filled.append(_joined(line))
            line, used = [], 0
        if line:
            line.append(Span(" ", line[-1].style if line[-1].style == word[0].style else ""))
            used += 1
        rest = word
        while size > width:
            head, rest = _split(rest, width)
            filled.append(_joined(head))
            size = sum(max_text_width(span.text) for span in rest)
        line += rest
        used += size
    return [*filled, _joined(line)]


def _words(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Give each word, which may have several styles; [] for a line break that was meant."""
    word: list[Span] = []
    for span in spans:
        text, style = span
        if " " not in text and "\n" not in text and "\t" not in text:
            if text:
                word.append(span)
            continue
        start = 0
        for found in _BREAK.finditer(text):
            if piece := text[start : found.start()]:
                word.append(Span(piece, style))
            if word:
                yield word
                word = []
            if found[1]:
                yield []
            start = found.end()
        if piece := text[start:]:
            word.append(Span(piece, style))
    if word:
        yield word


def _split(word: list[Span], width: int) -> tuple[list[Span], list[Span]]:
    """Cut a word at a number of columns, at least one character from its start."""
    head: list[Span] = []
    for index, (text, style) in enumerate(word):
        size = max_text_width(text)
        if size <= width:
            head.append(Span(text, style))
            width -= size
            continue
        cut = count_fitting(text, width, at_least=not head)
        rest = [Span(text[cut:], style), *word[index + 1 :]]
        return ([*head, Span(text[:cut], style)] if cut else head), rest
    return head, []


def _joined(line: Iterable[Span]) -> str:
    """Write a line; neighbours of one style share it."""
    pieces: list[str] = []
    now = ""
    for text, style in line:
        if style != now:
            pieces.append((OFF if now else "") + (f"\x1b[{style}m" if style else ""))
            now = style
        pieces.append(text)
    return "".join([*pieces, OFF if now else ""])


def strip_styles(text: str) -> str:
    """Leave out bold and underlined too."""
    return _STYLE.sub("", text)


def strip_colors(text: str) -> str:
    """Leave out colours alone."""
    return _STYLE.sub(_other_than_colour, text)


def keep_styles(text: str) -> str:
    """Leave out nothing."""
    return text


def _other_than_colour(found: re.Match[str]) -> str:
    numbers = found[1].split(";")
    kept = [number for number in numbers if not (number.isdigit() and int(number) in _COLOURS)]
    return f"\x1b[{';'.join(kept)}m" if kept else ""
