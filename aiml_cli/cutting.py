"""Cut a text to so many tokens, or into pieces of so many: between paragraphs or lines where that is possible; pure."""

from collections.abc import Iterator

from aiml_cli.api.tokens import CHARACTERS, about

# The ends that are looked for, the best first; each is looked for in the last half of a piece.
ENDS = ("\n\n", "\n", ". ", " ")
LINES = ("\n",)


def head(text: str, tokens: int) -> str:
    """Give the beginning that takes no more tokens, up to the end of a line where its second half has one."""
    most = _most(text, 0, tokens)
    return text if most == len(text) else text[: _end(text, 0, most, LINES)]


def tail(text: str, tokens: int) -> str:
    """Give the end that takes no more tokens, from the beginning of a line where its first half has one."""
    window = text[max(0, len(text) - max(0, tokens) * CHARACTERS) :]
    low, high = 0, len(window)
    while low < high:  # the smallest beginning from which the rest fits
        middle = (low + high) // 2
        low, high = (low, middle) if about(window[middle:]) <= tokens else (middle + 1, high)
    kept = window[low:]
    if len(kept) == len(text):
        return text
    line = kept.find("\n", 0, len(kept) // 2 + 1) + 1
    starts_a_line = text[len(text) - len(kept) - 1] == "\n"
    return kept if starts_a_line else kept[line:]


def pieces(text: str, tokens: int) -> Iterator[str]:
    """Give the text in pieces of at most so many tokens each, but of one character at least; joined they are it."""
    place = 0
    while place < len(text):
        most = max(_most(text, place, tokens), place + 1)
        end = most if most == len(text) else _end(text, place, most, ENDS)
        yield text[place:end]
        place = end


def _most(text: str, start: int, tokens: int) -> int:
    """Find the last place up to which the text takes no more tokens."""
    low, high = start, min(len(text), start + max(0, tokens) * CHARACTERS)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if about(text[start:middle]) <= tokens else (low, middle - 1)
    return low


def _end(text: str, start: int, most: int, ends: tuple[str, ...]) -> int:
    """Find the best place to cut at in the second half of a piece."""
    half = start + (most - start) // 2
    for end in ends:
        if (found := text.rfind(end, half, most)) >= 0:
            return found + len(end)
    return most
