"""The terminal: whether there is one, its size and modes, and how many columns a text takes on it."""

import os
import re
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# What some terminals join with its neighbour, and others show by itself, two columns wide.
_JOINER = "\u200d"
_HALVES = re.compile("[\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")
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


def text_width(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # most text is ASCII

    return cell_len(text)


def max_text_width(text: str) -> int:
    """Return how many columns a text takes at most, whatever a terminal joins."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    if _JOINER not in text and not _HALVES.search(text):
        return cell_len(text)
    return max(cell_len(text), sum(map(_max_width, text)))


def count_fitting(text: str, width: int, *, at_least: int = 0) -> int:
    """Return how many characters fit into so many columns; what combines with the last one stays with it."""
    count = used = 0
    while count < len(text):
        used += _max_width(text[count])
        if used > width and count >= at_least:
            break
        count += 1
        while count < len(text) and (_max_width(text[count]) == 0 or text[count - 1] == _JOINER):
            count += 1
    return count


def _max_width(char: str) -> int:
    from rich.cells import get_character_cell_size

    return 2 if _HALVES.match(char) else get_character_cell_size(char)
