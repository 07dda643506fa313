"""Format rows as columns that fit a terminal, as a list of details, or as TSV."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size

from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.text_width import count_fitting, text_width

COLUMN_GAP = 2
MIN_VALUE_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. If the table is too wide, the column with the highest `rank` is left out first.

    Its cells may be shortened down to `min_width`; None means never.
    """

    heading: str
    rank: int
    min_width: int | None = None
    right: bool = False


def table_width() -> int:
    """Return the number of columns of the terminal."""
    return get_terminal_size().columns


def format_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> str:
    """Return the rows under their headings; columns that do not fit, or are empty, are left out."""
    lines = [[column.heading for column in columns], *([_flatten(text) for text in row] for row in rows)]
    full_widths = [max(map(text_width, cells)) for cells in zip(*lines, strict=True)]
    used = [index for index in range(len(columns)) if any(line[index] for line in lines[1:])]
    widths = _fit_columns(columns, full_widths, used, width)
    return "".join(_format_line(columns, widths, line) for line in lines)


def format_details(pairs: Iterable[tuple[str, str]], width: int) -> str:
    """Return names and their values; long values are wrapped next to their name."""
    pairs = [(name, _flatten(value)) for name, value in pairs]
    indent = max((text_width(name) for name, _ in pairs), default=0) + COLUMN_GAP
    return "".join(_wrap_value(name, value, indent, width) for name, value in pairs)


def format_tsv(rows: Iterable[Sequence[str]]) -> str:
    """Return the rows as tab-separated lines; tabs and newlines in a cell become spaces."""
    to_space = str.maketrans("\t\n\r", "   ")
    return "".join("\t".join(text.translate(to_space) for text in row) + "\n" for row in rows)


def _flatten(text: str) -> str:
    return sanitize(" ".join(text.split()))


def _fit_columns(
    columns: Sequence[Column], full_widths: Sequence[int], used: Iterable[int], width: int
) -> dict[int, int]:
    """Return the width of each column that fits: its full width, or its minimum plus the remaining space."""
    fitting = sorted(used, key=lambda index: columns[index].rank)
    minimum = [min(full, columns[index].min_width or full) for index, full in enumerate(full_widths)]
    while len(fitting) > 1 and sum(minimum[index] + COLUMN_GAP for index in fitting) - COLUMN_GAP > width:
        fitting.pop()
    spare = max(0, width + COLUMN_GAP - sum(minimum[index] + COLUMN_GAP for index in fitting))
    widths: dict[int, int] = {}
    for index in fitting:
        widths[index] = min(full_widths[index], minimum[index] + spare)
        spare -= widths[index] - minimum[index]
    return widths


def _format_line(columns: Sequence[Column], widths: dict[int, int], texts: Sequence[str]) -> str:
    cells = (_format_cell(texts[index], widths[index], right=columns[index].right) for index in sorted(widths))
    return (" " * COLUMN_GAP).join(cells).rstrip() + "\n"


def _format_cell(text: str, width: int, *, right: bool) -> str:
    if text_width(text) > width:
        text = text[: count_fitting(text, width - 1)] + "…"
    padding = " " * (width - text_width(text))
    return padding + text if right else text + padding


def _wrap_value(name: str, value: str, indent: int, width: int) -> str:
    width = max(width - indent, MIN_VALUE_WIDTH)
    lines = textwrap.wrap(value, width, break_long_words=False, break_on_hyphens=False) or [""]
    first = name + " " * (indent - text_width(name)) + lines[0]
    return "".join(f"{line}\n" for line in (first, *(" " * indent + line for line in lines[1:])))
