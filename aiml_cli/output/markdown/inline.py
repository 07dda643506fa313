"""Parse the inline Markdown of a block into pieces of text, each with its style."""

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.system.sanitize import sanitize

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# A text without one of these has no inline Markdown.
_MARKS = re.compile(r"[*_`\[\]<>&~\\!]|  $", re.MULTILINE)
_NOTE = re.compile(r"\[\^([^\[\]\s]++)\]")
BOLD, ITALIC, CODE, DIM = "1", "3", "36", "2"
STYLES = {"strong": BOLD, "em": ITALIC, "s": "9", "link": "4"}


class Span(NamedTuple):
    """A text, its style (SGR parameters, or ""), and the address that it links to; a newline is a line break."""

    text: str
    style: str = ""
    link: str = ""


def parse_spans(text: str) -> list[Span]:
    """Return the spans of a block's text."""
    if not _MARKS.search(text):
        return [Span(text.replace("\n", " "))]
    builder = _SpanBuilder()
    for token in _build_parser().parseInline(text)[0].children or []:
        builder.add(token)
    return builder.spans


class _SpanBuilder:
    """The spans of the tokens so far, and the styles and links that are open."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._styles: list[str] = []
        self._links: list[tuple[str, int]] = []

    def add(self, token: "Token") -> None:
        match token.type:
            case "softbreak":
                self.spans.append(Span(" "))
            case "hardbreak":
                self.spans.append(Span("\n"))
            case "code_inline":
                self.spans.append(Span(sanitize(token.content), ";".join([*self._styles, CODE])))
            case "image":
                self.spans.append(Span(f"[{token.content or 'image'}]", ";".join([*self._styles, ITALIC])))
                self.spans.append(Span(f" ({token.attrs.get('src', '')})", DIM))
            case "text" | "html_inline":
                self.spans += _mark_notes(sanitize(token.content), ";".join(self._styles))
            case name:
                self._open_or_close(name, token)

    def _open_or_close(self, name: str, token: "Token") -> None:
        if name == "link_open":
            self._links.append((str(token.attrs.get("href", "")), len(self.spans)))
        if name.endswith("_open"):
            self._styles.append(STYLES[name.removesuffix("_open")])
            return
        self._styles.pop()
        if name == "link_close":
            self._add_address(*self._links.pop())

    def _add_address(self, address: str, start: int) -> None:
        """Add the address of a link, unless the text of the link is the address."""
        text = "".join(span.text for span in self.spans[start:])
        visible = address.removeprefix("mailto:")
        if text not in (address, visible):
            self.spans.append(Span(f" ({visible})", DIM))


def _mark_notes(text: str, style: str) -> list[Span]:
    """Return the text with dim references to footnotes."""
    if "[^" not in text:
        return [Span(text, style)]
    pieces = enumerate(_NOTE.split(text))
    return [Span(f"[{piece}]", DIM) if index % 2 else Span(piece, style) for index, piece in pieces]


@cache
def _build_parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # takes 30 ms, and plain text does not need it

    return MarkdownIt("commonmark").enable("strikethrough")
