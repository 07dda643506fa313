"""Split Markdown into blocks as it arrives; a block is emitted once, when no later text can change it."""

import re
from typing import Any, NamedTuple

from aiml_cli.output.markdown.block_syntax import (
    CODE_INDENT,
    CONTAINER_CHARS,
    DELIMITERS,
    FENCE,
    FORMULA_CHAR,
    HEADING,
    HTML_STARTS,
    ITEM,
    NOTE,
    START_CHARS,
    UNDERLINE,
    LineCursor,
    find_cut,
    find_formula_end,
    is_rule,
    split_cells,
    trim_heading,
)
from aiml_cli.output.markdown.inline_syntax import decode_escapes, parse_definition
from aiml_cli.system.sanitize import sanitize

# A longer paragraph is emitted in parts, so that the open text stays small.
MAX_OPEN_LENGTH = 4000
MAX_CONTAINERS = 60
LINES_PER_SLICE = 8  # of code
_FORMULA_MARK = re.compile(r"\$\$|\\[\[\]]")


class Container(NamedTuple):
    """A quote (mark ">"), list item ("-", "3.") or footnote ("[1]"); `indent` is that of its content, in columns."""

    mark: str
    indent: int = 0


class MarkdownBlock(NamedTuple):
    """A block of Markdown; `kind` is paragraph, heading, fence, code, table, rule, html, formula or definition.

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
    """Parser that accepts text in pieces; how the text is split makes no difference."""

    def __init__(self) -> None:
        self._tail: list[str] = []  # the pieces of the last line, which is incomplete
        self._tail_length = 0
        self._limit = MAX_OPEN_LENGTH
        self._state = _ParserState()

    def feed(self, text: str) -> list[MarkdownBlock]:
        """Return the blocks that this piece completes."""
        *lines, tail = text.split("\n")
        for line in lines:
            self._feed_end(line)
        if tail:
            self._add_to_tail(tail)
        return self._state.pop_finished()

    def open_blocks(self) -> list[MarkdownBlock]:
        """Return the unfinished blocks as they would be if the text ended here; a very long line is cut off."""
        return self._close(self._state.copy(), "".join(self._tail)[:MAX_OPEN_LENGTH])

    def finish(self) -> list[MarkdownBlock]:
        """Return the remaining blocks at the end of the text."""
        blocks = self._close(self._state, "".join(self._tail))
        self._tail = []
        return blocks

    def _close(self, state: "_ParserState", line: str) -> list[MarkdownBlock]:
        if line:
            state.feed_line(line)
        state.close()
        return state.pop_finished()

    def _feed_end(self, end: str) -> None:
        """Feed the open line with its end."""
        if not self._tail and len(end) <= MAX_OPEN_LENGTH:
            self._state.feed_line(end)
            return
        self._add_to_tail(end)
        self._state.feed_line("".join(self._tail))
        self._tail, self._tail_length, self._limit = [], 0, MAX_OPEN_LENGTH

    def _add_to_tail(self, text: str) -> None:
        """Add text to the open line; if it is a long line of a paragraph, feed its beginning."""
        self._tail.append(text)
        self._tail_length += len(text)
        while self._tail_length > self._limit:
            line = "".join(self._tail)
            if (rest := self._feed_beginning(line[: self._limit])) is None:
                self._tail, self._limit = [line], 2 * self._limit
                continue
            line = rest + line[self._limit :]
            self._tail, self._tail_length, self._limit = [line], len(line), MAX_OPEN_LENGTH

    def _feed_beginning(self, line: str) -> str | None:
        """Feed a part of a long line that can be drawn by itself; return the rest, or None if there is none."""
        if (cut := find_cut(line)) is None:
            return None
        state = self._state.copy()
        state.feed_line(line[: cut[0]])
        if state.leaf != "paragraph":
            return None
        state.is_in_line = True
        self._state = state
        return line[cut[1] :]


class _ParserState:
    """The open containers, the open leaf block in them, and the blocks that are finished."""

    def __init__(self) -> None:
        self.leaf = ""
        self.is_in_line = self._is_in_formula = False  # the latter: inside a paragraph
        self._lines: list[str] = []
        self._length = 0
        self._containers: list[Container] = []
        self._shown_count = 0
        self._numbers: dict[int, tuple[str, int]] = {}
        self._has_gap = self._is_after_blank = False
        self._fence, self._fence_indent, self._info, self._part = "", 0, "", 0
        self._end: re.Pattern[str] | None = None  # what ends HTML or a formula; None is a blank line
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
        """Parse a line as the CommonMark specification says, section "Phase 1: block structure"."""
        if self.is_in_line:
            self.is_in_line = False
            self._add_text(line, joins=True)
            return
        is_blank = not line or line.isspace()
        if is_blank and self._is_after_blank:
            return
        cursor = LineCursor(line)
        matched = self._match_containers(cursor)
        is_verbatim = self.leaf in ("fence", "html") or (self.leaf == "formula" and self._continues_formula(cursor))
        if is_verbatim and matched == len(self._containers):
            self._parse_verbatim_line(cursor)
        else:
            self._parse_blocks(cursor, matched)
        self._is_after_blank = is_blank and not self.leaf

    def close(self) -> None:
        self._close_containers(0)
        self._finish_leaf()

    def _match_containers(self, cursor: LineCursor) -> int:
        """Skip the marks of the open containers; return how many of them the line continues."""
        for count, container in enumerate(self._containers):
            if container.mark == ">":
                if cursor.indent >= CODE_INDENT or not cursor.bare.startswith(">"):
                    return count
                cursor.skip_quote_mark()
            elif cursor.indent < container.indent if cursor.bare else self._is_empty_item(count):
                return count
            else:
                cursor.skip_columns(min(container.indent, cursor.indent))
        return len(self._containers)

    def _is_empty_item(self, index: int) -> bool:
        """True if a container has no content yet: a blank line after its first line ends it."""
        return index == len(self._containers) - 1 and index >= self._shown_count and not self.leaf

    def _parse_blocks(self, cursor: LineCursor, matched: int) -> None:
        """Open the containers and the leaf that begin in a line, or continue the open leaf."""
        is_new = False  # whether a container begins in this line
        while cursor.bare and cursor.bare[0] in START_CHARS:
            in_paragraph = self.leaf == "paragraph" and matched == len(self._containers) and not is_new
            may_be_lazy = self.leaf == "paragraph" and not is_new
            if cursor.indent >= CODE_INDENT:
                break
            if container := self._match_start(cursor, in_paragraph=in_paragraph):
                self._open_container(container, matched)
                is_new, matched = True, len(self._containers)
                continue
            if self._start_block(cursor, matched, in_paragraph=in_paragraph, may_be_lazy=may_be_lazy):
                return
            break
        self._parse_text(cursor, matched, is_new=is_new)

    def _match_start(self, cursor: LineCursor, *, in_paragraph: bool) -> Container | None:
        """Skip the mark of a container that begins here, and return the container."""
        bare, indent = cursor.bare, cursor.indent
        if bare[0] not in CONTAINER_CHARS or len(self._containers) >= MAX_CONTAINERS:
            return None
        if bare[0] == ">":
            cursor.skip_quote_mark()
            return Container(">")
        if bare[0] == "[" and (note := NOTE.match(bare)):
            cursor.skip_text(note.end())
            return Container(f"[{note[1]}]", CODE_INDENT)
        item = ITEM.match(bare)
        if item is None or is_rule(bare) or (in_paragraph and UNDERLINE.match(bare)):
            return None
        is_blank = not bare[item.end() :].strip()
        if in_paragraph and (is_blank or item[1][:-1].lstrip("0") not in ("", "1") or item[1][:-1] == "0"):
            return None
        cursor.skip_text(item.end())
        space = 1 if is_blank or cursor.indent > CODE_INDENT else cursor.indent
        cursor.skip_columns(min(space, cursor.indent))
        return Container(item[1], indent + item.end() + space)

    def _open_container(self, container: Container, matched: int) -> None:
        self._close_containers(matched)
        if container.mark[-1] in "]>":
            self._drop_numbers(matched)
        else:
            container = Container(self._number_item(container.mark), container.indent)
        self._containers.append(container)

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
        if self._numbers and next(reversed(self._numbers)) >= depth:  # the last one is the deepest
            self._numbers = {level: number for level, number in self._numbers.items() if level < depth}

    def _close_containers(self, matched: int) -> None:
        """Close the open leaf and all but the matched containers; an empty one is shown too."""
        self._finish_leaf()
        if self._shown_count < len(self._containers) > matched:
            self._emit("paragraph", "")
        del self._containers[matched:]
        self._shown_count = min(self._shown_count, matched)

    def _start_block(self, cursor: LineCursor, matched: int, *, in_paragraph: bool, may_be_lazy: bool) -> bool:
        """Start the leaf block that begins here; return False if none does."""
        bare = cursor.bare
        if heading := HEADING.match(bare):
            self._emit_leaf(matched, "heading", trim_heading(bare[heading.end() :]), level=heading.end())
        elif fence := FENCE.match(bare):
            self._start_leaf("fence", matched)
            self._fence, self._fence_indent = fence[1], cursor.indent
            self._info = sanitize(decode_escapes(fence[2].strip()))
        elif (
            (bare[0] == "<" and self._start_html(cursor, matched, may_be_text=may_be_lazy))
            or (bare[0] in "\\$" and self._start_formula(cursor, matched))
            or (in_paragraph and self._parse_underline(bare))
        ):
            pass
        elif is_rule(bare):
            self._emit_leaf(matched, "rule", "")
        else:
            return False
        return True

    def _start_html(self, cursor: LineCursor, matched: int, *, may_be_text: bool) -> bool:
        starts = HTML_STARTS[:-1] if may_be_text else HTML_STARTS
        for start, end in starts:
            if start.match(cursor.bare):
                self._start_leaf("html", matched)
                self._end, self._info = end, "pre" if cursor.bare[:4].lower() == "<pre" else ""
                self._parse_verbatim_line(cursor)
                return True
        return False

    def _start_formula(self, cursor: LineCursor, matched: int) -> bool:
        """Start a formula of several lines; one that ends in its first line is part of a paragraph."""
        end = "" if self._is_in_formula else find_formula_end(cursor.bare)
        if not end:
            return False
        self._start_leaf("formula", matched)
        self._end = re.compile(re.escape(end))
        self._add_line(cursor.bare)
        return True

    def _continues_formula(self, cursor: LineCursor) -> bool:
        """False after a blank line if the line does not look like a formula: the formula may have no end mark."""
        return bool(not cursor.bare or self._lines[-1].strip() or FORMULA_CHAR.search(cursor.bare))

    def _parse_text(self, cursor: LineCursor, matched: int, *, is_new: bool) -> None:
        """Parse a line that can only begin or continue a paragraph or indented code."""
        if not cursor.bare:
            self._parse_blank(cursor, matched)
        elif self.leaf == "paragraph" and not is_new:  # needs no container marks to continue it
            self._add_text(cursor.bare)
        elif cursor.indent >= CODE_INDENT:
            self._start_leaf("code", matched)
            cursor.skip_columns(CODE_INDENT)
            self._add_line(cursor.rest)
        elif self.leaf == "table" and matched == len(self._containers) and not is_new:
            self._lines.append(cursor.bare)
        else:
            self._start_leaf("paragraph", matched)
            self._add_text(cursor.bare)

    def _parse_blank(self, cursor: LineCursor, matched: int) -> None:
        if self.leaf == "code" and matched == len(self._containers):
            cursor.skip_columns(CODE_INDENT)
            self._add_line(cursor.rest)
        elif matched < len(self._containers):
            self._close_containers(matched)
        else:
            self._finish_leaf()
        self._has_gap = self._has_gap or self._shown_count == len(self._containers)

    def _emit_leaf(self, matched: int, kind: str, text: str, **fields: Any) -> None:
        """Emit a block of one line."""
        self._start_leaf("", matched)
        self._emit(kind, text, **fields)

    def _start_leaf(self, leaf: str, matched: int) -> None:
        """Start a leaf block, or continue the open one if it is indented code too."""
        if leaf != "code" or self.leaf != "code" or matched < len(self._containers):
            self._close_containers(matched)
            self._drop_numbers(len(self._containers))
            self.leaf = leaf

    def _parse_underline(self, bare: str) -> bool:
        """Turn the open paragraph into a heading or a table; return False if the line does neither."""
        if not self._lines or self._part or not UNDERLINE.match(bare):
            return self._parse_delimiters(bare)
        self._emit_definitions()
        if not self._lines:
            return False
        text, self._lines, self.leaf = "\n".join(self._lines), [], ""
        self._emit("heading", text.strip(), level=1 if bare[0] == "=" else 2)
        return True

    def _parse_delimiters(self, bare: str) -> bool:
        """Turn the last line of the paragraph into the header of a table if the line has its delimiters."""
        if not self._lines or "-" not in bare or not DELIMITERS.match(bare):
            return False
        header = self._lines[-1]
        if not any(mark in header + bare for mark in "|:") or len(split_cells(bare)) != len(split_cells(header)):
            return False
        self._lines.pop()
        self._finish_leaf(is_last=False)
        self.leaf, self._lines = "table", [header, bare]
        return True

    def _add_text(self, text: str, *, joins: bool = False) -> None:
        """Add a line, or the rest of a line, to a paragraph; emit the beginning if it is long."""
        if joins and self._lines:
            self._lines[-1] += text
        elif text or not joins:
            self._lines.append(text)
        self._length += len(text)
        for mark in _FORMULA_MARK.findall(text):
            self._is_in_formula = not self._is_in_formula if mark == "$$" else mark == "\\["
        if self._length > MAX_OPEN_LENGTH and text:
            if not self._part:
                self._emit_definitions()
            self._emit_beginning()

    def _emit_beginning(self) -> None:
        """Emit the part of a long paragraph that can be drawn by itself."""
        text = "\n".join(self._lines)
        while len(text) > MAX_OPEN_LENGTH and (cut := find_cut(text[:MAX_OPEN_LENGTH]) or find_cut(text)):
            self._emit("paragraph", text[: cut[0]], part=self._part, is_last=False)
            self._part += 1
            text = text[cut[1] :]
        self._lines, self._length = text.split("\n") if text else [], len(text)

    def _parse_verbatim_line(self, cursor: LineCursor) -> None:
        """Add a line to a fenced block, HTML or a formula, or end the block."""
        if self.leaf == "fence":
            self._parse_fence_line(cursor)
        elif not cursor.bare and self._end is None:
            self._parse_blank(cursor, len(self._containers))
        else:
            self._add_line(cursor.rest)
            if self._end and self._end.search(cursor.rest):
                self._finish_leaf()

    def _parse_fence_line(self, cursor: LineCursor) -> None:
        bare = cursor.bare
        if cursor.indent < CODE_INDENT and bare.startswith(self._fence) and not bare.strip().strip(self._fence[0]):
            self._finish_leaf()
        else:
            cursor.skip_columns(min(self._fence_indent, cursor.indent))
            self._add_line(cursor.rest)

    def _add_line(self, line: str) -> None:
        """Add a line that is shown unchanged; emit the lines before it if there are many."""
        self._lines.append(line)
        if len(self._lines) > LINES_PER_SLICE:
            *lines, last = self._lines
            self._emit(self.leaf, "\n".join(lines), info=self._info, part=self._part, is_last=False)
            self._lines, self._part = [last], self._part + 1

    def _emit_definitions(self) -> None:
        """Emit the definitions at the beginning of the paragraph."""
        if not self._lines or not self._lines[0].startswith("["):
            return
        text, start, containers = "\n".join(self._lines), 0, tuple(self._containers)
        while found := parse_definition(text, start):
            definition, start = found
            self._finished.append(MarkdownBlock("definition", definition.source, containers, has_gap=self._has_gap))
            self._has_gap = False
        self._lines, self._length = text[start:].split("\n") if text[start:] else [], len(text) - start

    def _finish_leaf(self, *, is_last: bool = True) -> None:
        if self.leaf == "paragraph" and not self._part:
            self._emit_definitions()
        leaf, lines, part, info = self.leaf, self._lines, self._part, self._info
        self.leaf, self._lines, self._length, self._part, self._info = "", [], 0, 0, ""
        self._is_in_formula = False
        may_end_blank = leaf in ("code", "formula")
        ends_blank = may_end_blank and bool(lines) and not lines[-1].strip()
        while may_end_blank and lines and not lines[-1].strip():
            lines.pop()
        if leaf == "fence" or lines:
            self._emit(leaf, "\n".join(lines), info=info, part=part, is_last=is_last)
        self._has_gap = self._has_gap or ends_blank

    def _emit(self, kind: str, text: str, **fields: Any) -> None:
        containers = tuple(self._containers)
        new_count = len(containers) - self._shown_count
        self._finished.append(MarkdownBlock(kind, text, containers, new_count, self._has_gap, **fields))
        self._shown_count, self._has_gap = len(containers), False
