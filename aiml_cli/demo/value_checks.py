"""Say what is wrong with one JSON value, in the words of the gateway's validator."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = Any


class _Missing:
    """Stand for a property that is not there; None is a value."""


MISSING: Final = _Missing()
Issues = Iterator[str]


def json_type(value: Json) -> str:
    """Name the JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def check_type(path: str, value: Json, *expected: str) -> Issues:
    """Complain of a value that is missing, or of none of the expected types."""
    if value is MISSING:
        yield f"{path}: Required"
    elif json_type(value) not in expected:
        yield f"{path}: Expected {' | '.join(expected)}, received {json_type(value)}"


def check_range(path: str, value: Json, low: float | None, high: float | None) -> Issues:
    """Complain of a number that is out of range."""
    if low is not None and value < low:
        yield f"{path}: Number must be greater than or equal to {low}"
    if high is not None and value > high:
        yield f"{path}: Number must be less than or equal to {high}"


def check_choice(path: str, value: Json, *words: str) -> Issues:
    """Complain of anything but one of these words."""
    if value is MISSING:
        yield f"{path}: Required"
    elif value not in words:
        expected = " | ".join(f"'{word}'" for word in words)
        shown = f"'{value}'" if isinstance(value, str) else json_type(value)
        yield f"{path}: Invalid enum value. Expected {expected}, received {shown}"


def check_properties(path: str, value: Json, required: Mapping[str, str]) -> Issues:
    """Complain of what is no object, or lacks properties; `required` gives their names and types."""
    wrong = list(check_type(path, value, "object"))
    yield from wrong
    if not wrong:
        for name, kind in required.items():
            yield from check_type(f"{path}.{name}", value.get(name, MISSING), kind)


def check_length(path: str, value: Json, fewest: int, most: int | None = None) -> Issues:
    """Complain of what is no array, or of too few or too many elements."""
    wrong = list(check_type(path, value, "array"))
    yield from wrong
    if not wrong and len(value) < fewest:
        yield f"{path}: Array must contain at least {fewest} element(s)"
    if not wrong and most is not None and len(value) > most:
        yield f"{path}: Array must contain at most {most} element(s)"
