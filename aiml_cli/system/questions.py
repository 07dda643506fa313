"""Open the terminal where standard input is something else."""

from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from aiml_cli.errors import UsageError
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import is_terminal, write_err

TERMINAL = "/dev/tty"


def open_terminal() -> TextIO:
    """Open it to read from; raise UsageError where the program has none."""
    try:
        return open(TERMINAL, encoding="utf-8", errors="replace")  # noqa: PTH123 - it stays open to the end
    except OSError as fault:
        raise UsageError(
            f"the terminal cannot be read: {fault.strerror}", "without --interactive there is one answer"
        ) from None


def confirm(question: str) -> bool:
    """Ask on the terminal, for standard input may be what is sent; what cannot be answered is no."""
    try:
        with open(TERMINAL, encoding="utf-8", errors="replace") as terminal:  # noqa: PTH123 - a device
            write_err(f"{question} [y/N] ")
            try:
                answer = terminal.readline()
            except Stopped:
                write_err("\n")
                raise
    except OSError:
        return False
    if not answer.endswith("\n"):
        write_err("\n")
    return answer.strip().lower() in ("y", "yes")


def may_replace(is_yes: bool) -> Callable[[Path], bool]:
    """Return a function that asks whether a file may be replaced; without a terminal the answer is no."""

    def ask(path: Path) -> bool:
        return is_yes or (is_terminal(2) and confirm(f"replace {path}?"))

    return ask
