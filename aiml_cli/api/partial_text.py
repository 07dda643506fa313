"""Join the pieces of a text or of tool-call arguments with the whole that servers send after them, or again."""

import json
from typing import NamedTuple

MAX_DOCUMENT_TESTS, MAX_END_BYTES = 8, 64
_BYTES = ("utf-8", "surrogatepass")  # two pieces may share a character


class PartialText:
    """A text so far. What was given out cannot change, so a whole only adds its end."""

    __slots__ = ("_data", "has_logprobs")

    def __init__(self) -> None:
        self._data = bytearray()
        self.has_logprobs = False

    def __bool__(self) -> bool:
        return bool(self._data)

    def read(self) -> str:
        """Return the text."""
        return self._data.decode(*_BYTES)

    def add(self, piece: str) -> None:
        """Add the next piece."""
        self._data += piece.encode(*_BYTES)

    def complete(self, whole: str) -> str:
        """Return what the whole has beyond the text so far; "" if they differ in more than blanks at the start."""
        whole_data, data = _normalize(whole.encode(*_BYTES)), _normalize(self._data)
        if not whole_data.startswith(data):
            whole_data, data = whole_data.lstrip(), data.lstrip()
        if not whole_data.startswith(data):
            return ""
        rest = whole_data[len(data) :]
        self._data += rest
        return rest.decode(*_BYTES)

    def rest_after(self, whole: str) -> str:
        """Return what the text so far has beyond a whole that is its beginning; else ""."""
        data = whole.encode(*_BYTES)
        return self._data[len(data) :].decode(*_BYTES) if self._data.startswith(data) else ""

    def fits(self, whole: str) -> bool:
        """True if one of the text so far and the whole is the beginning of the other, blanks around them aside."""
        whole_data, data = _normalize(whole.encode(*_BYTES)).strip(), _normalize(self._data).strip()
        return whole_data.startswith(data) or data.startswith(whole_data)


def _normalize(data: bytes | bytearray) -> bytes | bytearray:
    """Join the surrogates of characters that were split over two pieces."""
    if b"\xed" not in data:
        return data
    text = data.decode(*_BYTES)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass").encode(*_BYTES)


class Piece(NamedTuple):
    """What to give out: arguments to append or, if `is_whole`, in the place of those so far."""

    arguments: str
    is_whole: bool = False


class PartialArguments:
    """The arguments of a tool call so far: JSON, which may be broken, or the free text of a custom tool."""

    __slots__ = ("_data", "_is_json", "_is_preview", "_tests")

    def __init__(self, *, is_json: bool = True) -> None:
        self._data = bytearray()
        self._is_json, self._is_preview = is_json, False
        self._tests = 0

    def __bool__(self) -> bool:
        return bool(self._data)

    def preview(self, arguments: str) -> Piece | None:
        """Take the arguments that a call starts with; pieces that follow may begin again."""
        piece = self.complete(arguments)
        self._is_preview = piece is not None
        return piece

    def add(self, arguments: str) -> Piece | None:
        """Take the next piece; a document after a complete one repeats it, or replaces a placeholder such as {}."""
        if not arguments:
            return None
        begins_again = self._data and (self._is_repeated_by(arguments) or self.is_followed_by(arguments))
        self._is_preview = False
        if begins_again:
            return None if self.means(arguments) else self._replace(arguments)
        self._data += arguments.encode(*_BYTES)
        return Piece(arguments)

    def complete(self, whole: str) -> Piece | None:
        """Take all arguments at once: their end, or all of them if they differ from those so far."""
        data = whole.encode(*_BYTES)
        if not data.strip() or data == self._data:
            return None
        if data.startswith(self._data):
            rest = data[len(self._data) :]
            self._data += rest
            return Piece(rest.decode(*_BYTES))
        return None if self.means(whole) else self._replace(whole)

    def is_followed_by(self, arguments: str) -> bool:
        """True if the piece cannot continue the arguments: they are complete, and it begins a document."""
        return self._is_json and arguments.lstrip()[:1] in ("{", "[") and self.is_document()

    def is_document(self) -> bool:
        """True if the arguments are complete JSON; tested a few times only, to stay linear."""
        end = self._data[-MAX_END_BYTES:].rstrip()
        if not end.endswith((b"}", b"]", b"null", b'""')) or self._tests == MAX_DOCUMENT_TESTS:
            return False
        self._tests += 1
        return _is_json(self._data)

    def means(self, arguments: str) -> bool:
        """True if the arguments are the same JSON value."""
        try:
            return bool(json.loads(self._data) == json.loads(arguments))
        except (ValueError, RecursionError):
            return False

    def is_placeholder(self) -> bool:
        """True for what stands for arguments that are still to come."""
        return len(self._data) < MAX_END_BYTES and bytes(self._data.strip()) in (b"", b"{}", b"null", b'""')

    def _is_repeated_by(self, arguments: str) -> bool:
        data = arguments.encode(*_BYTES)
        return self._is_preview and (self._data.startswith(data) or data.startswith(self._data))

    def _replace(self, arguments: str) -> Piece:
        self._data, self._tests = bytearray(arguments.encode(*_BYTES)), 0
        return Piece(arguments, is_whole=True)


def _is_json(data: bytearray) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
