"""Name the files that aiml keeps on disk, and check who may read and change them."""

from collections.abc import Iterator
from pathlib import Path

from aiml_cli.errors import UsageError

WRITE_BY_OTHERS, ANY_BY_OTHERS = 0o022, 0o077  # bits of a file mode


def config_file() -> Path | None:
    """Return the path of the config file; None without a home directory."""
    return _user_path("user_config_dir", "config.toml")


def keys_file() -> Path | None:
    """Return the path of the stored keys; None without a home directory."""
    return _user_path("user_config_dir", "keys.json")


def history_file() -> Path | None:
    """Return the path of the history; None without a home directory."""
    return _user_path("user_data_dir", "history.db")


def input_history_file() -> Path | None:
    """Return the path of the lines typed in the REPL; None without a home directory."""
    return _user_path("user_state_dir", "prompts.jsonl")


def cache_dir() -> Path:
    """Return the directory for data that can be fetched again; raise UsageError without a home directory."""
    return require_path(_user_path("user_cache_dir"))


def require_path(path: Path | None) -> Path:
    """Return the path; raise UsageError if it is None."""
    if path is None:
        raise UsageError("there is no home directory to write in", "set HOME to a full path")
    return path


def _user_path(directory: str, name: str = "") -> Path | None:
    import platformdirs  # --help and --version need no files

    try:
        path = Path(getattr(platformdirs, directory)("aiml"), name)
    except RuntimeError:
        return None
    return path if path.is_absolute() else None  # a relative one would depend on the current directory


def check_permissions() -> Iterator[tuple[str, bool]]:
    """Yield a finding on the config's directory, the config file and the keys file, and whether it is in order."""
    config, keys = config_file(), keys_file()
    if config is None or keys is None:
        yield "there is no home directory, and so no config file", True
        return
    for path, forbidden in (config.parent, WRITE_BY_OTHERS), (config, WRITE_BY_OTHERS), (keys, ANY_BY_OTHERS):
        yield _check_mode(path, forbidden)


def _check_mode(path: Path, forbidden: int) -> tuple[str, bool]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return f"there is no {path}", True
    except OSError as error:
        return f"{path}: {error.strerror}", False
    mode = status.st_mode & 0o777
    if not mode & forbidden:
        return f"{path}: mode {mode:03o}", True
    action = "read" if forbidden == ANY_BY_OTHERS else "change"
    return f"{path}: others can {action} it (chmod {'700' if path.is_dir() else '600'} {path})", False
