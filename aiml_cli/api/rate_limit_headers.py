"""Read from the headers of a response how many requests and tokens the server still allows."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from aiml_cli.api.json_values import as_amount

REQUESTS, TOKENS = "requests", "tokens"
_FIELDS = ("limit", "remaining", "reset")
_MAX_VALUE_CHARS, _MAX_ITEMS = 200, 8
_EPOCH_S, _EPOCH_MS = 1e9, 1e11  # a larger number is a time since 1970, not a duration
_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[dhms]) ?){1,5}")
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|[dhms])")


class Allowance(NamedTuple):
    """What a server still allows until a limit is reset.

    `name` distinguishes limits of a server, `unit` is "requests" or "tokens", `limit` is None if it is unknown.
    """

    name: str
    unit: str
    limit: float | None
    remaining: float
    reset_s: float


def parse_allowances(headers: Mapping[str, str], now: datetime) -> list[Allowance]:
    """Return the server's limits; header names are in lower case.

    Supports `x-ratelimit-*` with or without a unit at the end, `anthropic-ratelimit-*` and the forms of the IETF
    drafts. A limit is left out if its remaining number or its reset is missing or invalid.
    """
    names = [name for name in headers if "ratelimit" in name or "rate-limit" in name]
    return [*_parse_separate(headers, names, now), *_parse_structured(headers)] if names else []


def _parse_separate(headers: Mapping[str, str], names: list[str], now: datetime) -> Iterator[Allowance]:
    """Yield the limits with separate headers for the limit, the remaining number and the reset."""
    values: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = name.replace("rate-limit", "ratelimit").split("-")
        if field := next((word for word in words if word in _FIELDS), ""):
            values.setdefault(tuple(word for word in words if word != field), {})[field] = headers[name]
    for scope, fields in values.items():
        remaining, reset_s = _parse_count(fields.get("remaining")), _parse_reset(fields.get("reset", ""), now)
        if remaining is not None and reset_s is not None:
            yield Allowance(
                "-".join(scope), _choose_unit(*scope), _parse_count(fields.get("limit")), remaining, reset_s
            )


def _parse_structured(headers: Mapping[str, str]) -> Iterator[Allowance]:
    """Yield the limits of `RateLimit: "default";r=50;t=30`, or of the older `limit=100, remaining=50, reset=30`."""
    policies = dict(_parse_items(headers.get("ratelimit-policy", "")))
    text = headers.get("ratelimit", "")
    for name, fields in [("", _parse_fields(text.split(",")))] if "remaining=" in text else _parse_items(text):
        policy = policies.get(name, {})
        remaining = _parse_count(fields.get("r", fields.get("remaining")))
        reset_s = _parse_count(fields.get("t", fields.get("reset")))
        limit = _parse_count(fields.get("limit", policy.get("q")))
        if remaining is not None and reset_s is not None:
            yield Allowance(name, _choose_unit(name, policy.get("qu", "")), limit, remaining, reset_s)


def _parse_items(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the items of a structured list, each with its parameters."""
    items = [item.split(";") for item in text[:_MAX_VALUE_CHARS].split(",")[:_MAX_ITEMS]]
    return [(name.strip(' "'), _parse_fields(fields)) for name, *fields in items]


def _parse_fields(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    return {name.strip(): value.strip(' "') for name, _, value in pairs}


def _choose_unit(*words: str) -> str:
    return TOKENS if any("token" in word for word in words) else REQUESTS


def _parse_count(text: str | None) -> float | None:
    """Return a count, such as the first number of `100, 100;w=60`; None if it is absent or invalid."""
    return as_amount(re.split("[,;]", text)[0].strip()) if text and len(text) <= _MAX_VALUE_CHARS else None


def _parse_reset(text: str, now: datetime) -> float | None:
    """Return the seconds until a reset: a duration (`6m0s`, `120ms`, `30`), seconds since 1970, or a date."""
    text = text[: _MAX_VALUE_CHARS + 1].strip()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))
    number = _parse_count(text)
    if number is None:
        return _count_seconds_until(text, now)
    if number < _EPOCH_S:
        return number
    return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now.timestamp())


def _count_seconds_until(text: str, now: datetime) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = parse(text)
            return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp())
        except (ValueError, TypeError, OverflowError):
            continue
    return None
