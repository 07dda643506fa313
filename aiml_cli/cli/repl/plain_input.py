"""Read messages without a line editor: for dumb terminals and screen readers."""

import os
from typing import TextIO

from aiml_cli.system.questions import open_terminal
from aiml_cli.system.stdio import write_err
from aiml_cli.system.terminal import is_terminal

QUOTES = '"""'


class PlainInput:
    """The lines of standard input if that is a terminal, else of the controlling terminal."""

    def __init__(self) -> None:
        stdin = os.fdopen(0, encoding="utf-8", errors="replace", closefd=False)
        self._lines: TextIO = stdin if is_terminal(0) else open_terminal()

    def read(self) -> str | None:
        """Return the next message, or None at the end; a final backslash or an open block continues it."""
        write_err("> ")
        text = self._read_line()
        if not text:
            return None
        while (text.endswith("\\\n") or has_open_block(text)) and (more := self._read_line()):
            text = (text.removesuffix("\\\n") + "\n" if text.endswith("\\\n") else text) + more
        return text

    def _read_line(self) -> str:
        try:
            return self._lines.readline()
        except OSError:  # the terminal is gone
            return ""


def has_open_block(text: str) -> bool:
    """True if the text begins a block with three quotes and does not end it."""
    return text.lstrip().startswith(QUOTES) and text.count(QUOTES) % 2 == 1
