"""Run `aiml tools add`, `import` and `remove`: change the tool files and the servers of mcp.json."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.settings.value_types import suggest
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.questions import confirm, make_replace_prompt
from aiml_cli.system.stdio import make_notifier, print_err
from aiml_cli.system.terminal import is_terminal
from aiml_cli.tools import mcp_config, tool_files
from aiml_cli.tools.mcp_config import McpServer
from aiml_cli.tools.toolbox import MCP_PREFIX

_EXAMPLE = "for example: aiml tools add weather -- curl -s 'wttr.in/{city}?format=3'"
_SERVER_EXAMPLE = "for example: aiml tools add fs --mcp -- npx -y @modelcontextprotocol/server-filesystem /tmp"
_LOOKS_LIKE_SERVER = re.compile(r"\bmcp\b|modelcontextprotocol", re.IGNORECASE)


class Additions(NamedTuple):
    """The flags of `aiml tools add`."""

    description: str | None = None
    params: str | None = None
    timeout: float | None = None
    env: Mapping[str, str] | None = None
    mcp: bool | None = None
    url: str | None = None
    header: Mapping[str, str] | None = None


def add(words: Sequence[str], flags: Additions, shared: Flags) -> int:
    """Add a tool file, or an MCP server to mcp.json; raise UsageError."""
    options = _resolve_options(shared)
    if not words:
        raise UsageError("a name and a command are required", _EXAMPLE)
    name, command = words[0].removeprefix(MCP_PREFIX), words[1:]
    if flags.mcp or flags.url is not None or words[0].startswith(MCP_PREFIX):
        return _add_server(name, command, flags, options)
    if flags.header:
        raise UsageError("--header only works with --url", "nothing was added")
    return _add_command(name, command, flags, options)


def _add_command(name: str, command: Sequence[str], flags: Additions, options: Options) -> int:
    if not command:
        raise UsageError("a command is required", _EXAMPLE)
    if command[0].startswith(("http://", "https://")):
        raise UsageError(
            f"{command[0]} is not a command", f"for an MCP server: aiml tools add {name} --url {command[0]}"
        )
    run = [_find_absolute(command[0]), *command[1:]]
    params = flags.params if flags.params is not None else ", ".join(_list_placeholders(run))
    table = {
        "description": flags.description or "",
        "params": params,
        "run": run,
        "timeout": flags.timeout,
        "env": dict(flags.env or {}),
    }
    path = tool_files.save_tool_file(name, table, make_replace_prompt(bool(options.yes)))
    if not options.quiet:
        print_err(f"aiml: saved as {path}; use it with -T {name}, and try it with: aiml tools call {name} JSON")
        _print_advice(name, flags, command)
    return 0


def _find_absolute(program: str) -> str:
    """Return the absolute path of a program with a relative path: later calls run in other directories."""
    is_relative = "/" in program and not program.startswith(("/", "~/")) and "{" not in program
    return str(Path(program).absolute()) if is_relative else program


def _list_placeholders(run: Sequence[str]) -> list[str]:
    """Return the names in braces, which are the parameters unless --params is set."""
    return list(dict.fromkeys(match[2] for word in run for match in tool_files.PLACEHOLDER.finditer(word) if match[2]))


def _print_advice(name: str, flags: Additions, command: Sequence[str]) -> None:
    """Print what is probably missing."""
    from aiml_cli.tools.command_source import find_program  # few calls add a tool

    if _LOOKS_LIKE_SERVER.search(shlex.join(command)):
        print_err(f"aiml: if this is an MCP server, add it with --mcp: aiml tools add {name} --mcp -- ...")
    if not flags.description:
        print_err("aiml: the tool has no --description, so the model only sees its name and parameters")
    try:
        find_program(tool_files.load_tool_file(name))
    except UsageError as error:
        print_err(f"aiml: {error.message}")


def _add_server(name: str, command: Sequence[str], flags: Additions, options: Options) -> int:
    if flags.params is not None or flags.description is not None:
        raise UsageError(
            "--params and --description only work with a command", "an MCP server describes its tools itself"
        )
    if flags.url is not None:
        server = _build_http_server(name, command, flags)
    else:
        server = _build_stdio_server(name, command, flags)
    if flags.timeout is not None:
        server = replace(server, timeout=flags.timeout)
    path = mcp_config.save_server(server, lambda _: _may_replace(name, options))
    if not options.quiet:
        print_err(f"aiml: saved in {path}; use it with -T {MCP_PREFIX}{name}, and see its tools with:")
        print_err(f"aiml: aiml tools show {MCP_PREFIX}{name}")
    return 0


def _build_http_server(name: str, command: Sequence[str], flags: Additions) -> McpServer:
    if command or flags.mcp or flags.env:
        raise UsageError("--url cannot be used with a command, --mcp or --env", "use it with --header and --timeout")
    server = McpServer(name, url=flags.url or "", headers=flags.header or {})
    if "${" not in server.url:
        mcp_config.expand_server(replace(server, headers={}), {})  # raises UsageError for a URL that cannot be used
    return server


def _build_stdio_server(name: str, command: Sequence[str], flags: Additions) -> McpServer:
    if flags.header:
        raise UsageError("--header only works with --url", "use --env to set the variables of a command")
    if not command:
        raise UsageError("a command is required", _SERVER_EXAMPLE)
    if command[0].startswith(("http://", "https://")):
        raise UsageError(f"{command[0]} is not a command", f"aiml tools add {name} --url {command[0]}")
    return McpServer(name, command=_find_absolute(command[0]), args=tuple(command[1:]), env=flags.env or {})


def _may_replace(name: str, options: Options) -> bool:
    return bool(options.yes) or (is_terminal(2) and confirm(f"replace the MCP server {name}?"))


def import_servers(words: Sequence[str], flags: Flags) -> int:
    """Import the MCP servers of another program's file, or only those with these names; raise UsageError."""
    options = _resolve_options(flags)
    if not words:
        raise UsageError("a file is required", "for example: aiml tools import ~/.claude.json")
    path, names = Path(words[0]).expanduser(), words[1:]
    found = mcp_config.read_foreign_servers(path, make_notifier(options.quiet))
    for name in names:
        if name not in found:
            hint = f"{suggest(name, found)} available: {', '.join(found)}".lstrip()
            raise UsageError(f"{path}: there is no server {name!r}", f"nothing was imported; {hint}")
    chosen = [server for name, server in found.items() if not names or name in names]
    left = [server.name for server in chosen if not _import(server, options)]
    if left:
        message = f"not imported, because servers with these names already exist: {', '.join(left)}"
        raise UsageError(message, "add -y to replace them")
    return 0


