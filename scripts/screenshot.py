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

from support.console import Console  # noqa: E402 - it lies beside the tests

TARGET = ROOT / "docs" / "screen.svg"
COLUMNS, ROWS, WIDE, HIGH = 80, 46, 8.43, 18
BACK, FRONT = "#1d2021", "#dfdfd0"
COLOURS = {
    "black": "#3c3836", "red": "#fb4934", "green": "#b8bb26", "brown": "#fabd2f", "blue": "#83a598",
    "magenta": "#d3869b", "cyan": "#8ec07c", "white": "#ebdbb2", "brightblack": "#928374", "default": FRONT,
}  # fmt: skip


def main() -> None:
    """Run the session, and write the picture."""
    with tempfile.TemporaryDirectory() as home:
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            os.environ[name] = home
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        os.environ["PYTHONPATH"] = str(ROOT)
        with Console.shell(columns=COLUMNS, rows=ROWS) as console:
            session(console)
            TARGET.write_text(picture(console.screen))


def session(console: Console) -> None:
    """Do what a newcomer would do."""
    console.until("$")
    console.line("aiml chat --demo -m demo/markdown What can you show?")
    console.until(lambda: "aiml models --demo" in console.text() and console.typed() == "$")
    console.line("aiml chat --demo")
    console.prompt()
    console.line("hello")
    console.until(lambda: "hello” (1 word" in console.text())
    console.prompt()
    console.until(lambda: "tokens" in console.toolbar())
    console.keys("And in two lines,\nplease")
    console.until(lambda: console.typed() == "  please")
    console.until(lambda: "tokens" in console.toolbar())


def picture(screen: Any) -> str:
    """Draw the cells of a screen, runs of one style at a time."""
    width, height = COLUMNS * WIDE + 20, ROWS * HIGH + 20
    body = "\n".join(line for row in range(ROWS) for line in drawn(screen.buffer[row], row))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" role="img" '
        f'aria-label="aiml answers in a terminal">\n<rect width="100%" height="100%" rx="8" fill="{BACK}"/>\n'
        f'<g font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14" '
        f'xml:space="preserve">\n{body}\n</g>\n</svg>\n'
    )


def drawn(cells: Any, row: int) -> Iterator[str]:
    """Draw a row."""
    places = groupby(range(COLUMNS), key=lambda x: style(cells[x]))
    for (front, back, marks), run in places:
        xs = list(run)
        text = "".join(cells[x].data for x in xs)
        left, top, wide = 10 + xs[0] * WIDE, 10 + row * HIGH, len(xs) * WIDE
        if back != BACK:
            yield f'<rect x="{left:.2f}" y="{top}" width="{wide:.2f}" height="{HIGH}" fill="{back}"/>'
        text = text.rstrip()
        if text:
            yield (
                f'<text x="{left:.2f}" y="{top + 14}" fill="{front}" textLength="{len(text) * WIDE:.2f}"{marks}>'
                f"{escape(text)}</text>"
            )


def style(cell: Any) -> tuple[str, str, str]:
    """Give the two colours of a cell, and how its letters are drawn."""
    front, back = colour(cell.fg, FRONT), colour(cell.bg, BACK)
    if cell.reverse:
        front, back = back, front
    marks = [' font-weight="bold"'] * cell.bold + [' font-style="italic"'] * cell.italics
    return front, back, "".join(marks + [' text-decoration="underline"'] * cell.underscore)


def colour(name: str, default: str) -> str:
    """Name a colour as SVG does."""
    if name == "default":
        return default
    return COLOURS.get(name) or (f"#{name}" if len(name) == 6 else COLOURS.get(name.removeprefix("bright"), default))  # noqa: PLR2004 - a number of six digits


if __name__ == "__main__":
    main()
