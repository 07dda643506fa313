"""Find the API key for a server, and store keys by host: in the system's keyring if available, else in a file."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiml_cli.errors import AimlError, AuthError, UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import PLACEHOLDER, Settings, Source
from aiml_cli.settings.urls import host_of, is_local, is_unencrypted
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import decode_utf8, format_position, read_file, update_file

COMMAND_SECONDS = 30.0
_SERVICE = "aiml"
_KEYRING = "the system's keyring"
_STORE_HINT = "store one with: aiml config key"
_LASTING_SOURCES = (Source.FILE, Source.PROFILE, Source.ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key and where it was found; `notice` is a warning for the user, or ""."""

    value: str = field(repr=False)
    source: str
    notice: str = ""


def find_key(settings: Settings, url: str) -> ApiKey | None:
    """Return the key for a server: from the environment, the keyring, the file, or the output of `key_command`.

    Raises AuthError for a malformed key, and if the command fails.
    """
    return find_stored_key(settings, url) or (_run_key_command(settings) if has_key_command(settings, url) else None)


def find_stored_key(settings: Settings, url: str) -> ApiKey | None:
    """Return the key for a server as `find_key` does, but without running a command."""
    host = host_of(url)
    source = f"environment {settings.source_names.get('api_key')}"
    if (key := _check_key(ApiKey(settings.options.api_key or "", source))) is not None:
        return key
    return next((key for key in map(_check_key, _find_stored_keys(host)) if key), None)


def is_key_at_hand(settings: Settings, url: str) -> bool:
    """True if `find_key` would succeed for a server without reading a keyring or running a command."""
    if not settings.options.api_key and find_spec("keyring"):
        return False
    try:
        key = find_stored_key(settings, url)
        refuse_plain_http(url, key)
    except AimlError:
        return False
    return bool(key) or (is_local(url) and not has_key_command(settings, url))


def has_key_command(settings: Settings, url: str) -> bool:
    """True if the key command is for this server.

    It belongs to the `base_url` of the source that set the command; with `--base-url`, it is not used.
    """
    base, source = settings.options.base_url or "", settings.sources.get("key_command")
    if source not in _LASTING_SOURCES or host_of(url) != host_of(base):
        return False
    order = list(Source)
    is_default = not settings.overrides.get("base_url") and host_of(base) == host_of(str(ROWS["base_url"].default))
    return is_default or order.index(settings.sources["base_url"]) <= order.index(source)


def explain_missing_key(settings: Settings, url: str) -> str:
    """Return a sentence that says why there is no key for a server."""
    host, value = host_of(url), settings.options.api_key
    if value:
        content = "a placeholder" if value.strip() else "only spaces"
        return f"{settings.source_names.get('api_key')} contains {content}, not a key"
    if settings.options.key_command:
        return f"key_command is not run for {host}: it is for another host"
    stored = _list_hosts()
    if host in stored:
        return f"the key stored for {host} is a placeholder"
    if stored:
        return f"there is no key for {host}; the stored key is only sent to {', '.join(stored)}"
    return f"there is no key for {host}: {ROWS['api_key'].variables[0]} is not set, and none is stored"


def refuse_plain_http(url: str, key: ApiKey | None) -> None:
    """Raise UsageError if a key would be sent to another machine over plain http."""
    if key and is_unencrypted(url) and not is_local(url):
        raise UsageError(f"the key is not sent to {host_of(url)} over plain http", "use https:// in base_url")


def store_key(host: str, value: str) -> str:
    """Store a key for a host, and return where it is stored; raise UsageError if it is not a valid key.

    An older key of the host, in the keyring or the file, is deleted.
    """
    try:
        key = _check_key(ApiKey(value, "the input"))
    except AuthError as error:
        raise UsageError(error.message, "nothing was stored") from None
    if key is None:
        raise UsageError("the input is empty or a placeholder, not a key", "nothing was stored")
    if _write_keyring(host, key.value):
        _delete_from_file(host)
        return _KEYRING
    _write_file(host, key.value)
    _delete_from_keyring(host)
    return f"file {paths.keys_file()}"


