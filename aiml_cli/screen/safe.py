"""Make text that did not come from us harmless to a terminal."""

import re

# C0 but newline and tab, DEL and C1; bidi marks, overrides and isolates; line and paragraph separators;
# zero-width space, word joiner and byte order mark; interlinear marks; Unicode tags. Joiners (U+200C, U+200D)
# stay: emoji and several scripts need them.
DRIVING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Show what could drive a terminal as an escape: ESC as `\x1b`.

    Each character is judged alone, so that a sequence split over two texts is no less harmless.
    """
    return DRIVING.sub(_escaped, text) if DRIVING.search(text) else text


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits are enough
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004
