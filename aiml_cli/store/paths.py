"""Say where things lie on disk: config, keys, history and cache."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from aiml_cli.errors import UsageError

VARIABLE = "AIML_SESSION"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def config_file() -> Path | None:
    """Name the config file; None where there is no home directory."""
    folder = _folder("user_config_dir")
    return folder and folder / "config.toml"


def keys_file() -> Path | None:
    """Name the file of stored keys; None where there is no home directory."""
    folder = _folder("user_config_dir")
    return folder and folder / "keys.json"


def history_file() -> Path | None:
    """Name the history; None where there is no home directory."""
    folder = _folder("user_data_dir")
    return folder and folder / "history.db"


def input_history_file() -> Path | None:
    """Name the file of what was typed in the REPL; None where there is no home directory."""
    folder = _folder("user_state_dir")
    return folder and folder / "prompts.jsonl"


def cache_dir() -> Path:
    """Name the directory of what can be fetched again; raise UsageError where there is no home directory."""
    return require_path(_folder("user_cache_dir"))


def require_path(path: Path | None) -> Path:
    """Insist on a place to write; raise UsageError where there is none."""
    if path is None:
        raise UsageError("there is no home directory to write in", "set HOME to a full path")
    return path


def _folder(name: str) -> Path | None:
    """Find one of the user's directories; a relative one would lie in the current directory, so it is none."""
    import platformdirs  # --help and --version need no place on disk

    try:
        path = Path(getattr(platformdirs, name)("aiml"))
    except RuntimeError:
        return None
    return path if path.is_absolute() else None


def session_name(environ: Mapping[str, str]) -> str:
    """Give the session that is named, else the pane of tmux, else the terminal's session.

    A pane keeps its name when the shell in it is started again. Raises UsageError for a name that is none.
    """
    if name := environ.get(VARIABLE):
        if not _NAME.fullmatch(name):
            raise UsageError(f"{VARIABLE}: {name!r} is not a session's name", "letters, digits, . - and _ make a name")
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
