"""Measure how many columns a text takes on a terminal, and split it between visible characters."""

import re
from collections.abc import Iterator

_ZERO_WIDTH_JOINER = "\u200d"
# Terminals join these with the character before, or show each alone, two columns wide: flag letters, skin tones.
_FLAG_LETTERS = "[\U0001f1e6-\U0001f1ff]"
_SKIN_TONES = "[\U0001f3fb-\U0001f3ff]"
_FLAGS = re.compile(f"{_FLAG_LETTERS}++")
_JOINED = re.compile(f"{_FLAG_LETTERS}|({_SKIN_TONES})")
# A joiner between letters, as in Sinhala, does not join emoji.
_LETTER_JOINER = re.compile("\u200d(?![\u2190-\u2bff\U0001f000-\U0001faff])")
# Characters that never combine with the one before: ASCII, Latin, Greek, Cyrillic, punctuation, symbols, Chinese,
# Japanese, Korean syllables, and emoji other than flags and skin tones.
_SIMPLE = re.compile(
    "[ -~\xa0-\xac\xae-\u02ff\u0370-\u0482\u048a-\u0590\u2010-\u2027\u2030-\u205f\u2070-\u20cf\u2100-\u2cee"
    "\u2e00-\u3029\u3030-\u3098\u309b-\ua66e\uac00-\ud7a3\uf900-\ufaff\uff01-\uff9d"
    "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff\U00020000-\U0003fffd]*+"
)


def text_width(text: str) -> int:
    """Return how many columns a text takes on a terminal that joins emoji and flags."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # most text is ASCII

    if _ZERO_WIDTH_JOINER in text:
        text = _LETTER_JOINER.sub("", text)
    alone = sum(len(letters) % 2 for letters in _FLAGS.findall(text))
    return cell_len(text) + alone


def max_text_width(text: str) -> int:
    """Return the largest number of columns that a text can take: on a terminal that joins no characters."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    # rich counts one column for the letter of a flag, and none for a skin tone.
    apart = sum(2 if tone else 1 for tone in _JOINED.findall(text))
    return cell_len(text.replace(_ZERO_WIDTH_JOINER, "")) + apart


def count_fitting(text: str, width: int, *, minimum: int = 0) -> int:
    """Return how many characters fit into this many columns, at least `minimum`, without splitting flags or accents."""
    if text.isascii():
        return max(min(width, len(text)), min(minimum, len(text)))
    count = 0
    for cluster in split_clusters(text):
        width -= max_text_width(cluster)
        if width < 0 and count >= minimum:
            break
        count += len(cluster)
    return count


def split_clusters(text: str) -> Iterator[str]:
    """Yield each visible character, which may be several code points: flags, accents, family emoji."""
    match = _SIMPLE.match(text)
    if match and match.end() == len(text):
        return iter(text)
    from wcwidth import iter_graphemes  # takes 25 ms, and few words need it

    return iter(iter_graphemes(text))
