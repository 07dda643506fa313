"""Match the delimiters of emphasis, as the CommonMark specification says."""

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from string import punctuation

BOLD, ITALIC, STRIKE = "1", "3", "9"
MAX_STRIKE_LENGTH = 2


class InlineNode:
    """A text with its own style; the styles that end before it and those that begin after it.

    `is_mark`: it is no text of the answer, but a bracket or an address that is shown with a link or an image.
    """

    __slots__ = ("closes", "is_mark", "opens", "style", "text")

    def __init__(self, text: str, style: str = "", *, is_mark: bool = False) -> None:
        self.text, self.style, self.is_mark = text, style, is_mark
        self.closes: tuple[str, ...] = ()
        self.opens: tuple[str, ...] = ()


class Delimiter:
    """A run of one of the characters `*_~` that may begin or end emphasis."""

    __slots__ = ("can_close", "can_open", "char", "length", "node")

    def __init__(self, node: InlineNode, *, can_open: bool, can_close: bool) -> None:
        self.node, self.char, self.length = node, node.text[0], len(node.text)
        self.can_open, self.can_close = can_open, can_close

    def matches(self, closer: "Delimiter") -> bool:
        """True if emphasis can begin here and end at the closer."""
        if self.char == "~":
            return len(self.node.text) == len(closer.node.text)
        if not (self.can_close or closer.can_open):
            return True
        return bool((self.length + closer.length) % 3) or not (self.length % 3 or closer.length % 3)


def match_delimiters(delimiters: Iterable[Delimiter]) -> None:
    """Turn the delimiters that belong together into emphasis; the others remain text."""
    openers: list[Delimiter] = []
    searched: dict[tuple[str, bool, int], int] = {}  # how many openers certainly match none of this kind
    for closer in delimiters:
        key = closer.char, closer.can_open, closer.length if closer.char == "~" else closer.length % 3
        while closer.can_close and closer.node.text:
            index = _find_opener(openers, closer, searched.get(key, 0))
            if index is None:
                searched[key] = len(openers)
                break
            _emphasize(openers[index], closer)
            del openers[index + bool(openers[index].node.text) :]
            searched = {kind: min(count, len(openers)) for kind, count in searched.items()}
        if closer.can_open and closer.node.text:
            openers.append(closer)


@lru_cache(maxsize=4096)
def can_emphasize(mark: str, before: str, after: str) -> tuple[bool, bool]:
    """Return whether a run of delimiters can begin and whether it can end emphasis.

    As CommonMark says, but next to a Chinese, Japanese or Korean character no space is needed.
    """
    kind_before, kind_after = _classify(before), _classify(after)
    left = kind_after != "space" and (kind_after != "punctuation" or kind_before != "word")
    right = kind_before != "space" and (kind_before != "punctuation" or kind_after != "word")
    if mark[0] == "~" and len(mark) > MAX_STRIKE_LENGTH:
        return False, False
    if mark[0] == "*" or mark == "~~":
        return left, right
    return left and (not right or kind_before != "word"), right and (not left or kind_after != "word")


@cache
def _classify(char: str) -> str:
    """Return whether a character is a space, punctuation, part of a word, or Chinese, Japanese or Korean ("cjk")."""
    if char.isspace():
        return "space"
    if char.isascii():
        return "punctuation" if char in punctuation else "word"
    if unicodedata.east_asian_width(char) in "WFH" and not "\U0001f000" <= char <= "\U0001faff":
        return "cjk"
    return "punctuation" if unicodedata.category(char)[0] in "PS" else "word"


def _find_opener(openers: list[Delimiter], closer: Delimiter, lowest: int) -> int | None:
    """Return the index of the nearest opener that matches."""
    for index in range(len(openers) - 1, lowest - 1, -1):
        if openers[index].char == closer.char and openers[index].matches(closer):
            return index
    return None


def _emphasize(opener: Delimiter, closer: Delimiter) -> None:
    """Turn the inner characters of two delimiters into emphasis."""
    used = min(len(opener.node.text), len(closer.node.text), len("**"))
    style = STRIKE if opener.char == "~" else BOLD if used == len("**") else ITALIC
    opener.node.text, closer.node.text = opener.node.text[used:], closer.node.text[used:]
    opener.node.opens = (style, *opener.node.opens)
    closer.node.closes += (style,)
