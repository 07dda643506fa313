"""The MCP servers of the user: `mcp.json` next to the config file, in the format of other host programs."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiml_cli.api.json_values import Json
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.urls import host_of, is_local, is_unencrypted
from aiml_cli.settings.value_types import suggest
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import MEBIBYTE, decode_utf8, format_position, read_bounded, update_file
from aiml_cli.system.stdio import Notifier, make_notifier

SERVERS_KEY = "mcpServers"
MAX_BYTES = 4 * MEBIBYTE
STARTUP_SECONDS, CALL_SECONDS = 30.0, 60.0
# Some host programs use seconds, and allow at most 3,600; others use milliseconds.
MAX_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"\$\{([^}]*)\}?")
_REFERENCE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_KEY_VARIABLE = re.compile(r"(?i)AIML(API)?_?(API_?)?KEY")
_MIN_SECRET = 8  # a shorter value could be part of another word
_HTTP_TYPES = ("http", "streamable-http", "streamable_http", "streamableHttp")
# The keys that other host programs use for their servers, and for the settings that aiml supports.
_FOREIGN_KEYS = ((SERVERS_KEY,), ("servers",), ("mcp", "servers"), ("mcp", SERVERS_KEY))
_FOREIGN_NAMES = {"httpUrl": "url", "serverUrl": "url"}
_IMPORTED = ("command", "args", "env", "cwd", "url", "headers", "timeout", "startupTimeout")
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*+"?)|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*+"?)|,(?=\s*[}\]])', re.DOTALL)
_print_notice = make_notifier(quiet=False)
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server in the file: a command to start, or a URL; the other one is "".

    `timeout` is for a call without any message from the server, `startup_timeout` for the start, both in seconds.
    `other` contains all other keys; they are kept when the file is written.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = CALL_SECONDS
    startup_timeout: float = STARTUP_SECONDS
    other: Mapping[str, Json] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the command with its arguments, or the URL, on one line."""
        import shlex  # few calls show it

        return self.url or shlex.join([self.command, *self.args])

    def to_json(self) -> Document:
        """Return the server as an object of the file."""
        found = {
            "command": self.command, "args": [*self.args], "env": dict(self.env), "cwd": self.cwd, "url": self.url,
            "headers": dict(self.headers),
        }  # fmt: skip
        limits = {
            **({"timeout": self.timeout} if self.timeout != CALL_SECONDS else {}),
            **({"startupTimeout": self.startup_timeout} if self.startup_timeout != STARTUP_SECONDS else {}),
        }
        return {**{key: value for key, value in found.items() if value}, **limits, **self.other}


def config_path() -> Path:
    """Return the path of `mcp.json`; raise UsageError without a home directory."""
    return paths.require_path(paths.config_file()).parent / "mcp.json"


def load_servers() -> Mapping[str, McpServer]:
    """Return all servers by name; raise UsageError for a damaged file, and for one that others can change."""
    path = config_path()
    _require_trusted(path)
    return parse_servers(_read_document(path), str(path))


def load_server(name: str) -> McpServer:
    """Return a server; raise UsageError with similar names if there is none, or if the file disables it."""
    servers = load_servers()
    if name not in servers:
        raise UsageError(f"there is no MCP server {name!r}", _suggest_server(name, servers))
    if servers[name].other.get("disabled") is True:
        raise UsageError(f"the MCP server {name} is disabled", f'remove "disabled" from it in {config_path()}')
    return servers[name]


def save_server(server: McpServer, may_replace: Callable[[Path], bool]) -> Path:
    """Write a server into the file and return its path; `may_replace` is called if there is one with this name.

    Raises UsageError if it returns False, and if the server is not valid.
    """
    path = config_path()
    _require_trusted(path)
    parse_server(server.name, server.to_json(), str(path))
    if server.name in parse_servers(_read_document(path), str(path)) and not may_replace(path):
        raise UsageError(f"an MCP server {server.name!r} already exists", "add -y to replace it")

    def change(old: bytes | None) -> bytes:
        document = _parse_document(old or b"{}", path)
        return _format({**document, SERVERS_KEY: {**document.get(SERVERS_KEY, {}), server.name: server.to_json()}})

    update_file(path, change)
    return path


