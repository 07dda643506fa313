"""Write each element of a JSON array in the answer as a JSON line, as soon as it is complete."""

import re
from collections.abc import Callable, Iterator, Sequence

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.output.plain_text import join_text
from aiml_cli.system.sanitize import escape_json

# An element may have megabytes, so its bytes are kept only once and are not parsed into Python objects. Repetitions
# are possessive, so that the regular expressions keep no state for backtracking.
_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+"
_SPACE = rb"[ \t\r\n]*+"
_SCALAR = rb"(?:%b|%b|true|false|null|\[%b\]|\{%b\})%b" % (_STRING, _NUMBER, _SPACE, _SPACE, _SPACE)
_KEY = rb"%b%b:%b" % (_STRING, _SPACE, _SPACE)
_VALUE = re.compile(rb"%b(?:%b|([\[{])%b)" % (_SPACE, _SCALAR, _SPACE))
_ELEMENTS = re.compile(rb"(?:%b,%b)*+(?:%b|([\[{])%b)" % (_SCALAR, _SPACE, _SCALAR, _SPACE))
_PROPERTIES = re.compile(rb"(?:%b%b,%b)*+%b(?:%b|([\[{])%b)" % (_KEY, _SCALAR, _SPACE, _KEY, _SCALAR, _SPACE))
_NEXT = re.compile(rb"[,\]}]%b" % _SPACE)
_PATTERNS = {ord(" "): _VALUE, ord("["): _ELEMENTS, ord("{"): _PROPERTIES}
_PAIRS = {ord("]"): ord("["), ord("}"): ord("{")}
_MARK = re.compile(rb'["\[\]{},]')
# Within an element, only brackets matter.
_INSIDE = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRING_OR_SPACE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([ \t\r\n]++)', re.DOTALL)
_BLANKS = b" \t\r\n"
_BEFORE_JSON = _BLANKS + "\ufeff".encode()
_FENCE = b"```"
BLOCK_BYTES = 65536
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
                self._write_lines([choice.text.removesuffix("\n").encode("utf-8", "replace")])

    def _write_lines(self, lines: Sequence[bytes]) -> None:
        """Write many short lines in one call, and a long one in blocks."""
        output = bytearray()
        for line in lines:
            for block in _split_blocks(line):
                output += escape_json(block.decode()).encode()
                if len(output) >= BLOCK_BYTES:
                    self._write(bytes(output))
                    output.clear()
            output += b"\n"
        if output:
            self._write(bytes(output))


def _split_blocks(text: bytes) -> Iterator[bytes]:
    """Yield blocks of UTF-8 that do not end within a character."""
    start = 0
    while start < len(text):
        end = min(start + BLOCK_BYTES, len(text))
        while end < len(text) and text[end] & 0xC0 == 0x80:  # noqa: PLR2004 - a UTF-8 continuation byte
            end -= 1
        yield text[start:end]
        start = end


