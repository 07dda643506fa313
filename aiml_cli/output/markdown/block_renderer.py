"""Draw blocks of Markdown as lines of a terminal."""

import re
from collections.abc import Sequence
from copy import copy

from aiml_cli.output.markdown.ansi import apply_style, measure_width, wrap_lines
from aiml_cli.output.markdown.block_parser import Container, MarkdownBlock, split_cells
from aiml_cli.output.markdown.highlight import CodeHighlighter
from aiml_cli.output.markdown.inline import BOLD, DIM, Span, parse_spans
from aiml_cli.system.terminal import text_width

MIN_BLOCK_WIDTH = 20
MIN_COLUMN_WIDTH = 6
QUOTE = "│ "
_TASK = re.compile(r"\[([ xX])\] +")
Cell = list[Span]


class BlockRenderer:
    """Renderer that draws blocks in order; the gap before a block and its colors depend on the blocks before."""

    def __init__(self) -> None:
        self._highlighter = CodeHighlighter("")
        self._has_blocks = False

    def draw(self, blocks: list[MarkdownBlock], width: int) -> list[str]:
        """Return the lines of the next blocks."""
        return [line for block in blocks for line in self._draw_block(block, width)]

    def copy(self) -> "BlockRenderer":
        """Return an independent copy."""
        other = BlockRenderer()
        other._highlighter, other._has_blocks = copy(self._highlighter), self._has_blocks
        return other

    def _draw_block(self, block: MarkdownBlock, width: int) -> list[str]:
        first, further = _build_prefixes(block)
        body = self._draw_body(block, max(width - text_width(further), min(width, MIN_BLOCK_WIDTH)))
        lines = [(further if index else first) + line for index, line in enumerate(body)]
        has_gap = self._has_blocks and not block.part and (block.has_gap or block.kind == "heading")
        self._has_blocks = True
        gap = [_draw_gap(block)] if has_gap else []
        return [*gap, *(line if line.endswith("m") else line.rstrip() for line in lines)]

    def _draw_body(self, block: MarkdownBlock, width: int) -> list[str]:
        match block.kind:
            case "fence":
                return self._draw_fence(block)
            case "code":
                return ["    " + line for line in block.text.split("\n")]
            case "heading":
                return wrap_lines(_parse_styled(block.text, BOLD + (";4" if block.level == 1 else "")), width)
            case "rule":
                return [apply_style("─" * width, DIM)]
            case "table":
                return draw_table(block.text, width)
            case "rows":
                header, _, *rows = block.text.split("\n")
                first_line = wrap_lines(parse_spans(header.strip("| ")), width)[:1]
                return [*first_line, apply_style(f"… {len(rows)} rows", DIM)]
            case _:
                text = _TASK.sub("", block.text, count=1) if _is_task(block) else block.text
                return wrap_lines(parse_spans(text), width)

    def _draw_fence(self, block: MarkdownBlock) -> list[str]:
        """Draw code between its fences, without padding, so that it can be copied."""
        opening = []
        if not block.part:
            self._highlighter = CodeHighlighter(re.split(r"[\s,{]", block.info.strip("{. "))[0].lower())
            opening = [apply_style(f"```{block.info}", DIM)]
        code = self._highlighter.highlight(block.text) if block.text or block.part else []
        return [*opening, *code, *([apply_style("```", DIM)] if block.is_last else [])]


def _parse_styled(text: str, style: str) -> list[Span]:
    """Return the spans of a text that has a style of its own."""
    return [span._replace(style=f"{style};{span.style}" if span.style else style) for span in parse_spans(text)]


def _is_task(block: MarkdownBlock) -> bool:
    return bool(block.new_containers and block.containers[-1].mark != ">" and _TASK.match(block.text))


