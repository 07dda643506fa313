"""The tools of a call, what the user allows, and how both become part of a request."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any

from aiml_cli.api.tool_formats import build_mcp_servers, list_function_names, list_tools
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import make_notifier
from aiml_cli.tools.approval import Approvals
from aiml_cli.tools.toolbox import Toolbox, open_toolbox

if TYPE_CHECKING:
    from aiml_cli.core.replayed_tools import ReplayedTools

NEEDS_ALLOW = "nobody can be asked there: --allow NAME runs a tool without asking, --allow '*' runs them all"


class ToolSession:
    """The tools of a call, or of a conversation in turns, and the approvals so far."""

    def __init__(self, toolbox: Toolbox, approvals: Approvals, *, approves_server_calls: bool) -> None:
        self.toolbox, self.approvals = toolbox, approvals
        self._approves_server_calls = approves_server_calls

    def build_body(self, options: Options, build: Callable[[Options], dict[str, Any]]) -> dict[str, Any]:
        """Return the request body that `build` makes of the options and the tools.

        Raise UsageError for two tools of one name.
        """
        return build(self._add_to(options))

    def _add_to(self, options: Options) -> Options:
        tools = self.toolbox.list_enabled()
        if same := {tool.wire_name for tool in tools} & list_function_names(options.tools):
            raise UsageError(f"--tools and -T both define {', '.join(sorted(same))}")
        added = [tool.to_request() for tool in tools]
        if self._approves_server_calls and options.mcp_server:
            added += [{**server, "require_approval": "always"} for server in build_mcp_servers(options)]
            options = replace(options, mcp_server=None)
        return replace(options, tools=[*list_tools(options.tools), *added]) if added else options

    def warm_up(self) -> None:
        """Import what checks arguments while the answer is awaited."""
        if self.toolbox.list_enabled():
            Thread(target=_import_checker, daemon=True).start()

    def cancel_calls(self) -> None:
        """End the calls that run in other threads."""
        self.toolbox.cancel_calls()


def _import_checker() -> None:
    import jsonschema  # noqa: F401 - takes 100 ms


@contextmanager
def open_tools(settings: Settings, *, asks: bool = True, repl: bool = False) -> Iterator["ToolSession | ReplayedTools"]:
    """Start the tools of the options, and end them after the block.

    They get ready while the request is prepared. `asks`: the user can be asked on the terminal, if there is one.
    A one-shot lets the server run its own tools unless --allow says which.
    """
    options = settings.options
    if options.replay:
        from aiml_cli.core.replayed_tools import ReplayedTools  # few calls are replayed

        yield ReplayedTools(options.replay)
        return
    report = make_notifier(options.quiet)
    toolbox = open_toolbox(
        options.run_tool or (), report=report, verbose=bool(options.verbose), demo=bool(options.demo), asks=asks
    )
    try:
        toolbox.start()
        if not asks:
            toolbox.wait_until_ready()  # before the first of many requests
        approvals = Approvals(can_ask=asks)
        yield ToolSession(toolbox, approvals, approves_server_calls=repl or bool(options.allow))
    finally:
        toolbox.close()


def open_shared_tools(settings: Settings) -> "AbstractContextManager[ToolSession | ReplayedTools]":
    """Start the tools that several requests at once share; nobody can be asked, so only --allow counts."""
    options = settings.options
    if options.run_tool and not options.allow and not options.replay:
        raise UsageError("-T with several requests at once needs --allow", NEEDS_ALLOW)
    if options.run_tool and options.max_cost is not None:
        message = "--max-cost cannot be used with -T and several requests at once"
        raise UsageError(message, "nobody knows how many rounds each of them takes; --max-rounds N bounds them")
    return open_tools(settings, asks=False)
