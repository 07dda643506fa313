"""Return the paths of aiml's files, check who may change them, and read and replace files that the user names."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from aiml_cli.errors import UsageError
from aiml_cli.system.atomic_write import MEBIBYTE, refuse_symlink, update_file

WRITE_BY_EVERYONE, WRITE_BY_GROUP, WRITE_BY_OTHERS, ANY_BY_OTHERS = 0o002, 0o020, 0o022, 0o077  # bits of a file mode


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
        raise UsageError("there is no home directory to write to", "set HOME to an absolute path")
    return path


def _user_path(directory: str, name: str = "") -> Path | None:
    import platformdirs  # --help and --version need no files

    try:
        path = Path(getattr(platformdirs, directory)("aiml"), name)
    except RuntimeError:
        return None
    return path if path.is_absolute() else None  # a relative path would depend on the current directory


def check_permissions() -> Iterator[tuple[str, bool]]:
    """Yield a sentence about the config directory, the config file and the keys file, and whether the check passed."""
    config, keys = config_file(), keys_file()
    if config is None or keys is None:
        yield "there is no home directory, so there is no config file", True
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


def require_trusted(path: Path) -> bool:
    """Return whether the members of a group can change a file with settings.

    Raises UsageError if everyone can change it, or if its owner is neither the user nor root. The target of a symbolic
    link and the directories of both are checked too. A file that does not exist is not an error.
    """
    is_shared = False
    for each in dict.fromkeys((path, Path(os.path.realpath(path)))):
        try:
            status, folder = each.lstat(), each.parent.stat()
        except OSError:
            continue  # it cannot be read either
        _require_owner(each, status)
        if folder.st_mode & WRITE_BY_EVERYONE and not folder.st_mode & stat.S_ISVTX:
            message = f"{each} is not used: everyone can replace it, because its directory is writable by all"
            raise UsageError(message, f"chmod 700 {each.parent}, and check its content")
        if stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode):
            if status.st_mode & WRITE_BY_EVERYONE:
                message = f"{each} is not used: everyone can change it"
                raise UsageError(message, f"chmod 600 {each}, and check its content")
            is_shared = is_shared or bool(status.st_mode & WRITE_BY_GROUP)
    return is_shared


def _require_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid in (os.geteuid(), 0):
        return
    try:
        import pwd  # few files belong to others

        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = f"user {status.st_uid}"
    message = f"{path} is not used: it belongs to {owner}, who is neither you nor root"
    raise UsageError(message, "if you trust its content, take ownership with chown")


def read_named_file(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file, or None if it does not exist; raise UsageError if it is too large or not regular."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = "a symbolic link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise UsageError(f"{path}: {reason}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise UsageError(f"{path}: not a regular file of at most {limit // MEBIBYTE} MiB")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)


def save_named_file(path: Path, data: bytes, what: str, limit: int, may_replace: Callable[[Path], bool]) -> None:
    """Write a file; `may_replace` is called if it exists. `what` is its name in messages, such as "a tool 'weather'".

    Raises UsageError if `may_replace` returns False, or if another program changed the file in the meantime.
    """
    refuse_symlink(path)
    before = read_named_file(path, limit)
    if before is not None and not may_replace(path):
        raise UsageError(f"{what} already exists: {path}", "add -y to replace it")

    def change(current: bytes | None) -> bytes:
        if current != before:
            raise UsageError(f"{path} was changed by another program in the meantime")
        return data

    update_file(path, change)
