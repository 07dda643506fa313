"""Read standard input, but only if it can contain something."""

import os
import select
import stat
from collections.abc import Callable

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit
from aiml_cli.system.terminal import read_typed_lines

NAME = "standard input"
PLACEHOLDER = "{stdin}"
NOTICE_AFTER_SECONDS = 2.0


def has_stdin() -> bool:
    """True if standard input is a pipe, a file or a socket: not a terminal, not /dev/null, not closed."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_stdin(notify: Callable[[str], None], size_limit: SizeLimit | None = None) -> bytes:
    """Read to the end, with a notice if nothing arrives for two seconds; raise UsageError if it is too large."""
    try:
        if not select.select([0], [], [], NOTICE_AFTER_SECONDS)[0] and not os.isatty(0):
            notify("waiting for standard input to end; --no-stdin leaves it alone")
        with read_typed_lines():
            return (size_limit or SizeLimit()).read(NAME, _read_piece)
    except OSError as error:
        raise UsageError(f"standard input: {error.strerror}", "--no-stdin leaves it alone") from None


def _read_piece(limit: int) -> bytes:
    while True:
        try:
            return os.read(0, limit)
        except BlockingIOError:  # somebody made the pipe non-blocking
            select.select([0], [], [])
