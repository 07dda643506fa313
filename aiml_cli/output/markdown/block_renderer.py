"""Draw blocks of Markdown as lines of a terminal."""

import re
from copy import copy
from functools import lru_cache

from aiml_cli.output.markdown.ansi import apply_style, measure_width, wrap_lines
from aiml_cli.output.markdown.block_parser import Container, MarkdownBlock
from aiml_cli.output.markdown.block_syntax import expand_indent, fit_cells, split_cells
from aiml_cli.output.markdown.draw_table import draw_table
from aiml_cli.output.markdown.highlight import CodeHighlighter
from aiml_cli.output.markdown.inline import CODE, DIM, Span, is_plain, parse_html, parse_spans
from aiml_cli.output.markdown.inline_syntax import Target, normalize_label, parse_definition
from aiml_cli.system.terminal import MAGENTA
from aiml_cli.system.text_width import text_width

MIN_BLOCK_WIDTH = 20
QUOTE = "│ "
# Bold, underlined and colored; bold and colored; bold; italic for the levels that few answers have.
HEADING_STYLES = (f"1;4;{MAGENTA}", f"1;{MAGENTA}", "1", "1;3", "3", "2;3")
_TASK = re.compile(r"\[([ xX])\] +")
_BLANKS = re.compile(r"[\n\t]|  ")
_LABEL = re.compile(r"\[([^\[\]]{1,999}+)\]")
_DRAWN_TAG = re.compile(r"</?(?:details|summary|pre)(?:\s[^<>]{0,200})?>", re.IGNORECASE)


class BlockRenderer:
    """Renderer that draws blocks in order; a block's gap, colors and links depend on the blocks before it."""

    def __init__(self) -> None:
        self._highlighter = CodeHighlighter("")
        self._has_blocks = self._has_hidden_gap = False  # the latter: a gap before a definition, which is not shown
        self._references: dict[str, Target] = {}
        self._mentioned: set[str] = set()  # labels that were shown before their definition arrived
        self._definitions: dict[str, MarkdownBlock] = {}  # the definitions that no text has used so far

    def draw(self, blocks: list[MarkdownBlock], width: int) -> list[str]:
        """Return the lines of the next blocks."""
        return [line for block in blocks for line in self._draw_block(block, width)]

    def finish(self, width: int) -> list[str]:
        """Return the lines of the definitions that no text has used."""
        definitions, self._definitions = list(self._definitions.values()), {}
        blocks = [block._replace(has_gap=not index) for index, block in enumerate(definitions)]
        return [line for block in blocks for line in self._draw_with_marks(block, width)]

    def copy(self) -> "BlockRenderer":
        """Return an independent copy."""
        other = copy(self)
        vars(other).update({name: copy(value) for name, value in vars(self).items()})
        return other

    def _draw_block(self, block: MarkdownBlock, width: int) -> list[str]:
        if self._has_hidden_gap:
            block, self._has_hidden_gap = block._replace(has_gap=True), False
        if block.kind == "definition" and not self._is_shown(block):
            self._has_hidden_gap = block.has_gap
            return []
        if block.kind in ("paragraph", "heading", "table") and "[" in block.text:
            self._register_labels(block.text)
        return self._draw_with_marks(block, width)

    def _is_shown(self, block: MarkdownBlock) -> bool:
        """Register a definition; return True to show it as text: its label was already mentioned or defined."""
        parsed = parse_definition(block.text)
        if parsed is None or parsed[0].label in self._references:
            return True
        label, target, _ = parsed[0]
        self._references[label] = target
        if label not in self._mentioned:
            self._definitions[label] = block
        return label in self._mentioned

    def _register_labels(self, text: str) -> None:
        """Remember which labels a text mentions, and which definitions it uses."""
        for label in map(normalize_label, _LABEL.findall(text)):
            if label not in self._references:
                self._mentioned.add(label)
            self._definitions.pop(label, None)

    def _draw_with_marks(self, block: MarkdownBlock, width: int) -> list[str]:
        first, further = _build_prefixes(block, width)
        used = measure_width(further) if further else 0
        inner_width = max(width - used, min(width, MIN_BLOCK_WIDTH))
        try:
            body = self._draw_body(block, inner_width)
        except Exception:  # noqa: BLE001 - after any error in a block, its text is shown
            body = block.text.split("\n")
        if not body and not block.new_containers:  # it only has tags, which are not shown
            return []
        lines = [(further if index else first) + line for index, line in enumerate(body)]
        has_gap = self._has_blocks and not block.part and (block.has_gap or block.kind == "heading")
        self._has_blocks = True
        gap = [_draw_gap(block)] if has_gap else []
        return [*gap, *(line if line.endswith("m") else line.rstrip() for line in lines)]

    def _draw_body(self, block: MarkdownBlock, width: int) -> list[str]:
        match block.kind:
            case "fence":
                return self._draw_fence(block, expand_indent(block.text))
            case "code":
                return ["    " + line for line in expand_indent(block.text).split("\n")]
            case "heading":
                return wrap_lines(self._parse_heading(block), width)
            case "rule":
                return [apply_style("─" * width, DIM)]
            case "table":
                return self._draw_table(block.text, width)
            case "html":
                return _draw_html(expand_indent(block.text), width, is_code=block.info == "pre")
            case "definition":
                return wrap_lines(parse_spans(block.text), width)
            case "formula":
                return [apply_style(line, CODE) for line in expand_indent(block.text).split("\n")]
            case _:
                text = _TASK.sub("", block.text, count=1) if _is_task(block) else block.text
                if len(text) <= width and text.isascii() and is_plain(text) and not _BLANKS.search(text):
                    return [text]  # the fast path, for most lines of lists
                return wrap_lines(parse_spans(text, self._references), width)

    def _draw_fence(self, block: MarkdownBlock, text: str) -> list[str]:
        """Draw code between its fences, without padding, so that it can be copied."""
        opening = []
        if not block.part:
            language = re.split(r"[\s,{]", block.info.strip("{. "))[0].lower()
            self._highlighter = CodeHighlighter(language, self._highlighter.budget)
            opening = [apply_style(f"```{block.info}", DIM)]
        code = self._highlighter.highlight(text) if text or block.part else []
        return [*opening, *code, *([apply_style("```", DIM)] if block.is_last else [])]

    def _parse_heading(self, block: MarkdownBlock) -> list[Span]:
        """Return the spans of a heading, all in its style."""
        style = HEADING_STYLES[block.level - 1]
        spans = parse_spans(block.text, self._references)
        return [Span(text, f"{style};{own}" if own else style, link) for text, own, link in spans]

    def _draw_table(self, text: str, width: int) -> list[str]:
        header, delimiters, *rows = text.split("\n")
        alignments = list(map(_parse_alignment, split_cells(delimiters)))
        cells = [
            [parse_spans(cell, self._references) for cell in fit_cells(row, len(alignments))] for row in [header, *rows]
        ]
        return draw_table(cells[0], alignments, cells[1:], width)


