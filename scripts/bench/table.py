"""Format measurements as a Markdown table, each with its target."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

TIMES = "×"  # noqa: RUF001  # the multiplication sign
HEAD = "| measure | aim | aiml | | raw-socket | minimal httpx |\n|---|---|---|---|---|---|"
Format = Callable[[float], str]


@dataclass(frozen=True)
class Row:
    """One measure of the three programs; None if a program has none.

    With a `base`, the figures and the target are ratios to it. `limit` is the largest allowed figure, `least` the
    smallest.
    """

    measure: str
    format: Format
    aiml: float
    raw: float | None = None
    httpx: float | None = None
    base: float | None = None
    limit: float | None = None
    least: float | None = None

    def __str__(self) -> str:
        """Return the row, with a mark that shows whether it meets its target."""
        aim = self.format_aim()
        mark = "" if not aim else "✗" if self.misses_aim() else "✓"
        figures = map(self.format_cell, (self.raw, self.httpx))
        return f"| {' | '.join([self.measure, aim, self.format_cell(self.aiml), mark, *figures])} |"

    def misses_aim(self) -> bool:
        """True if aiml misses the target."""
        ratio = self.aiml / (self.base or 1)
        return (self.limit is not None and ratio > self.limit) or (self.least is not None and ratio < self.least)

    def format_aim(self) -> str:
        """Return the target, or "" if there is none."""
        sign, aim = ("≤", self.limit) if self.least is None else ("≥", self.least)
        if aim is None:
            return ""
        return f"{sign} {aim:g} {TIMES}" if self.base else f"{sign} {self.format(aim)}"

    def format_cell(self, value: float | None) -> str:
        """Return a figure, after its ratio if there is a base."""
        if value is None:
            return ""
        return f"{value / self.base:.2f} {TIMES} ({self.format(value)})" if self.base else self.format(value)


def format_ms(seconds: float) -> str:
    """Format a time in milliseconds or seconds."""
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def format_us(seconds: float) -> str:
    """Format a time in microseconds."""
    return f"{seconds * 1e6:.1f} µs"


def format_mb(size: float) -> str:
    """Format a size in megabytes."""
    return f"{size / 1e6:.1f} MB"


def format_thousands(count: float) -> str:
    """Format a number in thousands."""
    return f"{count / 1e3:,.0f}k"


def format_number(number: float) -> str:
    """Format a number without a unit."""
    return f"{number:.2f}"


def format_table(rows: Iterable[Row]) -> str:
    """Return the table, and the number of missed targets."""
    rows = list(rows)
    missed = sum(row.misses_aim() for row in rows)
    verdict = f"{missed} over the aim (✗)." if missed else "All within their aims."
    return "\n".join([HEAD, *map(str, rows), "", verdict])
