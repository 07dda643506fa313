"""Find the API key for a server, and make sure that it is sent to no other."""

from pathlib import Path

from aiml_cli.errors import AuthError, UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import PLACEHOLDER, Settings, Source
from aiml_cli.settings.urls import host_of, is_local, is_unencrypted
from aiml_cli.store import key_storage
from aiml_cli.store.key_storage import ApiKey

COMMAND_SECONDS = 30.0
_STORE_HINT = "store one with: aiml config key"
_LASTING_SOURCES = (Source.FILE, Source.PROFILE, Source.ENVIRONMENT)


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
    return next((key for key in map(_check_key, key_storage.find_keys(host)) if key), None)


def has_key_command(settings: Settings, url: str) -> bool:
    """True if the key command is for this server.

    It belongs to the `base_url` that was set where the command was: after `--base-url` it is not used.
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
        content = "a placeholder" if value.strip() else "blanks"
        return f"{settings.source_names.get('api_key')} holds {content}, not a key"
    if settings.options.key_command:
        return f"key_command is not asked for a key for {host}: it belongs to another address"
    stored = key_storage.list_hosts()
    if host in stored:
        return f"what is stored for {host} is a placeholder, not a key"
    if stored:
        return f"the stored key is for {', '.join(stored)} and goes nowhere else: there is none for {host}"
    return f"there is no key for {host}: {ROWS['api_key'].variables[0]} is not set, and none is stored"


def refuse_plain_http(url: str, key: ApiKey | None) -> None:
    """Raise UsageError if a key would be sent to another machine over plain http."""
    if key and is_unencrypted(url) and not is_local(url):
        raise UsageError(f"the key is not sent to {host_of(url)} over plain http", "write https:// in base_url")


def store_key(host: str, value: str) -> str:
    """Store a key for a host and return where; raise UsageError if it cannot be a key."""
    try:
        key = _check_key(ApiKey(value, "what was given"))
    except AuthError as error:
        raise UsageError(error.message, "nothing was stored") from None
    if key is None:
        raise UsageError("what was given is empty or a placeholder, not a key", "nothing was stored")
    return key_storage.save_key(host, key.value)


def delete_stored_key(host: str) -> bool:
    """Delete the stored key of a host and return whether there was one."""
    return key_storage.delete_key(host)


def _check_key(key: ApiKey) -> ApiKey | None:
    """Return the key, or None if it is empty or a placeholder; raise AuthError, without its text, if malformed."""
    if not key.value.strip() or PLACEHOLDER.fullmatch(key.value.strip()):
        return None
    invalid = next((char for char in key.value if not "!" <= char <= "~"), None)
    if invalid is not None:
        raise AuthError(f"{key.source}: the key holds {_describe_char(invalid)}, which no key does", _STORE_HINT)
    return key


def _describe_char(char: str) -> str:
    if char in "\n\r ":
        return "a blank" if char == " " else "a line break"
    return "a control character" if char < " " or char == "\x7f" else "a character that is not ASCII"


def _run_key_command(settings: Settings) -> ApiKey:
    """Run the key command without a shell, outside of the current directory; the first line is the key."""
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
        raise AuthError("key_command names no program by its name or its full path")
    return words
