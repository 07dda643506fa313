"""Draw an answer in sections while it arrives: reasoning in tags at its start, then JSON or Markdown."""

import re
from typing import TYPE_CHECKING, Protocol

from aiml_cli.output.markdown.ansi import join_spans, strip_styles, wrap_lines
from aiml_cli.output.markdown.block_parser import BlockParser, MarkdownBlock
from aiml_cli.output.markdown.block_renderer import BlockRenderer
from aiml_cli.output.markdown.inline import DIM, Span
from aiml_cli.system.text_width import count_fitting, max_text_width

if TYPE_CHECKING:
    from collections.abc import Callable

_REASONING = re.compile(r"<(think|thinking|thought)>", re.IGNORECASE)
_REASONING_TAGS = ("<think>", "<thinking>", "<thought>")
KEY, STRING, WORD = "34", "32", "33"
INDENT = "  "
MAX_INDENTS, MAX_DEPTH = 20, 100
# By how much the beginning of a long open paragraph moves on.
SHIFT_LENGTH = 1000
# An open block of this size is drawn as a whole.
SMALL_LENGTH = 5000
# How much of an answer decides whether it is JSON, if no key does before.
MAX_START_LENGTH = 300
MAX_NUMBER_LENGTH = 100
_TOKEN = re.compile(
    r'(?P<space>[ \t\r\n]++)|(?P<string>"(?:[^"\\\n]++|\\.)*+")|(?P<quote>")|(?P<mark>[{}\[\],:])'
    r"|(?P<word>(?:-?\d[\d.eE+-]{0,400}+|-?Infinity|NaN|true|false|null)(?![^\s,:\]}]))",
)
_STRING_PIECE = re.compile(r'(?:[^"\\\n]++|\\.)++|[\n"]')
_HALF_WORD = re.compile(rf"[-+.\w]{{1,{MAX_NUMBER_LENGTH}}}+\Z")
_CLOSERS = {"{": "}", "[": "]"}
# The kinds of token, and the marks, that may come next.
_NEXT = {
    "value": {"string", "quote", "word", "{", "["},
    "item": {"string", "quote", "word", "{", "[", "]"},
    "key": {"string", "quote", "}"},
    "colon": {":"},
    "end": {",", "}", "]"},
}


class Section(Protocol):
    """A part of an answer; the reader removes the lines that are `finished`, which do not change any more.

    `grows_at_end`: of the open lines, only the last ones may still change.
    """

    finished: list[str]
    grows_at_end: bool

    def feed(self, text: str, width: int, /) -> None:
        """Add text."""

    def finish(self, width: int, /) -> None:
        """End the text; all lines are finished then."""

    def open_lines(self, width: int, rows: int, /) -> list[str]:
        """Return the lines that may still change, or the last of them, at least as many as a screen has rows."""

    def rest(self) -> str:
        """Return the text that is not in finished lines."""


class AnswerSections:
    """The sections of an answer, which is a section itself; `is_json`: JSON was asked for."""

    def __init__(self, *, is_json: bool, hides_reasoning: bool) -> None:
        self.finished: list[str] = []
        self._is_json, self._hides_reasoning = is_json, hides_reasoning
        self._text = ""  # belongs to no section yet
        self._section: Section = LineSection()
        self._json = JsonSection()
        self._step: Callable[[int], bool] = self._start
        self._closing_tag = ""
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
        """True if of the open lines only the last ones may still change."""
        return self._section.grows_at_end

    def _start(self, _width: int) -> bool:
        """Look for reasoning at the start; return True if the next step can go on with the text."""
        bare = self._text.lstrip()
        if match := _REASONING.match(bare):
            self._text, self._closing_tag = bare[match.end() :], f"</{match[1].lower()}>"
            self._section, self._step = ReasoningSection(is_hidden=self._hides_reasoning), self._add_reasoning
            return True
        if not self._is_last and any(tag.startswith(bare.lower()) for tag in _REASONING_TAGS):
            return False
        self._step = self._choose
        return True

    def _add_reasoning(self, width: int) -> bool:
        """Add the text before the closing tag; half of a tag waits for its other half."""
        text = self._text.lower()
        end = text.find(self._closing_tag)
        if end < 0:
            end = len(text) - (0 if self._is_last else _count_overlap(text, self._closing_tag))
            self._section.feed(self._text[:end], width)
            self._text = self._text[end:]
            return False
        self._section.feed(self._text[:end], width)
        self._text = self._text[end + len(self._closing_tag) :].lstrip("\n")
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
        """Add to JSON; text after it is something new, and after an error all is shown as it is."""
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
    """Lines that are shown as they are."""

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
    """Reasoning, dim and wrapped; white space around it is left out."""

    def __init__(self, *, is_hidden: bool) -> None:
        self.finished: list[str] = []
        self.grows_at_end = True
        self._is_hidden = is_hidden
        self._tail, self._has_text = "", False

    def feed(self, text: str, width: int) -> None:
        """Add text; the last row may grow, and white space at the end waits for more text."""
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
    """Markdown, drawn block by block; of an open block that is larger than the screen only a part is drawn."""

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
        # A table is drawn anew for each row, and a paragraph with bars may become one.
        self.grows_at_end = not any("|" in block.text for block in blocks if block.kind != "fence")
        return self._renderer.copy().draw(blocks, width)

    def rest(self) -> str:
        """Return the source of the open blocks, which may begin with a part of a finished one."""
        return "".join(self._source)


