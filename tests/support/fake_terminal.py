"""An emulated terminal with its scrollback, and what Markdown leaves on it."""

import re
from collections.abc import Iterable

import pyte
from support.paths import DATA

from aiml_cli.output.markdown.block_parser import BlockParser
from aiml_cli.output.markdown.block_renderer import BlockRenderer

SAMPLE = (DATA / "sample.md").read_text()
SIZES = [(80, 24), (120, 40), (40, 10), (20, 5)]
# The emulator drops what stands behind one of these in the same piece.
_BREAKING = re.compile("([\u200c\u200d\ufe0f])")


class Terminal:
    """Take what is written as a terminal takes it, whose line ends are those of a tty."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = columns, rows
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        self.screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> None:
        for piece in _BREAKING.split(text):
            self._stream.feed(piece)

    def resize(self, columns: int, rows: int) -> None:
        self.size = columns, rows
        self.screen.resize(rows, columns)

    def lines(self) -> list[str]:
        """Give the scrollback and the screen, without the empty rows at the end."""
        above = ["".join(row[x].data for x in range(self.size[0])) for row in self.screen.history.top]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def whole(text: str, columns: int) -> list[str]:
    """Draw a text in one piece."""
    cutter = BlockParser()
    return BlockRenderer().draw([*cutter.feed(text), *cutter.finish()], columns - 1)


def shown(lines: Iterable[str], columns: int, rows: int) -> list[str]:
    """Give what lines leave on a terminal."""
    terminal = Terminal(columns, rows)
    terminal.write("".join(f"{line}\n" for line in lines))
    return terminal.lines()


def pieces(text: str, sizes: Iterable[int]) -> Iterable[str]:
    """Cut a text into pieces of such sizes, over and over."""
    sizes, place, turn = list(sizes), 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        yield text[place : place + size]
        place, turn = place + size, turn + 1
