"""Leave colours, or all styles, out of what is drawn."""

import re
from collections.abc import Callable

_STYLE = re.compile(r"\x1b\[([\d;]*)m")
_COLOURS = range(30, 38)


def without_styles(text: str) -> str:
    """Leave out bold and underlined too."""
    return _STYLE.sub("", text)


def without_colours(text: str) -> str:
    """Leave out colours alone."""
    return _STYLE.sub(_other_than_colour, text)


def as_it_is(text: str) -> str:
    """Leave out nothing."""
    return text


Tone = Callable[[str], str]


def _other_than_colour(found: re.Match[str]) -> str:
    numbers = found[1].split(";")
    kept = [number for number in numbers if not (number.isdigit() and int(number) in _COLOURS)]
    return f"\x1b[{';'.join(kept)}m" if kept else ""
