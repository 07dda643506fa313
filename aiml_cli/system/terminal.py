"""The terminal: whether there is one, its size and modes, and how many columns a text takes on it."""

import os
import re
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from aiml_cli.errors import UsageError

_ZERO_WIDTH_JOINER = "\u200d"
# Flags and skin tones: some terminals join them with their neighbour, others show them alone, two columns wide.
_JOINED = re.compile("[\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")
LOCAL_MODES = 3  # the index in what tcgetattr returns
SESSION_VARIABLE = "AIML_SESSION"
_SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@contextmanager
def disable_echo() -> Iterator[None]:
    """Switch the terminal's echo off, and restore it in the end."""
    try:
        before = termios.tcgetattr(1)
        modes = [*before]
        modes[LOCAL_MODES] &= ~termios.ECHO
        termios.tcsetattr(1, termios.TCSANOW, modes)
    except termios.error:  # no terminal
        yield
        return
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(1, termios.TCSANOW, before)


def is_terminal(fd: int) -> bool:
    """True if a file descriptor is a terminal."""
    return os.isatty(fd)


def get_terminal_size(fd: int) -> tuple[int, int]:
    """Return the columns and rows of a terminal, 80 and 24 if it does not say."""
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
    width = text_width(text)
    if text.isascii() or not (_ZERO_WIDTH_JOINER in text or _JOINED.search(text)):
        return width
    return max(width, sum(map(_max_char_width, text)))


def count_fitting(text: str, width: int, *, minimum: int = 0) -> int:
    """Return how many characters fit into this many columns; combining marks stay with their character."""
    count = used = 0
    while count < len(text):
        used += _max_char_width(text[count])
        if used > width and count >= minimum:
            break
        count += 1
        while count < len(text) and (_max_char_width(text[count]) == 0 or text[count - 1] == _ZERO_WIDTH_JOINER):
            count += 1
    return count


def _max_char_width(char: str) -> int:
    from rich.cells import get_character_cell_size  # slow to import

    return 2 if _JOINED.match(char) else get_character_cell_size(char)


def session_name(environ: Mapping[str, str]) -> str:
    """Return the name of the session: from AIML_SESSION, else the tmux pane, else the terminal.

    A pane keeps its name when its shell is restarted. Raises UsageError for a name that is not valid.
    """
    if name := environ.get(SESSION_VARIABLE):
        if not _SESSION_NAME.fullmatch(name):
            message = f"{SESSION_VARIABLE}: {name!r} is not a session's name"
            raise UsageError(message, "letters, digits, . - and _ make a name")
        return f"session {name}"
    if pane := environ.get("TMUX_PANE"):
        return f"tmux {environ.get('TMUX', '').rpartition(',')[0]} {pane}"
    leader = os.getsid(0)
    return f"terminal {leader} {_read_start_time(leader)}".rstrip()


def _read_start_time(process: int) -> str:
    """Return when a process started, or "" if the system does not say; process ids are reused."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
