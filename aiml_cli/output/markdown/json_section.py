"""Draw a JSON value while it arrives: indented and colored, without losing a character."""

import re

from aiml_cli.output.markdown.ansi import cut_rows, drop_start, join_spans
from aiml_cli.output.markdown.inline import Span
from aiml_cli.system.terminal import BLUE, GREEN, RED

KEY, STRING, WORD = BLUE, GREEN, RED
INDENT = "  "
MAX_INDENTS, MAX_DEPTH = 20, 100
# How many characters of an answer decide whether it is JSON, if there is no key before that.
MAX_START_LENGTH = 300
MAX_NUMBER_LENGTH = 100
_TOKEN = re.compile(
    r'(?P<space>[ \t\r\n]++)|(?P<string>"(?:[^"\\\n]++|\\.)*+")|(?P<quote>")|(?P<mark>[{}\[\],:])'
    r"|(?P<word>(?:-?\d[\d.eE+-]{0,400}+|-?Infinity|NaN|true|false|null)(?![^\s,:\]}]))",
)
_STRING_PIECE = re.compile(r'(?:[^"\\\n]++|\\.)++|[\n"]')
_HALF_WORD = re.compile(rf"[-+.\w]{{1,{MAX_NUMBER_LENGTH}}}+\Z")
_CLOSERS = {"{": "}", "[": "]"}
# What may come next: kinds of tokens, and marks.
_NEXT = {
    "value": {"string", "quote", "word", "{", "["},
    "item": {"string", "quote", "word", "{", "[", "]"},
    "key": {"string", "quote", "}"},
    "colon": {":"},
    "end": {",", "}", "]"},
}


class JsonSection:
    """A JSON value, indented and colored; only the whitespace between its parts is changed.

    `is_over` is set at the end of the value or, with `has_failed`, at the first character that JSON does not allow.
    """

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.grows_at_end = False
        self.is_over = self.has_failed = self.has_key = False
        self._line: list[Span] = []
        self._text = ""  # not drawn yet
        self._closers: list[str] = []
        self._state, self._string_style = "value", ""
        self._is_in_string = self._breaks_line = False

    def feed(self, text: str, _width: int) -> None:
        """Add text; an incomplete number or escape waits for the rest."""
        self._add_tokens(text, is_last=False)

    def finish(self, _width: int) -> None:
        """End the text; text that is not JSON is shown unchanged."""
        self._add_tokens("", is_last=True)
        self._end_line()
        if self._text:
            self.finished += self._text.split("\n")
            self._text = ""

    def rest(self) -> str:
        """Return the text that is not in finished lines."""
        return "".join(span.text for span in self._line) + self._text

    def take_rest(self) -> str:
        """Return the text after the value, and clear it."""
        text, self._text = self._text, ""
        return text

    def _add_tokens(self, text: str, *, is_last: bool) -> None:
        text = self._text = self._text + text
        position, size = 0, len(text)
        while position < size and not self.is_over:
            match = (_STRING_PIECE if self._is_in_string else _TOKEN).match(text, position)
            if not is_last and (match is None or match.end() == size) and self._is_cut(text, position):
                break
            if match is None or not self._add(match):
                self.is_over = self.has_failed = True
                break
            position = match.end()
        self._text = text[position:]

    def open_lines(self, width: int, rows: int) -> list[str]:
        """Return the unfinished line, cut into rows; only its end if it is longer than the screen."""
        hidden = max(0, sum(len(span.text) for span in self._line) - 2 * rows * width) // 1000 * 1000
        return list(map(join_spans, cut_rows(drop_start(self._line, hidden), width)))

    def _is_cut(self, text: str, position: int) -> bool:
        """True if the text may end within a number, a word or an escape."""
        if self._is_in_string:
            return text.endswith("\\") and position == len(text) - 1
        return _HALF_WORD.match(text, position) is not None

    def _add(self, match: re.Match[str]) -> bool:
        """Draw a token; return False if JSON does not allow it here."""
        kind, text = match.lastgroup, match[0]
        if kind is None:
            self._add_to_string(text)
            return True
        if kind == "space":
            return True
        if kind == "mark":
            return text in _NEXT[self._state] and self._add_mark(text)
        if kind not in _NEXT[self._state]:
            return False
        style = WORD if kind == "word" else KEY if self._state == "key" else STRING
        self._begin_item()
        self._line.append(Span(text, style))
        if kind == "quote":
            self._is_in_string, self._string_style = True, style
        else:
            self._end_item()
        return True

    def _add_to_string(self, text: str) -> None:
        if text == "\n":
            self._end_line()
            return
        self._line.append(Span(text, self._string_style))
        if text == '"':
            self._is_in_string = False
            self._end_item()

    def _add_mark(self, mark: str) -> bool:
        if mark in "}]":
            return self._add_closer(mark)
        if mark in "{[":
            self._begin_item()
            self._closers.append(_CLOSERS[mark])
        self._line.append(Span(": " if mark == ":" else mark))
        if mark == ":":
            self._state, self.has_key = "value", True
        else:
            self._state, self._breaks_line = "key" if self._closers[-1] == "}" else "item", True
        return len(self._closers) <= MAX_DEPTH

    def _add_closer(self, mark: str) -> bool:
        if self._closers[-1] != mark:
            return False
        self._closers.pop()
        is_empty = self._line[-1].text in _CLOSERS
        self._breaks_line = not is_empty
        self._begin_item()
        self._line.append(Span(mark))
        self._state = "value"
        self._end_item()
        return True

    def _begin_item(self) -> None:
        if self._breaks_line:
            self._end_line()
            self._line.append(Span(INDENT * min(len(self._closers), MAX_INDENTS)))
        self._breaks_line = False

    def _end_item(self) -> None:
        if self._state == "key":
            self._state = "colon"
        else:
            self._state, self.is_over = "end", not self._closers

    def _end_line(self) -> None:
        if self._line:
            self.finished.append(join_spans(self._line))
            self._line = []


def is_json_start(text: str, *, is_expected: bool, is_last: bool) -> bool | None:
    """True if a text starts as JSON, None if that depends on what follows; `[1]` may also be a note in Markdown.

    `is_expected`: JSON was requested.
    """
    bare = text.lstrip()[:MAX_START_LENGTH]
    if not bare and not is_last:
        return None
    if bare[:1] not in ("{", "[", '"') or (bare[0] == '"' and not is_expected):
        return False
    section = JsonSection()
    section.feed(bare, 0)
    if is_expected or section.has_key:
        return True
    if section.has_failed:
        return False
    if section.is_over:
        following = section.take_rest().lstrip(" \t")[:1]
        return following == "\n" if following else (True if is_last else None)
    return "," in bare if is_last or len(bare) == MAX_START_LENGTH else None