def _import(server: McpServer, options: Options) -> bool:
    """Save a server and return True; return False if one with this name exists and may not be replaced."""
    is_known = server.name in mcp_config.load_servers()
    if is_known and not _may_replace(server.name, options):
        return False
    mcp_config.save_server(server, lambda _: True)
    if not options.quiet:
        print_err(f"aiml: imported {MCP_PREFIX}{server.name}: {server.describe()}")
    return True


def remove(words: Sequence[str], flags: Flags) -> int:
    """Remove tool files and servers; raise UsageError for an unknown name, before anything is removed."""
    options = _resolve_options(flags)
    if not words:
        raise UsageError("the name of a tool is required", "aiml tools list lists them all")
    names = list(dict.fromkeys(_find_known(word) for word in words))
    if not _confirm_removal(names, options):
        if not options.quiet:
            print_err("aiml: nothing was removed")
        return 0
    for name in names:
        is_server = name.startswith(MCP_PREFIX)
        mcp_config.remove_server(name.removeprefix(MCP_PREFIX)) if is_server else tool_files.delete_tool_file(name)
    if not options.quiet:
        print_err(f"aiml: removed {', '.join(names)}")
    return 0


def _find_known(word: str) -> str:
    """Return the name of a tool file or a server, whose `mcp:` may be omitted; raise UsageError for an unknown one."""
    files = tool_files.list_tool_files()
    if word in files:
        return word
    server, servers = word.removeprefix(MCP_PREFIX), mcp_config.load_servers()
    if server in servers:
        return f"{MCP_PREFIX}{server}"
    known = [*files, *(f"{MCP_PREFIX}{name}" for name in servers)]
    hint = f"{suggest(word, known)} available: {', '.join(known)}".lstrip() if known else "there are no tools yet"
    raise UsageError(f"there is no tool {word!r}", f"nothing was removed; {hint}")


def _confirm_removal(names: Sequence[str], options: Options) -> bool:
    if options.yes:
        return True
    if not is_terminal(2):
        raise UsageError(f"this would remove {', '.join(names)}", "add -y to do it")
    return confirm(f"remove {', '.join(names)}?")


def _resolve_options(flags: Flags) -> Options:
    """Resolve only the flags shared with other commands; the others may have the same names as options."""
    shared: Mapping[str, Any] = {name: flags[name] for name in ("yes", "quiet") if name in flags}
    return resolve(read_sources(shared, os.environ)).options
