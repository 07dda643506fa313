"""Draw a table that fits, or tell its rows one below the other where it cannot."""

from collections.abc import Sequence

from aiml_cli.screen.markdown.block import cells
from aiml_cli.screen.markdown.inline import BOLD, DIM, Span, spans
from aiml_cli.screen.markdown.lines import lines, shown_width, styled, width_of

NARROWEST = 6
Cell = list[Span]


def table(text: str, width: int) -> list[str]:
    """Draw the rows of a table in so many columns."""
    header, delimiters, *rows = [cells(row) for row in text.split("\n")]
    count = len(header)
    read = [[spans(cell) for cell in [*row[:count], *[""] * (count - len(row))]] for row in rows]
    heads = [
        [span._replace(style=";".join(filter(None, (BOLD, span.style)))) for span in spans(cell)] for cell in header
    ]
    widths = _widths([heads, *read], width - 3 * (count - 1))
    if widths is None:
        return _records(heads, read, width)
    rule = styled("─┼─".join("─" * each for each in widths), DIM)
    drawn = [line for row in read for line in _row(row, widths, delimiters)]
    return [*_row(heads, widths, delimiters), rule, *drawn]


def _widths(rows: Sequence[Sequence[Cell]], room: int) -> list[int] | None:
    """Share the room out; None where there is too little. Narrow columns keep what they need."""
    wanted = [max(1, *(_natural(row[index]) for row in rows)) for index in range(len(rows[0]))]
    if sum(wanted) <= room:
        return wanted
    least = sum(min(each, NARROWEST) for each in wanted)
    if least > room:
        return None
    widths, left, columns = [0] * len(wanted), room, sorted(range(len(wanted)), key=wanted.__getitem__)
    for place, column in enumerate(columns):
        widths[column] = min(wanted[column], max(NARROWEST, left // (len(columns) - place)))
        left -= widths[column]
    return widths if sum(widths) <= room else None


def _natural(cell: Cell) -> int:
    return sum(width_of(span.text) for span in cell)


def _row(row: Sequence[Cell], widths: Sequence[int], delimiters: Sequence[str]) -> list[str]:
    columns = [lines(cell, width) for cell, width in zip(row, widths, strict=True)]
    height = max(map(len, columns))
    filled = [
        [_placed(line, width, delimiter) for line in [*column, *[""] * (height - len(column))]]
        for column, width, delimiter in zip(columns, widths, delimiters, strict=False)
    ]
    bar = styled(" │ ", DIM)
    return [bar.join(line).rstrip() for line in zip(*filled, strict=True)]


def _placed(line: str, width: int, delimiter: str) -> str:
    """Put a text where its column wants it."""
    free = width - shown_width(line)
    right = free if delimiter.endswith(":") and not delimiter.startswith(":") else 0
    left = free // 2 if delimiter.startswith(":") and delimiter.endswith(":") else right
    return " " * left + line + " " * (free - left)


def _records(heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], width: int) -> list[str]:
    """Tell each row as a list of names and values."""
    told: list[str] = []
    for row in rows:
        for head, cell in zip(heads, row, strict=True):
            told += lines([*head, Span(": "), *cell], width)
        told.append("")
    return told[:-1]
