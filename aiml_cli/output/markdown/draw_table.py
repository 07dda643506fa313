"""Draw a table of Markdown as aligned columns, or as a list of records where columns would be unreadable."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiml_cli.output.markdown.ansi import (
    LineUnit,
    apply_style,
    join_spans,
    measure_width,
    split_code,
    split_plain,
    split_units,
    wrap_lines,
)
from aiml_cli.output.markdown.inline import DIM, Span
from aiml_cli.output.markdown.inline_syntax import BOLD
from aiml_cli.system.text_width import max_text_width, text_width

# Words are broken if no column can be wider, but not in columns that are narrower than this.
MIN_BROKEN_WIDTH = 10
MIN_IDEOGRAPHS_WIDTH = 8
WIDE, NARROW = " │ ", "│"
CROSSINGS = {WIDE: "─┼─", NARROW: "┼"}
Cell = Sequence[Span]


class _ColumnWidths(NamedTuple):
    """The minimum widths of a column: in any case, to break no word, to break no code, and to wrap no line."""

    least: int = 1
    word: int = 1
    code: int = 1
    line: int = 1


class _Layout(NamedTuple):
    """The separator between columns, their widths and alignments."""

    separator: str
    widths: Sequence[int]
    alignments: Sequence[str]


def draw_table(
    header: Sequence[Cell], alignments: Sequence[str], rows: Sequence[Sequence[Cell]], width: int
) -> list[str]:
    """Return the lines of a table; the rows have as many cells as the header.

    Alignments are left, center, right or "". No line is wider than `width`, even on a terminal that does not join
    emoji; the only exception is a URL, or code without spaces, in a record.
    """
    heads = [
        [span._replace(style=f"{BOLD};{span.style}" if span.style else BOLD) for span in cell if span.text]
        for cell in header
    ]
    layout = _choose_layout([heads, *rows], alignments, width)
    if layout is None:
        return _draw_records(heads, rows, width)
    rule = apply_style(CROSSINGS[layout.separator].join("─" * size for size in layout.widths), DIM)
    top = [*_draw_row(heads, layout), rule] if any(heads) or not rows else []
    return [*top, *(line for row in rows for line in _draw_row(row, layout))]


def _measure_column(cells: Iterable[Cell]) -> _ColumnWidths:
    least, word, code, line = zip(*map(_measure_cell, cells), strict=True)
    return _ColumnWidths(max(least), max(word), max(code), max(line))


def _measure_cell(cell: Cell) -> _ColumnWidths:
    words = split_plain(cell)
    if words and "\n" not in cell[0].text:
        word = max(map(len, words))
        return _ColumnWidths(min(word, MIN_BROKEN_WIDTH), word, word, sum(map(len, words)) + len(words) - 1)
    least = word = code = line = 1
    used = 0
    for unit in split_units(cell, text_width):
        used = 0 if unit.kind == "line_end" else used + (unit.has_gap and used > 0) + unit.width
        needs = _measure_unit(unit)
        least, word, code, line = max(least, needs[0]), max(word, needs[1]), max(code, needs[2]), max(line, used)
    return _ColumnWidths(least, word, code, line)


def _measure_unjoined(rows: Iterable[Sequence[Cell]], width: int) -> int:
    """Return how much wider a row becomes on a terminal that shows joined emoji and flags one by one."""
    extra = (sum(_measure_unjoined_text(span.text) for cell in row for span in cell) for row in rows)
    return min(max(extra), width // 4)


def _measure_unjoined_text(text: str) -> int:
    return 0 if text.isascii() else max_text_width(text) - text_width(text)


def _choose_layout(rows: Sequence[Sequence[Cell]], alignments: Sequence[str], width: int) -> _Layout | None:
    """Return the layout that breaks least, or None if the columns would be unreadable."""
    if 2 * len(alignments) > width:
        return None
    columns = [_measure_column(column) for column in zip(*rows, strict=True)]
    width -= _measure_unjoined(rows, width)
    least, word, code, line = zip(*columns, strict=True)
    for base, wanted, separator in (
        (code, line, WIDE), (word, code, WIDE), (code, line, NARROW), (word, code, NARROW), (least, word, NARROW),
    ):  # fmt: skip
        spare = width - len(separator) * (len(columns) - 1) - sum(base)
        if spare >= 0:
            return _Layout(separator, _share_width(base, wanted, spare), alignments)
    return None


def _measure_unit(unit: LineUnit) -> tuple[int, int, int]:
    """Return the least width for a unit, the one that breaks no word, and the one that breaks no code."""
    width = unit.width
    match unit.kind:
        case "word":
            return min(width, MIN_BROKEN_WIDTH), width, width
        case "code" if width > MIN_BROKEN_WIDTH:
            widest = max(piece.width for piece in split_code(unit, text_width))
            return widest, widest, width
        case "ideographs":
            width = min(width, MIN_IDEOGRAPHS_WIDTH)
    return width, width, width


def _share_width(base: Sequence[int], wanted: Sequence[int], spare: int) -> list[int]:
    """Return the widths: columns that need little more get it, the others share the rest in proportion."""
    widths = list(base)
    demands = sorted((want - size, index) for index, (size, want) in enumerate(zip(base, wanted, strict=True)))
    while demands and demands[0][0] * len(demands) <= spare:
        demand, index = demands.pop(0)
        widths[index] += demand
        spare -= demand
    total = sum(demand for demand, _ in demands)
    for demand, index in demands:
        share = spare * demand // total
        widths[index] += share
        spare, total = spare - share, total - demand
    return widths


def _draw_row(row: Sequence[Cell], layout: _Layout) -> list[str]:
    columns = [
        [_align_line(line, size, alignment) for line in wrap_lines(cell, size, text_width)]
        for cell, size, alignment in zip(row, layout.widths, layout.alignments, strict=True)
    ]
    height = max(map(len, columns))
    filled = (
        column + [" " * size] * (height - len(column)) for column, size in zip(columns, layout.widths, strict=True)
    )
    bar = apply_style(layout.separator, DIM)
    return [bar.join(line).rstrip() for line in zip(*filled, strict=True)]


def _align_line(line: str, width: int, alignment: str) -> str:
    free = width - measure_width(line)
    if alignment == "right":
        return " " * free + line
    left = free // 2 if alignment == "center" else 0
    return " " * left + line + " " * (free - left)


def _draw_records(heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], width: int) -> list[str]:
    """Draw each row as names and values, of which short ones share a line."""
    if not rows:
        return _fill_pairs(heads, width)
    names = [[*head, Span(": ")] if head else [] for head in heads]
    records = (_fill_pairs(([*name, *cell] for name, cell in zip(names, row, strict=True)), width) for row in rows)
    return [line for record in records for line in (*record, "")][:-1]


def _fill_pairs(pairs: Iterable[Cell], width: int) -> list[str]:
    lines: list[str] = []
    used = width
    for pair in pairs:
        text = "".join(span.text for span in pair)
        size = max_text_width(text)
        if size > width or "\n" in text:
            lines += wrap_lines(pair, width)
            used = width
        elif size and used + len(WIDE) + size <= width:
            lines[-1] += apply_style(WIDE, DIM) + join_spans(pair).rstrip()
            used += len(WIDE) + size
        elif size:
            lines.append(join_spans(pair).rstrip())
            used = size
    return lines
