"""Draw an answer in sections while it arrives: reasoning in tags at its start, then JSON or Markdown."""

import re
from typing import TYPE_CHECKING, Protocol

from aiml_cli.output.markdown.ansi import strip_styles, wrap_lines
from aiml_cli.output.markdown.block_parser import BlockParser, MarkdownBlock
from aiml_cli.output.markdown.block_renderer import BlockRenderer
from aiml_cli.output.markdown.inline import DIM, Span
from aiml_cli.output.markdown.json_section import JsonSection, is_json_start

if TYPE_CHECKING:
    from collections.abc import Callable

_REASONING = re.compile(r"<(think|thinking|thought)>", re.IGNORECASE)
_REASONING_END = re.compile(r"</(think|thinking|thought)>", re.IGNORECASE)
_REASONING_TAGS = ("<think>", "<thinking>", "<thought>")
# Only the end of a long open paragraph is drawn; its start moves in steps of this length.
SHIFT_LENGTH = 1000
# An open block of this size is drawn completely.
SMALL_LENGTH = 5000


class Section(Protocol):
    """A part of an answer; the caller removes the `finished` lines, which do not change any more.

    With `grows_at_end`, only the last of the open lines may still change.
    """

    finished: list[str]
    grows_at_end: bool

    def feed(self, text: str, width: int, /) -> None:
        """Add text."""

    def finish(self, width: int, /) -> None:
        """End the text; all lines are finished then."""

    def open_lines(self, width: int, rows: int, /) -> list[str]:
        """Return the lines that may still change; perhaps only the last ones if they do not fit on a screen."""

    def rest(self) -> str:
        """Return the text that is not in finished lines."""


class AnswerSections:
    """A complete answer as a section that consists of sections; `is_json`: JSON was requested."""

    def __init__(self, *, is_json: bool, hides_reasoning: bool) -> None:
        self.finished: list[str] = []
        self._is_json, self._hides_reasoning = is_json, hides_reasoning
        self._text = ""  # belongs to no section yet
        self._section: Section = LineSection()
        self._json = JsonSection()
        self._step: Callable[[int], bool] = self._start
        self._tag = ""
        self._has_lines = self._is_last = False

    def feed(self, text: str, width: int) -> None:
        """Add text."""
        self._text += text
        while self._step(width):
            pass
        self._take_finished()

    def finish(self, width: int) -> None:
        """End the text; all lines are finished then."""
        self._is_last = True
        while self._step(width):
            pass
        self._end_section(width)

    def open_lines(self, width: int, rows: int) -> list[str]:
        """Return the lines that may still change."""
        return self._section.open_lines(width, rows)

    def rest(self) -> str:
        """Return the text that is not in finished lines."""
        self._take_finished()
        return self._section.rest() + self._text

    @property
    def grows_at_end(self) -> bool:
        """True if only the last of the open lines may still change."""
        return self._section.grows_at_end

    def _start(self, _width: int) -> bool:
        """Look for reasoning at the start; return True if the next step can continue with the text."""
        bare = self._text.lstrip()
        if match := _REASONING.match(bare):
            self._text, self._tag = bare[match.end() :], match[1].lower()
            self._section, self._step = ReasoningSection(is_hidden=self._hides_reasoning), self._add_reasoning
            return True
        if not self._is_last and any(tag.startswith(bare.lower()) for tag in _REASONING_TAGS):
            return False
        self._step = self._choose
        return True

    def _add_reasoning(self, width: int) -> bool:
        """Add the text before the closing tag; an incomplete tag waits for the rest."""
        text, closing = self._text, _find_end(self._text, self._tag)
        end = len(text) - (0 if self._is_last else _count_overlap(text, f"</{self._tag}>"))
        end = closing.start() if closing else end
        self._section.feed(text[:end], width)
        if closing is None:
            self._text = text[end:]
            return False
        self._text = text[closing.end() :].lstrip("\n")
        self._end_section(width)
        self._step = self._choose
        return True

    def _choose(self, _width: int) -> bool:
        """Choose JSON or Markdown by the first characters."""
        is_json = is_json_start(self._text, is_expected=self._is_json, is_last=self._is_last)
        if is_json is None or not self._text.strip():
            return False
        if self._has_lines:
            self.finished.append("")
        if is_json:
            self._section = self._json = JsonSection()
            self._step, self._text = self._add_json, self._text.lstrip()
        else:
            self._section, self._step = MarkdownSection(), self._add_rest
        return True

    def _add_json(self, width: int) -> bool:
        """Add text to the JSON; text after it starts a new section, and after an error all text is shown unchanged."""
        text, self._text = self._text, ""
        self._json.feed(text, width)
        if not self._json.is_over:
            return False
        self._text = self._json.take_rest()
        self._end_section(width)
        self._step = self._add_rest if self._json.has_failed else self._choose
        return True

    def _add_rest(self, width: int) -> bool:
        text, self._text = self._text, ""
        self._section.feed(text, width)
        return False

    def _take_finished(self) -> None:
        self._has_lines = self._has_lines or bool(self._section.finished)
        self.finished += self._section.finished
        self._section.finished = []

    def _end_section(self, width: int) -> None:
        self._section.finish(width)
        self._take_finished()
        self._section = LineSection()


