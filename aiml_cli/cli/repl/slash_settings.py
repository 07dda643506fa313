"""Slash commands that change settings: /set, /unset, /model, /models, /system, /template, and /tools."""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiml_cli.catalog.find_models import find_model, suggest_models
from aiml_cli.cli.repl.session import NO_STDIN, STDIN_NAME, Session
from aiml_cli.cli.repl.slash_commands import slash, split_words, unquote
from aiml_cli.core.model_fallback import split_models
from aiml_cli.errors import UsageError
from aiml_cli.output.table import Column, format_details, format_table
from aiml_cli.prompt.compose import escape_placeholders
from aiml_cli.prompt.file_sources import read_at_file
from aiml_cli.prompt.mentions import LiteralText, join_typed
from aiml_cli.settings.options import ROWS, Option, value_of
from aiml_cli.settings.resolve import RawValue, check_conflicts, parse_value, persistent_options
from aiml_cli.settings.value_types import suggest
from aiml_cli.system.questions import confirm
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import get_terminal_size

if TYPE_CHECKING:
    from aiml_cli.tools.toolbox import OpenTool


GROUP = "Settings"
_TEMPLATE_NAME = re.compile(r"""(?:-t\s+)?(@?"[^"]*"|@?'[^']*'|(?:\\.|[^\s\\])+)\s*""")
_TEMPLATE_PARAM = re.compile(r"([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)\s*")
MAX_LISTED = 12
_COLUMNS = (Column("NAME", 0), Column("STATE", 0), Column("KIND", 2), Column("DESCRIPTION", 1, min_width=16))


@slash("[key=value]", completes="settings")
def set(session: Session, words: str) -> None:  # noqa: A001 - named after what is typed
    """Change a setting; /unset undoes it.

    Accepts every setting of the config file: /set temperature=0.2, /set effort=high, /set format=text. It takes
    precedence over the flags of the command line. Without an argument, it lists the changed settings.
    """
    if not words:
        _print_overrides(session)
        return
    name, has_value, value = (unquote(part.strip()) for part in unquote(words).partition("="))
    if not has_value:
        name, has_value, value = (unquote(part.strip()) or part for part in name.partition(" "))
    row = find_setting(session, name)
    if not has_value:
        hint = f"use /set {row.name}=VALUE; /unset {row.name} removes it"
        raise UsageError(f"/set {row.name}: a value is required", hint)
    raw_value = RawValue((value,), f"/set {row.name}")
    parse_value(row, raw_value, session.endpoint)
    earlier = session.overrides[row.name].texts if row.value_type.is_list and row.name in session.overrides else ()
    session.overrides[row.name] = RawValue((*earlier, value), raw_value.source_name)
    session.disabled -= {row.name}
    _print_override(session, row.name)


def find_setting(session: Session, name: str) -> Option[Any]:
    """Return the option with this name, with dashes or underscores; raise UsageError if /set cannot set it."""
    rows = {row.name: row for row in persistent_options() if row.applies_to(session.endpoint)}
    key = name.removeprefix("--").replace("-", "_")
    if key in rows:
        return rows[key]
    if key in ROWS:
        raise UsageError(f"/set: {key} cannot be set here", _explain_unsettable(ROWS[key]))
    names = sorted(rows, key=lambda known: not rows[known].common)
    raise UsageError(f"/set: unknown setting {name!r}", suggest(key, names) or "aiml config show lists them")


def _explain_unsettable(row: Option[Any]) -> str:
    if row.secret:
        return "store the key with: aiml config key"
    if row.name == "run_tool":
        return "use /tools on NAME and /tools off NAME"
    return f"pass {row.flag} on each call" if row.per_call else "this endpoint does not support it"


def _print_overrides(session: Session) -> None:
    if not session.overrides:
        print_err("aiml: no settings were changed; /set KEY=VALUE changes one, and aiml config show lists them all")
    for name in sorted(session.overrides):
        _print_override(session, name)


