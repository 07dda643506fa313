"""Cut a text by tokens: its head, its tail, or pieces that end where a paragraph, line or sentence does."""

from collections.abc import Iterator

from aiml_cli.catalog.pricing import CHARS_PER_TOKEN, estimate_tokens

# Where a text is split, the best first; all are searched for in the last half of a piece.
SPLIT_MARKS = ("\n\n", "\n", ". ", " ")


def take_head(text: str, tokens: int) -> str:
    """Return the longest head of at most `tokens` tokens, without a cut line if its second half has a newline."""
    limit = _find_limit(text, 0, tokens)
    return text if limit == len(text) else text[: _find_split(text, 0, limit, ("\n",))]


def take_tail(text: str, tokens: int) -> str:
    """Return the longest tail of at most `tokens` tokens, without a cut line if its first half has a newline."""
    window = text[max(0, len(text) - max(0, tokens) * CHARS_PER_TOKEN) :]
    low, high = 0, len(window)
    while low < high:  # the smallest start from which the rest fits
        middle = (low + high) // 2
        low, high = (low, middle) if estimate_tokens(window[middle:]) <= tokens else (middle + 1, high)
    tail = window[low:]
    if len(tail) == len(text) or text[len(text) - len(tail) - 1] == "\n":
        return tail
    return tail[tail.find("\n", 0, len(tail) // 2 + 1) + 1 :]


def split_text(text: str, tokens: int) -> Iterator[str]:
    """Yield the text in pieces of at most `tokens` tokens, but at least one character each."""
    start = 0
    while start < len(text):
        limit = max(_find_limit(text, start, tokens), start + 1)
        end = limit if limit == len(text) else _find_split(text, start, limit, SPLIT_MARKS)
        yield text[start:end]
        start = end


def _find_limit(text: str, start: int, tokens: int) -> int:
    """Return the last position up to which the text has at most `tokens` tokens."""
    low, high = start, min(len(text), start + max(0, tokens) * CHARS_PER_TOKEN)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if estimate_tokens(text[start:middle]) <= tokens else (low, middle - 1)
    return low


def _find_split(text: str, start: int, limit: int, marks: tuple[str, ...]) -> int:
    """Return the best position to split at in the second half of a piece, or its end."""
    half = start + (limit - start) // 2
    for mark in marks:
        if (position := text.rfind(mark, half, limit)) >= 0:
            return position + len(mark)
    return limit
