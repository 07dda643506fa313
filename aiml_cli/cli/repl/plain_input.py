"""Read lines where a terminal can do no more than that: for dumb ones, and for readers of screens."""

import os
from typing import TextIO

from aiml_cli.system.questions import open_terminal
from aiml_cli.system.stdio import write_err
from aiml_cli.system.terminal import is_terminal

QUOTES = '"""'


class PlainInput:
    """Read from standard input when that is the terminal, else from the terminal itself."""

    def __init__(self) -> None:
        self._lines: TextIO = os.fdopen(0, encoding="utf-8", errors="replace", closefd=False)
        if not is_terminal(0):
            self._lines = open_terminal()

    def read(self) -> str | None:
        """Give the next message, None at the end; a backslash at the end, or three quotes, go on."""
        write_err("> ")
        text = self._line()
        if not text:
            return None
        while _goes_on(text) and (more := self._line()):
            text = (text.removesuffix("\\\n") + "\n" if text.endswith("\\\n") else text) + more
        return text

    def _line(self) -> str:
        """Read a line; a terminal that is gone gives none."""
        try:
            return self._lines.readline()
        except OSError:
            return ""


def _goes_on(text: str) -> bool:
    return text.endswith("\\\n") or (text.lstrip().startswith(QUOTES) and text.count(QUOTES) % 2 == 1)
