"""The terminal: whether there is one, its size and modes, and the name of its session."""

import os
import re
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from aiml_cli.errors import UsageError
from aiml_cli.system.text_width import max_text_width as max_text_width
from aiml_cli.system.text_width import text_width as text_width

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
