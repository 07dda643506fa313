"""Read JSON that nobody checks: what has the wrong type counts as nothing."""

import json
from math import isfinite
from typing import Any

Json = Any


def object_in(value: Json) -> dict[str, Json]:
    """Take an object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def list_in(value: Json) -> list[Json]:
    """Take an array; anything else is an empty one."""
    return value if isinstance(value, list) else []


def text_in(value: Json) -> str:
    """Take a text; anything else is an empty one."""
    return value if isinstance(value, str) else ""


def texts_in(value: Json) -> tuple[str, ...]:
    """Take the texts of an array, each once, without the empty ones."""
    return tuple(dict.fromkeys(text for text in list_in(value) if isinstance(text, str) and text))


def word_of(value: Json) -> str:
    """Write any value as a word."""
    return value if isinstance(value, str) else json.dumps(value)


def count_in(value: Json) -> int | None:
    """Take a whole number above zero."""
    number = number_in(value)
    return int(number) if number and number > 0 else None


def number_in(value: Json) -> float | None:
    """Take a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:  # a whole number beyond the range of floats
        return None
