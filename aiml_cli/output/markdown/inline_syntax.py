"""Parse the inline syntax of Markdown: links, their definitions, and the delimiters of emphasis."""

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from string import punctuation
from typing import NamedTuple

MAX_LABEL_LENGTH = 999
MAX_ADDRESS_LENGTH = 2000  # only data: addresses may be longer; they have no parentheses
MAX_TITLE_LENGTH = 1000
MAX_PARENTHESES = 8  # nested in an address
SHOWN_DATA_LENGTH = 30
_SURROGATES = range(0xD800, 0xE000)
ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_ESCAPE = re.compile(rf"\\([!-/:-@\[-`{{-~])|({ENTITY})")
_LABEL = re.compile(rf"\[((?:[^\[\]\\]|\\.){{1,{MAX_LABEL_LENGTH}}}+)\]", re.DOTALL)
_SPACE = re.compile(r"[ \t]*+(?:\n[ \t]*+)?")
_DATA = re.compile(r"(?i:data):[^\s()<>]*+")
_ANGLED = re.compile(rf"<((?:[^<>\n\\]|\\[^\n]){{0,{MAX_ADDRESS_LENGTH}}}+)>")
_BARE_CHAR = r"[^\x00-\x20\x7f()\\]|\\[!-/:-@\[-`{-~]|\\(?![\x00-\x20\x7f])"
_BARE = _BARE_CHAR
for _ in range(MAX_PARENTHESES):
    _BARE = rf"{_BARE_CHAR}|\((?:{_BARE})*+\)"
_BARE_ADDRESS = re.compile(rf"(?:{_BARE})*+")
_TITLE = re.compile(
    rf'"((?:[^"\\]|\\.){{0,{MAX_TITLE_LENGTH}}}+)"|\'((?:[^\'\\]|\\.){{0,{MAX_TITLE_LENGTH}}}+)\''
    rf"|\(((?:[^()\\]|\\.){{0,{MAX_TITLE_LENGTH}}}+)\)",
    re.DOTALL,
)
_LINE_END = re.compile(r"[ \t]*+(?:\n|\Z)")
_HOST = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}+://(?:[^/?#@]{0,200}@)?|mailto:[^@]{0,200}@)([^/?#:]*+)")


class Target(NamedTuple):
    """Where a link leads: its address, its title, and where in the text it ends."""

    address: str
    title: str = ""
    end: int = 0


class LinkDefinition(NamedTuple):
    """A definition: the label in the form in which labels are compared, the target, and the definition's source."""

    label: str
    target: Target
    source: str


def normalize_label(label: str) -> str:
    """Return a label in the form in which labels are compared."""
    return " ".join(label.split()).casefold()


def parse_label(text: str, start: int) -> tuple[str, int] | None:
    """Return the label in brackets at `start` and where it ends, or None."""
    match = _LABEL.match(text, start)
    return (match[1], match.end()) if match and not match[1].isspace() else None


def parse_inline_target(text: str, start: int) -> Target | None:
    """Return the target in parentheses at `start`, `(address "title")`, or None."""
    if text.find(")", start, start + MAX_ADDRESS_LENGTH + MAX_TITLE_LENGTH) < 0 and not _DATA.match(text, start + 1):
        return None
    position = _skip_space(text, start + 1)
    if text.startswith(")", position):
        return Target("", end=position + 1)
    if (found := _parse_address(text, position)) is None:
        return None
    address, position = found
    after_space = _skip_space(text, position)
    title = _parse_title(text, after_space) if after_space > position else None
    end = _skip_space(text, title[1]) if title else after_space
    return Target(address, title[0] if title else "", end + 1) if text.startswith(")", end) else None


def parse_definition(text: str, start: int = 0) -> tuple[LinkDefinition, int] | None:
    """Return the definition at `start` and where the next line begins, or None."""
    label = parse_label(text, start)
    if label is None or label[0].startswith("^") or not text.startswith(":", label[1]):
        return None
    if (found := _parse_address(text, _skip_space(text, label[1] + 1))) is None:
        return None
    address, end = found
    line_end = _LINE_END.match(text, end)
    after_space = _skip_space(text, end)
    title = _parse_title(text, after_space) if after_space > end else None
    title_end = _LINE_END.match(text, title[1]) if title else None
    if title and title_end:
        line_end = title_end
    elif line_end:
        title = None
    if line_end is None:
        return None
    target = Target(address, title[0] if title else "")
    source = text[start : line_end.end()].rstrip("\n")
    return LinkDefinition(normalize_label(label[0]), target, source), line_end.end()


def decode_escapes(text: str) -> str:
    """Return the text without the backslashes of escapes, and with entities as characters."""
    return _ESCAPE.sub(_decode_escape, text) if "\\" in text or "&" in text else text


def decode_entity(entity: str) -> str:
    """Return the characters of an entity such as `&amp;`, or the entity itself if it is unknown."""
    from html.entities import html5  # few texts have entities

    if entity[1] != "#":
        return html5.get(entity[1:], entity)
    code = int(entity[3:-1], 16) if entity[2] in "xX" else int(entity[2:-1])
    is_valid = 0 < code <= sys.maxunicode and code not in _SURROGATES
    return chr(code) if is_valid else "\ufffd"


def format_address(address: str) -> str:
    """Return an address as it is shown: host names in ASCII, and a data URL as its beginning and its size."""
    if address[:5].lower() == "data:" and len(address) > 2 * SHOWN_DATA_LENGTH:
        return f"{address[:SHOWN_DATA_LENGTH]}… ({len(address):,} characters)"
    return address if address.isascii() else _encode_host(address)


def _skip_space(text: str, position: int) -> int:
    """Return where whitespace with at most one line break ends."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _parse_address(text: str, start: int) -> tuple[str, int] | None:
    """Return the address at `start` and where it ends, or None."""
    if text.startswith("<", start):
        match = _ANGLED.match(text, start)
        return (decode_escapes(match[1]), match.end()) if match else None
    if match := _DATA.match(text, start):
        return match[0], match.end()
    match = _BARE_ADDRESS.match(text, start, start + MAX_ADDRESS_LENGTH)
    return (decode_escapes(match[0]), match.end()) if match and match[0] else None


def _parse_title(text: str, start: int) -> tuple[str, int] | None:
    """Return the title at `start` and where it ends; it has no blank line."""
    match = _TITLE.match(text, start)
    if match is None or re.search(r"\n[ \t]*\n", match[0]):
        return None
    return decode_escapes(next(group for group in match.groups() if group is not None)), match.end()


def _decode_escape(match: re.Match[str]) -> str:
    return match[1] or decode_entity(match[2])


def _encode_host(address: str) -> str:
    """Return an address with an ASCII host name, which no look-alike letters can imitate."""
    match = _HOST.match(address)
    if match is None:
        return address
    try:
        host = match[2].encode("idna").decode("ascii")
    except UnicodeError:
        host = match[2].encode("ascii", "backslashreplace").decode("ascii")
    return match[1] + host + address[match.end() :]


BOLD, ITALIC, STRIKE = "1", "3", "9"
MAX_STRIKE_LENGTH = 2


class InlineNode:
    """A text with its own style; the styles that end before it and those that begin after it.

    `is_mark`: it is not text of the answer, but a bracket or an address that is shown with a link or an image.
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
    """Turn matching delimiters into emphasis; the others remain text."""
    openers: list[Delimiter] = []
    searched: dict[tuple[str, bool, int], int] = {}  # how many openers cannot match a closer of this kind
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

    As in CommonMark, except that no space is needed next to a Chinese, Japanese or Korean character.
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