def delete_stored_key(host: str) -> bool:
    """Delete the stored keys of a host and return whether there was one."""
    return any([_delete_from_file(host), _delete_from_keyring(host)])


def _check_key(key: ApiKey) -> ApiKey | None:
    """Return the key, or None if it is empty or a placeholder; raise AuthError, without the key, if it is malformed."""
    if not key.value.strip() or PLACEHOLDER.fullmatch(key.value.strip()):
        return None
    invalid = next((char for char in key.value if not "!" <= char <= "~"), None)
    if invalid is not None:
        raise AuthError(f"{key.source}: the key contains {_describe_char(invalid)}", _STORE_HINT)
    return key


def _describe_char(char: str) -> str:
    if char in "\n\r ":
        return "a space" if char == " " else "a line break"
    return "a control character" if char < " " or char == "\x7f" else "a character that is not ASCII"


def _run_key_command(settings: Settings) -> ApiKey:
    """Run the key command without a shell, outside the current directory; the first line of its output is the key."""
    from aiml_cli.system.child_process import ProgramFailed, run_program  # few users have such a command

    command = _split_command(settings.options.key_command or "")
    hint = f"it is set by {settings.source_names['key_command']}"
    try:
        output = run_program(command, seconds=COMMAND_SECONDS)
    except ProgramFailed as error:
        reason = f"printed no key within {COMMAND_SECONDS:g} s" if error.timed_out else error.reason
        raise AuthError(f"key_command {reason}", hint) from None
    key = _check_key(ApiKey(output.decode("utf-8", "replace").partition("\n")[0].strip(), "key_command"))
    if key is None:
        raise AuthError("key_command printed no key", hint)
    return key


def _split_command(command: str) -> list[str]:
    """Split a command into words, and expand `~/`, as a shell would."""
    import shlex  # few users have such a command

    try:
        words = [str(Path(word).expanduser()) if word.startswith("~/") else word for word in shlex.split(command)]
    except (ValueError, RuntimeError) as error:
        raise AuthError(f"key_command cannot be read: {error}") from None
    if not words or ("/" in words[0] and not words[0].startswith("/")):
        raise AuthError("key_command does not name a program by its name or absolute path")
    return words


def _find_stored_keys(host: str) -> Iterator[ApiKey]:
    """Yield the stored keys of a host without checking them; raise UsageError for a damaged file."""
    if value := _read_keyring(host):
        yield ApiKey(value, _KEYRING)
    path = paths.keys_file()
    if path:
        paths.require_trusted(path)
    if path and (value := _parse_keys(read_file(path), path).get(host)):
        notice = f"others can read the key in {path}: chmod 600 {path}" if _is_open_to_others(path) else ""
        yield ApiKey(value, f"file {path}", notice)


def _list_hosts() -> list[str]:
    """Return the hosts that have a key in the file; a keyring cannot list them."""
    path = paths.keys_file()
    return sorted(_parse_keys(read_file(path), path)) if path else []


def _delete_from_file(host: str) -> bool:
    is_stored = host in _list_hosts()
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
    """Return the key in the keyring, or None if there is none or the keyring is missing, locked or broken."""
    with suppress(Exception):
        value = _load_keyring().get_password(_SERVICE, host)
        return value if isinstance(value, str) else None
    return None


def _write_keyring(host: str, value: str) -> bool:
    """Store a key and return True if it can be read back: some keyrings store nothing."""
    with suppress(Exception):
        _load_keyring().set_password(_SERVICE, host, value)
        return _read_keyring(host) == value
    return False


def _delete_from_keyring(host: str) -> bool:
    """Delete a key; raise AuthError if it is still there, because it would be used before any other."""
    is_stored = _read_keyring(host) is not None
    with suppress(Exception):
        _load_keyring().delete_password(_SERVICE, host)
    if is_stored and _read_keyring(host) is not None:
        raise AuthError(f"{_KEYRING} could not delete the key for {host}", "remove it with the keyring's program")
    return is_stored


def _is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & paths.ANY_BY_OTHERS)
