"""Join the pieces of a text with the whole that servers send after them, or again."""

TEXT_ENCODING = ("utf-8", "surrogatepass")  # two pieces may share a character


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
        return self._data.decode(*TEXT_ENCODING)

    def add(self, piece: str) -> None:
        """Add the next piece."""
        self._data += piece.encode(*TEXT_ENCODING)

    def complete(self, whole: str) -> str:
        """Return what the whole has beyond the text so far; "" if they differ in more than blanks at the start."""
        whole_data, data = _normalize(whole.encode(*TEXT_ENCODING)), _normalize(self._data)
        if not whole_data.startswith(data):
            whole_data, data = whole_data.lstrip(), data.lstrip()
        if not whole_data.startswith(data):
            return ""
        rest = whole_data[len(data) :]
        self._data += rest
        return rest.decode(*TEXT_ENCODING)

    def rest_after(self, whole: str) -> str:
        """Return what the text so far has beyond a whole that is its beginning; else ""."""
        data = whole.encode(*TEXT_ENCODING)
        return self._data[len(data) :].decode(*TEXT_ENCODING) if self._data.startswith(data) else ""

    def fits(self, whole: str) -> bool:
        """True if one of the text so far and the whole is the beginning of the other, blanks around them aside."""
        whole_data, data = _normalize(whole.encode(*TEXT_ENCODING)).strip(), _normalize(self._data).strip()
        return whole_data.startswith(data) or data.startswith(whole_data)


def _normalize(data: bytes | bytearray) -> bytes | bytearray:
    """Join the surrogates of characters that were split over two pieces."""
    if b"\xed" not in data:
        return data
    text = data.decode(*TEXT_ENCODING)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass").encode(*TEXT_ENCODING)
