"""Lay measures out as a Markdown table, each against its aim."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

TIMES = "×"  # noqa: RUF001  # the sign, not the letter
HEAD = "| measure | aim | aiml | raw-socket | minimal httpx |\n|---|---|---|---|---|"
Show = Callable[[float], str]


@dataclass(frozen=True)
class Row:
    """Hold one measure of the three programs; None where a program has none.

    With a `base` the figures, and the aim, are ratios to it.
    """

    measure: str
    show: Show
    aiml: float
    raw: float | None = None
    httpx: float | None = None
    base: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        """Write the row; one that misses its aim has a cross."""
        cells = [self.measure, self.aim(), self.cell(self.aiml) + " ✗" * self.missed(), self.cell(self.raw)]
        return f"| {' | '.join([*cells, self.cell(self.httpx)])} |"

    def missed(self) -> bool:
        """Say whether aiml misses the aim."""
        return self.most is not None and self.aiml / (self.base or 1) > self.most

    def aim(self) -> str:
        """Write the aim."""
        if self.most is None:
            return ""
        return f"≤ {self.most:g} {TIMES}" if self.base else f"≤ {self.show(self.most)}"

    def cell(self, value: float | None) -> str:
        """Write a figure, its ratio first."""
        if value is None:
            return ""
        return f"{value / self.base:.2f} {TIMES} ({self.show(value)})" if self.base else self.show(value)


def ms(seconds: float) -> str:
    """Write a time."""
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def us(seconds: float) -> str:
    """Write a short time."""
    return f"{seconds * 1e6:.1f} µs"


def mb(size: float) -> str:
    """Write a size."""
    return f"{size / 1e6:.1f} MB"


def thousands(count: float) -> str:
    """Write a large number."""
    return f"{count / 1e3:,.0f}k"


def plain(number: float) -> str:
    """Write a number without a unit."""
    return f"{number:.2f}"


def table(rows: Iterable[Row]) -> str:
    """Write the table, and how many aims were missed."""
    rows = list(rows)
    missed = sum(row.missed() for row in rows)
    verdict = f"{missed} over the aim (✗)." if missed else "All within their aims."
    return "\n".join([HEAD, *map(str, rows), "", verdict])
