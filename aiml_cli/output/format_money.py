"""What models cost, as the catalogue says it, and what an answer would cost by that."""


def format_dollars(amount: float) -> str:
    """Write an amount without an exponent and without idle zeros."""
    return f"{amount:.9f}".rstrip("0").rstrip(".")


def round_dollars(amount: float) -> str:
    """Write two digits of an amount that is not known better, without an exponent."""
    return format_dollars(float(f"{amount:.2g}"))
