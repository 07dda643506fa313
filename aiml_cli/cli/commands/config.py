"""Answer `aiml config …`: show and change settings, store the key, check that all is in order."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.options import ROWS, Option, value_of
from aiml_cli.settings.resolve import RawValue, Settings, Source, persistent_options, read_table, resolve
from aiml_cli.settings.urls import host_of
from aiml_cli.store import api_keys, config_file, paths
from aiml_cli.system import stdio, terminal
from aiml_cli.system.questions import confirm
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err

Flags = Mapping[str, RawValue]

NONE: Flags = {}
LONGEST_KEY = 1 << 16


def show_all(flags: Flags = NONE) -> int:
    """Show every lasting setting, its value and who said it; of the key only where it is."""
    settings = _settled(flags)
    if settings.options.json:
        facts = {row.name: _facts(settings, row.name) for row in persistent_options()}
        facts["api_key"] = {"value": None, "source": _key_words(settings), "hides": []}
        stdio.print_out(json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
        return 0
    lines = [_line(row.name, **_facts(settings, row.name)) for row in persistent_options()]
    stdio.print_out("\n".join([*lines, sanitize(f"api_key = {_key_words(settings)}\n")]))
    return 0


def get_setting(name: str, flags: Flags = NONE) -> int:
    """Print the value of a setting as `set` would take it, and nothing for one that nobody set."""
    row = ROWS[_known(name)]
    stdio.print_out("".join(f"{text}\n" for text in _texts(row, value_of(_settled(flags, row.name).options, row))))
    return 0


def set_setting(name: str, value: str, profile: str | None = None) -> int:
    """Set a setting in the config file, and say when something stronger hides it."""
    name = _known(name)
    config_file.set_value(name, value, profile)
    with suppress(UsageError):  # what else is wrong there is told by the command that uses it
        spoken = config_file.read_sources(NONE, os.environ)
        stronger = [spoken[Source.ENVIRONMENT], {} if profile else spoken[Source.PROFILE]]
        for said in (said[name] for said in stronger if name in said):
            print_err(f"aiml: {said.source_name} hides this value")
    return 0


def unset_setting(name: str, profile: str | None = None) -> int:
    """Take a setting out of the config file."""
    if not config_file.unset_value(_spelled(name), profile):
        print_err(f"aiml: {_spelled(name)} was not set in {paths.config_file()}")
    return 0


def print_path() -> int:
    """Print where the config file is, or would be."""
    stdio.print_out(f"{paths.require_path(paths.config_file())}\n")
    return 0


def edit_config() -> int:
    """Open the config file in an editor; it is replaced only by one that is in order.

    Raises UsageError naming file, line and column of a fault, and where the working copy is kept.
    """
    from aiml_cli.store import config_draft  # only for those who edit

    draft = config_draft.create_draft()
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    config_draft.edit_draft(draft, editor)
    while fault := config_draft.find_error(draft):
        try:
            go_on = _again(fault)
        except Stopped:
            print_err(f"\naiml: the config file is as it was; {config_draft.describe_draft(draft)}")
            raise
        if not go_on:
            raise UsageError(fault.message, f"the config file is as it was; {config_draft.describe_draft(draft)}")
        config_draft.edit_draft(draft, editor)
    if not config_draft.install_draft(draft):
        print_err("aiml: nothing was changed")
    return 0


def _again(fault: UsageError) -> bool:
    """Ask whether to go on editing; without a terminal nobody can be asked."""
    if not (terminal.is_terminal(0) and terminal.is_terminal(2)):
        return False
    print_err(f"aiml: {fault.message}")
    return confirm("edit it again?", default=True)


def change_key(remove: bool, from_stdin: bool, flags: Flags = NONE) -> int:
    """Store the key for the host of the base URL, or remove it; raise UsageError when nobody can be asked for it."""
    host = host_of(_settled(flags, "base_url").options.base_url or "")
    if remove:
        print_err(
            f"aiml: the key for {host} is removed"
            if api_keys.delete_stored_key(host)
            else f"aiml: no key is stored for {host}"
        )
        return 0
    where = api_keys.store_key(host, _read_key(host, from_stdin))
    print_err(f"aiml: the key for {host} is stored in {where}")
    if variable := next(filter(os.environ.get, ROWS["api_key"].variables), ""):
        print_err(f"aiml: {variable} is set and hides it")
    return 0


def _read_key(host: str, from_stdin: bool) -> str:
    """Read the key from standard input, or ask for it without showing it."""
    if from_stdin:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(LONGEST_KEY).decode("utf-8", "replace").strip()
    if not terminal.is_terminal(0):
        raise UsageError("there is no terminal to type the key on", "pipe it in: … | aiml config key --stdin")
    from getpass import getpass

    try:
        return getpass(f"API key for {host} (not shown): ").strip()
    except EOFError:
        raise UsageError("no key was typed") from None


def _settled(flags: Flags, *names: str) -> Settings:
    """Settle the settings, or only these: a fault in another does not matter then."""
    spoken = config_file.read_sources(flags, os.environ)
    if names:
        spoken = {source: {name: said[name] for name in names if name in said} for source, said in spoken.items()}
    return resolve(spoken)


def _spelled(name: str) -> str:
    """Take `--max-tokens` for `max_tokens`."""
    return name.removeprefix("--").replace("-", "_")


def _known(name: str) -> str:
    """Name a setting that the config file may hold; raise UsageError with the likely one."""
    return next(iter(read_table({_spelled(name): ""}, "config")))


def _facts(settings: Settings, name: str) -> dict[str, Any]:
    return {
        "value": value_of(settings.options, ROWS[name]),
        "source": _source(settings, name),
        "hides": list(settings.overrides.get(name, ())),
    }


def _source(settings: Settings, name: str) -> str | None:
    """Name who said a setting; None when nobody did."""
    match settings.sources.get(name):
        case None:
            return None
        case Source.PROFILE:
            return f"profile {settings.options.profile}"
        case Source.DEFAULT | Source.FILE as source:
            return str(source.value)
        case source:
            return f"{source.value} {settings.source_names[name]}"


def _line(name: str, value: Any, source: str | None, hides: list[str]) -> str:
    if source is None:
        return f"{name} is not set"
    text = sanitize(", ".join(_texts(ROWS[name], value)).replace("\n", "\\n"))
    return f"{name} = {text}  ({source}{', hides ' + ', '.join(hides) if hides else ''})"


def _texts(row: Option[Any], value: Any) -> list[str]:
    """Give a value as `set` would take it; of KEY=VALUE settings each pair."""
    match value:
        case None:
            return []
        case bool():
            return ["on" if value else "off"]
        case tuple():
            return [",".join(value)]
        case Mapping() if row.value_type.is_list:
            return [_pair(row, key, each) for key, each in value.items()]
        case _:
            return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]


def _pair(row: Option[Any], name: str, value: Any) -> str:
    """Write a pair; a text that would be read as JSON gets its quotes."""
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    same = row.value_type.parse(f"{name}={plain}") == {name: value}
    return f"{name}={plain if same else json.dumps(value, ensure_ascii=False)}"


def _key_words(settings: Settings) -> str:
    """Say where the key is, without running a command for it."""
    url = settings.options.base_url or ""
    try:
        key = api_keys.find_stored_key(settings, url)
        if key:
            return f"set ({key.source})"
        return (
            "printed by key_command"
            if api_keys.has_key_command(settings, url)
            else f"not set: {api_keys.explain_missing_key(settings, url)}"
        )
    except AimlError as fault:
        return f"not usable: {fault.message}"
