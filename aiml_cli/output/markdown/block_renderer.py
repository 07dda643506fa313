"""Give each block of Markdown the lines that it takes on a terminal."""

import re
from collections.abc import Sequence

from aiml_cli.output.markdown.ansi import apply_style, styled_width, wrap_lines
from aiml_cli.output.markdown.block_parser import Container, MarkdownBlock, split_cells
from aiml_cli.output.markdown.highlight import CodeHighlighter
from aiml_cli.output.markdown.inline import BOLD, DIM, Span, parse_spans
from aiml_cli.system.terminal import text_width

NARROWEST = 20
QUOTE = "│ "
_TASK = re.compile(r"\[([ xX])\] +")
NARROWEST_COLUMN = 6
Cell = list[Span]


class BlockRenderer:
    """Draw blocks in order; what one must know of those before is kept here."""

    def __init__(self) -> None:
        self._colours = CodeHighlighter("")
        self._begun = False

    def draw(self, blocks: list[MarkdownBlock], width: int) -> list[str]:
        """Give the lines of the next blocks."""
        return [line for block in blocks for line in self._block(block, width)]

    def copy(self) -> "BlockRenderer":
        """Give one that goes its own way."""
        other = BlockRenderer()
        other._colours, other._begun = self._colours.copy(), self._begun
        return other

    def _block(self, block: MarkdownBlock, width: int) -> list[str]:
        first, further = _prefixes(block)
        room = max(width - text_width(further), min(width, NARROWEST))
        body = self._body(block, room)
        drawn = [(further if index else first) + line for index, line in enumerate(body)]
        gap = self._begun and not block.part and (block.gap or block.kind == "heading")
        self._begun = True
        return [*([_gap(block)] if gap else []), *(line.rstrip() if not line.endswith("m") else line for line in drawn)]

    def _body(self, block: MarkdownBlock, width: int) -> list[str]:
        match block.kind:
            case "fence":
                return self._fence(block)
            case "code":
                return ["    " + line for line in block.text.split("\n")]
            case "heading":
                style = BOLD + (";4" if block.level == 1 else "")
                return wrap_lines(
                    [
                        span._replace(style=";".join(filter(None, (style, span.style))))
                        for span in parse_spans(block.text)
                    ],
                    width,
                )
            case "rule":
                return [apply_style("─" * width, DIM)]
            case "table":
                return draw_table(block.text, width)
            case "rows":
                header, _, *rows = block.text.split("\n")
                return [
                    *wrap_lines(parse_spans(header.strip("| ")), width)[:1],
                    apply_style(f"… {len(rows)} rows", DIM),
                ]
            case _:
                return wrap_lines(
                    parse_spans(_TASK.sub("", block.text, count=1) if _is_task(block) else block.text), width
                )

    def _fence(self, block: MarkdownBlock) -> list[str]:
        """Draw code between its fences, as it can be copied."""
        opening = []
        if not block.part:
            self._colours = CodeHighlighter(re.split(r"[\s,{]", block.info.strip("{. "))[0].lower())
            opening = [apply_style(f"```{block.info}", DIM)]
        code = self._colours.highlight(block.text) if block.text or block.part else []
        return [*opening, *code, *([apply_style("```", DIM)] if block.closes else [])]


def _is_task(block: MarkdownBlock) -> bool:
    return bool(block.opens and block.containers[-1].mark != ">" and _TASK.match(block.text))


def _prefixes(block: MarkdownBlock) -> tuple[str, str]:
    """Give what stands before the first line of a block, and before the others."""
    shown = len(block.containers) - block.opens
    first = further = ""
    for index, frame in enumerate(block.containers):
        mark = _mark(frame, block if index == len(block.containers) - 1 else None)
        blank = mark if frame.mark == ">" else " " * text_width(mark)
        first += (apply_style(mark, DIM) if frame.mark == ">" else mark) if index >= shown else blank
        further += blank
    return first, further


def _mark(frame: Container, block: MarkdownBlock | None) -> str:
    if frame.mark == ">":
        return QUOTE
    if block is not None and (task := _TASK.match(block.text)) and block.opens:
        return "☐ " if task[1] == " " else "☑ "
    return "• " if frame.mark in "-*+" else f"{frame.mark} "


def _gap(block: MarkdownBlock) -> str:
    """Give the blank line before a block; it stands in the quotes that go on."""
    going_on = block.containers[: len(block.containers) - block.opens]
    return "".join(QUOTE if frame.mark == ">" else "  " for frame in going_on).rstrip()


def draw_table(text: str, width: int) -> list[str]:
    """Draw the rows of a table in so many columns."""
    header, delimiters, *rows = [split_cells(row) for row in text.split("\n")]
    count = len(header)
    read = [[parse_spans(cell) for cell in [*row[:count], *[""] * (count - len(row))]] for row in rows]
    heads = [
        [span._replace(style=";".join(filter(None, (BOLD, span.style)))) for span in parse_spans(cell)]
        for cell in header
    ]
    widths = _widths([heads, *read], width - 3 * (count - 1))
    if widths is None:
        return _records(heads, read, width)
    rule = apply_style("─┼─".join("─" * each for each in widths), DIM)
    drawn = [line for row in read for line in _row(row, widths, delimiters)]
    return [*_row(heads, widths, delimiters), rule, *drawn]


def _widths(rows: Sequence[Sequence[Cell]], room: int) -> list[int] | None:
    """Share the room out; None where there is too little. Narrow columns keep what they need."""
    wanted = [max(1, *(_natural(row[index]) for row in rows)) for index in range(len(rows[0]))]
    if sum(wanted) <= room:
        return wanted
    least = sum(min(each, NARROWEST_COLUMN) for each in wanted)
    if least > room:
        return None
    widths, left, columns = [0] * len(wanted), room, sorted(range(len(wanted)), key=wanted.__getitem__)
    for place, column in enumerate(columns):
        widths[column] = min(wanted[column], max(NARROWEST_COLUMN, left // (len(columns) - place)))
        left -= widths[column]
    return widths if sum(widths) <= room else None


def _natural(cell: Cell) -> int:
    return sum(text_width(span.text) for span in cell)


def _row(row: Sequence[Cell], widths: Sequence[int], delimiters: Sequence[str]) -> list[str]:
    columns = [wrap_lines(cell, width) for cell, width in zip(row, widths, strict=True)]
    height = max(map(len, columns))
    filled = [
        [_placed(line, width, delimiter) for line in [*column, *[""] * (height - len(column))]]
        for column, width, delimiter in zip(columns, widths, delimiters, strict=False)
    ]
    bar = apply_style(" │ ", DIM)
    return [bar.join(line).rstrip() for line in zip(*filled, strict=True)]


def _placed(line: str, width: int, delimiter: str) -> str:
    """Put a text where its column wants it."""
    free = width - styled_width(line)
    right = free if delimiter.endswith(":") and not delimiter.startswith(":") else 0
    left = free // 2 if delimiter.startswith(":") and delimiter.endswith(":") else right
    return " " * left + line + " " * (free - left)


def _records(heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], width: int) -> list[str]:
    """Tell each row as a list of names and values."""
    told: list[str] = []
    for row in rows:
        for head, cell in zip(heads, row, strict=True):
            told += wrap_lines([*head, Span(": "), *cell], width)
        told.append("")
    return told[:-1]
