"""Cut Markdown into blocks as it comes: each is given once, when nothing that follows can change it."""

import re
from typing import Any, NamedTuple

# A paragraph without an end is given in pieces, so that what is open stays smaller than a screen.
LONGEST_OPEN = 1200
SLICE = 8  # lines of code that are given at a time
CODE_INDENT = 4
NESTED_INDENT = 2  # too little by the rules, and yet what many models write for an item in an item
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])( +|$)")
_NOTE = re.compile(r"\[\^([^\]\s]+)\]:(?: +|$)")
_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)")
_HEADING = re.compile(r"(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_RULE = re.compile(r"(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_UNDERLINE = re.compile(r"(?:=+|-+)[ \t]*$")
_DELIMITERS = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_CELL_END = re.compile(r"(?<!\\)\|")


class Container(NamedTuple):
    """Hold what a block stands in: a quote (">"), an item ("-", "3.") or a footnote ("[1]").

    `indent` is how far what stands in it is indented in the text.
    """

    mark: str
    indent: int = 0


class MarkdownBlock(NamedTuple):
    """Hold a paragraph, heading, fence, code, table, rule.

    `opens` counts the frames, from the last, that begin with this block: their marks are shown. `gap` says that
    blank lines stand before it. `part` counts the pieces of a long one, of which the last `closes`.
    """

    kind: str
    text: str
    containers: tuple[Container, ...] = ()
    opens: int = 0
    gap: bool = False
    level: int = 0
    info: str = ""
    part: int = 0
    closes: bool = True


class BlockParser:
    """Take text in any pieces; how it is cut makes no difference."""

    def __init__(self) -> None:
        self._tail = ""
        self._state = _ParserState()

    def feed(self, text: str) -> list[MarkdownBlock]:
        """Take what came; give the blocks that are finished by it."""
        *lines, self._tail = (self._tail + text).split("\n")
        for line in lines:
            self._state.feed_line(self._shortened(line))
        self._tail = self._shortened(self._tail)
        return self._state.pop_finished()

    def open_blocks(self) -> list[MarkdownBlock]:
        """Give what is not finished, as it would be if the text ended here."""
        return self._ended(self._state.copy())

    def finish(self) -> list[MarkdownBlock]:
        """Give what is left."""
        given = self._ended(self._state)
        self._tail = ""
        return given

    def _ended(self, state: "_ParserState") -> list[MarkdownBlock]:
        if self._tail:
            state.feed_line(self._tail)
        state.close()
        return state.pop_finished()

    def _shortened(self, line: str) -> str:
        """Take the beginning of a long line of text as one that goes on; give the rest."""
        while len(line) > LONGEST_OPEN:
            cut = line.rfind(" ", 1, LONGEST_OPEN)
            state = self._state.copy()
            state.feed_line(line[:cut])
            if cut < 0 or state.leaf != "paragraph":
                break
            state.goes_on = True
            self._state, line = state, line[cut + 1 :]
        return line


class _ParserState:
    """Keep what a line must know of those before."""

    def __init__(self) -> None:
        self.leaf = ""
        self.goes_on = False
        self._lines: list[str] = []
        self._frames: list[Container] = []
        self._shown = 0
        self._numbers: dict[int, tuple[str, int]] = {}
        self._blank = self._is_sibling = False
        self._fence, self._fence_indent, self._info, self._part = "", 0, "", 0
        self._given: list[MarkdownBlock] = []

    def copy(self) -> "_ParserState":
        """Give a state that goes its own way."""
        other = _ParserState()
        vars(other).update(vars(self))
        other._lines, other._frames = [*self._lines], [*self._frames]
        other._numbers, other._given = {**self._numbers}, [*self._given]
        return other

    def pop_finished(self) -> list[MarkdownBlock]:
        """Take out what is finished."""
        given, self._given = self._given, []
        return given

    def feed_line(self, line: str) -> None:
        """Take a line."""
        if self.goes_on:
            self.goes_on = False
            self._say(line)
            return
        if "\t" in line:
            blank = len(line) - len(line.lstrip())
            line = line[:blank].expandtabs(4) + line[blank:]
        rest, matched = self._matched(line)
        self._is_sibling = matched < len(self._frames) and self._frames[matched].mark != ">"
        if matched < len(self._frames):
            if self.leaf == "paragraph" and rest.strip() and not self._begins(rest):
                self._say(rest.lstrip())
                return
            self._leave(matched)
        if self.leaf == "fence":
            self._in_fence(rest)
        else:
            self._read(self._opened(rest))

    def close(self) -> None:
        """End all that is open."""
        self._leave(0)
        self._finish()

    def _matched(self, line: str) -> tuple[str, int]:
        """Go through the frames that a line stands in; give the rest of it, and how many they are."""
        for count, frame in enumerate(self._frames):
            bare = line.lstrip(" ")
            indent = len(line) - len(bare)
            if frame.mark == ">":
                if indent >= CODE_INDENT or not bare.startswith(">"):
                    return line, count
                line = bare[1:].removeprefix(" ")
            elif not bare:
                line = ""
            elif indent >= frame.indent:
                line = line[frame.indent :]
            elif indent >= NESTED_INDENT and frame.indent <= CODE_INDENT and _ITEM.match(bare):
                line = bare  # an item in an item, indented less than it should be
            else:
                return line, count
        return line, len(self._frames)

    def _opened(self, rest: str) -> str:
        """Open the frames that a line begins; give what stands in them."""
        while True:
            bare = rest.lstrip(" ")
            indent = len(rest) - len(bare)
            if indent >= CODE_INDENT:
                return rest
            if bare.startswith(">"):
                self._enter(Container(">"))
                rest = bare[1:].removeprefix(" ")
            elif (note := _NOTE.match(bare)) and self.leaf != "paragraph":
                self._enter(Container(f"[{note[1]}]", CODE_INDENT))
                rest = bare[note.end() :]
            elif (item := self._item(bare)) is not None:
                space = len(item[2])
                width = len(item[1]) + (space if 1 <= space <= CODE_INDENT and item.end() < len(bare) else 1)
                self._enter(Container(self._numbered(item[1]), indent + width))
                rest = bare[width:]
            else:
                return rest

    def _item(self, bare: str) -> re.Match[str] | None:
        """Find the mark of an item; in the middle of a paragraph not every number is one."""
        item = _ITEM.match(bare)
        if item is None or _RULE.match(bare):
            return None
        may_be_text = self.leaf == "paragraph" and not self._is_sibling
        if may_be_text and (item.end() == len(bare) or item[1][:-1] not in ("", "1")):
            return None
        return item

    def _numbered(self, mark: str) -> str:
        """Count the items of a list, which may all be called 1."""
        depth, kind = len(self._frames), mark[-1]
        before = self._numbers.get(depth)
        number = before[1] + 1 if before and before[0] == kind else int(mark[:-1] or 0)
        for deeper in [each for each in self._numbers if each >= depth]:
            del self._numbers[deeper]
        self._numbers[depth] = kind, number
        return f"{number}{kind}" if mark[:-1] else kind

    def _enter(self, frame: Container) -> None:
        self._finish()
        self._frames.append(frame)

    def _leave(self, matched: int) -> None:
        """Leave frames; one that holds nothing is shown all the same."""
        self._finish()
        if self._shown < len(self._frames):
            self._give("paragraph", "")
        del self._frames[matched:]
        self._shown = min(self._shown, matched)

    def _begins(self, rest: str) -> bool:
        """Say whether a line begins a block, and does not go on with a paragraph."""
        bare = rest.lstrip(" ")
        if len(rest) - len(bare) >= CODE_INDENT:
            return False
        marks = (_FENCE, _HEADING, _RULE)
        return bare.startswith(">") or self._item(bare) is not None or any(mark.match(bare) for mark in marks)

    def _read(self, rest: str) -> None:
        """Read what stands in the frames of a line."""
        bare = rest.lstrip(" ")
        indent = len(rest) - len(bare)
        if not bare.strip():
            self._read_blank(rest)
        elif indent >= CODE_INDENT and self.leaf != "paragraph":
            self._begin("code")
            self._add_code(rest[CODE_INDENT:])
        elif fence := _FENCE.match(bare):
            self._begin("fence")
            self._fence, self._fence_indent, self._info = fence[1], indent, fence[2].strip()
        elif heading := _HEADING.match(bare):
            self._begin("")
            self._give("heading", heading[2] or "", level=len(heading[1]))
        elif self.leaf == "paragraph" and self._underlined(bare):
            pass
        elif _RULE.match(bare):
            self._begin("")
            self._give("rule", "")
        elif self.leaf == "table" and "|" in bare:
            self._lines.append(bare)
        else:
            self._begin("paragraph")
            self._say(bare)

    def _read_blank(self, rest: str) -> None:
        if self.leaf == "code":
            self._add_code(rest[CODE_INDENT:])
        else:
            self._finish()
        self._blank = self._blank or self._shown == len(self._frames)

    def _begin(self, leaf: str) -> None:
        """Begin a leaf, or go on with one of its kind."""
        if leaf != self.leaf or leaf == "fence":
            self._finish()
            for depth in [each for each in self._numbers if each >= len(self._frames)]:
                del self._numbers[depth]
            self.leaf = leaf

    def _underlined(self, bare: str) -> bool:
        """See whether a line makes a heading or a table of the paragraph before it."""
        if (
            "|" in bare
            and _DELIMITERS.match(bare)
            and len(split_cells(bare)) == len(split_cells(self._lines[-1] if self._lines else ""))
        ):
            header = self._lines.pop()
            if self._lines:
                self._give("paragraph", "\n".join(self._lines), closes=False)
            self.leaf, self._lines, self._part = "table", [header, bare], 0
            return True
        if self._lines and not self._part and _UNDERLINE.match(bare):
            text, self._lines, self.leaf = "\n".join(self._lines), [], ""
            self._give("heading", text, level=1 if bare[0] == "=" else 2)
            return True
        return False

    def _say(self, text: str) -> None:
        """Add a line to a paragraph, and give its beginning when it becomes long."""
        self._lines.append(text)
        if sum(map(len, self._lines)) > LONGEST_OPEN:
            self._give("paragraph", "\n".join(self._lines), part=self._part, closes=False)
            self._lines, self._part = [], self._part + 1

    def _in_fence(self, rest: str) -> None:
        bare = rest.lstrip(" ")
        if (
            len(rest) - len(bare) < CODE_INDENT
            and bare.startswith(self._fence)
            and not bare.strip().strip(self._fence[0])
        ):
            self._finish()
            return
        self._add_code(rest[min(self._fence_indent, len(rest) - len(bare)) :])

    def _add_code(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) > SLICE:
            *lines, last = self._lines
            self._give(self.leaf, "\n".join(lines), info=self._info, part=self._part, closes=False)
            self._lines, self._part = [last], self._part + 1

    def _finish(self) -> None:
        """Give the leaf that is open."""
        leaf, lines, part = self.leaf, self._lines, self._part
        self.leaf, self._lines, self._part, info = "", [], 0, self._info
        self._info = ""
        blank = leaf == "code" and bool(lines) and not lines[-1].strip()
        while leaf == "code" and lines and not lines[-1].strip():
            lines.pop()
        if leaf == "fence" or lines:
            self._give(leaf, "\n".join(lines), info=info, part=part)
        self._blank = self._blank or blank

    def _give(self, kind: str, text: str, **facts: Any) -> None:
        frames = tuple(self._frames)
        block = MarkdownBlock(kind, text, frames, len(frames) - self._shown, self._blank)
        self._given.append(block._replace(**facts))
        self._shown, self._blank = len(frames), False


def split_cells(row: str) -> list[str]:
    """Cut a row of a table into its cells."""
    row = row.strip()
    row = row.removeprefix("|")
    row = row[:-1] if row.endswith("|") and not row.endswith("\\|") else row
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(row)]