def _build_prefixes(block: MarkdownBlock) -> tuple[str, str]:
    """Return the container marks before the first line of a block, and those before the others."""
    first_new = len(block.containers) - block.new_containers
    first = further = ""
    for index, container in enumerate(block.containers):
        mark = _format_mark(container, block if index == len(block.containers) - 1 else None)
        blank = mark if container.mark == ">" else " " * text_width(mark)
        first += (apply_style(mark, DIM) if container.mark == ">" else mark) if index >= first_new else blank
        further += blank
    return first, further


def _format_mark(container: Container, block: MarkdownBlock | None) -> str:
    if container.mark == ">":
        return QUOTE
    if block is not None and (task := _TASK.match(block.text)) and block.new_containers:
        return "☐ " if task[1] == " " else "☑ "
    return "• " if container.mark in "-*+" else f"{container.mark} "


def _draw_gap(block: MarkdownBlock) -> str:
    """Return the blank line before a block, with the marks of the quotes that continue."""
    continued = block.containers[: len(block.containers) - block.new_containers]
    return "".join(QUOTE if container.mark == ">" else "  " for container in continued).rstrip()


def draw_table(text: str, width: int) -> list[str]:
    """Return the lines of a table, or of a list of records if its columns do not fit."""
    header, delimiters, *texts = [split_cells(row) for row in text.split("\n")]
    count = len(header)
    rows = [[parse_spans(cell) for cell in [*row[:count], *[""] * (count - len(row))]] for row in texts]
    heads = [_parse_styled(cell, BOLD) for cell in header]
    widths = _fit_columns([heads, *rows], width - 3 * (count - 1))
    if widths is None:
        return _draw_records(heads, rows, width)
    rule = apply_style("─┼─".join("─" * column_width for column_width in widths), DIM)
    body = [line for row in rows for line in _draw_row(row, widths, delimiters)]
    return [*_draw_row(heads, widths, delimiters), rule, *body]


def _fit_columns(rows: Sequence[Sequence[Cell]], width: int) -> list[int] | None:
    """Return the width of each column, or None if they do not fit; narrow columns get all that they need."""
    full = [max(1, *(_measure_cell(row[index]) for row in rows)) for index in range(len(rows[0]))]
    if sum(full) <= width:
        return full
    if sum(min(size, MIN_COLUMN_WIDTH) for size in full) > width:
        return None
    widths, left, columns = [0] * len(full), width, sorted(range(len(full)), key=full.__getitem__)
    for position, column in enumerate(columns):
        widths[column] = min(full[column], max(MIN_COLUMN_WIDTH, left // (len(columns) - position)))
        left -= widths[column]
    return widths if sum(widths) <= width else None


def _measure_cell(cell: Cell) -> int:
    return sum(text_width(span.text) for span in cell)


def _draw_row(row: Sequence[Cell], widths: Sequence[int], delimiters: Sequence[str]) -> list[str]:
    columns = [wrap_lines(cell, width) for cell, width in zip(row, widths, strict=True)]
    height = max(map(len, columns))
    aligned = [
        [_align_line(line, width, delimiter) for line in [*column, *[""] * (height - len(column))]]
        for column, width, delimiter in zip(columns, widths, delimiters, strict=False)
    ]
    bar = apply_style(" │ ", DIM)
    return [bar.join(line).rstrip() for line in zip(*aligned, strict=True)]


def _align_line(line: str, width: int, delimiter: str) -> str:
    """Pad a line to the width, aligned as the colons of its column's delimiter say."""
    free = width - measure_width(line)
    right = free if delimiter.endswith(":") and not delimiter.startswith(":") else 0
    left = free // 2 if delimiter.startswith(":") and delimiter.endswith(":") else right
    return " " * left + line + " " * (free - left)


def _draw_records(heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], width: int) -> list[str]:
    """Draw each row as a list of names and values."""
    lines: list[str] = []
    for row in rows:
        for head, cell in zip(heads, row, strict=True):
            lines += wrap_lines([*head, Span(": "), *cell], width)
        lines.append("")
    return lines[:-1]
