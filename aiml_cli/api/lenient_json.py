"""Read JSON that nobody checks: what has the wrong type counts as nothing."""

import json
import re
from math import isfinite
from typing import Any, cast

Json = Any
_AMOUNT = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean"}


def as_dict(value: Json) -> dict[str, Json]:
    """Take an object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """Take an array; anything else is an empty one."""
    return value if isinstance(value, list) else []


def as_str(value: Json) -> str:
    """Take a text; anything else is an empty one."""
    return value if isinstance(value, str) else ""


def as_str_tuple(value: Json) -> tuple[str, ...]:
    """Take the texts of an array, each once, without the empty ones."""
    return tuple(dict.fromkeys(text for text in as_list(value) if isinstance(text, str) and text))


def to_word(value: Json) -> str:
    """Write any value as a word."""
    return value if isinstance(value, str) else json.dumps(value)


def as_count(value: Json) -> int | None:
    """Take a whole number above zero."""
    number = as_number(value)
    return int(number) if number and number > 0 else None


def as_number(value: Json) -> float | None:
    """Take a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:  # a whole number beyond the range of floats
        return None


class MalformedError(ValueError):
    """Say that the server sent a value of the wrong type."""


def require_dict(value: Any) -> dict[str, Any]:
    """Take a JSON object; null is an empty one."""
    return value if type(value) is dict else cast("dict[str, Any]", _typed(value, dict, {}))


def require_list(value: Any) -> list[Any]:
    """Take a JSON array; null is an empty one."""
    return value if type(value) is list else cast("list[Any]", _typed(value, list, []))


def require_str(value: Any) -> str:
    """Take a JSON string; null is an empty one."""
    return value if type(value) is str else cast("str", _typed(value, str, ""))


def require_count(value: Any) -> int | None:
    """Take a number of tokens; null stays None."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isfinite(number := _typed(value, float, 0.0)):
        raise MalformedError(f"{number} where a count belongs")
    return int(number)


def require_number(value: Any) -> float | None:
    """Take a number; null and what is none stay None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_amount(value: Any) -> float | None:
    """Take a number, or a text that writes one, which is finite and not negative; anything else is None.

    Headers write small ones as `5e-7`; `float` alone would take `1_0` and `nan`, too.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(_AMOUNT, value.strip(" \t")):
        return None
    try:
        amount = float(value)
    except OverflowError:  # a whole number beyond the range of floats
        return None
    return amount if 0 <= amount < float("inf") else None


def _typed(value: Any, kind: type, empty: Any) -> Any:
    if value is None:
        return empty
    if not isinstance(value, kind):
        found = _NAMES.get(type(value), "number")
        raise MalformedError(f"JSON of type {found} where {_NAMES.get(kind, 'number')} belongs")
    return value
