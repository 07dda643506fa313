"""The tools of one run: open the tools of -T, name them for the request, and run calls."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.system.stdio import Notifier
from aiml_cli.tools.tool import Arguments, CallResult, Definition, Tool, ToolError, ToolSource

MCP_PREFIX = "mcp:"
MAX_WIRE_LENGTH, HASH_LENGTH = 64, 8
_NOT_ON_WIRE = re.compile(r"[^A-Za-z0-9_-]")
MakeSource = Callable[[str], ToolSource]


class OpenTool(NamedTuple):
    """A tool that can be called.

    `name` is shown and matched by --allow; `wire_name` is the name in requests; `label` names its source.
    """

    name: str
    wire_name: str
    tool: Tool
    label: str

    @property
    def definition(self) -> Definition:
        """Return the definition under the tool's name."""
        return self.tool.definition

    def to_request(self) -> dict[str, Any]:
        """Return the definition as a request contains it, in the form of the chat endpoint."""
        definition = self.tool.definition
        function = {
            "name": self.wire_name,
            "description": definition.description,
            "parameters": dict(definition.parameters),
        }
        return {"type": "function", "function": function}


class Toolbox:
    """The sources of a run's tools, by their values of -T, and the tools in them; thread-safe.

    `listed` contains the tools that were found when the sources were last read.
    """

    def __init__(self, sources: Mapping[str, ToolSource], make_source: MakeSource) -> None:
        self._sources, self._make_source, self._lock = dict(sources), make_source, Lock()
        self._is_ready = False
        self._switched: dict[str, bool] = {}  # by pattern; the last one that matches a tool counts
        self.listed: Sequence[OpenTool] = ()

    def start(self) -> None:
        """Start all sources at the same time, without waiting for them."""
        for source in self._sources.values():
            source.start()

    def wait_until_ready(self) -> None:
        """Wait for all sources; raise UsageError if one does not become ready."""
        with self._lock:
            for source in () if self._is_ready else self._sources.values():
                source.wait_until_ready()
            self._is_ready = True

    def add(self, name: str) -> None:
        """Open one more value of -T; raise UsageError if it has no tool, or does not become ready.

        A server that is open with other tools is restarted with all of them.
        """
        names = _merge_servers([*self._sources, name])
        added = {name: self._make_source(name) for name in names if name not in self._sources}
        try:
            for source in added.values():
                source.start()
                source.wait_until_ready()
        except BaseException:
            for source in added.values():
                source.close()
            raise
        replaced = [self._sources[name] for name in self._sources if name not in names]
        self._sources = {name: added.get(name) or self._sources[name] for name in names}
        for source in replaced:
            source.close()

    def list_tools(self) -> Sequence[OpenTool]:
        """Return all current tools, including disabled ones."""
        self.wait_until_ready()
        self.listed = name_tools([(source.label, source.list_tools()) for source in self._sources.values()])
        return self.listed

    def list_enabled(self) -> list[OpenTool]:
        """Return the tools that are sent to the model."""
        return [tool for tool in self.list_tools() if self.is_enabled(tool)]

    def is_enabled(self, tool: OpenTool) -> bool:
        """True if a tool is sent to the model; the patterns also match tools that a server adds later."""
        return next((on for pattern, on in reversed(self._switched.items()) if _matches(tool, pattern)), True)

    def set_enabled(self, pattern: str, *, enabled: bool) -> list[str]:
        """Enable or disable the tools that match a pattern; return their names."""
        names = [tool.name for tool in self.find(pattern)]
        if names:
            self._switched.pop(pattern, None)
            self._switched[pattern] = enabled
        return names

    def find(self, pattern: str) -> list[OpenTool]:
        """Return the tools that match a pattern."""
        return [tool for tool in self.list_tools() if _matches(tool, pattern)]

    def cancel_calls(self) -> None:
        """End the running calls."""
        for source in self._sources.values():
            source.cancel_calls()

    def close(self) -> None:
        """End all processes."""
        for source in self._sources.values():
            source.close()


def _matches(tool: OpenTool, pattern: str) -> bool:
    """True if a pattern matches a tool: `weather`, `fs.read_*`, or `fs` and `x.py` for all tools of a source."""
    if pattern.endswith(".py"):
        return tool.label == Path(pattern).name
    pattern = pattern.removeprefix(MCP_PREFIX)
    return fnmatchcase(tool.name, pattern) or fnmatchcase(tool.name, f"{pattern}.*")


def open_toolbox(
    names: Sequence[str], *, report: Notifier, verbose: bool = False, demo: bool = False, asks: bool = True
) -> Toolbox:
    """Return the toolbox for the values of -T, not yet started; raise UsageError for a name without a tool.

    `asks`: the user can answer a server's questions.
    """

    def make(name: str) -> ToolSource:
        return make_source(name, report=report, verbose=verbose, demo=demo, asks=asks)

    return Toolbox({name: make(name) for name in _merge_servers(names)}, make)


def make_source(
    name: str, *, report: Notifier = None, verbose: bool = False, demo: bool = False, asks: bool = True
) -> ToolSource:
    """Return the source of a value of -T: NAME, FILE.py, mcp:SERVER or mcp:SERVER.TOOL[,TOOL…].

    With `demo`, a name for which the user has no tool may be a sample tool of the demo server.
    """
    if name.startswith(MCP_PREFIX):
        return _make_mcp_source(name, report, verbose=verbose, asks=asks)
    if name.endswith(".py"):
        from aiml_cli.tools.python_source import PythonSource  # a call uses few kinds of tools

        return PythonSource(name, report=report)
    return _make_command_source(name, demo=demo)


