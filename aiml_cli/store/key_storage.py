"""Store API keys by host: in the system's keyring if there is one, else in a private file."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiml_cli.errors import AuthError, UsageError
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import decode_utf8, format_position, read_file, update_file

_SERVICE = "aiml"
_KEYRING = "the system's keyring"
_WRITE_BY_OTHERS, _ANY_BY_OTHERS = 0o022, 0o077


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key and where it was found; `notice` is a warning for the user, or ""."""

    value: str = field(repr=False)
    source: str
    notice: str = ""


def find_keys(host: str) -> Iterator[ApiKey]:
    """Yield the stored keys of a host without checking them; raise UsageError for a damaged file."""
    if value := _read_keyring(host):
        yield ApiKey(value, _KEYRING)
    path = paths.keys_file()
    if path and (value := _parse_keys(read_file(path), path).get(host)):
        notice = f"others can read the key in {path}: chmod 600 {path}" if _is_open_to_others(path) else ""
        yield ApiKey(value, f"file {path}", notice)


def list_hosts() -> list[str]:
    """Return the hosts that have a key in the file; a keyring cannot list them."""
    path = paths.keys_file()
    return sorted(_parse_keys(read_file(path), path)) if path else []


def save_key(host: str, value: str) -> str:
    """Store a key and return where; a key of the same host in the other place is deleted."""
    if _write_keyring(host, value):
        _delete_from_file(host)
        return _KEYRING
    _write_file(host, value)
    _delete_from_keyring(host)
    return f"file {paths.keys_file()}"


def delete_key(host: str) -> bool:
    """Delete the stored keys of a host and return whether there was one."""
    return any([_delete_from_file(host), _delete_from_keyring(host)])


def _delete_from_file(host: str) -> bool:
    is_stored = host in list_hosts()
    if is_stored:
        _write_file(host, None)
    return is_stored


def _write_file(host: str, value: str | None) -> None:
    """Set the key of a host in the file, or remove it."""
    path = paths.require_path(paths.keys_file())

    def change(old: bytes | None) -> bytes:
        keys = {**_parse_keys(old, path), host: value}
        return (json.dumps({name: key for name, key in keys.items() if key}, indent=2) + "\n").encode()

    update_file(path, change)


def _parse_keys(data: bytes | None, path: Path) -> dict[str, str]:
    """Return the keys by host; raise UsageError with line and column, but without the file's text."""
    if not data:
        return {}
    text = decode_utf8(data, path)
    hint = f"remove {path}, then: aiml config key"
    try:
        keys = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, {format_position(text, error.pos)}: not JSON", hint) from None
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise UsageError(f"{path}: not a JSON object of hosts and keys", hint)
    return keys


def _load_keyring() -> Any:
    return import_module("keyring")  # an extra that takes 0.1 s to import


def _read_keyring(host: str) -> str | None:
    """Return the key in the keyring; None also if the keyring is missing, locked or broken."""
    with suppress(Exception):
        value = _load_keyring().get_password(_SERVICE, host)
        return value if isinstance(value, str) else None
    return None


def _write_keyring(host: str, value: str) -> bool:
    """Store a key and read it back, because some keyrings store nothing."""
    with suppress(Exception):
        _load_keyring().set_password(_SERVICE, host, value)
        return _read_keyring(host) == value
    return False


def _delete_from_keyring(host: str) -> bool:
    """Delete a key; raise AuthError if it stays, because it would be used before any other."""
    is_stored = _read_keyring(host) is not None
    with suppress(Exception):
        _load_keyring().delete_password(_SERVICE, host)
    if is_stored and _read_keyring(host) is not None:
        raise AuthError(f"{_KEYRING} does not let go of the key for {host}", "remove it with the keyring's own program")
    return is_stored


def check_permissions() -> Iterator[tuple[str, bool]]:
    """Yield a finding on the config's directory, the config file and the keys file, and whether it is in order."""
    config, keys = paths.config_file(), paths.keys_file()
    if config is None or keys is None:
        yield "there is no home directory, and so no config file", True
        return
    for path, forbidden in (config.parent, _WRITE_BY_OTHERS), (config, _WRITE_BY_OTHERS), (keys, _ANY_BY_OTHERS):
        yield _check_mode(path, forbidden)


def _is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & _ANY_BY_OTHERS)


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
    action = "read" if forbidden == _ANY_BY_OTHERS else "change"
    return f"{path}: others can {action} it (chmod {'700' if path.is_dir() else '600'} {path})", False
