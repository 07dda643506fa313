"""Lay texts out in columns that fit a terminal."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size

from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.terminal import count_fitting, text_width

GAP = 2
NARROWEST_PROSE = 24


@dataclass(frozen=True, slots=True)
class Column:
    """Describe a column. The highest `rank` goes first when there is no room; `least` is how far it may be cut.

    `least` None: never cut.
    """

    heading: str
    rank: int
    least: int | None = None
    right: bool = False


def table_width() -> int:
    """Say how many cells a line of the terminal has."""
    return get_terminal_size().columns


def format_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], room: int) -> str:
    """Lay out rows under their headings; columns that do not fit, or hold nothing, are left out."""
    lines = [[column.heading for column in columns], *([_flat(text) for text in row] for row in rows)]
    natural = [max(map(text_width, column)) for column in zip(*lines, strict=True)]
    filled = [index for index in range(len(columns)) if any(line[index] for line in lines[1:])]
    widths = _fitted(columns, natural, filled, room)
    return "".join(_line(columns, widths, line) for line in lines)


def format_details(pairs: Iterable[tuple[str, str]], room: int) -> str:
    """Lay out names and their values; long values are wrapped beside their name."""
    pairs = [(name, _flat(value)) for name, value in pairs]
    indent = max((text_width(name) for name, _ in pairs), default=0) + GAP
    return "".join(_paragraph(name, value, indent, room) for name, value in pairs)


def format_tsv(rows: Iterable[Sequence[str]]) -> str:
    """Separate by tabs, one row a line; what would break a line or a cell becomes a space."""
    broken = str.maketrans("\t\n\r", "   ")
    return "".join("\t".join(text.translate(broken) for text in row) + "\n" for row in rows)


def _flat(text: str) -> str:
    """Make one harmless line of a text."""
    return sanitize(" ".join(text.split()))


def _fitted(columns: Sequence[Column], natural: Sequence[int], filled: Iterable[int], room: int) -> dict[int, int]:
    """Choose the columns and give each its width: all of what it needs, or what is left."""
    kept = sorted(filled, key=lambda index: columns[index].rank)
    least = [min(need, columns[index].least or need) for index, need in enumerate(natural)]
    while len(kept) > 1 and sum(least[index] + GAP for index in kept) - GAP > room:
        kept.pop()
    spare = max(0, room + GAP - sum(least[index] + GAP for index in kept))
    widths: dict[int, int] = {}
    for index in kept:
        widths[index] = min(natural[index], least[index] + spare)
        spare -= widths[index] - least[index]
    return widths


def _line(columns: Sequence[Column], widths: dict[int, int], texts: Sequence[str]) -> str:
    padded = (_padded(texts[index], widths[index], right=columns[index].right) for index in sorted(widths))
    return (" " * GAP).join(padded).rstrip() + "\n"


def _padded(text: str, wide: int, *, right: bool) -> str:
    shown = _cut(text, wide)
    padding = " " * (wide - text_width(shown))
    return padding + shown if right else shown + padding


def _cut(text: str, wide: int) -> str:
    """Shorten a text to some cells, with a sign that it was longer."""
    if text_width(text) <= wide:
        return text
    return text[: count_fitting(text, wide - 1)] + "…"


def _paragraph(name: str, value: str, indent: int, room: int) -> str:
    lines = textwrap.wrap(
        value, max(room - indent, NARROWEST_PROSE), break_long_words=False, break_on_hyphens=False
    ) or [""]
    first = name + " " * (indent - text_width(name)) + lines[0]
    return "".join(f"{line}\n" for line in (first, *(" " * indent + line for line in lines[1:])))
