"""Write the elements of the answer's array as JSON lines, as they come."""

import json
import re
from collections.abc import Callable

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch, TextDelta
from aiml_cli.system.sanitize import escape_json

_MARK = re.compile(r'["\[\]{},]')
_IN_STRING = re.compile(r'["\\]')
_BLANK = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')
_SPACE = "\ufeff \t\r\n"
DEEPEST = 2  # brackets: those of an object, and of an array in it


class ItemsRenderer:
    """Write the elements of the first choice as they come, those of the others after them.

    An answer without an array is written as it is: it was paid for, and the exit code tells.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._cutter = JsonArraySplitter()

    def show(self, batch: EventBatch) -> None:
        """Write the elements that a network read made whole."""
        text = "".join([event.text for event in batch if type(event) is TextDelta and not event.choice])
        self._lines(self._cutter.feed(text))

    def close(self, answer: Answer) -> None:
        """Write the other choices, and what holds no array."""
        for choice in answer.completion.choices:
            cutter = JsonArraySplitter() if choice.index else self._cutter
            if choice.index:
                self._lines(cutter.feed(choice.text))
            if choice.text and not (cutter.closed or cutter.cut_some):
                self._lines([choice.text.removesuffix("\n")])

    def _lines(self, texts: list[str]) -> None:
        """Write a line each; what could drive a terminal is escaped, as JSON can."""
        if texts:
            lines = "".join(f"{_harmless(text)}\n" for text in texts)
            self._write(lines.encode("utf-8", "replace"))


def _harmless(text: str) -> str:
    return escape_json(text)


class JsonArraySplitter:
    """Take pieces of a JSON text; give each element as soon as it is whole.

    The array is the top itself, or the first one that is a property of an object at the top. A code fence around
    the text is passed over. What is no JSON ends the cutting: judging the whole is somebody else's work.
    """

    def __init__(self) -> None:
        self.opened = self.closed = self.cut_some = False
        self._head: str | None = ""
        self._depth = 0
        self._level = 0
        self._quoted = self._escaped = self._over = False
        self._pieces: list[str] = []
        self._found: list[str] = []

    def feed(self, text: str) -> list[str]:
        """Give the elements that a piece made whole, as JSON without idle space."""
        if self._head is not None:
            text = self._begun(self._head + text)
        if not self._over:
            self._scan(text)
        found, self._found = self._found, []
        return found

    def _begun(self, text: str) -> str:
        """Wait for the bracket that begins the JSON; give the text from there on."""
        rest = text.lstrip(_SPACE)
        if rest.startswith("```"):
            rest = rest.partition("\n")[2].lstrip(_SPACE)
        elif "```".startswith(rest):
            rest = ""
        self._head = None if rest else text
        self._over = bool(rest) and rest[0] not in "[{"
        return rest

    def _scan(self, text: str) -> None:
        start = at = 0
        while not self._over and (mark := self._next(text, at)):
            at = mark.end()
            if self._is_border(mark[0]):
                if mark[0] != "[":
                    self._element(text[start : mark.start()], last=mark[0] != ",")
                start = at
        if self.opened and not self._over:
            self._pieces.append(text[start:])

    def _next(self, text: str, at: int) -> re.Match[str] | None:
        """Find the next bracket or comma that is not in a string."""
        while True:
            if self._quoted:
                at = self._behind_string(text, at)
            mark = None if self._quoted else _MARK.search(text, at)
            if mark is None or mark[0] != '"':
                return mark
            self._quoted, at = True, mark.end()

    def _behind_string(self, text: str, at: int) -> int:
        """Find the end of a string, or of the text; a piece may end behind a backslash."""
        at += self._escaped and at < len(text)
        self._escaped = self._escaped and not text
        while mark := _IN_STRING.search(text, at):
            if mark[0] == '"':
                self._quoted = False
                return mark.end()
            at = mark.end() + 1
            self._escaped = at > len(text)
        return len(text)

    def _is_border(self, mark: str) -> bool:
        """Keep count of the brackets; say whether an element begins or ends here."""
        if mark == ",":
            return self.opened and self._depth == self._level
        if mark in "[{":
            self._depth += 1
            if mark == "{" or self.opened or self._depth > DEEPEST:
                return False
            self.opened, self._level = True, self._depth
            return True
        self._depth -= 1
        self._over = self._depth == 0 and not self.opened
        return self.opened and self._depth < self._level

    def _element(self, end: str, *, last: bool) -> None:
        raw = "".join([*self._pieces, end])
        self._pieces, self._over = [], True
        try:
            json.loads(raw, parse_constant=_refuse)
        except (ValueError, RecursionError):
            self.closed = last and not raw.strip(_SPACE)
            return
        self._found.append(_BLANK.sub(lambda found: found[1] or "", raw))
        self.cut_some = True
        self._over = self.closed = last


def _refuse(word: str) -> None:
    raise ValueError(word)
