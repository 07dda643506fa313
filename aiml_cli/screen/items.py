"""Write the elements of the answer's array as JSON lines, as they come."""

from collections.abc import Callable

from aiml_cli.api.answer import Answer
from aiml_cli.api.events import Batch, Text
from aiml_cli.schema.items import Cutter
from aiml_cli.screen.safe import in_json


class Items:
    """Write the elements of the first choice as they come, those of the others after them.

    An answer without an array is written as it is: it was paid for, and the exit code tells.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._cutter = Cutter()

    def show(self, batch: Batch) -> None:
        """Write the elements that a network read made whole."""
        text = "".join([event.text for event in batch if type(event) is Text and not event.choice])
        self._lines(self._cutter.cut(text))

    def close(self, answer: Answer) -> None:
        """Write the other choices, and what holds no array."""
        for choice in answer.completion.choices:
            cutter = Cutter() if choice.index else self._cutter
            if choice.index:
                self._lines(cutter.cut(choice.text))
            if choice.text and not (cutter.closed or cutter.cut_some):
                self._lines([choice.text.removesuffix("\n")])

    def _lines(self, texts: list[str]) -> None:
        """Write a line each; what could drive a terminal is escaped, as JSON can."""
        if texts:
            lines = "".join(f"{_harmless(text)}\n" for text in texts)
            self._write(lines.encode("utf-8", "replace"))


def _harmless(text: str) -> str:
    return in_json(text)