def remove_server(name: str) -> bool:
    """Remove a server from the file and return whether it was there."""
    path = config_path()
    _require_trusted(path)
    is_removed = False

    def change(old: bytes | None) -> bytes | None:
        nonlocal is_removed
        document = _parse_document(old or b"{}", path)
        servers = dict(document.get(SERVERS_KEY, {}))
        is_removed = servers.pop(name, None) is not None
        return _format({**document, SERVERS_KEY: servers}) if is_removed else None

    if path.exists():
        update_file(path, change)
    return is_removed


def read_foreign_servers(path: Path, report: Notifier = _print_notice) -> Mapping[str, McpServer]:
    """Return the servers in the file of another host program, and report everything that is left out.

    Settings that let a server run tools without approval are never read. Raises UsageError for a file without servers.
    """
    document = _parse_foreign(path)
    found: dict[str, McpServer] = {}
    for name, entry in document.items():
        if not isinstance(entry, dict):
            raise UsageError(f"{path}: {name} is not an object")
        if reason := _explain_skip(entry):
            _report(report, f"{name} is left out: {reason}")
            continue
        server = _convert_foreign(name, entry, str(path), report)
        found[server.name] = server
    return found


def _parse_foreign(path: Path) -> Document:
    """Return the servers in a file that may have comments, and commas at the end of lists."""
    try:
        text = decode_utf8(read_bounded(path, MAX_BYTES), path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    for pattern in (_COMMENT, _LAST_COMMA):
        text = pattern.sub(lambda match: match[1] or re.sub(r"[^\n]", " ", match[0]), text)
    document = parse_json(text, str(path))
    for keys in _FOREIGN_KEYS:
        found = document
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return found
    raise UsageError(f"{path} contains no MCP servers", f'they belong under "{SERVERS_KEY}" or "servers"')


def _explain_skip(entry: Document) -> str:
    if entry.get("disabled") is True or entry.get("enabled") is False:
        return "it is disabled"
    kinds = [entry.get(key) for key in ("type", "transport", "transportType")]
    return "aiml does not support the old SSE transport" if "sse" in kinds else ""


def _convert_foreign(name: str, entry: Document, source_name: str, report: Notifier) -> McpServer:
    own_name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "server"
    if own_name != name:
        _report(report, f"{name} is renamed to {own_name}")
    entry = {_FOREIGN_NAMES.get(key, key): value for key, value in entry.items()}
    dropped = [key for key in entry if key not in (*_IMPORTED, "type")]
    if dropped:
        _report(report, f"{own_name}: {', '.join(dropped)} {'is' if len(dropped) == 1 else 'are'} left out")
    kept = {key: _convert_references(value, own_name, report) for key, value in entry.items() if key in _IMPORTED}
    return parse_server(own_name, kept, source_name)


def _convert_references(value: Any, name: str, report: Notifier) -> Any:
    """Return a value of another program's file with its variables as aiml expands them."""
    if isinstance(value, dict):
        return {key: _convert_references(item, name, report) for key, item in value.items()}
    if isinstance(value, list):
        return [_convert_references(item, name, report) for item in value]
    if not isinstance(value, str):
        return value

    def convert(match: re.Match[str]) -> str:
        if not match[0].endswith("}"):
            return match[0]
        variable = re.sub(r"\W+", "_", match[1]).strip("_").upper()
        _report(report, f"{name}: set the variable {variable}, which replaces {match[0]}")
        return f"${{{variable}}}"

    return re.sub(r"\$\{input:([^{}]*)\}?", convert, value.replace("${userHome}", "${HOME}"))


def _report(report: Notifier, text: str) -> None:
    if report:
        report(text)


def _require_trusted(path: Path) -> None:
    """Raise UsageError if another user can change the file: it names programs to run."""
    if paths.require_trusted(path):
        message = f"{path} is not used: its group can change it, and it names programs"
        raise UsageError(message, f"chmod 600 {path}, and check its content")


def _read_document(path: Path) -> Document:
    try:
        return _parse_document(read_bounded(path, MAX_BYTES), path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _parse_document(data: bytes, path: Path) -> Document:
    """Parse the file; raise UsageError unless it is an object whose `mcpServers` is also an object."""
    document = parse_json(decode_utf8(data, path), str(path))
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object")
    if SERVERS_KEY not in document and "servers" in document:
        raise UsageError(f'{path}: the servers belong under "{SERVERS_KEY}"', f"aiml tools import {path} converts it")
    if not isinstance(document.get(SERVERS_KEY, {}), dict):
        raise UsageError(f"{path}: {SERVERS_KEY} is not an object")
    return document


def parse_json(text: str, source_name: str) -> Any:
    """Parse JSON; raise UsageError with line and column, and for a duplicate key in an object."""

    def build_object(pairs: list[tuple[str, Any]]) -> Document:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"{source_name}: {twice!r} appears twice in one object")
        return found

    try:
        return json.loads(text, object_pairs_hook=build_object)
    except json.JSONDecodeError as error:
        raise UsageError(f"{source_name}, {format_position(text, error.pos)}: not JSON: {error.msg}") from None
    except (RecursionError, ValueError):  # an integer of thousands of digits
        raise UsageError(f"{source_name}: not JSON: nested too deeply, or a number is too long") from None


def parse_servers(document: Document, source_name: str) -> dict[str, McpServer]:
    """Return the servers of a document; raise UsageError with the source and the key."""
    servers = document.get(SERVERS_KEY, {})
    return {name: parse_server(name, entry, source_name) for name, entry in servers.items()}


def parse_server(name: str, entry: Any, source_name: str) -> McpServer:
    """Return a server; raise UsageError with the source and the key of what is wrong."""
    where = f"{source_name}: {SERVERS_KEY}.{name}"
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{source_name}: {name!r} is not a valid server name", "a name consists of letters, digits, ., - and _"
        )
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is not an object")
    other = dict(entry)
    server = McpServer(
        name,
        command=_take_text(other, "command", where),
        args=tuple(_take_texts(other, "args", where)),
        env=_take_map(other, "env", where),
        cwd=_take_text(other, "cwd", where),
        url=_take_text(other, "url", where),
        headers=_take_map(other, "headers", where),
        timeout=_take_seconds(other, "timeout", CALL_SECONDS, where),
        startup_timeout=_take_seconds(other, "startupTimeout", STARTUP_SECONDS, where),
        other=other,
    )
    _check_transport(server, where)
    return server


