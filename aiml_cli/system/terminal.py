"""Keep what is typed while an answer comes out of the answer; it waits for the next prompt."""

import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOCAL = 3  # the place of the local modes in what tcgetattr gives


@contextmanager
def disable_echo() -> Iterator[None]:
    """Switch the terminal's echo off; it is as it was in the end."""
    try:
        before = termios.tcgetattr(1)
        quiet = [*before]
        quiet[LOCAL] &= ~termios.ECHO
        termios.tcsetattr(1, termios.TCSANOW, quiet)
    except termios.error:  # no terminal
        yield
        return
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(1, termios.TCSANOW, before)
