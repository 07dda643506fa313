"""Run `aiml config`: show and change settings, store the key, edit the config file."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output import table
from aiml_cli.settings.options import ROWS, Option, value_of
from aiml_cli.settings.resolve import (
    Flags,
    RawValue,
    Settings,
    Source,
    persistent_options,
    read_table,
    resolve,
    split_name,
)
from aiml_cli.settings.urls import host_of
from aiml_cli.settings.value_types import FOLDERS, suggest
from aiml_cli.store import api_keys, config_file, paths
from aiml_cli.system import stdio, terminal
from aiml_cli.system.questions import ask_secret, confirm
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err

NO_FLAGS: Flags = {}
NO_PROFILES = "there are no profiles yet; to add one: aiml config set --profile NAME SETTING VALUE"
MAX_KEY_BYTES = 1 << 16


def show_all(flags: Flags = NO_FLAGS) -> int:
    """Print every persistent setting with its value and source; for the key, only the source."""
    settings = _resolve(flags)
    facts = {row.name: _describe(settings, row.name) for row in persistent_options()}
    if settings.options.json:
        facts["api_key"] = {"value": None, "source": _describe_key(settings), "hides": []}
        stdio.print_out(json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
        return 0
    lines = [_format_line(name, **each) for name, each in facts.items() if each["source"]]
    if terminal.is_terminal(1):
        print_err("aiml: settings that are not set are left out; --json lists them all")
    stdio.print_out("\n".join([*lines, sanitize(f"api_key = {_describe_key(settings)}\n")]))
    return 0


def show_profiles(words: Sequence[str], flags: Flags) -> int:
    """Print the profiles of the config file, or the settings of one; raise UsageError if there is no such profile."""
    profiles = config_file.read_profiles()
    if len(words) > 1:
        raise UsageError("only one profile can be shown at a time", "aiml profiles lists them all")
    if words and words[0] not in profiles:
        known = f"available: {', '.join(profiles)}" if profiles else NO_PROFILES
        raise UsageError(f"there is no profile {words[0]!r}", f"{suggest(words[0], profiles)} {known}".lstrip())
    chosen = {name: _describe_profile(profiles[name]) for name in words or profiles}
    if "json" in flags:
        stdio.print_out(json.dumps(chosen[words[0]] if words else chosen, ensure_ascii=False, indent=2) + "\n")
    elif words:
        lines = [f"{name} = {value}".replace("\n", "\\n") for name, value in chosen[words[0]].items()]
        stdio.print_out("".join(f"{sanitize(line)}\n" for line in lines))
    elif chosen:
        _print_profiles(chosen)
    elif "quiet" not in flags:
        print_err(f"aiml: {NO_PROFILES}")
    return 0


def _describe_profile(values: Mapping[str, RawValue]) -> dict[str, str]:
    return {name: ", ".join(raw_value.texts) for name, raw_value in values.items()}


def _print_profiles(profiles: Mapping[str, Mapping[str, str]]) -> None:
    """Print a line for each profile; the one in use is marked."""
    in_use = _resolve(NO_FLAGS, "profile").options.profile
    rows = [
        (name, "in use" if name == in_use else "", ", ".join(f"{key}={value}" for key, value in settings.items()))
        for name, settings in profiles.items()
    ]
    if terminal.is_terminal(1):
        columns = (table.Column("NAME", 0), table.Column("STATE", 1), table.Column("SETTINGS", 2, min_width=16))
        stdio.print_out(table.format_table(columns, rows, table.table_width()))
    else:
        stdio.print_out(table.format_tsv([("name", "state", "settings"), *rows]))


def get_setting(name: str, flags: Flags = NO_FLAGS) -> int:
    """Print the value of a setting, or of NAME.KEY, in the form that `set` accepts; nothing if it is not set."""
    setting, key = split_name(_require_setting(name))
    row = ROWS[setting]
    value = value_of(_resolve(flags, row.name).options, row)
    if key:
        stdio.print_out("".join(f"{text}\n" for text in _format_entry(row, value or {}, key)))
        return 0
    stdio.print_out("".join(f"{text}\n" for text in _format_value(row, value)))
    return 0


def set_setting(name: str, value: str, profile: str | None = None) -> int:
    """Set a setting in the config file, and print each source that overrides it."""
    from aiml_cli.store import config_edit  # few calls need it

    name = _require_setting(name)
    config_edit.set_value(name, value, profile)
    with suppress(UsageError):  # the command that uses an invalid setting reports it
        sources = config_file.read_sources(NO_FLAGS, os.environ)
        setting = split_name(name)[0]
        for values in (sources[Source.ENVIRONMENT], {} if profile else sources[Source.PROFILE]):
            if setting in values and not ROWS[setting].value_type.is_merged:
                print_err(f"aiml: {values[setting].source_name} overrides this value")
    return 0


def unset_setting(name: str, profile: str | None = None) -> int:
    """Remove a setting from the config file."""
    from aiml_cli.store import config_edit  # few calls need it

    name = _normalize_name(name)
    if not config_edit.unset_value(name, profile):
        print_err(f"aiml: {name} was not set in {paths.config_file()}")
    return 0


def print_path() -> int:
    """Print the path of the config file, even if the file does not exist."""
    stdio.print_out(f"{paths.require_path(paths.config_file())}\n")
    return 0


def edit_config() -> int:
    """Open a copy of the config file in an editor; the copy replaces the file only if it is valid.

    Raises UsageError with the file, line and column of an error, and the path of the copy.
    """
    from aiml_cli.store import config_edit  # few calls need it

    draft = config_edit.create_draft()
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    config_edit.edit_draft(draft, editor)
    while error := config_edit.find_error(draft):
        try:
            is_retry = _confirm_retry(error)
        except Stopped:
            print_err(f"\naiml: the config file was not changed; {config_edit.describe_draft(draft)}")
            raise
        if not is_retry:
            raise UsageError(error.message, f"the config file was not changed; {config_edit.describe_draft(draft)}")
        config_edit.edit_draft(draft, editor)
    if not config_edit.install_draft(draft):
        print_err("aiml: nothing was changed")
    return 0


def _confirm_retry(error: UsageError) -> bool:
    """Ask whether to edit again; return False without a terminal."""
    if not (terminal.is_terminal(0) and terminal.is_terminal(2)):
        return False
    print_err(f"aiml: {error.message}")
    return confirm("edit it again?", default=True)


def change_key(remove: bool, from_stdin: bool, flags: Flags = NO_FLAGS) -> int:
    """Store the key for the host of the base URL, or remove it; raise UsageError if no key can be read."""
    host = host_of(_resolve(flags, "base_url").options.base_url or "")
    if remove:
        is_deleted = api_keys.delete_stored_key(host)
        print_err(f"aiml: removed the key for {host}" if is_deleted else f"aiml: no key is stored for {host}")
        return 0
    location = api_keys.store_key(host, _read_key(host, from_stdin))
    print_err(f"aiml: stored the key for {host} in {location}")
    if variable := next(filter(os.environ.get, ROWS["api_key"].variables), ""):
        print_err(f"aiml: {variable} is set and overrides the stored key")
    return 0


def _read_key(host: str, from_stdin: bool) -> str:
    """Read the key from standard input, or ask for it without showing it."""
    if from_stdin:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(MAX_KEY_BYTES).decode("utf-8", "replace").strip()
    if not terminal.is_terminal(0):
        raise UsageError("the key cannot be typed: there is no terminal", "pipe it in: … | aiml config key --stdin")
    return ask_secret(f"API key for {host} (not shown): ").strip()


def _resolve(flags: Flags, *names: str) -> Settings:
    """Resolve all settings, or only those with these names, so that an error in another one does not matter."""
    sources = config_file.read_sources(flags, os.environ)
    if names:
        sources = {key: {name: values[name] for name in names if name in values} for key, values in sources.items()}
    return resolve(sources)


def _normalize_name(name: str) -> str:
    """Return a name with underscores; the key of a table is not changed."""
    setting, dot, key = name.removeprefix("--").partition(".")
    return setting.replace("-", "_") + dot + key


def _require_setting(name: str) -> str:
    """Return the name of a setting that the config file may contain; raise UsageError with a suggestion."""
    setting, key = split_name(_normalize_name(name))
    setting = next(iter(read_table({setting: ""}, "config")))
    return f"{setting}.{key}" if key else setting


def _describe(settings: Settings, name: str) -> dict[str, Any]:
    hidden = list(settings.overrides.get(name, ()))
    return {"value": value_of(settings.options, ROWS[name]), "source": _format_source(settings, name), "hides": hidden}


def _format_source(settings: Settings, name: str) -> str | None:
    match settings.sources.get(name):
        case None:
            return None
        case Source.PROFILE:
            return f"profile {settings.options.profile}"
        case Source.DEFAULT | Source.FILE as source:
            return str(source.value)
        case source:
            return f"{source.value} {settings.source_names[name]}"


def _format_line(name: str, value: Any, source: str, hides: list[str]) -> str:
    text = sanitize(", ".join(_format_value(ROWS[name], value)).replace("\n", "\\n"))
    verb = "adds to" if ROWS[name].value_type.is_merged else "overrides"
    others = f"; {verb} {', '.join(map(_name_source, hides))}" if hides else ""
    return f"{name} = {text}  ({source}{others})"


def _name_source(source_name: str) -> str:
    """Return a short name for the config file or a profile in it, and any other source name unchanged."""
    path = f"{paths.config_file()}: "
    if not source_name.startswith(path):
        return source_name
    place = source_name.removeprefix(path).partition(": ")[0]
    return place if place.startswith("profile ") else "the config file"


def _format_value(row: Option[Any], value: Any) -> list[str]:
    """Return a value in the form that `set` accepts; for KEY=VALUE settings, one string for each pair."""
    match value:
        case None:
            return []
        case bool():
            return ["on" if value else "off"]
        case tuple():
            return [(":" if row.value_type is FOLDERS else ",").join(value)]
        case Mapping() if row.value_type.is_list:
            return [_format_pair(row, key, each) for key, each in value.items()]
        case _:
            return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]


def _format_pair(row: Option[Any], name: str, value: Any) -> str:
    """Return NAME=VALUE, or NAME: VALUE for a header; a string that would be parsed as JSON is quoted."""
    plain, separator = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), "="
    separator = row.value_type.separator or separator
    is_same = row.value_type.parse(f"{name}{separator}{plain}") == {name: value}
    return f"{name}{separator}{plain if is_same else json.dumps(value, ensure_ascii=False)}"


def _format_entry(row: Option[Any], table: Mapping[str, Any], key: str) -> list[str]:
    """Return the value of one entry of a table in the form that `set` accepts; [] if there is none."""
    is_merged = row.value_type.is_merged
    names = [name for name in table if name == key or (is_merged and name.lower() == key.lower())]
    pairs = (_format_pair(row, name, table[name]) for name in names)
    return [pair[len(name) + len(row.value_type.separator) :] for name, pair in zip(names, pairs, strict=True)]


def _describe_key(settings: Settings) -> str:
    """Return where the key comes from, without running key_command."""
    url = settings.options.base_url or ""
    try:
        if key := api_keys.find_stored_key(settings, url):
            return f"set ({key.source})"
        if api_keys.has_key_command(settings, url):
            return "printed by key_command"
        return f"not set: {api_keys.explain_missing_key(settings, url)}"
    except AimlError as error:
        return f"not usable: {error.message}"
