"""Ask the user on the terminal, whatever standard input and output are."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TextIO

from aiml_cli.errors import UsageError
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import write_err
from aiml_cli.system.terminal import LINES, SECRET, TERMINAL, is_terminal, modes


def open_terminal() -> TextIO:
    """Open the terminal to read from; raise UsageError if the program has no terminal."""
    try:
        return open(TERMINAL, encoding="utf-8", errors="replace")  # noqa: PTH123 - it stays open to the end
    except OSError as error:
        hint = "without --interactive there is one answer"
        raise UsageError(f"the terminal cannot be read: {error.strerror}", hint) from None


def can_ask() -> bool:
    """True if there is a terminal on which a question can be shown and answered."""
    try:
        open_terminal().close()
    except UsageError:
        return False
    return is_terminal(2)


def confirm(question: str, *, default: bool = False) -> bool:
    """Ask a yes-or-no question; an empty answer is the default, no terminal or an incomplete answer is no."""
    try:
        terminal = open_terminal()
    except UsageError:
        return False

    def show() -> None:
        write_err(f"{question} {'[Y/n]' if default else '[y/N]'} ")

    with closing(terminal), modes.use(LINES, show):
        try:
            show()
            answer = terminal.readline()
        except Stopped:
            write_err("\n")
            raise
        except OSError:
            answer = ""
    if not answer.endswith("\n"):
        write_err("\n")
        return False
    return answer.strip().lower() in (("", "y", "yes") if default else ("y", "yes"))


def ask_secret(question: str) -> str:
    """Return a line that is typed without being shown; raise UsageError if there is none."""

    def show() -> None:
        write_err(question)

    with closing(open_terminal()) as terminal, modes.use(SECRET, show):
        try:
            show()
            answer = terminal.readline()
        finally:
            write_err("\n")
    if not answer.endswith("\n"):
        raise UsageError("no line was typed")
    return answer.rstrip("\n")


def make_replace_prompt(assume_yes: bool) -> Callable[[Path], bool]:
    """Return a function that asks whether a file may be replaced; without a terminal the answer is no."""
    return lambda path: assume_yes or (is_terminal(2) and confirm(f"replace {path}?"))
