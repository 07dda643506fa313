"""An emulated terminal with scrollback, and Markdown rendered on it."""

import re
from collections.abc import Iterable
from itertools import cycle

import pyte
from support.paths import DATA

from aiml_cli.output.markdown.block_parser import BlockParser
from aiml_cli.output.markdown.block_renderer import BlockRenderer

SAMPLE = (DATA / "sample.md").read_text()
SIZES = [(80, 24), (120, 40), (40, 10), (20, 5)]
# The emulator drops the text after one of these if both are written together.
_ZERO_WIDTH = re.compile("([\u200c\u200d\ufe0f])")


class Terminal:
    """A terminal that shows what is written; a newline also returns the cursor, as on a tty."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = columns, rows
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        self.screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> None:
        for piece in _ZERO_WIDTH.split(text):
            self._stream.feed(piece)

    def resize(self, columns: int, rows: int) -> None:
        self.size = columns, rows
        self.screen.resize(rows, columns)

    def read_lines(self) -> list[str]:
        """Return the lines of scrollback and screen, without empty ones at the end."""
        above = ["".join(row[x].data for x in range(self.size[0])) for row in self.screen.history.top]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def draw_at_once(text: str, columns: int) -> list[str]:
    """Render a text in one piece."""
    parser = BlockParser()
    renderer = BlockRenderer()
    return [*renderer.draw([*parser.feed(text), *parser.finish()], columns - 1), *renderer.finish(columns - 1)]


def show_on_terminal(lines: Iterable[str], columns: int, rows: int) -> list[str]:
    """Return what a terminal shows after these lines are written."""
    terminal = Terminal(columns, rows)
    terminal.write("".join(f"{line}\n" for line in lines))
    return terminal.read_lines()


def split_text(text: str, sizes: Iterable[int]) -> Iterable[str]:
    """Split a text into pieces of these sizes, which repeat."""
    start = 0
    for size in cycle(sizes):
        if start >= len(text):
            return
        yield text[start : start + size]
        start += size
