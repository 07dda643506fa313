"""Draw what grows on a terminal: finished lines once, and of the open end only what changed."""

import re
from collections.abc import Callable, Mapping, Sequence

from aiml_cli.output.markdown.ansi import OFF, STYLE, max_styled_width
from aiml_cli.system.terminal import max_text_width, text_width

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
# Terminals that break lines anew when they become narrower; of others it is not known.
REFLOWING = (
    "TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "WEZTERM_PANE", "ITERM_SESSION_ID", "WT_SESSION", "ALACRITTY_WINDOW_ID",
    "GHOSTTY_RESOURCES_DIR", "KONSOLE_VERSION",
)  # fmt: skip
Size = tuple[int, int]


class TerminalRegion:
    """Hold the lines that stand below what is finished; the cursor is behind the last of them."""

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self._write = write
        self._shown: list[str] = []
        self._columns = 0
        self._reflows = any(environ.get(name) for name in REFLOWING)

    def draw(self, finished: Sequence[str], below: Sequence[str], size: Size, *, may_redraw: bool = True) -> bool:
        """Show finished lines, and the open ones below them; say whether that was done.

        Nothing is done where something would be drawn anew and that may not be. `size` is in columns and rows.
        """
        columns, rows = size
        below = [crop_line(line, columns - 1) for line in below][max(0, len(below) - rows + 1) :]
        new, old = [*finished, *below], self._shown
        same = self._same(new) if columns == self._columns else 0
        text = _added(old, new, same) if columns == self._columns or not old else None
        if text is None:
            if not may_redraw:
                return False
            text = self._redrawn(new, same, columns)
        if finished and not below:
            text += "\n"
        self._shown, self._columns = below, columns
        if text:
            self._write(text)
        return True

    def clear(self) -> None:
        """Take the open lines away, so that something else can be written in their place."""
        if self._shown:
            self._write(self._erased(0, self._columns))
            self._shown = []

    def _same(self, new: Sequence[str]) -> int:
        """Count the lines from the top that stay as they are."""
        pairs = zip(self._shown, new, strict=False)
        return next((index for index, (old, line) in enumerate(pairs) if old != line), min(len(self._shown), len(new)))

    def _redrawn(self, new: Sequence[str], same: int, columns: int) -> str:
        same = min(same, max(0, len(new) - 1))
        text = self._erased(same, columns) + "\n".join(new[same:])
        return text if same >= len(self._shown) - 1 else BEGIN + text + END

    def _erased(self, same: int, columns: int) -> str:
        """Go up to the first line that changes, and erase it with all that follows."""
        up = sum(self._height(line, columns) for line in self._shown[same:]) - 1
        return (f"\x1b[{up}A" if up > 0 else "") + "\r\x1b[J"

    def _height(self, line: str, columns: int) -> int:
        """Count the rows that a line takes after the terminal became narrower."""
        return max(1, -(-max_styled_width(line) // columns)) if self._reflows and columns < self._columns else 1


def _added(old: Sequence[str], new: Sequence[str], same: int) -> str | None:
    """Give what is to be written where nothing but the end of the last line changes; else None."""
    if same == len(old):
        return "\n".join(["", *new[same:]] if old else new[same:]) if len(new) > same else ""
    if same != len(old) - 1 or len(new) <= same:
        return None
    before, line = old[-1].removesuffix(OFF), new[same]
    if not line.startswith(before) or before.endswith(" ") or _is_one_sign(before, line):
        return None
    styles = STYLE.findall(before)
    style = styles[-1] if styles and styles[-1] != OFF and old[-1] != before else ""
    rest = line[len(before) :]
    if style and rest.startswith(OFF):
        style, rest = "", rest[len(OFF) :]
    return "\n".join([style + rest, *new[same + 1 :]])


def _is_one_sign(before: str, line: str) -> bool:
    """Say whether what follows a text joins its last character: terminals join only what comes at once."""
    last, following = before[-1:], line[len(before) : len(before) + 1]
    if (last + following).isascii():
        return False
    return (
        last == "\u200d"
        or not text_width(following)
        or text_width(last + following) != text_width(last) + text_width(following)
    )


def crop_line(line: str, width: int) -> str:
    """Cut a line that is too wide; what is cut off is told by a dot."""
    if (len(line) <= width and line.isascii()) or max_styled_width(line) <= width:
        return line
    pieces, room = [], width - 1
    for piece in re.split(f"({STYLE.pattern})", line):
        if STYLE.fullmatch(piece):
            pieces.append(piece)
        elif room > 0:
            kept = piece[:room]
            while max_text_width(kept) > room:
                kept = kept[:-1]
            pieces.append(kept)
            room = room - max_text_width(kept) if kept == piece else 0
    return "".join(pieces) + "…"
