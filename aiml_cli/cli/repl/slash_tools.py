"""The slash command /tools: list the tools that run here, and switch them on and off."""

import json

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import slash, split_words
from aiml_cli.errors import UsageError
from aiml_cli.output.plain_text import collapse_whitespace
from aiml_cli.settings.resolve import RawValue
from aiml_cli.settings.value_types import suggest
from aiml_cli.system.stdio import print_err

GROUP = "Settings"
MAX_DESCRIPTION = 50


@slash("[on|off name]", completes="tools")
def tools(session: Session, words: str) -> None:
    """List tools, or switch them on or off.

    /tools on NAME lets the model use a tool, as -T does: the name of a tool file, FILE.py, mcp:SERVER or
    mcp:SERVER.TOOL. /tools off NAME takes it away; a pattern such as 'fs.*' stands for several. /tools NAME shows what
    the model is told of it. Each call is asked for before it runs, unless the setting `allow` has its name.
    """
    first, *rest = split_words(words) or [""]
    if first in ("on", "off") and rest:
        for pattern in rest:
            _switch(session, pattern, on=first == "on")
    elif rest or first in ("on", "off"):
        raise UsageError(f"/tools does not take {words!r}", "/tools, /tools NAME, /tools on NAME or /tools off NAME")
    elif first:
        _show(session, first)
    else:
        _list(session)


def _switch(session: Session, pattern: str, *, on: bool) -> None:
    names = session.tools.switch(pattern, on=on)
    if not names and not on:
        raise UsageError(f"no tool matches {pattern!r}", suggest(pattern, [t.name for t in session.tools.list_tools()]))
    if not names:
        settings = session.resolve_settings()
        session.tools.add(pattern, settings)
        session.overrides["tool"] = RawValue((*(settings.options.tool or ()), pattern), "/tools")
        names = [pattern]
    print_err(f"aiml: {', '.join(names)}: {'on' if on else 'off'}")


def _show(session: Session, name: str) -> None:
    """Print what the model is told of a tool."""
    known = {tool.name: tool for tool in session.tools.list_tools()}
    if name not in known:
        raise UsageError(f"no tool {name!r} is open", suggest(name, known) or f"/tools on {name} opens it")
    definition = known[name].definition
    print_err(f"{name}: {definition.description}".rstrip(": "))
    for hint in definition.hints:
        print_err(f"its author says: {hint}")
    print_err(json.dumps(dict(definition.parameters), ensure_ascii=False, indent=2))


def _list(session: Session) -> None:
    open_tools, others = session.tools.list_tools(), session.tools.list_others()
    width = max((len(tool.name) for tool in open_tools), default=0)
    for tool in open_tools:
        state = "on " if session.tools.is_on(tool.name) else "off"
        text = collapse_whitespace(tool.definition.description)
        text = text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 1]}…"
        print_err(f"aiml: {tool.name.ljust(width)}  {state}  {text}".rstrip())
    if not open_tools:
        print_err("aiml: no tool is on")
    if others:
        print_err(f"aiml: /tools on NAME opens more: {', '.join(others)}")
    elif not open_tools:
        print_err("aiml: aiml tools add makes one; /tools on FILE.py opens the functions of a Python file")
