"""Draw output that grows on a terminal: finished lines once, and only the changed part of the open lines."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from aiml_cli.output.markdown.ansi import OFF, STYLE, measure_max_width, strip_styles
from aiml_cli.system.text_width import count_fitting, max_text_width, text_width

BEGIN_UPDATE, END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"
# tmux scrolls if a screen is erased from its first character to its end, so the first line is erased separately.
ERASE_LINE = "\r\x1b[K"
# Variables of the terminals that wrap lines again when they become narrower; other terminals may not.
REFLOWING_TERMINALS = (
    "TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "WEZTERM_PANE", "ITERM_SESSION_ID", "WT_SESSION", "ALACRITTY_WINDOW_ID",
    "GHOSTTY_RESOURCES_DIR", "KONSOLE_VERSION",
)  # fmt: skip
REFLOWING_TYPES = ("tmux", "xterm-kitty", "alacritty", "foot", "wezterm", "xterm-ghostty")
# How many characters of a line are examined for each visible column; the excess is for styles and accents.
STYLED_LENGTH = 64
TMUX_TIMEOUT_S = 1.0
TAB_WIDTH = 8  # of a terminal
_NO_LETTERS = re.compile(r"[\W_]++")
_CUT_STYLE = re.compile(r"\x1b[^\x1b]*\Z")
Size = tuple[int, int]


class TerminalRegion:
    """The open lines below the finished ones; the cursor is at the end of the last line.

    Nothing above the screen can be erased: open lines get there when there are too many of them, or when the terminal
    becomes smaller. Their letters and digits are in `_written`, and are not written again.
    """

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self._write, self._environ = write, environ
        self._lines: Sequence[str] = []
        self._size: Size = (0, 0)
        self._written = ""
        name = environ.get("TERM", "")
        self._reflows = name.startswith(REFLOWING_TYPES) or any(map(environ.get, REFLOWING_TERMINALS))

    def draw(
        self, finished: Sequence[str], open_lines: Sequence[str], size: Size, *, may_redraw: bool = True,
        grows_at_end: bool = False,
    ) -> bool:  # fmt: skip
        """Draw finished lines and the open ones below them; return False if this needs a redraw that is not allowed.

        `size` is in columns and rows. With `grows_at_end`, only the last of the open lines may still change, so
        the first ones may leave the screen; otherwise lines that do not fit on the screen are not drawn.
        """
        columns, rows = size
        is_resized = size != self._size and bool(self._lines)
        if is_resized and not may_redraw:
            return False
        erase = self._build_erase(0, columns, find_cursor_row(self._environ, rows)) if is_resized else ""
        done, shown, written = self._drop_written(finished, open_lines)
        excess = max(0, len(shown) - rows + 1)
        leaving = _cut_at_letters(shown[:excess]) if grows_at_end else []
        done, written = [*done, *leaving], written + _join_letters(leaving)
        shown = [crop_line(expand_tabs(line), columns - 1) for line in shown[excess:]]
        new = [*done, *shown]
        unchanged = 0 if is_resized else self._count_unchanged(new)
        text = None if is_resized else _build_addition(self._lines, new, unchanged)
        if text is None:
            if not may_redraw:
                return False
            text = self._build_redraw(new, unchanged, size, erase)
        if done and not shown:
            text += "\n"
        self._lines, self._size, self._written = shown, size, written
        if text:
            self._write(text)
        return True

    def clear(self, size: Size) -> None:
        """Erase the open lines, so that other output can replace them."""
        if self._lines:
            self._write(self._build_erase(0, *size))
            self._lines = []

    def _count_unchanged(self, new: Sequence[str]) -> int:
        """Count the lines from the top that stay the same."""
        pairs = zip(self._lines, new, strict=False)
        return next((index for index, (old, line) in enumerate(pairs) if old != line), min(len(self._lines), len(new)))

    def _build_redraw(self, new: Sequence[str], unchanged: int, size: Size, erase: str) -> str:
        unchanged = min(unchanged, max(0, len(new) - 1))
        text = (erase or self._build_erase(unchanged, *size)) + "\n".join(new[unchanged:])
        return text if unchanged >= len(self._lines) - 1 else BEGIN_UPDATE + text + END_UPDATE

    def _build_erase(self, unchanged: int, columns: int, reachable: int) -> str:
        """Return the sequence that moves up to the first changed line and erases everything from there on.

        `reachable` is the number of rows from the first one of the screen to that of the cursor.
        """
        counts = [self._count_rows(line, columns) for line in self._lines[unchanged:]]
        if (above := sum(counts) - reachable) > 0:
            self._written += _take_rows(self._lines[unchanged:], counts, above, columns)
        up = min(sum(counts), reachable) - 1
        return f"\x1b[{up}A{ERASE_LINE}\n\x1b[J\x1b[A" if up > 0 else ERASE_LINE

    def _count_rows(self, line: str, columns: int) -> int:
        """Return the rows of a line, which are more than one if the terminal wrapped it again."""
        return max(1, -(-measure_max_width(line) // columns)) if self._reflows else 1

    def _drop_written(
        self, finished: Sequence[str], open_lines: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[str], str]:
        """Return the lines without the written text if they start with it, and the part of it in the open lines."""
        if not self._written or not _join_letters([*finished, *open_lines]).startswith(self._written):
            return finished, open_lines, ""
        count, size = len(self._written), len(_join_letters(finished))
        return _drop_start(finished, count), _drop_start(open_lines, count - size), self._written[size:]


def find_cursor_row(environ: Mapping[str, str], rows: int) -> int:
    """Return the row of the cursor, counted from 1: in tmux the real one, elsewhere the last one that it may be in.

    tmux keeps the cursor where it is when it wraps lines again, and moves the lines above it off the screen.
    """
    if not environ.get("TMUX"):
        return rows
    import subprocess  # for a terminal that was resized during an answer

    command = ["tmux", "display-message", "-p", "-t", environ.get("TMUX_PANE", ""), "#{pane_tty} #{cursor_y}"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        told = subprocess.run(command, capture_output=True, text=True, timeout=TMUX_TIMEOUT_S, check=True)
        name, row = told.stdout.split()
        if name == os.ttyname(1):
            return int(row) + 1
    return rows


def _join_letters(lines: Sequence[str]) -> str:
    """Return the letters and digits of lines; marks may vanish when emphasis ends, and spaces when lines wrap."""
    return _NO_LETTERS.sub("", strip_styles("\n".join(lines)))


def _cut_at_letters(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines up to the last one with letters, after which drawing can continue later."""
    end = len(lines)
    while end and not _join_letters([lines[end - 1]]):
        end -= 1
    return lines[:end]