class JsonSection:
    """A JSON value, indented and colored; only the white space between its parts is changed.

    It `is_over` at the end of the value or, if it `has_failed`, at the first character that JSON does not allow.
    """

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.grows_at_end = False
        self.is_over = self.has_failed = self.has_key = False
        self._line: list[Span] = []
        self._text = ""  # not drawn yet
        self._closers: list[str] = []
        self._state, self._string_style = "value", ""
        self._is_in_string = self._breaks_line = False

    def feed(self, text: str, _width: int) -> None:
        """Add text; half of a number or of an escape waits for its other half."""
        self._add_tokens(text, is_last=False)

    def finish(self, _width: int) -> None:
        """End the text; what is not JSON is shown as it is."""
        self._add_tokens("", is_last=True)
        self._end_line()
        if self._text:
            self.finished += self._text.split("\n")
            self._text = ""

    def rest(self) -> str:
        """Return the text that is not in finished lines."""
        return "".join(span.text for span in self._line) + self._text

    def take_rest(self) -> str:
        """Return the text after the value, and forget it."""
        text, self._text = self._text, ""
        return text

    def _add_tokens(self, text: str, *, is_last: bool) -> None:
        text = self._text = self._text + text
        position, size = 0, len(text)
        while position < size and not self.is_over:
            match = (_STRING_PIECE if self._is_in_string else _TOKEN).match(text, position)
            if not is_last and (match is None or match.end() == size) and self._is_cut(text, position):
                break
            if match is None or not self._add(match):
                self.is_over = self.has_failed = True
                break
            position = match.end()
        self._text = text[position:]

    def open_lines(self, width: int, rows: int) -> list[str]:
        """Return the unfinished line, cut into rows; of a line that is longer than the screen only its end."""
        hidden = max(0, sum(len(span.text) for span in self._line) - 2 * rows * width) // 1000 * 1000
        return list(map(join_spans, _cut_rows(_drop_start(self._line, hidden), width)))

    def _is_cut(self, text: str, position: int) -> bool:
        """True if the text may end within a number, a word or an escape."""
        if self._is_in_string:
            return text.endswith("\\") and position == len(text) - 1
        return _HALF_WORD.match(text, position) is not None

    def _add(self, match: re.Match[str]) -> bool:
        """Draw a token; return False if JSON does not allow it here."""
        kind, text = match.lastgroup, match[0]
        if kind is None:
            self._add_to_string(text)
            return True
        if kind == "space":
            return True
        if kind == "mark":
            return text in _NEXT[self._state] and self._add_mark(text)
        if kind not in _NEXT[self._state]:
            return False
        style = WORD if kind == "word" else KEY if self._state == "key" else STRING
        self._begin_item()
        self._line.append(Span(text, style))
        if kind == "quote":
            self._is_in_string, self._string_style = True, style
        else:
            self._end_item()
        return True

    def _add_to_string(self, text: str) -> None:
        if text == "\n":
            self._end_line()
            return
        self._line.append(Span(text, self._string_style))
        if text == '"':
            self._is_in_string = False
            self._end_item()

    def _add_mark(self, mark: str) -> bool:
        if mark in "}]":
            return self._add_closer(mark)
        if mark in "{[":
            self._begin_item()
            self._closers.append(_CLOSERS[mark])
        self._line.append(Span(": " if mark == ":" else mark))
        if mark == ":":
            self._state, self.has_key = "value", True
        else:
            self._state, self._breaks_line = "key" if self._closers[-1] == "}" else "item", True
        return len(self._closers) <= MAX_DEPTH

    def _add_closer(self, mark: str) -> bool:
        if self._closers[-1] != mark:
            return False
        self._closers.pop()
        is_empty = self._line[-1].text in _CLOSERS
        self._breaks_line = not is_empty
        self._begin_item()
        self._line.append(Span(mark))
        self._state = "value"
        self._end_item()
        return True

    def _begin_item(self) -> None:
        if self._breaks_line:
            self._end_line()
            self._line.append(Span(INDENT * min(len(self._closers), MAX_INDENTS)))
        self._breaks_line = False

    def _end_item(self) -> None:
        if self._state == "key":
            self._state = "colon"
        else:
            self._state, self.is_over = "end", not self._closers

    def _end_line(self) -> None:
        if self._line:
            self.finished.append(join_spans(self._line))
            self._line = []


