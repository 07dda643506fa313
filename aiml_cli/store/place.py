"""Name the place that somebody works in: what "the last conversation" means there."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from aiml_cli.errors import Misuse

VARIABLE = "AIML_SESSION"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def place(environ: Mapping[str, str]) -> str:
    """Give the session that is named, else the pane of tmux, else the terminal's session.

    A pane keeps its name when the shell in it is started again. Raises Misuse for a name that is none.
    """
    if name := environ.get(VARIABLE):
        if not _NAME.fullmatch(name):
            raise Misuse(f"{VARIABLE}: {name!r} is not a session's name", "letters, digits, . - and _ make a name")
        return f"session {name}"
    if pane := environ.get("TMUX_PANE"):
        return f"tmux {environ.get('TMUX', '').rpartition(',')[0]} {pane}"
    leader = os.getsid(0)
    return f"terminal {leader} {_start_of(leader)}".rstrip()


def _start_of(process: int) -> str:
    """Give when a process began, where the system tells: its number is given to others after it."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
