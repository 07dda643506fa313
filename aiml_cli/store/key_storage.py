"""Keep keys by host: in the system's keyring where there is one, else in a private file."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiml_cli.errors import AuthError, UsageError
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import decode_utf8, line_and_column, read_file

_SERVICE = "aiml"
_KEYRING = "the system's keyring"
WRITE, ANY = 0o022, 0o077


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Hold a key and where it came from; `notice` is what the user should be told of it."""

    value: str = field(repr=False)
    source: str
    notice: str = ""


def find_keys(host: str) -> Iterator[ApiKey]:
    """Find what is kept for a host, whatever it is worth; raise UsageError for a damaged file."""
    if value := _from_keyring(host):
        yield ApiKey(value, _KEYRING)
    path = paths.keys_file()
    if path and (value := _read(read_file(path), path).get(host)):
        notice = f"others can read the key in {path}: chmod 600 {path}" if is_open_to_others(path) else ""
        yield ApiKey(value, f"file {path}", notice)


def list_hosts() -> list[str]:
    """List the hosts that the file has a key for; a keyring cannot be asked."""
    path = paths.keys_file()
    return sorted(_read(read_file(path), path)) if path else []


def save_key(host: str, value: str) -> str:
    """Keep a key for a host and say where; what was kept for it elsewhere goes."""
    if _to_keyring(host, value):
        _out_of_file(host)
        return _KEYRING
    _change(host, value)
    _out_of_keyring(host)
    return f"file {paths.keys_file()}"


def delete_key(host: str) -> bool:
    """Remove what is kept for a host and say whether there was something."""
    return any([_out_of_file(host), _out_of_keyring(host)])


def _out_of_file(host: str) -> bool:
    there = host in list_hosts()
    if there:
        _change(host, None)
    return there


def _change(host: str, value: str | None) -> None:
    """Set a host's key in the file, or remove it."""
    from aiml_cli.system import atomic_write  # only a writer needs locks

    path = paths.require_path(paths.keys_file())

    def change(old: bytes | None) -> bytes:
        table = {**_read(old, path), host: value}
        return (json.dumps({name: each for name, each in table.items() if each}, indent=2) + "\n").encode()

    atomic_write.update_file(path, change)


def _read(data: bytes | None, path: Path) -> dict[str, str]:
    """Read the file of keys; raise UsageError naming line and column, never its text."""
    if not data:
        return {}
    text = decode_utf8(data, path)
    hint = f"remove {path}, then: aiml config key"
    try:
        found = json.loads(text)
    except json.JSONDecodeError as fault:
        raise UsageError(f"{path}, {line_and_column(text, fault.pos)}: not JSON", hint) from None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise UsageError(f"{path}: not a JSON object of hosts and keys", hint)
    return found


def _keyring() -> Any:
    """Load the keyring package, an extra that takes a tenth of a second."""
    return import_module("keyring")


def _from_keyring(host: str) -> str | None:
    """Ask the keyring; absent, locked and broken are all the same to us."""
    with suppress(Exception):
        value = _keyring().get_password(_SERVICE, host)
        return value if isinstance(value, str) else None
    return None


def _to_keyring(host: str, value: str) -> bool:
    """Store and read back: a keyring may be one that forgets."""
    with suppress(Exception):
        _keyring().set_password(_SERVICE, host, value)
        return _from_keyring(host) == value
    return False


def _out_of_keyring(host: str) -> bool:
    """Remove and look again: a key that stays would be found before any other."""
    there = _from_keyring(host) is not None
    with suppress(Exception):
        _keyring().delete_password(_SERVICE, host)
    if there and _from_keyring(host) is not None:
        raise AuthError(f"{_KEYRING} does not let go of the key for {host}", "remove it with the keyring's own program")
    return there


def check_permissions() -> Iterator[tuple[str, bool]]:
    """Say of the config's directory, the config file and the file of keys whether others are kept out."""
    file, stored = paths.config_file(), paths.keys_file()
    if file is None or stored is None:
        yield "there is no home directory, and so no config file", True
        return
    for path, forbidden in (file.parent, WRITE), (file, WRITE), (stored, ANY):
        yield _judged(path, forbidden)


def is_open_to_others(path: Path) -> bool:
    """Say whether others than its owner can get at a file."""
    return bool(path.stat().st_mode & ANY)


def _judged(path: Path, forbidden: int) -> tuple[str, bool]:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return f"there is no {path}", True
    except OSError as fault:
        return f"{path}: {fault.strerror}", False
    mode = facts.st_mode & 0o777
    if not mode & forbidden:
        return f"{path}: mode {mode:03o}", True
    word = "read" if forbidden == ANY else "change"
    return f"{path}: others can {word} it (chmod {'700' if path.is_dir() else '600'} {path})", False
