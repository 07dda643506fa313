"""Write the answer's text and nothing else, as it comes."""

from collections.abc import Callable

from aiml_cli.api.answer import Answer
from aiml_cli.api.events import Batch, Text
from aiml_cli.screen.safe import visible


class Plain:
    """Write the first choice as it comes, the others after it: mixed they could not be read.

    On a terminal control characters are made visible, and the choices are told apart by a line.
    """

    def __init__(self, write: Callable[[bytes], None], *, terminal: bool) -> None:
        self._write = write
        self._terminal = terminal
        self._last = ""

    def show(self, batch: Batch) -> None:
        """Write what a network read brought, at once."""
        text = "".join([event.text for event in batch if type(event) is Text and not event.choice])
        if text:
            self._put(text)

    def close(self, answer: Answer) -> None:
        """Write the other choices, and the newline that the last line lacks."""
        self._end_line()
        for choice in answer.completion.choices:
            if choice.index == 0 or not choice.text:
                continue
            self._put(f"--- choice {choice.index + 1} ---\n{choice.text}" if self._terminal else choice.text)
            self._end_line()

    def _put(self, text: str) -> None:
        self._last = text[-1]
        self._write((visible(text) if self._terminal else text).encode("utf-8", "replace"))

    def _end_line(self) -> None:
        if self._last not in ("", "\n"):
            self._put("\n")
