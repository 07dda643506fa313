"""Find the API key for a server, and see that it goes to no other."""

import re
from pathlib import Path

from aiml_cli.errors import AuthError, UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import host_of, is_local, is_unencrypted
from aiml_cli.store import key_storage
from aiml_cli.store.key_storage import ApiKey

__all__ = [
    "ApiKey",
    "delete_stored_key",
    "explain_missing_key",
    "find_key",
    "find_stored_key",
    "has_key_command",
    "refuse_plain_http",
    "store_key",
]

COMMAND_SECONDS = 30.0
_STORE_ONE = "store one with: aiml config key"
_PLACEHOLDER = re.compile(r"<.*>", re.DOTALL)
_LASTING = (Source.FILE, Source.PROFILE, Source.ENVIRONMENT)


def find_key(settings: Settings, url: str) -> ApiKey | None:
    """Find the key for a server: from the environment, the keyring, the file, or the command that prints it.

    Raises AuthError for a key that no server could have given, and for a command that fails.
    """
    return find_stored_key(settings, url) or (_asked(settings) if has_key_command(settings, url) else None)


def find_stored_key(settings: Settings, url: str) -> ApiKey | None:
    """Find the key for a server as `find` does, but run nothing."""
    host = host_of(url)
    speaker = f"environment {settings.source_names.get('api_key')}"
    if (key := _usable(ApiKey(settings.options.api_key or "", speaker))) is not None:
        return key
    return next((key for key in map(_usable, key_storage.find_keys(host)) if key), None)


def has_key_command(settings: Settings, url: str) -> bool:
    """Say whether the key command is for this server.

    It belongs to the address that stood where it was said: `--base-url` sends the command's key nowhere else.
    """
    base, source = settings.options.base_url or "", settings.sources.get("key_command")
    if source not in _LASTING or host_of(url) != host_of(base):
        return False
    order = list(Source)
    untouched = not settings.overrides.get("base_url") and host_of(base) == host_of(str(ROWS["base_url"].default))
    return untouched or order.index(settings.sources["base_url"]) <= order.index(source)


def explain_missing_key(settings: Settings, url: str) -> str:
    """Say in a sentence why there is no key for a server."""
    host, said = host_of(url), settings.options.api_key
    if said:
        return (
            f"{settings.source_names.get('api_key')} holds {'a placeholder' if said.strip() else 'blanks'}, not a key"
        )
    if settings.options.key_command:
        return f"key_command is not asked for a key for {host}: it belongs to another address"
    stored = key_storage.list_hosts()
    if host in stored:
        return f"what is stored for {host} is a placeholder, not a key"
    if stored:
        return f"the stored key is for {', '.join(stored)} and goes nowhere else: there is none for {host}"
    return f"there is no key for {host}: {ROWS['api_key'].variables[0]} is not set, and none is stored"


def refuse_plain_http(url: str, key: ApiKey | None) -> None:
    """Raise UsageError when a key would go over plain http to another machine."""
    if key and is_unencrypted(url) and not is_local(url):
        raise UsageError(f"the key is not sent to {host_of(url)} over plain http", "write https:// in base_url")


def store_key(host: str, value: str) -> str:
    """Store a key for a host and say where; raise UsageError for what is no key."""
    try:
        key = _usable(ApiKey(value, "what was given"))
    except AuthError as fault:
        raise UsageError(fault.message, "nothing was stored") from None
    if key is None:
        raise UsageError("what was given is empty or a placeholder, not a key", "nothing was stored")
    return key_storage.save_key(host, key.value)


def delete_stored_key(host: str) -> bool:
    """Remove the key stored for a host and say whether there was one."""
    return key_storage.delete_key(host)


def _usable(key: ApiKey) -> ApiKey | None:
    """Take a key as it is; None for nothing or a placeholder. Raises AuthError without showing it."""
    if not key.value.strip() or _PLACEHOLDER.fullmatch(key.value.strip()):
        return None
    odd = next((char for char in key.value if not "!" <= char <= "~"), None)
    if odd is not None:
        raise AuthError(f"{key.source}: the key holds {_kind_of(odd)}, which no key does", _STORE_ONE)
    return key


def _kind_of(char: str) -> str:
    match char:
        case "\n" | "\r":
            return "a line break"
        case " ":
            return "a blank"
        case _:
            return "a control character" if char < " " or char == "\x7f" else "a character that is not ASCII"


def _asked(settings: Settings) -> ApiKey:
    """Run the key command, without a shell and outside of the current directory."""
    from aiml_cli.system.child_process import ProgramFailed, run_program  # few have such a command

    words = _words(settings.options.key_command or "")
    hint = f"it is set by {settings.source_names['key_command']}"
    try:
        printed = run_program(words, seconds=COMMAND_SECONDS)
    except ProgramFailed as error:
        reason = f"printed no key within {COMMAND_SECONDS:g} s" if error.timed_out else error.reason
        raise AuthError(f"key_command {reason}", hint) from None
    key = _usable(ApiKey(printed.decode("utf-8", "replace").partition("\n")[0].strip(), "key_command"))
    if key is None:
        raise AuthError("key_command printed no key", hint)
    return key


def _words(command: str) -> list[str]:
    """Cut a command into words; `~/` is the home directory, as it would be in a shell."""
    import shlex

    try:
        words = [str(Path(word).expanduser()) if word.startswith("~/") else word for word in shlex.split(command)]
    except (ValueError, RuntimeError) as fault:
        raise AuthError(f"key_command cannot be read: {fault}") from None
    if not words or ("/" in words[0] and not words[0].startswith("/")):
        raise AuthError("key_command names no program by its name or its full path")
    return words
