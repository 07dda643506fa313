"""The terminal: whether there is one, its size, and its modes."""

import os
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


def is_terminal(fd: int) -> bool:
    """Say whether a file descriptor is a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def terminal_size(fd: int) -> tuple[int, int]:
    """Give the columns and rows of a terminal; what it does not tell is as it was for most of its history."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns = rows = 0
    return columns or 80, rows or 24
