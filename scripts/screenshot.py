"""Draw docs/screen.svg from a real session on an emulated terminal: one answer, then the REPL."""

import os
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pyte  # noqa: E402
from support.console import Console  # noqa: E402 - a module of the tests

TARGET = ROOT / "docs" / "screen.svg"
COLUMNS, ROWS, CELL_WIDTH, CELL_HEIGHT = 80, 52, 8.43, 18
BACKGROUND, FOREGROUND = "#1d2021", "#dfdfd0"
COLORS = {
    "black": "#3c3836", "red": "#fb4934", "green": "#b8bb26", "brown": "#fabd2f", "blue": "#83a598",
    "magenta": "#d3869b", "cyan": "#8ec07c", "white": "#ebdbb2", "brightblack": "#928374", "default": FOREGROUND,
}  # fmt: skip


FAINT = 2


def main() -> None:
    """Run the session and write the image."""
    pyte.graphics.FG_ANSI[FAINT] = "brightblack"  # the emulator does not support faint text
    with tempfile.TemporaryDirectory() as home:
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            os.environ[name] = home
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        os.environ["PYTHONPATH"] = str(ROOT)
        with Console.start_shell(columns=COLUMNS, rows=ROWS) as console:
            run_session(console)
            TARGET.write_text(draw_screen(console.screen))


def run_session(console: Console) -> None:
    """Type the input of the session."""
    console.wait_until("$")
    console.type_line("aiml chat --demo -m demo/markdown What can you show?")
    console.wait_until(lambda: "aiml models --demo" in console.read_text() and console.read_cursor_line() == "$")
    console.type_line("aiml chat --demo")
    console.wait_for_prompt()
    console.type_line("hello")
    console.wait_until(lambda: "hello” (1 word" in console.read_text())
    console.wait_for_prompt()
    console.wait_until(lambda: "tokens" in console.read_toolbar())
    console.press("And in two lines,\nplease")
    console.wait_until(lambda: console.read_cursor_line() == "  please")
    console.wait_until(lambda: "tokens" in console.read_toolbar())


def draw_screen(screen: Any) -> str:
    """Return the screen as SVG."""
    width, height = COLUMNS * CELL_WIDTH + 20, ROWS * CELL_HEIGHT + 20
    body = "\n".join(line for row in range(ROWS) for line in draw_row(screen.buffer[row], row))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" role="img" '
        f'aria-label="aiml answers in a terminal">\n<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>\n'
        f'<g font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14" '
        f'xml:space="preserve">\n{body}\n</g>\n</svg>\n'
    )


def draw_row(cells: Any, row: int) -> Iterator[str]:
    """Yield the elements of a row: one for each run of cells of the same style."""
    for (foreground, background, marks), run in groupby(range(COLUMNS), key=lambda x: read_style(cells[x])):
        xs = list(run)
        text = "".join(cells[x].data for x in xs)
        left, top, width = 10 + xs[0] * CELL_WIDTH, 10 + row * CELL_HEIGHT, len(xs) * CELL_WIDTH
        if background != BACKGROUND:
            yield f'<rect x="{left:.2f}" y="{top}" width="{width:.2f}" height="{CELL_HEIGHT}" fill="{background}"/>'
        if text := text.rstrip():
            style = f'fill="{foreground}" textLength="{len(text) * CELL_WIDTH:.2f}"{marks}'
            yield f'<text x="{left:.2f}" y="{top + 14}" {style}>{escape(text)}</text>'


def read_style(cell: Any) -> tuple[str, str, str]:
    """Return the foreground, the background and the SVG attributes of a cell."""
    foreground, background = to_svg_color(cell.fg, FOREGROUND), to_svg_color(cell.bg, BACKGROUND)
    if cell.reverse:
        foreground, background = background, foreground
    marks = [' font-weight="bold"'] * cell.bold + [' font-style="italic"'] * cell.italics
    return foreground, background, "".join(marks + [' text-decoration="underline"'] * cell.underscore)


def to_svg_color(name: str, default: str) -> str:
    """Return the SVG color of a terminal color."""
    if name == "default":
        return default
    return COLORS.get(name) or (f"#{name}" if len(name) == 6 else COLORS.get(name.removeprefix("bright"), default))  # noqa: PLR2004 - six hex digits


if __name__ == "__main__":
    main()
