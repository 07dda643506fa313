"""Decode a server's JSON, and read its values: `as_*` returns a default for a wrong type, `require_*` raises."""

import json
import re
from math import isfinite
from typing import Any, cast

Json = Any
# Stricter than float(), which accepts 1_0 and nan.
_AMOUNT = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
MAX_DEPTH, MAX_VALUES = 100, 2_000_000
MAX_INT = 2**63 - 1
MAX_INT_DIGITS = 19
# A string, even without its closing quote, so that no match begins inside one.
_STRING = r'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_STRING_OR_BRACKET = r'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]'
_PAIRS = r"\{\}|\[\]"
_NO_BRACKETS = r"[^\[\]{}]+"
_TYPE_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean"}


class MalformedError(ValueError):
    """The server sent a value of the wrong type, or too many values."""


def decode_json(text: str) -> Json:
    """Decode untrusted JSON; raise ValueError if it is not JSON.

    Numbers that fit neither 64 bits nor a float become null, and so do values that are nested more than 100 deep.
    Raises MalformedError for more than 2 million values.
    """
    if len(text) > 2 * MAX_DEPTH and (text.count("{") + text.count("[") > MAX_DEPTH or text.count(",") > MAX_VALUES):
        text = _limit_structure(text)
    try:
        value, end = _scan(text, 0)  # the fast path, for JSON without whitespace around it
        return value if end == len(text) else _decode(text)
    except StopIteration:
        return _decode(text)
    except RecursionError:  # invalid JSON with many brackets
        raise ValueError("nested too deeply") from None


def _parse_int(digits: str) -> int | float | None:
    if len(digits) < MAX_INT_DIGITS:
        return int(digits)
    number = int(digits) if len(digits) <= MAX_INT_DIGITS + 1 else MAX_INT + 1
    return number if abs(number) <= MAX_INT else _parse_float(digits)


def _parse_float(digits: str) -> float | None:
    return number if isfinite(number := float(digits)) else None


_decoder: Any = json.JSONDecoder(
    parse_int=cast("Any", _parse_int),
    parse_float=cast("Any", _parse_float),
    parse_constant=lambda _: None,
    strict=False,  # allows tabs and newlines in strings
)
_decode, _scan = _decoder.decode, _decoder.scan_once


def _limit_structure(text: str) -> str:
    """Return the JSON with null for values that are nested too deeply; raise MalformedError for too many values."""
    structure = re.sub(_STRING, "", text)
    if structure.count(",") + structure.count("[") + structure.count("{") > MAX_VALUES:
        raise MalformedError(f"more than {MAX_VALUES // 1_000_000} million JSON values in one event or body")
    brackets = re.sub(_NO_BRACKETS, "", structure)
    for _ in range(MAX_DEPTH):
        size = len(brackets)
        brackets = re.sub(_PAIRS, "", brackets)  # removes the innermost level
        if not brackets or len(brackets) == size:  # if none is removed, the brackets do not match
            return text
    return _cut_depth(text)


def _cut_depth(text: str) -> str:
    pieces: list[str] = []
    depth = start = 0
    for token in re.finditer(_STRING_OR_BRACKET, text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                pieces += [text[start : token.start()], "null"]
        elif token[0] in "]}":
            depth -= 1
            if depth == MAX_DEPTH:
                start = token.end()
    return "".join([*pieces, text[start:]])


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


def as_int(value: Json) -> int | None:
    """Return a number from 0 to 2^63-1, or a string of digits as such a number, without its fraction; else None."""
    if isinstance(value, str) and (digits := value.strip()).isdecimal() and len(digits) <= MAX_INT_DIGITS:
        value = int(digits)
    number = as_number(value)
    return int(number) if number is not None and 0 <= number <= MAX_INT else None


def as_number(value: Json) -> float | None:
    """Return the value if it is a finite number that fits 64 bits or a float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if isfinite(value) else None
    except OverflowError:  # an integer beyond the range of floats
        return None


def as_amount(value: Any) -> float | None:
    """Return a finite number that is not negative, given as a number or as a string such as `5e-7`; else None."""
    if isinstance(value, str) and re.fullmatch(_AMOUNT, value.strip(" \t")):
        value = float(value)
    amount = as_number(value)
    return amount if amount is not None and amount >= 0 else None


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


def _require(value: Any, json_type: type, default: Any) -> Any:
    if value is None:
        return default
    if not isinstance(value, json_type):
        actual = _TYPE_NAMES.get(type(value), "number")
        raise MalformedError(f"JSON of type {actual} instead of {_TYPE_NAMES.get(json_type, 'number')}")
    return value
