"""Write each element of a JSON array in the answer as a JSON line, as soon as it is complete."""

import json
import re
from collections.abc import Callable

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.output.plain_text import join_text
from aiml_cli.system.sanitize import escape_json

_MARK = re.compile(r'["\[\]{},]')
_STRING_MARK = re.compile(r'["\\]')
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')
_WHITESPACE = "\ufeff \t\r\n"
MAX_ARRAY_DEPTH = 2  # brackets: those of an object, and of an array in it


class ItemsRenderer:
    """Renderer that writes the elements of the first choice as they arrive, then those of the other choices.

    An answer without an array is written unchanged: it was paid for, and the exit code reports the failure.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._splitter = JsonArraySplitter()

    def show(self, batch: EventBatch) -> None:
        """Write the elements that this batch completes."""
        self._write_lines(self._splitter.feed(join_text(batch)))

    def close(self, answer: Answer) -> None:
        """Write the elements of the other choices, and the text of each choice without an array."""
        for choice in answer.completion.choices:
            splitter = JsonArraySplitter() if choice.index else self._splitter
            if choice.index:
                self._write_lines(splitter.feed(choice.text))
            if choice.text and not (splitter.is_closed or splitter.has_items):
                self._write_lines([choice.text.removesuffix("\n")])

    def _write_lines(self, texts: list[str]) -> None:
        if texts:
            self._write("".join(f"{escape_json(text)}\n" for text in texts).encode("utf-8", "replace"))


class JsonArraySplitter:
    """Parser that takes JSON text in pieces and returns each element of its array once it is complete.

    The array is the whole text, or the first array that is a property of the top-level object. A code fence around
    the text is skipped. The splitter stops at anything that is not JSON; it does not validate the whole text.
    """

    def __init__(self) -> None:
        self.is_closed = self.has_items = False
        self._head: str | None = ""
        self._depth = self._array_depth = 0
        self._is_open = self._is_in_string = self._is_escaped = self._is_done = False
        self._pieces: list[str] = []
        self._items: list[str] = []

    def feed(self, text: str) -> list[str]:
        """Return the elements that this piece completes, as JSON without whitespace between tokens."""
        if self._head is not None:
            text = self._skip_to_json(self._head + text)
        if not self._is_done:
            self._scan(text)
        items, self._items = self._items, []
        return items

    def _skip_to_json(self, text: str) -> str:
        """Return the text from its first bracket, or "" until that arrives."""
        rest = text.lstrip(_WHITESPACE)
        if rest.startswith("```"):
            rest = rest.partition("\n")[2].lstrip(_WHITESPACE)
        elif "```".startswith(rest):
            rest = ""
        self._head = None if rest else text
        self._is_done = bool(rest) and rest[0] not in "[{"
        return rest

    def _scan(self, text: str) -> None:
        start = position = 0
        while not self._is_done and (mark := self._find_mark(text, position)):
            position = mark.end()
            if self._is_item_border(mark[0]):
                if mark[0] != "[":
                    self._add_item(text[start : mark.start()], is_last=mark[0] != ",")
                start = position
        if self._is_open and not self._is_done:
            self._pieces.append(text[start:])

    def _find_mark(self, text: str, position: int) -> re.Match[str] | None:
        """Return the next bracket or comma that is not in a string."""
        while True:
            if self._is_in_string:
                position = self._skip_string(text, position)
            mark = None if self._is_in_string else _MARK.search(text, position)
            if mark is None or mark[0] != '"':
                return mark
            self._is_in_string, position = True, mark.end()

    def _skip_string(self, text: str, position: int) -> int:
        """Return the position after the string, or the end of the text; a piece may end after a backslash."""
        position += self._is_escaped and position < len(text)
        self._is_escaped = self._is_escaped and not text
        while mark := _STRING_MARK.search(text, position):
            if mark[0] == '"':
                self._is_in_string = False
                return mark.end()
            position = mark.end() + 1
            self._is_escaped = position > len(text)
        return len(text)

    def _is_item_border(self, mark: str) -> bool:
        """Update the depth; return True if an element starts or ends at this mark."""
        if mark == ",":
            return self._is_open and self._depth == self._array_depth
        if mark in "[{":
            self._depth += 1
            if mark == "{" or self._is_open or self._depth > MAX_ARRAY_DEPTH:
                return False
            self._is_open, self._array_depth = True, self._depth
            return True
        self._depth -= 1
        self._is_done = self._depth == 0 and not self._is_open
        return self._is_open and self._depth < self._array_depth

    def _add_item(self, end: str, *, is_last: bool) -> None:
        raw = "".join([*self._pieces, end])
        self._pieces, self._is_done = [], True
        try:
            json.loads(raw, parse_constant=_reject_constant)
        except (ValueError, RecursionError):
            self.is_closed = is_last and not raw.strip(_WHITESPACE)
            return
        self._items.append(_STRING_OR_SPACE.sub(lambda match: match[1] or "", raw))
        self.has_items = True
        self._is_done = self.is_closed = is_last


def _reject_constant(name: str) -> None:
    raise ValueError(name)
