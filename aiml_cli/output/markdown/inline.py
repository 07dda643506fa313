"""Read the marks inside of a block's text: pieces of text, each with its style."""

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.system.sanitize import sanitize

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Without one of these there is nothing to read.
_MARKS = re.compile(r"[*_`\[\]<>&~\\!]|  $", re.MULTILINE)
_NOTE = re.compile(r"\[\^([^\]\s]+)\]")
BOLD, ITALIC, CODE, DIM = "1", "3", "36", "2"
STYLES = {"strong": BOLD, "em": ITALIC, "s": "9", "link": "4"}


class Span(NamedTuple):
    """Hold a text and its style: the parameters of SGR, "" for none. A newline is a line break that was meant."""

    text: str
    style: str = ""


def parse_spans(text: str) -> list[Span]:
    """Read a block's text."""
    if not _MARKS.search(text):
        return [Span(text.replace("\n", " "))]
    reading = _SpanReader()
    for token in _read(text):
        reading.feed(token)
    return reading.found


class _SpanReader:
    """Keep what a mark opened and none has closed yet."""

    def __init__(self) -> None:
        self.found: list[Span] = []
        self._styles: list[str] = []
        self._links: list[tuple[str, int]] = []

    def feed(self, token: "Token") -> None:
        """Take a piece of text, or a mark."""
        match token.type:
            case "softbreak":
                self.found.append(Span(" "))
            case "hardbreak":
                self.found.append(Span("\n"))
            case "code_inline":
                self.found.append(Span(sanitize(token.content), ";".join([*self._styles, CODE])))
            case "image":
                self.found += _image(token, self._styles)
            case "text" | "html_inline":
                self.found += _noted(sanitize(token.content), ";".join(self._styles))
            case kind:
                self._open_or_close(kind, token)

    def _open_or_close(self, kind: str, token: "Token") -> None:
        if kind == "link_open":
            self._links.append((str(token.attrs.get("href", "")), len(self.found)))
        if kind.endswith("_open"):
            self._styles.append(STYLES[kind.removesuffix("_open")])
            return
        self._styles.pop()
        if kind == "link_close":
            self.found += _target(*self._links.pop(), self.found)


def _target(address: str, start: int, found: list[Span]) -> list[Span]:
    """Show where a link leads, where its text does not say it."""
    text = "".join(span.text for span in found[start:])
    bare = address.removeprefix("mailto:")
    return [] if text in (address, bare) else [Span(f" ({bare})", DIM)]


def _image(token: "Token", styles: list[str]) -> list[Span]:
    """Name a picture, which is not fetched."""
    return [
        Span(f"[{token.content or 'image'}]", ";".join([*styles, ITALIC])),
        Span(f" ({token.attrs.get('src', '')})", DIM),
    ]


def _noted(text: str, style: str) -> list[Span]:
    """Show the marks of footnotes as such."""
    if "[^" not in text:
        return [Span(text, style)]
    return [
        Span(f"[{piece}]", DIM) if index % 2 else Span(piece, style) for index, piece in enumerate(_NOTE.split(text))
    ]


def _read(text: str) -> "list[Token]":
    return _reader().parseInline(text)[0].children or []


@cache
def _reader() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # costs a thirtieth of a second, and a plain text needs none

    return MarkdownIt("commonmark").enable("strikethrough")
