"""Draw output that grows on a terminal: finished lines once, and only the changed part of the open lines."""

import re
from collections.abc import Callable, Mapping, Sequence

from aiml_cli.output.markdown.ansi import OFF, STYLE, measure_max_width
from aiml_cli.system.terminal import max_text_width, text_width

BEGIN_UPDATE, END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"
# Terminals that wrap lines again when they become narrower; other terminals may not.
REFLOWING_TERMINALS = (
    "TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "WEZTERM_PANE", "ITERM_SESSION_ID", "WT_SESSION", "ALACRITTY_WINDOW_ID",
    "GHOSTTY_RESOURCES_DIR", "KONSOLE_VERSION",
)  # fmt: skip
Size = tuple[int, int]


class TerminalRegion:
    """The open lines below the finished ones; the cursor is at the end of the last line."""

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self._write = write
        self._lines: list[str] = []
        self._columns = 0
        self._reflows = any(environ.get(name) for name in REFLOWING_TERMINALS)

    def draw(self, finished: Sequence[str], open_lines: Sequence[str], size: Size, *, may_redraw: bool = True) -> bool:
        """Draw finished lines and the open ones below them; return False if this needs a redraw that may not be.

        `size` is in columns and rows.
        """
        columns, rows = size
        open_lines = [crop_line(line, columns - 1) for line in open_lines][max(0, len(open_lines) - rows + 1) :]
        new, old = [*finished, *open_lines], self._lines
        unchanged = self._count_unchanged(new) if columns == self._columns else 0
        text = _build_addition(old, new, unchanged) if columns == self._columns or not old else None
        if text is None:
            if not may_redraw:
                return False
            text = self._build_redraw(new, unchanged, columns)
        if finished and not open_lines:
            text += "\n"
        self._lines, self._columns = open_lines, columns
        if text:
            self._write(text)
        return True

    def clear(self) -> None:
        """Erase the open lines, so that other output can take their place."""
        if self._lines:
            self._write(self._build_erase(0, self._columns))
            self._lines = []

    def _count_unchanged(self, new: Sequence[str]) -> int:
        """Count the lines from the top that stay the same."""
        pairs = zip(self._lines, new, strict=False)
        return next((index for index, (old, line) in enumerate(pairs) if old != line), min(len(self._lines), len(new)))

    def _build_redraw(self, new: Sequence[str], unchanged: int, columns: int) -> str:
        unchanged = min(unchanged, max(0, len(new) - 1))
        text = self._build_erase(unchanged, columns) + "\n".join(new[unchanged:])
        return text if unchanged >= len(self._lines) - 1 else BEGIN_UPDATE + text + END_UPDATE

    def _build_erase(self, unchanged: int, columns: int) -> str:
        """Return the sequence that moves up to the first changed line and erases all from there on."""
        up = sum(self._count_rows(line, columns) for line in self._lines[unchanged:]) - 1
        return (f"\x1b[{up}A" if up > 0 else "") + "\r\x1b[J"

    def _count_rows(self, line: str, columns: int) -> int:
        """Return the rows of a line, which are more than one if the terminal wrapped it again."""
        return max(1, -(-measure_max_width(line) // columns)) if self._reflows and columns < self._columns else 1


def _build_addition(old: Sequence[str], new: Sequence[str], unchanged: int) -> str | None:
    """Return what to write if only the end of the last line grows, else None."""
    if unchanged == len(old):
        return "\n".join(["", *new[unchanged:]] if old else new[unchanged:]) if len(new) > unchanged else ""
    if unchanged != len(old) - 1 or len(new) <= unchanged:
        return None
    before, line = old[-1].removesuffix(OFF), new[unchanged]
    if not line.startswith(before) or before.endswith(" ") or _is_joined(before, line):
        return None
    styles = STYLE.findall(before)
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


def crop_line(line: str, width: int) -> str:
    """Cut a line that is too wide, and end it with an ellipsis."""
    if (len(line) <= width and line.isascii()) or measure_max_width(line) <= width:
        return line
    pieces, free = [], width - 1
    for piece in re.split(f"({STYLE.pattern})", line):
        if STYLE.fullmatch(piece):
            pieces.append(piece)
        elif free > 0:
            start = piece[:free]
            while max_text_width(start) > free:
                start = start[:-1]
            pieces.append(start)
            free = free - max_text_width(start) if start == piece else 0
    return "".join(pieces) + "…"