def _parse_alignment(delimiter: str) -> str:
    """Return the alignment that the colons of a column's delimiter mean."""
    sides = delimiter.startswith(":"), delimiter.endswith(":")
    return {(True, True): "center", (True, False): "left", (False, True): "right"}.get(sides, "")


def _draw_html(text: str, width: int, *, is_code: bool) -> list[str]:
    """Draw HTML as text, without the tags that only format text."""
    lines: list[str] = []
    for line in text.split("\n"):
        visible = _DRAWN_TAG.sub("", line)
        if visible != line and not visible.strip():
            continue
        if is_code:
            lines.append(visible)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        lines += [indent + part for part in wrap_lines(parse_html(line.strip()), max(width - len(indent), 1))]
    return lines


def _is_task(block: MarkdownBlock) -> bool:
    return bool(block.new_containers and block.containers[-1].mark != ">" and _TASK.match(block.text))


def _build_prefixes(block: MarkdownBlock, width: int) -> tuple[str, str]:
    """Return the container marks before the first line of a block, and those before the others."""
    if not block.containers:
        return "", ""
    is_task = _is_task(block)
    task = ("☐ " if block.text[1] == " " else "☑ ") if is_task else ""
    return _join_marks(block.containers, block.new_containers, task, width)


@lru_cache(maxsize=64)
def _join_marks(containers: tuple[Container, ...], new_count: int, task: str, width: int) -> tuple[str, str]:
    """Return the marks for the first line and for the others; `task` replaces the last one.

    If they are too wide, only the marks of the innermost containers are shown.
    """
    first = further = ""
    used = 0
    for position, container in enumerate(reversed(containers)):
        mark = task if task and position == 0 else _format_mark(container)
        used += text_width(mark)
        if used > width - MIN_BLOCK_WIDTH:
            break
        styled = apply_style(mark, DIM) if container.mark == ">" else mark
        blank = styled if container.mark == ">" else " " * text_width(mark)
        first = (styled if position < new_count else blank) + first
        further = blank + further
    return first, further


def _format_mark(container: Container) -> str:
    if container.mark == ">":
        return QUOTE
    return "• " if container.mark in "-*+" else f"{container.mark} "


def _draw_gap(block: MarkdownBlock) -> str:
    """Return the blank line before a block, with the marks of the quotes that continue."""
    continued = block.containers[: len(block.containers) - block.new_containers]
    if not continued:
        return ""
    gap = "".join(QUOTE if container.mark == ">" else "  " for container in continued).rstrip()
    return apply_style(gap, DIM)