def _print_override(session: Session, name: str) -> None:
    print_err(f"aiml: {name} = {', '.join(session.overrides[name].texts)}")


@slash("[id]", completes="models")
def model(session: Session, words: str) -> None:
    """Change the model; /models searches for one.

    Without an id, it shows the model. An id that is not in the catalog but similar to one in it is an error;
    /set model=ID uses it anyway.
    """
    if words := unquote(words):
        check_model(session, words)
        session.overrides["model"] = RawValue((words,), "/model")
        session.disabled -= {"model"}
    print_err(f"aiml: model = {session.resolve_settings().options.model}")


@slash("words", completes="models")
def models(session: Session, words: str) -> None:
    """Search the catalog for models; an exact id shows everything known about it."""
    from aiml_cli.catalog import model_table  # it loads the transport

    model_table.show_models(split_words(words), session.resolve_settings(), as_json=False)


@slash("[text]")
def system(session: Session, words: str) -> None:
    """Show or change the system text.

    @FILE reads it from a file; - removes it, even if the config file or the conversation set it.
    """
    words = unquote(words)
    if words == "-":
        session.overrides.pop("system", None)
        session.disabled |= {"system"}
        session.system = None
    elif words:
        read_at_file(words)  # raises the error for a missing file now, not with the next message
        session.overrides["system"] = RawValue((words,), "/system")
        session.disabled -= {"system"}
    text = session.resolve_settings().options.system or session.system
    print_err(f"aiml: system = {text}" if text else "aiml: there is no system text")


@slash("name [words]", completes="templates")
def template(session: Session, words: str) -> None:
    """Send a saved prompt, and use its settings.

    The words after the name are sent with the prompt. VARIABLE=VALUE before them sets a variable, with the value in
    quotes if it contains spaces; VARIABLE=@FILE reads the value from a file. @FILE instead of the name uses a template
    file, and `-t NAME` after it adds another template. `aiml config templates` lists the templates.
    """
    names, rest = _split_names(words)
    if not names:
        raise UsageError("/template: a name is required", _format_templates(session))
    from aiml_cli.core import template_fill  # few prompts are templates

    params, typed = _split_params(rest)
    typed = escape_placeholders(session.confirm_pasted(typed), STDIN_NAME)
    _confirm_pasted_files(session, [*names, *(param.partition("=")[2] for param in params)], words)
    param_flags = {"param": RawValue(tuple(params), "/template")} if params else {}
    folders = session.resolve_settings().options.template_path
    folder_flags = {"template_path": RawValue(folders, "template_path")} if folders else {}
    template_flags = {"template": RawValue(tuple(names), "/template"), **param_flags, **folder_flags, **NO_STDIN}
    prompt, flags, values = template_fill.prepare_prompt(session.endpoint, [typed] if typed else [], template_flags)
    session.overrides |= values
    session.disabled -= values.keys()
    if prompt:
        files = flags["file"].texts if "file" in flags else ()
        # In the prompt, {{stdin}} stands for a literal {stdin}, which the editor shows.
        session.send(prompt, files, typed=join_typed([LiteralText(prompt[0].replace("{{stdin}}", "{stdin}"))]))
    else:
        print_err(f"aiml: settings of {' + '.join(names)} are used from now on: {', '.join(values) or 'none'}")


def _split_names(text: str) -> tuple[list[str], str]:
    """Split the name of a template, and others after `-t`, from the rest of the text."""
    names: list[str] = []
    while (match := _TEMPLATE_NAME.match(text)) and (not names or re.match(r"-t\s", text)):
        names += split_words(match[1])[:1]
        text = text[match.end() :]
    return names, text


