"""Play money: the balance, and what was spent, as the vendor's `usage-detail-v2.json` shapes it (2026-08)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiml_cli.demo.faults import Refused

Json = Any

BALANCE = {"current_balance": 12.5, "currency": "USD"}
MOST_DAYS = 92
_SPENT = (("demo/markdown", 0.75, 30), ("demo/echo", 0.5, 12))


def spent(query: Mapping[str, list[str]], *, detail: bool) -> Json:
    """Report what a key spent in the window that a query names; raise Refused for one that is none."""
    end = datetime.now(UTC)
    window = {"start": _moment(end - _window(query.get("period", [""])[0])), "end": _moment(end)}
    models = [{"model": model, "spend": usd, "requests": count} for model, usd, count in _SPENT]
    total = {"spend": sum(usd for _, usd, _ in _SPENT), "currency": "USD", "requests": sum(n for _, _, n in _SPENT)}
    return {"api_key_prefix": None, **window, **total, **({"models": models} if detail else {})}


def _window(period: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hd])", period)
    length = timedelta(**{"days" if found[2] == "d" else "hours": int(found[1])}) if found else timedelta()
    if not timedelta() < length <= timedelta(days=MOST_DAYS):
        raise Refused(400, f"period must be a positive integer followed by h or d, and at most {MOST_DAYS} days")
    return length


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
