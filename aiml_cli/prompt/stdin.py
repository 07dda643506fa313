"""Read standard input, but only if it can contain something."""

import os
import select
import stat
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit
from aiml_cli.system.stdio import input_hooks
from aiml_cli.system.terminal import read_typed_lines

Content = TypeVar("Content")
NAME = "standard input"
PLACEHOLDER = "{stdin}"
NOTICE_AFTER_SECONDS = 2.0
CHECK_SECONDS = 1.0


class StdinTimeout(NamedTuple):
    """How long to wait for the first byte of a pipe that may never end; 0 means no limit, None the default."""

    seconds: float | None = None

    def limit(self, *, known: bool) -> float:
        """Return the seconds to wait if only the parent process can write, or if that is unknown."""
        if self.seconds is None:
            return 10.0 if known else 60.0
        return self.seconds or float("inf")


def has_stdin() -> bool:
    """True if standard input is a pipe, a file or a socket: not a terminal, not /dev/null, not closed."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_stdin(
    notify: Callable[[str], None], size_limit: SizeLimit | None = None, *, timeout: StdinTimeout | None = None
) -> bytes:
    """Read to the end, with a notice if nothing arrives for two seconds; raise UsageError if it is too large.

    With `timeout`, raise UsageError if nothing arrives in time and only the parent process can write.
    """
    return _read((size_limit or SizeLimit()).read, notify, timeout)


def read_stdin_text(
    notify: Callable[[str], None], size_limit: SizeLimit, *, timeout: StdinTimeout | None = None
) -> str | bytes:
    """Read like `read_stdin`; return long UTF-8 as text, and anything else as bytes."""
    return _read(size_limit.read_text, notify, timeout)


def _read(
    read: Callable[[str, Callable[[int], bytes]], Content], notify: Callable[[str], None], timeout: StdinTimeout | None
) -> Content:
    try:
        if not has_input(NOTICE_AFTER_SECONDS) and not os.isatty(0):
            notify("waiting for standard input; --no-stdin skips it")
            if timeout:
                _wait_for_input(timeout)
        with read_typed_lines():
            return read(NAME, _read_piece)
    except OSError as error:
        raise UsageError(f"standard input: {error.strerror}", "--no-stdin skips it") from None


def has_input(seconds: float) -> bool:
    """True if data arrives, or the input ends, within this many seconds."""
    return bool(select.select([0], [], [], seconds)[0])


def _wait_for_input(timeout: StdinTimeout) -> None:
    """Wait while another program can write; a pipe that only the parent process keeps open may never end."""
    from aiml_cli.system.pipe_writers import Writers, find_writers  # most input is available immediately

    waited, is_over = NOTICE_AFTER_SECONDS, False
    while not is_over:
        writers = find_writers()
        is_over = writers is not Writers.OTHERS and waited >= timeout.limit(known=writers is Writers.ANCESTORS)
        # The last writer may have written and ended just before the check.
        if has_input(0 if is_over else CHECK_SECONDS):
            return
        waited = 0.0 if writers is Writers.OTHERS else waited + CHECK_SECONDS * (not is_over)
    raise UsageError(
        f"nothing arrived on standard input within {waited:g} s, and it was not closed",
        "--no-stdin or < /dev/null skips it; --stdin-wait 0 waits without a limit",
    )


def _read_piece(limit: int) -> bytes:
    while True:
        try:
            piece = os.read(0, limit)
        except BlockingIOError:  # another process made the pipe non-blocking
            select.select([0], [], [])
            continue
        for hook in input_hooks:
            hook()
        return piece