def _confirm_pasted_files(session: Session, values: Sequence[str], typed: str) -> None:
    """Ask before reading files that pasted values name; raise UsageError if the user declines."""
    pasted = [value[1:] for value in values if value.startswith("@") and session.pastes.contains(value, typed)]
    if pasted and not confirm(f"the pasted text mentions {sanitize(', '.join(pasted))}; send the content too?"):
        raise UsageError("nothing was sent")


def _split_params(text: str) -> tuple[list[str], str]:
    """Split leading `name=value` words from the rest of the text."""
    params = []
    while match := _TEMPLATE_PARAM.match(text):
        value = match[2]
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        params.append(f"{match[1]}={value[1:-1] if is_quoted else value}")
        text = text[match.end() :]
    return params, text


def _format_templates(session: Session) -> str:
    names = session.list_templates()
    return (
        f"available: {', '.join(names)}"
        if names
        else "there are no templates yet; to save one: aiml chat --save NAME WORDS"
    )


@slash("key", completes="set")
def unset(session: Session, words: str) -> None:
    """Undo a change to a setting.

    A flag of the command line is ignored too; the value from the environment or the config file is used.
    """
    words = unquote(words)
    if not words:
        raise UsageError("/unset: a setting is required", "/set lists the changed settings")
    row = find_setting(session, words)
    session.overrides.pop(row.name, None)
    session.flags = {name: value for name, value in session.flags.items() if name != row.name}
    session.template_flags = {key: flag for key, flag in session.template_flags.items() if key != row.name}
    session.disabled -= {row.name}
    settings = session.resolve_settings()
    value, source = value_of(settings.options, row), settings.sources.get(row.name)
    status = f"= {value} ({source.value})" if source and value is not None else "is not set"
    print_err(f"aiml: {row.name} {status}")


def check_model(session: Session, name: str) -> None:
    """Raise UsageError for a model that is not in the stored catalog, if similar ids are in it."""
    if "," in name:
        for model_name in split_models(name):
            check_model(session, model_name)
        return
    models = session.load_models()
    if models and find_model(models, name) is None and (similar := suggest_models(models, name)):
        raise UsageError(
            f"the catalog has no model {name!r}; the model was not changed",
            f"did you mean {' or '.join(similar)}? /set model={name} uses it anyway",
        )


@slash("[on|off name]", completes="tools")
def tools(session: Session, words: str) -> None:
    """List tools, or turn them on or off.

    /tools on NAME lets the model use a tool, as -T does: the name of a tool file, FILE.py, mcp:SERVER or
    mcp:SERVER.TOOL. /tools off NAME turns it off again; a pattern such as 'fs.*' matches several tools, and fs all
    tools of the server fs. /tools NAME shows a tool as the model sees it. You are asked before each call, unless the
    setting `allow` contains the tool.
    """
    first, *rest = split_words(words) or [""]
    if first in ("on", "off") and rest:
        for name in rest:
            _turn_on(session, name) if first == "on" else _turn_off(session, name)
    elif rest or first in ("on", "off"):
        hint = "use /tools, /tools NAME, /tools on NAME or /tools off NAME"
        raise UsageError(f"/tools does not accept {words!r}", hint)
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
    return UsageError(f"no tool matches {name!r}", suggest(name, known) or "/tools lists them")


def _show(session: Session, name: str) -> None:
    """Print a tool as the model sees it, or list the tools that match a pattern."""
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
        ("author's hints", "; ".join(definition.hints)),
    ]
    print_err(format_details([pair for pair in pairs if pair[1]], get_terminal_size(2)[0]).rstrip("\n"))


def _list(session: Session) -> None:
    open_tools, others = session.tools.list_tools(), session.tools.list_others()
    if open_tools:
        _print_table(session, open_tools)
    else:
        print_err("aiml: the model has no local tools")
    if others:
        print_err(f"aiml: use /tools on NAME to turn one on: {_shorten(others)}")
    elif not open_tools:
        print_err(
            "hint: aiml tools add NAME -- COMMAND adds one; /tools on FILE.py adds the functions of a Python file"
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