class JsonArraySplitter:
    """Parser that accepts JSON in pieces and returns each element of its array once it is complete.

    The array is the top-level value, or the first array that is a property of the top-level object. A code fence
    around the JSON is skipped. The splitter stops at anything that is not JSON; it does not validate everything.
    """

    def __init__(self) -> None:
        self.is_closed = self.has_items = False
        self._head = b""
        self._has_begun = self._has_fence = self._is_in_fence_line = False
        self._depth = self._array_depth = 0
        self._is_open = self._is_in_string = self._is_escaped = self._is_done = False
        self._item = bytearray()
        self._items: list[bytes] = []

    def feed(self, text: str) -> list[bytes]:
        """Return the elements that this piece completes, as UTF-8 JSON without whitespace between tokens."""
        if self._is_done:
            return []
        data = text.encode("utf-8", "replace")
        self._scan(data if self._has_begun else self._skip_to_json(data))
        items, self._items = self._items, []
        return items

    def _skip_to_json(self, data: bytes) -> bytes:
        """Return the text from its first bracket, or b"" until that arrives; text before it is dropped."""
        if not self._is_in_fence_line:
            data, self._head = (self._head + data).lstrip(_BEFORE_JSON), b""
            if not self._has_fence and data.startswith(_FENCE):
                self._has_fence = self._is_in_fence_line = True
            elif not self._has_fence and _FENCE.startswith(data):
                data, self._head = b"", data
        if self._is_in_fence_line:
            _, newline, data = data.partition(b"\n")
            self._is_in_fence_line = not newline
            data = data.lstrip(_BEFORE_JSON)
        self._has_begun = bool(data)
        self._is_done = bool(data) and data[:1] not in b"[{"
        return data

    def _scan(self, data: bytes) -> None:
        start = position = 0
        while not self._is_done and (mark := self._find_mark(data, position)):
            position = mark.end()
            if self._is_item_border(mark[0]):
                if mark[0] != b"[":
                    self._item += data[start : mark.start()]
                    self._add_item(is_last=mark[0] != b",")
                start = position
        if self._is_open and not self._is_done:
            self._item += data[start:]

    def _find_mark(self, data: bytes, position: int) -> re.Match[bytes] | None:
        """Return the next bracket or comma that is not in a string."""
        while True:
            if self._is_in_string:
                position = self._skip_string(data, position)
            if not self._is_in_string and self._is_open and self._depth > self._array_depth:
                skipped = _INSIDE.match(data, position)
                position = skipped.end() if skipped else position
            mark = None if self._is_in_string else _MARK.search(data, position)
            if mark is None or mark[0] != b'"':
                return mark
            self._is_in_string, position = True, mark.end()

    def _skip_string(self, data: bytes, position: int) -> int:
        """Return the position after the string, or the end of the text; a piece may end after a backslash."""
        position += self._is_escaped and position < len(data)
        self._is_escaped = self._is_escaped and not data
        rest = _REST_OF_STRING.match(data, position)
        end = rest.end() if rest else position
        if data[end : end + 1] == b'"':
            self._is_in_string = False
            return end + 1
        self._is_escaped = self._is_escaped or end < len(data)
        return len(data)

    def _is_item_border(self, mark: bytes) -> bool:
        """Update the depth; return True if an element starts or ends at this mark."""
        if mark == b",":
            return self._is_open and self._depth == self._array_depth
        if mark in b"[{":
            self._depth += 1
            if mark == b"{" or self._is_open or self._depth > MAX_ARRAY_DEPTH:
                return False
            self._is_open, self._array_depth = True, self._depth
            return True
        self._depth -= 1
        self._is_done = self._depth == 0 and not self._is_open
        return self._is_open and self._depth < self._array_depth

    def _add_item(self, *, is_last: bool) -> None:
        item, self._item, self._is_done = self._item, bytearray(), True
        if not _is_json(item):
            self.is_closed = is_last and not item.strip(_BLANKS)
            return
        self._items.append(_remove_spaces(item))
        self.has_items = True
        self._is_done = self.is_closed = is_last


def _is_json(text: bytearray) -> bool:
    """True if a text is one JSON value; unlike json.loads, this builds no objects."""
    opened, position = bytearray(b" "), 0
    while match := _PATTERNS[opened[-1]].match(text, position):
        position = match.end()
        if match[1]:
            opened += match[1]
            continue
        # A value is complete; closing brackets may follow, up to a comma or the end.
        while (after := _NEXT.match(text, position)) and (mark := after[0][0]) != ord(","):
            if opened.pop() != _PAIRS[mark]:
                return False
            position = after.end()
        if after is None or len(opened) == 1:
            return position == len(text) and len(opened) == 1
        position = after.end()
    return False


def _remove_spaces(text: bytearray) -> bytes:
    """Return JSON without whitespace between its tokens."""
    compact, start = bytearray(), 0
    for match in _STRING_OR_SPACE.finditer(text):
        if match[1]:
            compact += memoryview(text)[start : match.start()]
            start = match.end()
    if not start:
        return bytes(text)
    return bytes(compact + memoryview(text)[start:])
