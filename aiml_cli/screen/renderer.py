"""What every screen does: show events as they come, and close when there are no more."""

from typing import Protocol

from aiml_cli.api.answer import Answer
from aiml_cli.api.events import Batch


class Renderer(Protocol):
    """Show an answer."""

    def show(self, batch: Batch) -> None:
        """Show the events of one network read."""

    def close(self, answer: Answer) -> None:
        """Show what is left, however the answer ended."""
