"""The tools of a REPL session: start them once, add others, and list the active ones."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from aiml_cli.core.chat_request import open_tools
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.terminal import is_terminal

# These modules are only loaded if there are tools.
if TYPE_CHECKING:
    from aiml_cli.core.chat_request import Tools
    from aiml_cli.tools.toolbox import OpenTool, Toolbox


class SessionTools:
    """The tools of a REPL session."""

    def __init__(self) -> None:
        self._session: Tools | None = None
        self._stack = ExitStack()

    def open(self, settings: Settings) -> None:
        """Start the tools of the settings and wait until they are ready; raise UsageError if one fails to start."""
        with ExitStack() as stack:
            session = stack.enter_context(open_tools(settings, repl=True))
            if (toolbox := _get_toolbox(session)) is not None:
                with _show_spinner(settings.options):
                    toolbox.list_tools()
            self._session, self._stack = session, stack.pop_all()

    def get(self, settings: Settings) -> "Tools | None":
        """Return the tools for a request, or None; start them first if /set has added an MCP server."""
        if self._session is None and settings.options.mcp_server:
            self.open(settings)
        return self._session

    def close(self) -> None:
        """Stop all tools."""
        self._session = None
        self._stack.close()

    def turn_on(self, name: str, settings: Settings) -> list[str]:
        """Turn on the open tools that match a name, or open the tool with this name as -T does; return their names.

        Raises UsageError if that is not possible.
        """
        if not name.endswith(".py") and (names := self.switch(name, on=True)):
            return names
        if self._session is None:
            self.open(replace(settings, options=replace(settings.options, run_tool=(name,))))
        elif (toolbox := _get_toolbox(self._session)) is not None:
            toolbox.add(name)
        else:
            raise UsageError("a replay uses the tools of its recording")
        return self.switch(name, on=True)

    def switch(self, pattern: str, *, on: bool) -> list[str]:
        """Turn the open tools that match a pattern on or off; return their names."""
        toolbox = _get_toolbox(self._session)
        return toolbox.set_enabled(pattern, enabled=on) if toolbox else []

    def list_tools(self) -> "Sequence[OpenTool]":
        """Return the open tools, including those that are off."""
        toolbox = _get_toolbox(self._session)
        return toolbox.list_tools() if toolbox else ()

    def find(self, pattern: str) -> "list[OpenTool]":
        """Return the open tools that match a pattern."""
        toolbox = _get_toolbox(self._session)
        return toolbox.find(pattern) if toolbox else []

    def is_on(self, tool: "OpenTool") -> bool:
        """True if a tool is sent to the model."""
        toolbox = _get_toolbox(self._session)
        return toolbox is not None and toolbox.is_enabled(tool)

    def list_active(self) -> "list[OpenTool]":
        """Return the tools that were on when they were last listed."""
        return [tool for tool in self._list_known() if self.is_on(tool)]

    def describe(self) -> str:
        """Return the active tools in short, such as `weather, fs(11)`; "" if there are none."""
        groups = ((label, list(tools)) for label, tools in groupby(self.list_active(), lambda tool: tool.label))
        return ", ".join(
            tools[0].name if len(tools) == 1 else f"{label.removeprefix('mcp:')}({len(tools)})"
            for label, tools in groups
        )

    def list_completions(self) -> list[str]:
        """Return the possible arguments of /tools."""
        tools = self._list_known()
        states = [f"{'off' if self.is_on(tool) else 'on'} {tool.name}" for tool in tools]
        return [*(tool.name for tool in tools), *states, *(f"on {name}" for name in self.list_others())]

    def list_others(self) -> list[str]:
        """Return the names of the tool files and servers that are not open; raise UsageError for a damaged file."""
        from aiml_cli.tools.mcp_config import load_servers  # only listing the tools needs them
        from aiml_cli.tools.tool_files import list_tool_files

        labels = {tool.label for tool in self._list_known()}
        enabled = (server.name for server in load_servers().values() if server.other.get("disabled") is not True)
        names = [*list_tool_files(), *(f"mcp:{name}" for name in enabled)]
        return [name for name in names if name not in labels]

    def _list_known(self) -> "Sequence[OpenTool]":
        """Return the tools as they were last listed, because asking a server can take time."""
        toolbox = _get_toolbox(self._session)
        return toolbox.listed if toolbox else ()


def _get_toolbox(session: "Tools | None") -> "Toolbox | None":
    """Return the tools that run on this machine; None if there are none, or if a recording is replayed."""
    if session is None:
        return None
    from aiml_cli.core.tool_session import ToolSession  # few conversations have tools

    return session.toolbox if isinstance(session, ToolSession) else None


@contextmanager
def _show_spinner(options: Options) -> Iterator[None]:
    """Show a spinner on the terminal during the block."""
    if options.quiet or not is_terminal(2):
        yield
        return
    from aiml_cli.output.spinner import show_spinner  # few conversations have tools

    with show_spinner(os.environ) as spinner:
        if spinner:
            spinner.start()
        yield
