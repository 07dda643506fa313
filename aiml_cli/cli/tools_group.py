"""The commands of `aiml tools`."""

import typer

from aiml_cli.cli.flags import TYPER_SETTINGS, Command, Task, flag_value, with_options
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags
from aiml_cli.settings.value_types import SWITCH, TEXT, ValueType, number

TOOLS = "Tools"


def _parse_header(text: str) -> dict[str, str]:
    """Parse NAME: VALUE; raise ValueError."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not value.strip():
        raise ValueError(text)
    return {name.strip(): value.strip()}


def _parse_env(text: str) -> dict[str, str]:
    """Parse NAME=VALUE; raise ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(text)
    return {name: value}


app = typer.Typer(help="List, check, call, add and remove tools that run on this machine.", **TYPER_SETTINGS)
NAMES_HELP = "NAME, FILE.py, or mcp:SERVER."
LIST_FLAGS = [ROWS[name] for name in ("demo", "json", "quiet")]
START_FLAGS = [*LIST_FLAGS, ROWS["verbose"]]
DESCRIPTION = Option(
    TEXT, "What the tool does; the model reads this.", TOOLS, {}, per_call=True, attribute="description"
)
PARAMS = Option(
    ValueType("parameters", TEXT.parse, "LIST|JSON"),
    "The parameters: 'city, days? int'. Default: the {names} in the command.", TOOLS, {}, per_call=True,
    attribute="params",
)  # fmt: skip
TIMEOUT = Option(
    number(0.1, 86400), "Stop a call after this many seconds.", TOOLS, {}, per_call=True, attribute="timeout"
)
ENV = Option(
    ValueType("NAME=VALUE", _parse_env, "NAME=VALUE", is_list=True),
    "An environment variable for the command; '${VAR}' is expanded at each start.", TOOLS, {}, per_call=True,
    attribute="env",
)  # fmt: skip
MCP = Option(SWITCH, "The command is an MCP server.", TOOLS, {}, per_call=True, attribute="mcp")
URL = Option(TEXT, "The URL of an MCP server.", TOOLS, {}, per_call=True, attribute="url")
HEADER = Option(
    ValueType("NAME: VALUE", _parse_header, "'NAME: VALUE'", is_list=True),
    "A header for the MCP server; '${VAR}' is expanded at each start.", TOOLS, {}, per_call=True, attribute="header",
)  # fmt: skip


@app.callback(invoke_without_command=True)
def tools() -> Task:
    """List, check, call, add and remove the tools that run on this machine."""
    from aiml_cli.cli.commands import tools

    return lambda: tools.list_all({})


@app.command("list", cls=Command)
@with_options(LIST_FLAGS, "")
def tools_list(_words: list[str], flags: Flags) -> Task:
    """List the tool files and the MCP servers, without starting any."""
    from aiml_cli.cli.commands import tools

    return lambda: tools.list_all(flags)


@app.command("show", cls=Command)
@with_options(START_FLAGS, f"The tool to show: {NAMES_HELP}")
def tools_show(words: list[str], flags: Flags) -> Task:
    """Show a tool as the model sees it.

    An MCP server or a Python file is started for this.
    """
    from aiml_cli.cli.commands import tools

    return lambda: tools.show(words, flags)


@app.command("check", cls=Command)
@with_options(START_FLAGS, f"{NAMES_HELP} Default: all.")
def tools_check(words: list[str], flags: Flags) -> Task:
    """Start tools, and show which are ready and how long that took.

    The exit code is 2 if one of them is not ready.
    """
    from aiml_cli.cli.commands import tools

    return lambda: tools.check(words, flags)


@app.command("call", cls=Command)
@with_options(START_FLAGS, "NAME, FILE.py:FUNCTION or mcp:SERVER.TOOL; then its arguments as JSON, or - for stdin.")
def tools_call(words: list[str], flags: Flags) -> Task:
    """Call a tool without a model, and print its result.

    For example: aiml tools call weather '{"city": "Paris"}'. The exit code is 9 if the tool fails.
    """
    from aiml_cli.cli.commands import tools

    return lambda: tools.call(words, flags)


@app.command("add", cls=Command)
@with_options(
    [DESCRIPTION, PARAMS, TIMEOUT, ENV, MCP, URL, HEADER, ROWS["yes"], ROWS["quiet"]],
    "NAME -- COMMAND..., or NAME with --url.",
)
def tools_add(words: list[str], flags: Flags) -> Task:
    """Add a command as a tool, or an MCP server with --mcp or --url.

    For example: aiml tools add weather -- curl -s 'wttr.in/{city}?format=3'. The command runs without a shell, and
    {city} is an argument of the call.
    """
    from aiml_cli.cli.commands import tools_edit

    own = {option.name: flag_value(option, flags) for option in (DESCRIPTION, PARAMS, TIMEOUT, ENV, MCP, URL, HEADER)}
    return lambda: tools_edit.add(words, tools_edit.Additions(**own), flags)


@app.command("import", cls=Command)
@with_options([ROWS["yes"], ROWS["quiet"]], "The mcp.json of another program, then names of servers. Default: all.")
def tools_import(words: list[str], flags: Flags) -> Task:
    """Import the MCP servers of another program.

    Settings that let their tools run without confirmation are not imported.
    """
    from aiml_cli.cli.commands import tools_edit

    return lambda: tools_edit.import_servers(words, flags)


@app.command("remove", cls=Command)
@with_options([ROWS["yes"], ROWS["quiet"]], "NAME or mcp:SERVER.")
def tools_remove(words: list[str], flags: Flags) -> Task:
    """Remove tool files and MCP servers."""
    from aiml_cli.cli.commands import tools_edit

    return lambda: tools_edit.remove(words, flags)