class LineSection:
    """Lines that are shown unchanged."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.grows_at_end = True
        self._tail: list[str] = []

    def feed(self, text: str, _width: int) -> None:
        """Add text."""
        self._tail.append(text)
        if "\n" in text:
            *lines, tail = "".join(self._tail).split("\n")
            self.finished += lines
            self._tail = [tail]

    def finish(self, _width: int) -> None:
        """End the last line."""
        if line := self.rest():
            self.finished.append(line)
        self._tail = []

    def open_lines(self, _width: int, _rows: int) -> list[str]:
        """Return the last line."""
        line = self.rest()
        return [line] if line else []

    def rest(self) -> str:
        """Return the last line."""
        return "".join(self._tail)


class ReasoningSection:
    """Reasoning, dim and wrapped; whitespace around it is left out."""

    def __init__(self, *, is_hidden: bool) -> None:
        self.finished: list[str] = []
        self.grows_at_end = True
        self._is_hidden = is_hidden
        self._tail, self._has_text = "", False

    def feed(self, text: str, width: int) -> None:
        """Add text; the last row may grow, and whitespace at the end waits for more text."""
        if self._is_hidden:
            return
        self._tail += text if self._has_text else text.lstrip()
        self._has_text = bool(self._tail) or self._has_text
        body = self._tail.rstrip()
        if "\n" in body or len(body) > 4 * width:
            *rows, last = self._draw(body, width)
            self.finished += rows
            self._tail = strip_styles(last) + self._tail[len(body) :]

    def finish(self, width: int) -> None:
        """End the last row."""
        self.finished += self.open_lines(width, 0)
        self._tail = ""

    def open_lines(self, width: int, _rows: int) -> list[str]:
        """Return the last rows."""
        body = self._tail.rstrip()
        return self._draw(body, width) if body else []

    def rest(self) -> str:
        """Return the last rows, which are shorter than a few lines."""
        return self._tail

    def _draw(self, text: str, width: int) -> list[str]:
        return [row for line in text.split("\n") for row in wrap_lines([Span(line.rstrip(), DIM)], width)]


class MarkdownSection:
    """Markdown, drawn block by block; an open block that is larger than the screen is only partly drawn."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.grows_at_end = True
        self._parser, self._renderer = BlockParser(), BlockRenderer()
        self._source: list[str] = []  # since the last finished block

    def feed(self, text: str, width: int) -> None:
        """Add text; the blocks that it finishes keep this width."""
        self._source.append(text)
        blocks = self._parser.feed(text)
        self.finished += self._renderer.draw(blocks, width)
        if blocks:
            self._source = [_find_text_after("".join(self._source), blocks)]

    def finish(self, width: int) -> None:
        """End the last block."""
        self.finished += self._renderer.draw(self._parser.finish(), width)
        self.finished += self._renderer.finish(width)
        self._source = []

    def open_lines(self, width: int, rows: int) -> list[str]:
        """Return the lines of the open blocks."""
        blocks = [_shorten_block(block, width, rows) for block in self._parser.open_blocks()[-rows:]]
        # Each row may change all lines of a table, and a paragraph with bars may become one.
        self.grows_at_end = not any("|" in block.text for block in blocks if block.kind != "fence")
        return self._renderer.copy().draw(blocks, width)

    def rest(self) -> str:
        """Return the source of the open blocks, which may begin with a part of a finished one."""
        return "".join(self._source)


def drop_reasoning(text: str) -> str:
    """Return an answer without the reasoning in tags at its start."""
    bare = text.lstrip()
    if (match := _REASONING.match(bare)) is None:
        return text
    closing = _find_end(bare, match[1].lower())
    return bare[closing.end() :] if closing else ""


def _find_end(text: str, tag: str) -> re.Match[str] | None:
    """Find the closing tag; `text.lower()` may be longer, so positions in it would be wrong."""
    return next((match for match in _REASONING_END.finditer(text) if match[1].lower() == tag), None)


def _count_overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of the text may be the beginning of the tag."""
    return next(
        (count for count in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-count:].lower())), 0
    )


def _find_text_after(source: str, blocks: list[MarkdownBlock]) -> str:
    """Return the source after these blocks, or more of it if a block is not found."""
    position = 0
    for block in blocks:
        line = block.text.rsplit("\n", 1)[-1]
        start = source.find(line, position)
        if start < 0:
            break
        position = start + len(line)
    return source[position:]


def _shorten_block(block: MarkdownBlock, width: int, rows: int) -> MarkdownBlock:
    """Return a part of a block that fills the screen, if possible, but is not much larger."""
    limit = 2 * width * rows
    if len(block.text) <= max(limit + SHIFT_LENGTH, SMALL_LENGTH):
        return block
    if block.kind in ("table", "fence", "code"):
        *head, body = block.text.split("\n", 2) if block.kind == "table" else [block.text]
        lines = [*head, *_take_last(body.rsplit("\n", rows)[-rows:], limit)]
        return block._replace(text="\n".join(lines), part=max(1, block.part))
    # The cut moves in steps, so that the lines on the screen need no redraw.
    start = (len(block.text) - limit) // SHIFT_LENGTH * SHIFT_LENGTH
    start = max(start, block.text.find(" ", start, start + SHIFT_LENGTH) + 1)
    return block._replace(text=block.text[start:], part=max(1, block.part))


def _take_last(lines: list[str], limit: int) -> list[str]:
    """Return the last lines with up to `limit` characters together, at least the start of the last one."""
    count = size = 0
    for line in reversed(lines):
        size += len(line) + 1
        if size > limit:
            break
        count += 1
    return lines[len(lines) - count :] if count else [lines[-1][:limit]]