def _take_rows(lines: Sequence[str], counts: Sequence[int], count: int, columns: int) -> str:
    """Return the letters of the complete words in the first rows of the lines on a terminal of this width."""
    taken: list[str] = []
    for line, rows in zip(lines, counts, strict=True):
        if count <= 0:
            break
        text = strip_styles(line)
        end = len(text) if rows <= count else text.rfind(" ", 0, count_fitting(text, count * columns) + 1) + 1
        taken.append(text[:end])
        count -= rows
    return _join_letters(taken)


def _drop_start(lines: Sequence[str], count: int) -> list[str]:
    """Return the lines without the first `count` letters and digits, and without the marks after them."""
    kept: list[str] = []
    for line in lines:
        size = len(_join_letters([line])) if count > 0 else 0
        if count <= 0:
            kept.append(line)
        elif size > count:
            kept.append(_drop_from_line(line, count))
        count -= size
    return kept


def _drop_from_line(line: str, count: int) -> str:
    """Return a line without the first `count` letters and digits, and with all of its styles."""
    pieces = []
    for piece in re.split(f"({STYLE.pattern})", line):
        text = piece
        while text and count > 0 and not STYLE.fullmatch(piece):
            count -= text[0].isalnum()
            text = text[1:]
        pieces.append(text)
    return "".join(pieces)


def _build_addition(old: Sequence[str], new: Sequence[str], unchanged: int) -> str | None:
    """Return what to write if only the end of the last line grows, else None."""
    if unchanged == len(old):
        return "\n".join(["", *new[unchanged:]] if old else new[unchanged:]) if len(new) > unchanged else ""
    if unchanged != len(old) - 1 or len(new) <= unchanged:
        return None
    before, line = old[-1].removesuffix(OFF), new[unchanged]
    if not line.startswith(before) or before.endswith(" ") or _is_joined(before, line):
        return None
    styles = [style for style in STYLE.findall(before) if style.startswith("\x1b[")]
    style = styles[-1] if styles and styles[-1] != OFF and old[-1] != before else ""
    rest = line[len(before) :]
    if style and rest.startswith(OFF):
        style, rest = "", rest[len(OFF) :]
    return "\n".join([style + rest, *new[unchanged + 1 :]])


def _is_joined(before: str, line: str) -> bool:
    """True if the next character combines with the last one, which terminals do only if both come in one write."""
    last, following = before[-1:], line[len(before) : len(before) + 1]
    if (last + following).isascii():
        return False
    width = text_width(following)
    return last == "\u200d" or not width or text_width(last + following) != text_width(last) + width


def expand_tabs(line: str) -> str:
    """Return a line with spaces in place of its tabs, whose width depends on their position."""
    if "\t" not in line:
        return line
    pieces, column = [], 0
    for piece in re.split(f"({STYLE.pattern}|\t)", line):
        text = " " * (TAB_WIDTH - column % TAB_WIDTH) if piece == "\t" else piece
        pieces.append(text)
        column += 0 if STYLE.fullmatch(piece) else max_text_width(text)
    return "".join(pieces)


def crop_line(line: str, width: int) -> str:
    """Cut a line that is too wide, and end it with an ellipsis; the cost depends on the width alone."""
    start = line if len(line) <= STYLED_LENGTH * width else _CUT_STYLE.sub("", line[: STYLED_LENGTH * width]) + OFF
    if (len(line) <= width and line.isascii()) or (start is line and measure_max_width(line) <= width):
        return line
    pieces, free = [], width - 1
    for piece in re.split(f"({STYLE.pattern})", start):
        if STYLE.fullmatch(piece):
            pieces.append(piece)
        elif free > 0:
            count = count_fitting(piece, free)
            pieces.append(piece[:count])
            free = free - max_text_width(piece[:count]) if count == len(piece) else 0
    return "".join(pieces) + "…"
