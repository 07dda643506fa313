"""The tools of a conversation in turns: open them once, add to them, and name those that are active."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.core.chat_request import open_tools
from aiml_cli.errors import UsageError
from aiml_cli.settings.resolve import Settings

# What tools need is loaded only where there are any.
if TYPE_CHECKING:
    from aiml_cli.core.chat_request import Tools
    from aiml_cli.core.tool_session import ToolSession
    from aiml_cli.tools.toolbox import OpenTool


class SessionTools:
    """The tools of a session; `session` is None without any, and each request gets it."""

    def __init__(self) -> None:
        self.session: Tools | None = None
        self._stack = ExitStack()
        self._names: list[str] = []

    def open(self, settings: Settings) -> None:
        """Start the tools of the settings and wait until they are ready; raise UsageError for one that is not."""
        self.session = self._stack.enter_context(open_tools(settings, repl=True))
        self.update_names()

    def close(self) -> None:
        """End all tools."""
        self._stack.close()
        self.session, self._names = None, []

    def add(self, name: str, settings: Settings) -> None:
        """Open one more tool, as -T does; raise UsageError if that is not possible."""
        if (session := self._find_live()) is not None:
            session.toolbox.add(name)
        elif self.session is None:
            self.open(replace(settings, options=replace(settings.options, tool=(name,))))
        else:
            raise UsageError("a replay has the tools of its recording")
        self.update_names()

    def list_tools(self) -> "list[OpenTool]":
        """Return the tools that are open, also those that are off."""
        session = self._find_live()
        return session.toolbox.list_tools() if session else []

    def is_on(self, name: str) -> bool:
        """True if the model may know a tool."""
        session = self._find_live()
        return session is not None and name not in session.toolbox.disabled

    def switch(self, pattern: str, *, on: bool) -> list[str]:
        """Switch the tools that match a pattern on or off; return their names."""
        session = self._find_live()
        names = session.toolbox.set_enabled(pattern, enabled=on) if session else []
        self.update_names()
        return names

    def update_names(self) -> None:
        """Note which tools are active: a server may have changed its own."""
        self._names = [tool.name for tool in self.list_tools() if self.is_on(tool.name)]

    def describe(self) -> str:
        """Return the active tools in a few words: `weather, fs(11)`; "" if there are none."""
        groups = Counter(name.partition(".")[0] for name in self._names)
        return ", ".join(group if group in self._names else f"{group}({count})" for group, count in groups.items())

    def list_completions(self) -> list[str]:
        """Return what can follow /tools."""
        tools = [tool.name for tool in self.list_tools()]
        states = [f"{'off' if self.is_on(name) else 'on'} {name}" for name in tools]
        return [*tools, *states, *(f"on {name}" for name in self.list_others())]

    def list_others(self) -> list[str]:
        """Return the names of the tool files and servers that are not open."""
        from aiml_cli.tools.mcp_config import load_servers  # only a look at the list needs them
        from aiml_cli.tools.tool_files import list_tool_files

        groups = {tool.name.partition(".")[0] for tool in self.list_tools()}
        servers = [f"mcp:{name}" for name in load_servers() if name not in groups]
        return [*(name for name in list_tool_files() if name not in groups), *servers]

    def _find_live(self) -> "ToolSession | None":
        """Return the session if its tools run here, and not in a recording."""
        if self.session is None:
            return None
        from aiml_cli.core.tool_session import ToolSession  # few conversations have tools

        return self.session if isinstance(self.session, ToolSession) else None
