"""Show an answer that calls tools: the text of each round, or only that of the last."""

from collections.abc import Callable
from typing import Protocol

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.output.plain_text import join_text
from aiml_cli.system.stdio import print_err


class _Renderer(Protocol):
    def show(self, batch: EventBatch) -> None: ...

    def close(self, answer: Answer) -> None: ...


class AllRoundsRenderer:
    """Renderer that shows the text of each round, with an empty line between them."""

    def __init__(self, make: Callable[[], _Renderer], write: Callable[[bytes], None]) -> None:
        self._make, self._write = make, write
        self._renderer = make()
        self._has_text = self._needs_gap = False

    def show(self, batch: EventBatch) -> None:
        """Show the events of one network read."""
        if join_text(batch):
            self._has_text = True
            if self._needs_gap:
                self._write(b"\n")
                self._needs_gap = False
        self._renderer.show(batch)

    def end_round(self, answer: Answer) -> None:
        """Show the end of the text, before a tool is announced."""
        self._renderer.close(answer)
        self._needs_gap, self._has_text = self._has_text or self._needs_gap, False
        self._renderer = self._make()

    def close(self, answer: Answer) -> None:
        """Show the rest."""
        self._renderer.close(answer)


class LastRoundRenderer:
    """Renderer that shows only the answer after the last tool, for programs and files.

    The text of the other rounds goes to standard error.
    """

    def __init__(self, renderer: _Renderer, *, quiet: bool) -> None:
        self._renderer, self._quiet = renderer, quiet
        self._batches: list[EventBatch] = []

    def show(self, batch: EventBatch) -> None:
        """Keep the events until it is known whether a tool is called."""
        self._batches.append(batch)

    def end_round(self, answer: Answer) -> None:
        """Drop the text of a round that called tools, and print it on standard error."""
        self._batches = []
        if (text := answer.completion.first.output_text.strip()) and not self._quiet:
            print_err(text)

    def close(self, answer: Answer) -> None:
        """Show the answer."""
        for batch in self._batches:
            self._renderer.show(batch)
        self._batches = []
        self._renderer.close(answer)