def is_json_start(text: str, *, is_expected: bool, is_last: bool) -> bool | None:
    """True if a text starts as JSON, None if that depends on what follows; `[1]` may also be a note of Markdown.

    `is_expected`: JSON was asked for.
    """
    bare = text.lstrip()[:MAX_START_LENGTH]
    if not bare and not is_last:
        return None
    if bare[:1] not in ("{", "[", '"') or (bare[0] == '"' and not is_expected):
        return False
    section = JsonSection()
    section.feed(bare, 0)
    if is_expected or section.has_key:
        return True
    if section.has_failed:
        return False
    if section.is_over:
        following = section.take_rest().lstrip(" \t")[:1]
        return following == "\n" if following else (True if is_last else None)
    return "," in bare if is_last or len(bare) == MAX_START_LENGTH else None


def _count_overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of the text may be the beginning of the tag."""
    return next((count for count in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-count:])), 0)


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
    """Return a block that takes at least the screen, if it can, but not much more to draw."""
    limit = 2 * width * rows
    if len(block.text) <= max(limit + SHIFT_LENGTH, SMALL_LENGTH):
        return block
    if block.kind in ("table", "fence", "code"):
        *head, body = block.text.split("\n", 2) if block.kind == "table" else [block.text]
        lines = [*head, *_take_last(body.rsplit("\n", rows)[-rows:], limit)]
        return block._replace(text="\n".join(lines), part=max(1, block.part))
    # The cut stays where it is for a while, so that the lines on the screen need no redraw.
    start = (len(block.text) - limit) // SHIFT_LENGTH * SHIFT_LENGTH
    start = max(start, block.text.find(" ", start, start + SHIFT_LENGTH) + 1)
    return block._replace(text=block.text[start:], part=max(1, block.part))


def _take_last(lines: list[str], limit: int) -> list[str]:
    """Return the last lines that have so many characters together, and at least the start of the last one."""
    count = size = 0
    for line in reversed(lines):
        size += len(line) + 1
        if size > limit:
            break
        count += 1
    return lines[len(lines) - count :] if count else [lines[-1][:limit]]


def _drop_start(spans: list[Span], hidden: int) -> list[Span]:
    """Return the spans without so many characters from the start."""
    kept: list[Span] = []
    for span in spans:
        if len(span.text) > hidden:
            kept.append(Span(span.text[hidden:], span.style))
        hidden = max(0, hidden - len(span.text))
    return kept


def _cut_rows(spans: list[Span], width: int) -> list[list[Span]]:
    """Return the spans in rows of at most this width."""
    rows: list[list[Span]] = []
    free = 0
    for text, style, *_ in spans:
        while text:
            count = count_fitting(text, free) if free else 0
            if not count:
                rows.append([])
                count = count_fitting(text, width, minimum=1)
                free = width
            rows[-1].append(Span(text[:count], style))
            free -= max_text_width(text[:count])
            text = text[count:]  # noqa: PLW2901
    return rows
