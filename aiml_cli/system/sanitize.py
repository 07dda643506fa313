"""Make text that did not come from us harmless to a terminal: what could drive it is shown as an escape."""

import re
from functools import cache
from json import dumps

# What no text needs and a terminal may obey, or what hides in it: C0 but newline and tab, DEL and C1; soft
# hyphen and fillers; bidi marks, embeddings, overrides and isolates; line and paragraph separators; zero-width
# space, word joiner, byte order mark; interlinear marks; the controls of hieroglyphs, shorthand and music; tags
# and the variation selectors beyond the plain ones.
_ALWAYS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U00013430-\U00013455\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Half a pair can be written to no terminal; in JSON it is data.
_FORBIDDEN = f"[{_ALWAYS}\ud800-\udfff]"
# All but the blocks in which nothing is odd: Latin, Greek, Cyrillic, punctuation, symbols, Chinese, Japanese,
# Korean, emoji. Most texts are told to be harmless by one search.
_ODD = (
    "[^\n\t -~\xa0-\xac\xae-\u02ff\u0370-\u0482\u048a-\u0590\u2010-\u2027\u202f-\u205f\u2070-\u20cf\u2100-\u2cee"
    "\u2e00-\u3029\u3030-\u3098\u309b-\u3163\u3165-\ua66e\uac00-\ud7a3\uf900-\ufb1d\uff01-\uff9f\U0001f000-\U0001fbff]"
)
_JOINERS = "\u200c\u200d"
_SELECTORS = "[\u180b-\u180d\u180f\ufe00-\ufe0f]"
_EMOJI = "[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
# The scripts whose letters change their form beside a joiner: Arabic and its kin, those of India and its neighbours.
_JOINING = (
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1700-\u18af\u1900-\u1c4f\ua840-\ua9df\ua9e0-\uaadf\uabc0-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefe\U00010a00-\U00010fff\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
_VIRAMA = 9  # the canonical combining class of the signs that take a vowel away
MOST_MARKS = 30  # on one letter; more of them grow over the lines around it


class Sanitizer:
    """Let the harmless part of a text through, delta by delta; how it is cut makes no difference.

    A joiner is held back until it is known what follows it: `end` gives it up.
    """

    def __init__(self) -> None:
        self._base = self._last = self._held = ""
        self._marks = 0

    def feed(self, delta: str) -> str:
        """Take the next piece; give what may be shown so far."""
        if not self._held and (_is_plain(delta) or not _pattern(_ODD).search(delta)):
            self._pass(delta)
            return delta
        return "".join(self._pieces(delta))

    def finish(self) -> str:
        """Give what was held back; a text that comes then is a new one."""
        rest = self._released("")
        self._base = self._last = ""
        self._marks = 0
        return rest

    def _pieces(self, delta: str) -> list[str]:
        """Look at each odd character, and pass on what stands between them."""
        pieces, place = [], 0
        for found in _pattern(_ODD).finditer(delta):
            if plain := delta[place : found.start()]:
                pieces += [self._released(plain[0]), plain]
                self._pass(plain)
            pieces += [self._released(found[0]), self._looked_at(found[0])]
            place = found.end()
        if plain := delta[place:]:
            pieces += [self._released(plain[0]), plain]
            self._pass(plain)
        return pieces

    def _pass(self, plain: str) -> None:
        """Remember how a text ends that nothing is odd in."""
        if plain:
            self._base = self._last = plain[-1]
            self._marks = 0

    def _looked_at(self, char: str) -> str:
        """Show a character, its escape, or nothing yet."""
        if char in _JOINERS:
            return self._held_back(char)
        if _pattern(_FORBIDDEN).match(char) or (_pattern(_SELECTORS).match(char) and not self._may_be_varied()):
            return self._escaped(char)
        if not _combines(char):
            self._pass(char)
            return char
        if self._marks >= MOST_MARKS:
            return self._escaped(char)
        self._marks += 1
        self._last = char
        return char

    def _may_be_varied(self) -> bool:
        """Say whether the last character is one that can be seen and has no selector yet."""
        return self._last == self._base and bool(self._base.strip())

    def _held_back(self, joiner: str) -> str:
        """Hold a joiner back where one may stand: behind an emoji or a letter that joins."""
        in_emoji = joiner == "\u200d" and _pattern(_EMOJI).match(self._base)
        if self._last in ("", *_JOINERS) or not (in_emoji or _joins(self._last)):
            return self._escaped(joiner)
        self._held = joiner
        return ""

    def _released(self, following: str) -> str:
        """Give the joiner that was held back, as it is where what follows is its other half."""
        joiner, self._held = self._held, ""
        if not joiner:
            return ""
        other = _EMOJI if _pattern(_EMOJI).match(self._base) else _JOINING
        if _ends_half(self._last) or (
            following and _pattern(other).match(following) and (other is _EMOJI or _joins(following))
        ):
            self._last = joiner
            return joiner
        return self._escaped(joiner)

    def _escaped(self, char: str) -> str:
        """Write a character as an escape; marks behind it do not begin to count anew."""
        self._base = self._last = ""
        return _escape(char)


def sanitize(text: str) -> str:
    """Show a whole text as `Gate` does."""
    if _is_plain(text) or not _pattern(_ODD).search(text):
        return text
    gate = Sanitizer()
    return gate.feed(text) + gate.finish()


def escape_json(text: str) -> str:
    """Write what could drive a terminal in a JSON text as JSON's own escapes."""
    return _pattern(f"[{_ALWAYS}]").sub(lambda odd: dumps(odd[0])[1:-1], text)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Compile a class of characters when it is first needed: each costs a millisecond, and most texts are plain."""
    return re.compile(text)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()


def _combines(char: str) -> bool:
    """Say whether a character is drawn over the one before it."""
    from unicodedata import category  # few texts need the tables

    return category(char) in ("Mn", "Me")


def _joins(char: str) -> bool:
    """Say whether a character is a letter, or a mark on one, of a script that needs joiners."""
    from unicodedata import category

    return bool(_pattern(_JOINING).match(char)) and category(char)[0] in "LM"


def _ends_half(char: str) -> bool:
    """Say whether a character is a virama, behind which a joiner says how the letter looks, whatever follows."""
    from unicodedata import combining

    return combining(char) == _VIRAMA if char else False


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits are enough
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004
