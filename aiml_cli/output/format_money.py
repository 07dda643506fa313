"""Format amounts of US dollars."""

from collections.abc import Sequence

SMALLEST = 0.0001  # the smallest amount that four decimals show


def format_dollars(amount: float) -> str:
    """Return the amount without an exponent and without trailing zeros."""
    return f"{amount:.9f}".rstrip("0").rstrip(".")


def format_total(costs: Sequence[float | None]) -> str:
    """Return the sum of the known costs with four decimals, or more if it is tiny; say if others are unknown."""
    known = [cost for cost in costs if cost is not None]
    if costs and not known:
        return "cost unknown"
    total = sum(known)
    amount = round_dollars(total) if 0 < total < SMALLEST else f"{total:.4f}"
    return f"${amount}{' + unknown' if len(known) < len(costs) else ''}"


def round_dollars(amount: float) -> str:
    """Return an estimate with two significant digits, without an exponent."""
    return format_dollars(float(f"{amount:.2g}"))
