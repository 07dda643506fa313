"""Read JSON values of unknown types: `as_*` ignores a wrong type, `require_*` raises."""

import json
import re
from math import isfinite
from typing import Any, cast

Json = Any
# Stricter than float(), which accepts 1_0 and nan.
_AMOUNT = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TYPE_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean"}


def as_dict(value: Json) -> dict[str, Json]:
    """Return a JSON object, or an empty one for any other type."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """Return a JSON array, or an empty one for any other type."""
    return value if isinstance(value, list) else []


def as_str(value: Json) -> str:
    """Return a JSON string, or an empty one for any other type."""
    return value if isinstance(value, str) else ""


def as_str_tuple(value: Json) -> tuple[str, ...]:
    """Return the distinct, non-empty strings of an array."""
    return tuple(dict.fromkeys(text for text in as_list(value) if isinstance(text, str) and text))


def to_text(value: Json) -> str:
    """Return a string itself, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def as_count(value: Json) -> int | None:
    """Return a number above zero as an integer, or None."""
    number = as_number(value)
    return int(number) if number and number > 0 else None


def as_number(value: Json) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:  # an integer beyond the range of floats
        return None


class MalformedError(ValueError):
    """A value of the wrong type from the server."""


def require_dict(value: Any) -> dict[str, Any]:
    """Return a JSON object; null is an empty one."""
    return value if type(value) is dict else cast("dict[str, Any]", _require(value, dict, {}))


def require_list(value: Any) -> list[Any]:
    """Return a JSON array; null is an empty one."""
    return value if type(value) is list else cast("list[Any]", _require(value, list, []))


def require_str(value: Any) -> str:
    """Return a JSON string; null is an empty one."""
    return value if type(value) is str else cast("str", _require(value, str, ""))


def require_count(value: Any) -> int | None:
    """Return a number of tokens; null is None."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isfinite(number := _require(value, float, 0.0)):
        raise MalformedError(f"{number} where a count belongs")
    return int(number)


def require_number(value: Any) -> float | None:
    """Return a number, or None for any other type."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_amount(value: Any) -> float | None:
    """Return a finite number that is not negative, also from a string such as `5e-7`; else None."""
    if isinstance(value, str) and re.fullmatch(_AMOUNT, value.strip(" \t")):
        value = float(value)
    amount = as_number(value)
    return amount if amount is not None and amount >= 0 else None


def _require(value: Any, json_type: type, default: Any) -> Any:
    if value is None:
        return default
    if not isinstance(value, json_type):
        actual = _TYPE_NAMES.get(type(value), "number")
        raise MalformedError(f"JSON of type {actual} where {_TYPE_NAMES.get(json_type, 'number')} belongs")
    return value
