"""Read standard input when it can hold something, and only then."""

import os
import select
import stat
from collections.abc import Callable

from aiml_cli.errors import Misuse

PATIENCE_S = 2.0
PIECE = 1024 * 1024


def holds_something() -> bool:
    """Say whether standard input is a pipe, a file or a socket: not a terminal, not /dev/null, not closed."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read(tell: Callable[[str], None]) -> bytes:
    """Read to the end; after two seconds without a byte tell what is waited for, and go on waiting."""
    try:
        if not select.select([0], [], [], PATIENCE_S)[0] and not os.isatty(0):
            tell("waiting for standard input to end; --no-stdin leaves it alone")
        pieces = []
        while piece := _piece():
            pieces.append(piece)
    except OSError as fault:
        raise Misuse(f"standard input: {fault.strerror}", "--no-stdin leaves it alone") from None
    return b"".join(pieces)


def _piece() -> bytes:
    """Read some bytes, also from a pipe that somebody set to non-blocking."""
    while True:
        try:
            return os.read(0, PIECE)
        except BlockingIOError:
            select.select([0], [], [])
