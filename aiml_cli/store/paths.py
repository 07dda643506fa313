"""Say where things lie on disk: config, keys, history and cache."""

from pathlib import Path

from aiml_cli.errors import Misuse


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


def prompts_file() -> Path | None:
    """Name the file of what was typed in the REPL; None where there is no home directory."""
    folder = _folder("user_state_dir")
    return folder and folder / "prompts.jsonl"


def cache_dir() -> Path:
    """Name the directory of what can be fetched again; raise Misuse where there is no home directory."""
    return needed(_folder("user_cache_dir"))


def needed(path: Path | None) -> Path:
    """Insist on a place to write; raise Misuse where there is none."""
    if path is None:
        raise Misuse("there is no home directory to write in", "set HOME to a full path")
    return path


def _folder(name: str) -> Path | None:
    """Find one of the user's directories; a relative one would lie in the current directory, so it is none."""
    import platformdirs  # --help and --version need no place on disk

    try:
        path = Path(getattr(platformdirs, name)("aiml"))
    except RuntimeError:
        return None
    return path if path.is_absolute() else None