def _make_mcp_source(name: str, report: Notifier, *, verbose: bool, asks: bool) -> ToolSource:
    from aiml_cli.tools import mcp_config, mcp_source  # most tools are commands

    server, only = split_mcp_name(name)
    tools = frozenset(only.split(",")) if only else None
    return mcp_source.McpSource(mcp_config.load_server(server), tools, report=report, verbose=verbose, asks=asks)


def _make_command_source(name: str, *, demo: bool) -> ToolSource:
    from aiml_cli.tools import tool_files  # a call uses few kinds of tools
    from aiml_cli.tools.command_source import CommandSource

    if name in tool_files.list_tool_files():
        return CommandSource(name)
    from aiml_cli.demo.tool_calls import SAMPLE_TOOLS
    from aiml_cli.tools.mcp_config import load_servers

    if demo and name in SAMPLE_TOOLS:
        return CommandSource.from_file(tool_files.parse_tool_file(name, Path(name), SAMPLE_TOOLS[name]))
    if name.partition(".")[0] in load_servers():
        raise UsageError(f"there is no tool {name!r}", f"did you mean {MCP_PREFIX}{name}?")
    if demo and (near := get_close_matches(name, SAMPLE_TOOLS, 1)):
        raise UsageError(f"there is no tool {name!r}", f"did you mean {near[0]}?")
    if ".py:" in name:
        raise UsageError(f"all functions of a Python file are used together: {name.partition(':')[0]}")
    return CommandSource(name)  # reports the error in the name


def split_mcp_name(name: str) -> tuple[str, str]:
    """Split mcp:SERVER.TOOL; the name of a server in the file may itself contain dots."""
    rest = name.removeprefix(MCP_PREFIX)
    from aiml_cli.tools.mcp_config import load_servers  # most tools are commands

    servers = load_servers()
    matches = [server for server in servers if rest == server or rest.startswith(f"{server}.")]
    server = max(matches, key=len, default=rest.partition(".")[0])
    return server, rest.removeprefix(server).removeprefix(".")


def _merge_servers(names: Iterable[str]) -> list[str]:
    """Return each name once, with all tools of a server together, because it has one connection.

    A Python file is named by its full path.
    """
    merged: dict[str, set[str]] = {}
    for name in names:
        if name.startswith(MCP_PREFIX):
            server, tool = split_mcp_name(name)
            merged.setdefault(MCP_PREFIX + server, set()).update(tool.split(","))
        else:
            merged.setdefault(os.path.abspath(os.path.expanduser(name)) if name.endswith(".py") else name, {""})  # noqa: PTH100, PTH111
    return [name if "" in tools else f"{name}.{','.join(sorted(tools))}" for name, tools in merged.items()]


def name_tools(sources: Sequence[tuple[str, Sequence[Tool]]]) -> list[OpenTool]:
    """Return the tools, each with a unique name: tools with the same name get their source's name as a prefix."""
    counts = Counter(name for _, tools in sources for name in {tool.definition.name for tool in tools})
    found: dict[str, OpenTool] = {}
    wire_names: set[str] = set()
    for label, tools in sources:
        own_names: dict[str, Tool] = {}
        for tool in tools:
            own_names.setdefault(tool.definition.name, tool)
        for own_name, tool in own_names.items():
            has_rival = counts[own_name] > 1 and own_name != label
            name = _add_source(label, own_name, found) if has_rival else own_name
            wire_name = make_wire_name(name, wire_names)
            wire_names.add(wire_name)
            found[name] = OpenTool(name, wire_name, tool, label)
    return list(found.values())


def _add_source(label: str, name: str, taken: Container[str]) -> str:
    """Return a name with the name of its source as a prefix, numbered if two sources have the same name."""
    stem = Path(label.removeprefix(MCP_PREFIX)).stem
    names = (f"{stem}{number or ''}.{name}" for number in (0, *range(2, 1000)))
    return next(name for name in names if name not in taken)


def make_wire_name(name: str, taken: Iterable[str] = ()) -> str:
    """Return a name that the API accepts: `fs.read_file` is `fs__read_file`; long or used names end with a hash."""
    wire_name = _NOT_ON_WIRE.sub("_", name.replace(".", "__"))
    if wire_name and len(wire_name) <= MAX_WIRE_LENGTH and wire_name not in taken:
        return wire_name
    digest = blake2b(name.encode("utf-8", "replace"), digest_size=HASH_LENGTH // 2).hexdigest()
    return f"{wire_name[: MAX_WIRE_LENGTH - HASH_LENGTH - 1]}_{digest}"


def parse_arguments(text: str) -> Arguments:
    """Return the arguments of a call; raise ToolError if they are not a JSON object."""
    if not text.strip():
        return {}
    value: Any = None
    problem = "they are not a JSON object"
    with suppress(RecursionError):
        try:
            value = json.loads(text)
        except ValueError as error:
            problem = str(error)
    if not isinstance(value, Mapping):
        raise ToolError(f"the arguments cannot be read: {problem}")
    return value


def run_call(tool: Tool, arguments: Arguments) -> CallResult:
    """Call a tool; every failure is a result for the model."""
    try:
        return tool.call(arguments)
    except ToolError as error:
        return CallResult(str(error), is_error=True)
    except Exception as error:  # noqa: BLE001 - a tool that fails must not end the conversation
        return CallResult(f"the tool failed: {type(error).__name__}: {error}", is_error=True)
