"""Open the terminal where standard input is something else."""

from typing import TextIO

from aiml_cli.errors import Misuse

TERMINAL = "/dev/tty"


def opened() -> TextIO:
    """Open it to read from; raise Misuse where the program has none."""
    try:
        return open(TERMINAL, encoding="utf-8", errors="replace")  # noqa: PTH123 - it stays open to the end
    except OSError as fault:
        raise Misuse(
            f"the terminal cannot be read: {fault.strerror}", "without --interactive there is one answer"
        ) from None
