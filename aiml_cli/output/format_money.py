"""Format amounts of US dollars."""


def format_dollars(amount: float) -> str:
    """Return the amount without an exponent and without trailing zeros."""
    return f"{amount:.9f}".rstrip("0").rstrip(".")


def round_dollars(amount: float) -> str:
    """Return an estimate with two significant digits, without an exponent."""
    return format_dollars(float(f"{amount:.2g}"))
