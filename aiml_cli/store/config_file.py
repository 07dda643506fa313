"""Read the settings in the config file, at its top level and in its profiles.

A profile is a table `[profiles.NAME]`; the key `profile` is the name of the one in use. (In TOML, a name is either a
key or a table, so they cannot both be called `profile`.)
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import RawValue, Source, ValuesBySource, parse_value, read_environment, read_table
from aiml_cli.settings.urls import find_address
from aiml_cli.settings.value_types import JSON_TYPES, names_file, suggest
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import decode_utf8, read_file
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from aiml_cli.store.toml_edit import Table, TablePath

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
NO_NESTING = "a profile cannot set profile"
_warned: set[Path] = set()


def read_sources(
    flags: Mapping[str, RawValue], environ: Mapping[str, str], template: Mapping[str, RawValue] | None = None
) -> ValuesBySource:
    """Return the raw values of every source.

    Raises UsageError for a damaged file, a file that others can change, and a missing profile.
    """
    template, environment, path = template or {}, read_environment(environ), paths.config_file()
    is_shared = paths.require_trusted(path) if path else False
    data = read_file(path) if path else None
    document = parse_document(data, path) if data and path else {}
    top = _read_values(document, str(path))
    profile = next((values["profile"] for values in (flags, environment, top) if "profile" in values), None)
    chosen = read_profile(document, profile, path) if profile else {}
    if path and is_shared:
        _check_shared_file(path, {**top, **chosen}, is_quiet="quiet" in {**flags, **environment, **top, **chosen})
    return {
        Source.FILE: top,
        Source.PROFILE: chosen,
        Source.ENVIRONMENT: environment,
        Source.TEMPLATE: template,
        Source.FLAG: flags,
    }


def _check_shared_file(path: Path, values: Mapping[str, RawValue], *, is_quiet: bool) -> None:
    """Warn once about a file that a group can change; raise UsageError if it sets a server or a command."""
    for name, raw_value in values.items():
        if ROWS[name].sensitive or _names_server(name, raw_value):
            message = f"{path} is not used: its group can change it, and it sets {name}"
            raise UsageError(message, f"chmod 600 {path}, and check its content")
    if path not in _warned and not is_quiet:
        _warned.add(path)
        print_err(f"aiml: the group of {path} can change it: chmod 600 {path}")


def _names_server(name: str, raw_value: RawValue) -> bool:
    """True if a setting with JSON, such as tools, contains the URL of a server for the API to use."""
    row = ROWS[name]
    is_json = row.value_type in JSON_TYPES and not any(names_file(row.value_type, text) for text in raw_value.texts)
    return is_json and bool(find_address(parse_value(row, raw_value)))


def validate_config(data: bytes, path: Path) -> None:
    """Raise UsageError for anything in a config file that would be an error when it is used."""
    document = parse_document(data, path)
    top = _read_values(document, str(path))
    profiles = [read_profile(document, RawValue((name,), str(path)), path) for name in document.get("profiles", {})]
    for values in (top, *profiles):
        for name, raw_value in values.items():
            parse_value(ROWS[name], raw_value)
    if "profile" in top:
        read_profile(document, top["profile"], path)


def parse_document(data: bytes, path: Path) -> "Table":
    """Parse the file's bytes; raise UsageError with file, line and column."""
    from aiml_cli.store import toml_edit  # only needed if there is a config file

    document = toml_edit.parse_toml(decode_utf8(data, path), path)
    profiles = document.get("profiles", {})
    if isinstance(document.get("profile"), dict):
        raise UsageError(f"{path}: [profile] is not a table", "write [profiles.NAME]; profile = NAME chooses one")
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise UsageError(f"{path}: profiles must contain only tables", "write [profiles.NAME]")
    return document


def _read_values(table: "Table", source_name: str) -> dict[str, RawValue]:
    """Read a table of the file; an empty list sets nothing."""
    settings = {name: value for name, value in table.items() if name != "profiles"}
    return {name: raw_value for name, raw_value in read_table(settings, source_name).items() if raw_value.texts}


def read_profile(document: "Table", chosen: RawValue, path: Path | None) -> dict[str, RawValue]:
    """Read the chosen profile; raise UsageError with the names of all profiles if it does not exist."""
    name, profiles = chosen.texts[-1], document.get("profiles", {})
    find_table_path(name)
    if name not in profiles:
        known = f"available: {', '.join(profiles)}" if profiles else f"there are none in {path or 'any file'}"
        hint = f"{suggest(name, profiles)} {known}".lstrip()
        raise UsageError(f"{chosen.source_name}: there is no profile {name!r}", hint)
    if "profile" in profiles[name]:
        raise UsageError(f"{path}: profile {name}: {NO_NESTING}")
    return _read_values(profiles[name], f"{path}: profile {name}")


def read_profiles() -> dict[str, dict[str, RawValue]]:
    """Return the settings of every profile of the config file; raise UsageError for a damaged file."""
    path = paths.config_file()
    data = read_file(path) if path else None
    if path is None or data is None:
        return {}
    paths.require_trusted(path)
    document = parse_document(data, path)
    return {name: read_profile(document, RawValue((name,), str(path)), path) for name in document.get("profiles", {})}


def find_table_path(profile: str | None) -> "TablePath":
    """Return the path of a profile's table, or of the top level; raise UsageError if the name is not valid."""
    if profile is None:
        return ()
    if not _NAME.fullmatch(profile):
        raise UsageError(f"{profile!r} is not a valid profile name", "a name consists of letters, digits, - and _")
    return ("profiles", profile)


def get_table(document: "Table", table_path: "TablePath") -> "Table":
    """Return the table at a path, or an empty one if there is none."""
    for name in table_path:
        document = document.get(name, {})
    return document


def to_toml_value(value: Any) -> Any:
    """Convert the value of an option to a TOML type."""
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
