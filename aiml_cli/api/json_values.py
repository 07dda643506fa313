"""Read JSON values of unknown types: `as_*` returns a default for a wrong type, `require_*` raises MalformedError."""

import json
import re
from math import isfinite
from typing import Any, cast

Json = Any
# Stricter than float(), which accepts 1_0 and nan.
_AMOUNT = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TYPE_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean"}


def as_dict(value: Json) -> dict[str, Json]:
    """Return the value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """Return the value if it is an array, else []."""
    return value if isinstance(value, list) else []


def as_str(value: Json) -> str:
    """Return the value if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_str_tuple(value: Json) -> tuple[str, ...]:
    """Return the distinct, non-empty strings of an array, in order; () for any other type."""
    return tuple(dict.fromkeys(text for text in as_list(value) if isinstance(text, str) and text))


def to_text(value: Json) -> str:
    """Return a string itself, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def as_count(value: Json) -> int | None:
    """Return a positive number without its fraction, else None."""
    number = as_number(value)
    return int(number) if number and number > 0 else None


def as_number(value: Json) -> float | None:
    """Return the value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:  # an integer beyond the range of floats
        return None


def as_plain_number(value: Any) -> float | None:
    """Return the value if it is a number of JSON as Python reads it, also infinity or NaN, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_amount(value: Any) -> float | None:
    """Return a finite number that is not negative, also from a string such as `5e-7`, else None."""
    if isinstance(value, str) and re.fullmatch(_AMOUNT, value.strip(" \t")):
        value = float(value)
    amount = as_number(value)
    return amount if amount is not None and amount >= 0 else None


class MalformedError(ValueError):
    """The server sent a value of the wrong type."""


def require_dict(value: Any) -> dict[str, Any]:
    """Return the object, or {} for null; raise MalformedError for any other type."""
    # The test is the fast path: it runs for each token.
    return value if type(value) is dict else cast("dict[str, Any]", _require(value, dict, {}))


def require_list(value: Any) -> list[Any]:
    """Return the array, or [] for null; raise MalformedError for any other type."""
    return value if type(value) is list else cast("list[Any]", _require(value, list, []))


def require_str(value: Any) -> str:
    """Return the string, or "" for null; raise MalformedError for any other type."""
    return value if type(value) is str else cast("str", _require(value, str, ""))


def require_count(value: Any) -> int | None:
    """Return an integer, or None for null; raise MalformedError for any other type, infinity and NaN."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isfinite(number := _require(value, float, 0.0)):
        raise MalformedError(f"{number} where a count belongs")
    return int(number)


def _require(value: Any, json_type: type, default: Any) -> Any:
    if value is None:
        return default
    if not isinstance(value, json_type):
        actual = _TYPE_NAMES.get(type(value), "number")
        raise MalformedError(f"JSON of type {actual} where {_TYPE_NAMES.get(json_type, 'number')} belongs")
    return value
