"""Make untrusted text safe for a terminal: characters that could control it are shown as escape sequences."""

import re
from collections.abc import Iterator
from functools import cache
from json import dumps

# Characters that control a terminal or are invisible: C0 except newline and tab, DEL and C1; soft hyphen and
# fillers; bidi marks, embeddings, overrides and isolates; line and paragraph separators; zero-width space, word
# joiner, byte order mark; interlinear marks; the controls of hieroglyphs, shorthand and music; tags and the
# supplementary variation selectors.
_CONTROLS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U00013430-\U00013455\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Half of a surrogate pair cannot be written to a terminal; in JSON it is data.
_FORBIDDEN = f"[{_CONTROLS}\ud800-\udfff]"
# All characters except the blocks in which every one is harmless: Latin, Greek, Cyrillic, punctuation, symbols,
# Chinese, Japanese, Korean, emoji, and the letters of the scripts of the Near East, India and around. For most texts
# one search is enough.
_SUSPECT = (
    "([^\n\t -~\xa0-\xac\xae-\u02ff\u0370-\u0482\u048a-\u0590\u05d0-\u05ea\u0620-\u064a\u0660-\u066f\u0671-\u06d5"
    "\u0904-\u0939\u0985-\u09b9\u0a05-\u0a39\u0a85-\u0ab9\u0b85-\u0bb9\u0c05-\u0c39\u0d05-\u0d3a\u0e01-\u0e30"
    "\u0e40-\u0e46\u1000-\u102a\u10a0-\u10ff\u2010-\u2027\u202f-\u205f\u2070-\u20cf\u2100-\u2cee"
    "\u2e00-\u3029\u3030-\u3098\u309b-\u3163\u3165-\ua66e\uac00-\ud7a3\uf900-\ufb1d\uff01-\uff9f\U0001f000-\U0001fbff])"
)
_JOINERS = "\u200c\u200d"
_SELECTORS = "[\u180b-\u180d\u180f\ufe00-\ufe0f]"
_EMOJI = "[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
# The scripts whose letters change their form next to a joiner: Arabic and its relatives, those of India and around.
_JOINING = (
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1700-\u18af\u1900-\u1c4f\ua840-\ua9df\ua9e0-\uaadf\uabc0-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefe\U00010a00-\U00010fff\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
_VIRAMA = 9  # the canonical combining class of the signs that remove a vowel
MAX_MARKS = 30  # on one letter; more of them cover the lines around it


class Sanitizer:
    """A sanitizer for text that arrives in deltas; the result does not depend on where the text is split.

    A joiner is held back until the next character; `finish` returns a joiner that is still held back.
    """

    def __init__(self) -> None:
        self._base = self._last = self._pending_joiner = ""
        self._marks = 0

    def feed(self, delta: str) -> str:
        """Return the text that can be shown after the next delta."""
        if not self._pending_joiner and _is_harmless(delta):
            return self._pass(delta)
        return "".join(self._sanitize_pieces(delta))

    def finish(self) -> str:
        """Return the text that is still held back, and start a new text."""
        rest = self._release_joiner("")
        self._base = self._last = ""
        self._marks = 0
        return rest

    def _sanitize_pieces(self, delta: str) -> Iterator[str]:
        for index, piece in enumerate(_pattern(_SUSPECT).split(delta)):
            if piece:
                yield self._release_joiner(piece[0])
                yield self._check_char(piece) if index % 2 else self._pass(piece)

    def _pass(self, plain: str) -> str:
        """Return a harmless text unchanged, and remember its end."""
        if plain:
            self._base = self._last = plain[-1]
            self._marks = 0
        return plain

    def _check_char(self, char: str) -> str:
        """Return the character, its escape sequence, or "" for a joiner that is held back."""
        if char in _JOINERS:
            return self._hold_joiner(char)
        if _pattern(_FORBIDDEN).match(char) or (_pattern(_SELECTORS).match(char) and not self._can_be_varied()):
            return self._escape_char(char)
        if not _is_combining(char):
            return self._pass(char)
        if self._marks >= MAX_MARKS:
            return self._escape_char(char)
        self._marks += 1
        self._last = char
        return char

    def _can_be_varied(self) -> bool:
        """True if the last character is visible and has no selector yet."""
        return self._last == self._base and bool(self._base.strip())

    def _hold_joiner(self, joiner: str) -> str:
        """Keep a joiner for later if it is valid here: after an emoji or a letter that joins."""
        in_emoji = joiner == "\u200d" and _pattern(_EMOJI).match(self._base)
        if self._last in ("", *_JOINERS) or not (in_emoji or _is_joining(self._last)):
            return self._escape_char(joiner)
        self._pending_joiner = joiner
        return ""

    def _release_joiner(self, following: str) -> str:
        """Return the joiner that is held back: unchanged if the next character joins, else as an escape sequence."""
        joiner, self._pending_joiner = self._pending_joiner, ""
        if not joiner:
            return ""
        other = _EMOJI if _pattern(_EMOJI).match(self._base) else _JOINING
        if _is_virama(self._last) or (
            following and _pattern(other).match(following) and (other is _EMOJI or _is_joining(following))
        ):
            self._last = joiner
            return joiner
        return self._escape_char(joiner)

    def _escape_char(self, char: str) -> str:
        """Return an escape sequence; it does not reset the count of marks."""
        self._base = self._last = ""
        code = ord(char)
        if code <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits are enough
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def sanitize(text: str) -> str:
    """Return a complete text as `Sanitizer` shows it."""
    if _is_harmless(text):
        return text
    sanitizer = Sanitizer()
    return sanitizer.feed(text) + sanitizer.finish()


def escape_json(text: str) -> str:
    """Return JSON in which characters that could control a terminal are written as JSON escapes."""
    return _pattern(f"[{_CONTROLS}]").sub(lambda match: dumps(match[0])[1:-1], text)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern when it is first needed: each takes a millisecond, and most texts are plain."""
    return re.compile(text)


def _is_harmless(text: str) -> bool:
    is_plain = text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()
    return is_plain or not _pattern(_SUSPECT).search(text)


def _is_combining(char: str) -> bool:
    """True if a character is drawn over the one before it."""
    from unicodedata import category  # few texts need the tables

    return category(char) in ("Mn", "Me")


def _is_joining(char: str) -> bool:
    """True if a character is a letter, or a mark on one, of a script that needs joiners."""
    from unicodedata import category

    return bool(_pattern(_JOINING).match(char)) and category(char)[0] in "LM"


def _is_virama(char: str) -> bool:
    """True if a joiner after this character changes the letter before it, whatever follows."""
    from unicodedata import combining

    return combining(char) == _VIRAMA if char else False
