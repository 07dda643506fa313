"""Split Markdown into blocks as it arrives; a block is emitted once, when no later text can change it."""

import re
from typing import Any, NamedTuple

# A longer paragraph is emitted in parts, so that the open blocks stay smaller than a screen.
MAX_OPEN_LENGTH = 1200
LINES_PER_SLICE = 8  # of code
CODE_INDENT = 4
NESTED_INDENT = 2  # less than CommonMark asks for, but many models indent nested items by two
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])( +|$)")
_NOTE = re.compile(r"\[\^([^\[\]\s]++)\]:(?: +|$)")
_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)")
_HEADING = re.compile(r"(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_RULE = re.compile(r"(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_UNDERLINE = re.compile(r"(?:=+|-+)[ \t]*$")
_DELIMITERS = re.compile(r"\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
_CELL_END = re.compile(r"(?<!\\)\|")


class Container(NamedTuple):
    """A quote (mark ">"), list item ("-", "3.") or footnote ("[1]"); `indent` is that of its content, in columns."""

    mark: str
    indent: int = 0


class MarkdownBlock(NamedTuple):
    """A block of Markdown; `kind` is paragraph, heading, fence, code, table or rule.

    `new_containers`: how many containers, from the innermost, start with this block and show their marks.
    `has_gap`: blank lines come before the block. `part`: the index in a long block that is emitted in parts.
    """

    kind: str
    text: str
    containers: tuple[Container, ...] = ()
    new_containers: int = 0
    has_gap: bool = False
    level: int = 0
    info: str = ""
    part: int = 0
    is_last: bool = True


class BlockParser:
    """Parser that takes text in pieces; how the text is split makes no difference."""

    def __init__(self) -> None:
        self._tail = ""
        self._state = _ParserState()

    def feed(self, text: str) -> list[MarkdownBlock]:
        """Return the blocks that this piece finishes."""
        *lines, self._tail = (self._tail + text).split("\n")
        for line in lines:
            self._state.feed_line(self._split_long_line(line))
        self._tail = self._split_long_line(self._tail)
        return self._state.pop_finished()

    def open_blocks(self) -> list[MarkdownBlock]:
        """Return the unfinished blocks as they would be if the text ended here."""
        return self._close(self._state.copy())

    def finish(self) -> list[MarkdownBlock]:
        """Return the remaining blocks at the end of the text."""
        blocks = self._close(self._state)
        self._tail = ""
        return blocks

    def _close(self, state: "_ParserState") -> list[MarkdownBlock]:
        if self._tail:
            state.feed_line(self._tail)
        state.close()
        return state.pop_finished()

    def _split_long_line(self, line: str) -> str:
        """Feed the beginning of a long line of a paragraph; return the rest."""
        while len(line) > MAX_OPEN_LENGTH:
            end = line.rfind(" ", 1, MAX_OPEN_LENGTH)
            state = self._state.copy()
            state.feed_line(line[:end])
            if end < 0 or state.leaf != "paragraph":
                break
            state.is_in_line = True
            self._state, line = state, line[end + 1 :]
        return line


class _ParserState:
    """The open containers, the open leaf block in them, and the blocks that are finished."""

    def __init__(self) -> None:
        self.leaf = ""
        self.is_in_line = False
        self._lines: list[str] = []
        self._containers: list[Container] = []
        self._shown_count = 0
        self._numbers: dict[int, tuple[str, int]] = {}
        self._has_gap = self._is_sibling = False
        self._fence, self._fence_indent, self._info, self._part = "", 0, "", 0
        self._finished: list[MarkdownBlock] = []

    def copy(self) -> "_ParserState":
        other = _ParserState()
        vars(other).update(vars(self))
        other._lines, other._containers = [*self._lines], [*self._containers]
        other._numbers, other._finished = {**self._numbers}, [*self._finished]
        return other

    def pop_finished(self) -> list[MarkdownBlock]:
        blocks, self._finished = self._finished, []
        return blocks

    def feed_line(self, line: str) -> None:
        if self.is_in_line:
            self.is_in_line = False
            self._add_text(line)
            return
        if "\t" in line:
            indent = len(line) - len(line.lstrip())
            line = line[:indent].expandtabs(4) + line[indent:]
        rest, matched = self._match_containers(line)
        self._is_sibling = matched < len(self._containers) and self._containers[matched].mark != ">"
        if matched < len(self._containers):
            if self.leaf == "paragraph" and rest.strip() and not self._is_block_start(rest):
                self._add_text(rest.lstrip())
                return
            self._close_containers(matched)
        if self.leaf == "fence":
            self._parse_fence_line(rest)
        else:
            self._parse_content(self._open_containers(rest))

    def close(self) -> None:
        self._close_containers(0)
        self._finish_leaf()

    def _match_containers(self, line: str) -> tuple[str, int]:
        """Return the line without the marks of its open containers, and how many these are."""
        for count, container in enumerate(self._containers):
            indent, bare = _split_indent(line)
            if container.mark == ">":
                if indent >= CODE_INDENT or not bare.startswith(">"):
                    return line, count
                line = bare[1:].removeprefix(" ")
            elif not bare:
                line = ""
            elif indent >= container.indent:
                line = line[container.indent :]
            elif indent >= NESTED_INDENT and container.indent <= CODE_INDENT and _ITEM.match(bare):
                line = bare  # a nested item that is not indented enough
            else:
                return line, count
        return line, len(self._containers)

    def _open_containers(self, rest: str) -> str:
        """Open the containers that start in a line; return their content."""
        while True:
            indent, bare = _split_indent(rest)
            if indent >= CODE_INDENT:
                return rest
            if bare.startswith(">"):
                self._open_container(Container(">"))
                rest = bare[1:].removeprefix(" ")
            elif (note := _NOTE.match(bare)) and self.leaf != "paragraph":
                self._open_container(Container(f"[{note[1]}]", CODE_INDENT))
                rest = bare[note.end() :]
            elif (item := self._match_item(bare)) is not None:
                space = len(item[2])
                width = len(item[1]) + (space if 1 <= space <= CODE_INDENT and item.end() < len(bare) else 1)
                self._open_container(Container(self._number_item(item[1]), indent + width))
                rest = bare[width:]
            else:
                return rest

    def _match_item(self, bare: str) -> re.Match[str] | None:
        """Match the mark of an item; within a paragraph only some marks start one."""
        item = _ITEM.match(bare)
        if item is None or _RULE.match(bare):
            return None
        may_be_text = self.leaf == "paragraph" and not self._is_sibling
        if may_be_text and (item.end() == len(bare) or item[1][:-1] not in ("", "1")):
            return None
        return item

    def _number_item(self, mark: str) -> str:
        """Return the mark with the item's number; in the source, all may have the number 1."""
        depth, delimiter = len(self._containers), mark[-1]
        previous = self._numbers.get(depth)
        number = previous[1] + 1 if previous and previous[0] == delimiter else int(mark[:-1] or 0)
        self._drop_numbers(depth)
        self._numbers[depth] = delimiter, number
        return f"{number}{delimiter}" if mark[:-1] else delimiter

    def _drop_numbers(self, depth: int) -> None:
        """End the lists from this depth on."""
        self._numbers = {level: number for level, number in self._numbers.items() if level < depth}

    def _open_container(self, container: Container) -> None:
        self._finish_leaf()
        self._containers.append(container)

    def _close_containers(self, matched: int) -> None:
        """Close all but the matched containers; an empty one is shown too."""
        self._finish_leaf()
        if self._shown_count < len(self._containers):
            self._emit("paragraph", "")
        del self._containers[matched:]
        self._shown_count = min(self._shown_count, matched)

    def _is_block_start(self, rest: str) -> bool:
        """True if a line starts a block instead of continuing a paragraph."""
        indent, bare = _split_indent(rest)
        if indent >= CODE_INDENT:
            return False
        marks = (_FENCE, _HEADING, _RULE)
        return bare.startswith(">") or self._match_item(bare) is not None or any(mark.match(bare) for mark in marks)

    def _parse_content(self, rest: str) -> None:
        """Parse what a line has within its containers."""
        indent, bare = _split_indent(rest)
        if not bare.strip():
            self._parse_blank(rest)
        elif indent >= CODE_INDENT and self.leaf != "paragraph":
            self._start_leaf("code")
            self._add_code(rest[CODE_INDENT:])
        elif fence := _FENCE.match(bare):
            self._start_leaf("fence")
            self._fence, self._fence_indent, self._info = fence[1], indent, fence[2].strip()
        elif heading := _HEADING.match(bare):
            self._start_leaf("")
            self._emit("heading", heading[2] or "", level=len(heading[1]))
        elif self.leaf == "paragraph" and self._parse_underline(bare):
            pass
        elif _RULE.match(bare):
            self._start_leaf("")
            self._emit("rule", "")
        elif self.leaf == "table" and "|" in bare:
            self._lines.append(bare)
        else:
            self._start_leaf("paragraph")
            self._add_text(bare)

    def _parse_blank(self, rest: str) -> None:
        if self.leaf == "code":
            self._add_code(rest[CODE_INDENT:])
        else:
            self._finish_leaf()
        self._has_gap = self._has_gap or self._shown_count == len(self._containers)

    def _start_leaf(self, leaf: str) -> None:
        """Start a leaf block, or continue the open one if it is of this kind."""
        if leaf != self.leaf or leaf == "fence":
            self._finish_leaf()
            self._drop_numbers(len(self._containers))
            self.leaf = leaf

    def _parse_underline(self, bare: str) -> bool:
        """Turn the open paragraph into a heading or a table; return False if the line does neither."""
        if not self._lines:  # the beginning of a long paragraph is shown already
            return False
        last_line = self._lines[-1]
        if "|" in bare and _DELIMITERS.match(bare) and len(split_cells(bare)) == len(split_cells(last_line)):
            header = self._lines.pop()
            if self._lines:
                self._emit("paragraph", "\n".join(self._lines), is_last=False)
            self.leaf, self._lines, self._part = "table", [header, bare], 0
            return True
        if not self._part and _UNDERLINE.match(bare):
            text, self._lines, self.leaf = "\n".join(self._lines), [], ""
            self._emit("heading", text, level=1 if bare[0] == "=" else 2)
            return True
        return False

    def _add_text(self, text: str) -> None:
        """Add a line to a paragraph; emit the lines so far if they are long."""
        self._lines.append(text)
        if sum(map(len, self._lines)) > MAX_OPEN_LENGTH:
            self._emit("paragraph", "\n".join(self._lines), part=self._part, is_last=False)
            self._lines, self._part = [], self._part + 1

    def _parse_fence_line(self, rest: str) -> None:
        indent, bare = _split_indent(rest)
        if indent < CODE_INDENT and bare.startswith(self._fence) and not bare.strip().strip(self._fence[0]):
            self._finish_leaf()
        else:
            self._add_code(rest[min(self._fence_indent, indent) :])

    def _add_code(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) > LINES_PER_SLICE:
            *lines, last = self._lines
            self._emit(self.leaf, "\n".join(lines), info=self._info, part=self._part, is_last=False)
            self._lines, self._part = [last], self._part + 1

    def _finish_leaf(self) -> None:
        leaf, lines, part, info = self.leaf, self._lines, self._part, self._info
        self.leaf, self._lines, self._part, self._info = "", [], 0, ""
        ends_blank = leaf == "code" and bool(lines) and not lines[-1].strip()
        while leaf == "code" and lines and not lines[-1].strip():
            lines.pop()
        if leaf == "fence" or lines:
            self._emit(leaf, "\n".join(lines), info=info, part=part)
        self._has_gap = self._has_gap or ends_blank

    def _emit(self, kind: str, text: str, **fields: Any) -> None:
        containers = tuple(self._containers)
        block = MarkdownBlock(kind, text, containers, len(containers) - self._shown_count, self._has_gap)
        self._finished.append(block._replace(**fields))
        self._shown_count, self._has_gap = len(containers), False


def _split_indent(line: str) -> tuple[int, str]:
    """Return the number of spaces before the text, and the text."""
    bare = line.lstrip(" ")
    return len(line) - len(bare), bare


def split_cells(row: str) -> list[str]:
    """Return the cells of a row of a table."""
    row = row.strip().removeprefix("|")
    row = row[:-1] if row.endswith("|") and not row.endswith("\\|") else row
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(row)]
