"""MCP servers for tests: opened as sources of tools, and closed with everything that they started."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.paths import ROOT

from aiml_cli.tools.mcp_config import McpServer
from aiml_cli.tools.mcp_source import McpSource
from aiml_cli.tools.tool import CallResult

SERVER = ROOT / "tests" / "support" / "mcp_server.py"
OTHER_SERVERS = ROOT / "build" / "servers"  # of others, from `make servers`


@dataclass
class OpenServer:
    """A source that is ready, and the notices that it printed."""

    source: McpSource
    notices: list[str] = field(default_factory=list)

    def call(self, name: str, **arguments: Any) -> CallResult:
        """Call a tool by its name on the server."""
        for tool in self.source.list_tools():
            if tool.definition.name == f"{self.source.server.name}.{name}":
                return tool.call(arguments)
        raise AssertionError(name)

    def list_names(self) -> list[str]:
        """Return the names of the tools."""
        return [tool.definition.name for tool in self.source.list_tools()]


def build_own_server(mode: str = "normal", **more: Any) -> McpServer:
    """Return our own server in a mode, under the name fs."""
    return McpServer("fs", sys.executable, (str(SERVER), mode), **more)


@contextmanager
def open_server(
    server: McpServer | str = "normal", *, verbose: bool = False, only: frozenset[str] | None = None
) -> Iterator[OpenServer]:
    """Yield a server that is ready; a string is a mode of our own server."""
    Path("xdg_config_home/aiml").mkdir(exist_ok=True)
    notices: list[str] = []
    config = build_own_server(server) if isinstance(server, str) else server
    source = McpSource(config, only, report=notices.append, verbose=verbose)
    try:
        source.start()
        source.wait_until_ready()
        yield OpenServer(source, notices)
    finally:
        source.close()
