"""The slash command /tools: list the tools that run here, and switch them on and off."""

import json
from typing import TYPE_CHECKING

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import slash, split_words
from aiml_cli.errors import UsageError
from aiml_cli.output.table import Column, format_details, format_table
from aiml_cli.settings.resolve import RawValue, check_conflicts
from aiml_cli.settings.value_types import suggest
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import get_terminal_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiml_cli.tools.toolbox import OpenTool

GROUP = "Settings"
MAX_LISTED = 12
_COLUMNS = (Column("NAME", 0), Column("STATE", 0), Column("KIND", 2), Column("DESCRIPTION", 1, min_width=16))


@slash("[on|off name]", completes="tools")
def tools(session: Session, words: str) -> None:
    """List tools, or switch them on or off.

    /tools on NAME lets the model use a tool, as -T does: the name of a tool file, FILE.py, mcp:SERVER or
    mcp:SERVER.TOOL. /tools off NAME takes it away; a pattern such as 'fs.*' stands for several, and fs for all of the
    server fs. /tools NAME shows what the model is told of a tool. Each call is asked for before it runs, unless the
    setting `allow` has its name.
    """
    first, *rest = split_words(words) or [""]
    if first in ("on", "off") and rest:
        for name in rest:
            _turn_on(session, name) if first == "on" else _turn_off(session, name)
    elif rest or first in ("on", "off"):
        raise UsageError(f"/tools does not take {words!r}", "/tools, /tools NAME, /tools on NAME or /tools off NAME")
    else:
        _show(session, first) if first else _list(session)


def _turn_on(session: Session, name: str) -> None:
    earlier = session.flags["run_tool"].texts if "run_tool" in session.flags else ()
    flag = RawValue(tuple(dict.fromkeys((*earlier, name))), "/tools on")
    settings = session.resolve_settings({"run_tool": flag})
    check_conflicts(settings)
    names = session.tools.turn_on(name, settings)
    session.flags = {**session.flags, "run_tool": flag}
    print_err(f"aiml: {_shorten(names or [name])}: on")


def _turn_off(session: Session, name: str) -> None:
    if not (names := session.tools.switch(name, on=False)):
        raise _explain_missing(session, name)
    print_err(f"aiml: {_shorten(names)}: off")


def _explain_missing(session: Session, name: str) -> UsageError:
    known = [tool.name for tool in session.tools.list_tools()]
    if name in session.tools.list_others():
        return UsageError(f"{name} is not on", f"/tools on {name} lets the model use it")
    return UsageError(f"no tool here matches {name!r}", suggest(name, known) or "/tools lists them")


def _show(session: Session, name: str) -> None:
    """Print what the model is told of a tool, or list the tools that match a pattern."""
    found = session.tools.find(name)
    if not found:
        raise _explain_missing(session, name)
    if len(found) > 1:
        _print_table(session, found)
        return
    definition = found[0].definition
    pairs = [
        ("name", found[0].name),
        ("kind", _describe_kind(found[0])),
        ("state", "on" if session.tools.is_on(found[0]) else "off"),
        ("description", definition.description),
        ("parameters", json.dumps(dict(definition.parameters), ensure_ascii=False)),
        ("its author says", "; ".join(definition.hints)),
    ]
    print_err(format_details([pair for pair in pairs if pair[1]], get_terminal_size(2)[0]).rstrip("\n"))


def _list(session: Session) -> None:
    open_tools, others = session.tools.list_tools(), session.tools.list_others()
    if open_tools:
        _print_table(session, open_tools)
    else:
        print_err("aiml: the model has no tools of this machine")
    if others:
        print_err(f"aiml: /tools on NAME adds one: {_shorten(others)}")
    elif not open_tools:
        print_err(
            "hint: aiml tools add NAME -- COMMAND makes one; /tools on FILE.py adds the functions of a Python file"
        )


def _shorten(names: "Sequence[str]") -> str:
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{more}"


def _print_table(session: Session, tools: "Sequence[OpenTool]") -> None:
    rows = [
        (tool.name, "on" if session.tools.is_on(tool) else "off", _describe_kind(tool), tool.definition.description)
        for tool in tools
    ]
    print_err(format_table(_COLUMNS, rows, get_terminal_size(2)[0]).rstrip("\n"))


def _describe_kind(tool: "OpenTool") -> str:
    if tool.label.startswith("mcp:"):
        return "MCP server"
    return tool.label if tool.label.endswith(".py") else "command"
