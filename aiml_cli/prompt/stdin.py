"""Read standard input when it can hold something, and only then."""

import os
import select
import stat
from collections.abc import Callable

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit

PATIENCE_S = 2.0


def has_stdin() -> bool:
    """Say whether standard input is a pipe, a file or a socket: not a terminal, not /dev/null, not closed."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_stdin(tell: Callable[[str], None], budget: SizeLimit | None = None) -> bytes:
    """Read to the end; after two seconds without a byte tell what is waited for, and go on waiting.

    Raises UsageError for more than the budget allows.
    """
    try:
        if not select.select([0], [], [], PATIENCE_S)[0] and not os.isatty(0):
            tell("waiting for standard input to end; --no-stdin leaves it alone")
        return (budget or SizeLimit()).read("standard input", _piece)
    except OSError as fault:
        raise UsageError(f"standard input: {fault.strerror}", "--no-stdin leaves it alone") from None


def _piece(most: int) -> bytes:
    """Read some bytes, also from a pipe that somebody set to non-blocking."""
    while True:
        try:
            return os.read(0, most)
        except BlockingIOError:
            select.select([0], [], [])