def _check_transport(server: McpServer, where: str) -> None:
    """Raise UsageError for a server without exactly one of the two transports."""
    given = server.other.get("type", "http" if server.url else "stdio")
    if given == "sse":
        raise UsageError(f"{where}: aiml does not support the old SSE transport", "use its streamable HTTP URL")
    if given not in ("stdio", *_HTTP_TYPES):
        raise UsageError(f"{where}.type is neither stdio nor http")
    if bool(server.command) == bool(server.url):
        has = "both a command and a url" if server.url else "neither a command nor a url"
        raise UsageError(f"{where} has {has}")
    if (given == "stdio") == bool(server.url):
        raise UsageError(f"{where}.type is {given}, but it has a {'url' if server.url else 'command'}")


def _take_text(entry: Document, key: str, where: str) -> str:
    value = entry.pop(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f"{where}.{key} is not a string")
    return value


def _take_texts(entry: Document, key: str, where: str) -> list[str]:
    value = entry.pop(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise UsageError(f"{where}.{key} is not a list of strings")
    return value


def _take_map(entry: Document, key: str, where: str) -> dict[str, str]:
    """Return a map of strings; numbers and booleans become strings, because people write them in `env`."""
    value = entry.pop(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{where}.{key} is not an object")
    for name, item in value.items():
        if not isinstance(item, str | int | float) or "\0" in f"{name}{item}" or not name or "=" in name:
            raise UsageError(f"{where}.{key}.{name} is not a string")
        if key == "headers" and not (f"{name}{item}".isprintable() and f"{name}{item}".isascii()):
            raise UsageError(f"{where}.{key}.{name} is not a header")
    return {name: item if isinstance(item, str) else json.dumps(item) for name, item in value.items()}


def _take_seconds(entry: Document, key: str, default: float, where: str) -> float:
    value = entry.pop(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS * 1000:
        hint = f"at most {MAX_SECONDS:g}; a larger number counts as milliseconds"
        raise UsageError(f"{where}.{key} is not a number of seconds", hint)
    return float(value) if value <= MAX_SECONDS else value / 1000


def expand_server(server: McpServer, environ: Mapping[str, str]) -> McpServer:
    """Return a server with its variables expanded, ready to be used.

    Raises UsageError for a variable that is not set or contains the API key, and for a URL without TLS on another
    machine.
    """
    where = f"the MCP server {server.name}"

    def expand(text: str, key: str) -> str:
        expanded = _VARIABLE.sub(lambda match: _expand_variable(match, environ, f"{where}: {key}"), text)
        if any(secret in expanded for secret in _list_secrets(environ)):
            raise UsageError(f"{where}: {key} contains the API key, which is never passed to a server")
        return expanded

    expanded = replace(
        server,
        command=expand(server.command, "command"),
        args=tuple(expand(arg, "args") for arg in server.args),
        env={name: expand(value, f"env.{name}") for name, value in server.env.items()},
        url=expand(server.url, "url"),
        headers={name: expand(value, f"headers.{name}") for name, value in server.headers.items()},
    )
    if expanded.url:
        _check_url(expanded.url, where)
    return expanded


def _expand_variable(match: re.Match[str], environ: Mapping[str, str], where: str) -> str:
    reference = _REFERENCE.fullmatch(match[1]) if match[0].endswith("}") else None
    if not reference:
        hint = "use ${VAR} or ${VAR:-default}, with environment variables"
        raise UsageError(f"{where}: {match[0][:100]} cannot be expanded", hint)
    name, default = reference.groups()
    if name.upper() in ROWS["api_key"].variables or _KEY_VARIABLE.fullmatch(name):
        raise UsageError(f"{where}: ${{{name}}} is the API key, which is never passed to a server")
    value = environ.get(name)
    if value is None and default is None:
        hint = f"set it, or write ${{{name}:-default}} in {config_path()}"
        raise UsageError(f"{where}: the variable {name} is not set", hint)
    return value or default or ""


def _list_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the API keys in the environment."""
    for name in ROWS["api_key"].variables:
        if len(value := environ.get(name, "").strip()) >= _MIN_SECRET:
            yield value


def _check_url(url: str, where: str) -> None:
    try:
        host_of(url)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from None
    if is_unencrypted(url) and not is_local(url):
        raise UsageError(f"{where}: {url} is not encrypted and not on this machine", "write https://")


def _suggest_server(name: str, servers: Mapping[str, McpServer]) -> str:
    if not servers:
        return "there are no MCP servers yet; to add one: aiml tools add NAME -- COMMAND, or aiml tools import FILE"
    return f"{suggest(name, servers)} available: {', '.join(servers)}".lstrip()


def _format(document: Document) -> bytes:
    try:
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a path that is not UTF-8
        return (json.dumps(document, indent=2) + "\n").encode()
