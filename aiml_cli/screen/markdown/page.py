"""Put Markdown on a terminal as far as it came: no clock, no thread."""

from collections.abc import Callable, Mapping

from aiml_cli.screen.markdown.block import Block
from aiml_cli.screen.markdown.cutter import Cutter
from aiml_cli.screen.markdown.drawing import Drawing
from aiml_cli.screen.markdown.live import Live, Size
from aiml_cli.screen.safe import Gate, visible

NARROWEST = 10


class Page:
    """Take text, which may hold anything; `write` gets what the terminal is to do."""

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self._live = Live(write, environ)
        self._gate, self._cutter, self._drawing = Gate(), Cutter(), Drawing()
        self._finished: list[str] = []

    def take(self, text: str, size: Size) -> None:
        """Take what came; what is finished by it will stay as it is drawn now."""
        self._finished += self._drawing.draw(self._cutter.feed(self._gate.text(text)), _width(size))

    def end(self, size: Size) -> None:
        """Take it that no more comes, and paint."""
        self.take(self._gate.end(), size)
        self._finished += self._drawing.draw(self._cutter.end(), _width(size))
        self.paint(size)

    def paint(self, size: Size, *, may_redraw: bool = True) -> bool:
        """Show what is there, the open end too; say whether that was done."""
        below = self._drawing.copy().draw(list(map(_so_far, self._cutter.open())), _width(size))
        if not self._live.paint(self._finished, below, size, may_redraw=may_redraw):
            return False
        self._finished = []
        return True

    def lift(self) -> None:
        """Take the open end away; the next painting shows it again."""
        self._live.lift()

    def note(self, notes: list[str], size: Size) -> None:
        """Write lines below an end."""
        self._live.paint(["", *map(visible, notes)], [], size)


def _so_far(block: Block) -> Block:
    """Draw a table when it is complete: each of its rows may change the width of all."""
    return block._replace(kind="rows") if block.kind == "table" else block


def _width(size: Size) -> int:
    """Leave the last column free: behind a character there terminals differ."""
    return max(size[0] - 1, NARROWEST)
