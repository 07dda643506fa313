"""Read and change the settings in the config file, at its top level and in its profiles.

A profile is a table `[profiles.NAME]`; the key `profile` names the one in use. (In TOML a name is either a key or a
table, so both cannot be called `profile`.)
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import RawValue, Source, ValuesBySource, parse_value, read_environment, read_table
from aiml_cli.settings.value_types import suggest
from aiml_cli.store import paths, toml_edit
from aiml_cli.store.toml_edit import Table, TablePath
from aiml_cli.system.atomic_write import decode_utf8, read_file, update_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NO_NESTING = "profile has no place in a profile"


def read_sources(
    flags: Mapping[str, RawValue], environ: Mapping[str, str], template: Mapping[str, RawValue] | None = None
) -> ValuesBySource:
    """Return the raw values of every source; raise UsageError for a damaged file or a missing profile."""
    template, environment, path = template or {}, read_environment(environ), paths.config_file()
    data = read_file(path) if path else None
    document = parse_document(data, path) if data and path else {}
    top = _read_values(document, str(path))
    profile = next((values["profile"] for values in (flags, template, environment, top) if "profile" in values), None)
    return {
        Source.FILE: top,
        Source.PROFILE: _read_profile(document, profile, path) if profile else {},
        Source.ENVIRONMENT: environment,
        Source.TEMPLATE: template,
        Source.FLAG: flags,
    }


def set_value(name: str, text: str, profile: str | None = None) -> None:
    """Set a value at the top level or in a profile; the other keys of a KEY=VALUE setting stay.

    Raises UsageError with the message of every other source, and for a value that TOML cannot express.
    """
    raw_value, value_type = read_table({name: text}, "config set")[name], ROWS[name].value_type
    if value_type.is_list and not parse_value(ROWS[name], raw_value):
        message = f"{raw_value.source_name}: {text!r} is not {value_type.name}"
        raise UsageError(message, f"aiml config unset {name} removes it")
    path = paths.require_path(paths.config_file())
    update_file(path, lambda old: _change_value(old or b"", path, _table_path(profile), name, raw_value))


def _change_value(data: bytes, path: Path, table_path: TablePath, name: str, raw_value: RawValue) -> bytes:
    """Return the file's bytes with a changed setting."""
    document, row = parse_document(data, path), ROWS[name]
    if name == "profile" and table_path:
        raise UsageError(f"{raw_value.source_name}: {_NO_NESTING}")
    if name == "profile":
        _read_profile(document, raw_value, path)
    old, value = _get_table(document, table_path).get(name), to_toml_value(parse_value(row, raw_value))
    if row.value_type.is_list and isinstance(old, dict) and isinstance(value, dict):
        value = {**old, **value}
    new = None if _has_null_or_nan(value) else _write_value(decode_utf8(data, path), path, table_path, name, value)
    if new is None:
        message = f"{raw_value.source_name}: the config file cannot hold {raw_value.texts[0]!r}"
        raise UsageError(message, f"say {row.flag} with each call")
    return new


def unset_value(name: str, profile: str | None = None) -> bool:
    """Remove a setting and return whether it was set; raise UsageError for an unknown setting."""
    table_path, path = _table_path(profile), paths.require_path(paths.config_file())
    is_set = False

    def change(old: bytes | None) -> bytes | None:
        nonlocal is_set
        is_set = name in _get_table(parse_document(old or b"", path), table_path)
        if not is_set:
            read_table({name: ""}, "config unset")
            return None
        return toml_edit.remove_key(decode_utf8(old or b"", path), path, table_path, name).encode()

    update_file(path, change)
    return is_set


def validate_config(data: bytes, path: Path) -> None:
    """Raise UsageError for anything in a config file that would be an error in use."""
    document = parse_document(data, path)
    top = _read_values(document, str(path))
    profiles = [_read_profile(document, RawValue((name,), str(path)), path) for name in document.get("profiles", {})]
    for values in (top, *profiles):
        for name, raw_value in values.items():
            parse_value(ROWS[name], raw_value)
    if "profile" in top:
        _read_profile(document, top["profile"], path)


def parse_document(data: bytes, path: Path) -> Table:
    """Parse the file's bytes; raise UsageError with file, line and column."""
    document = toml_edit.parse_toml(decode_utf8(data, path), path)
    profiles = document.get("profiles", {})
    if isinstance(document.get("profile"), dict):
        raise UsageError(f"{path}: [profile] is no table", "write [profiles.NAME]; profile = NAME chooses one")
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise UsageError(f"{path}: profiles holds tables only", "write [profiles.NAME]")
    return document


def _read_values(table: Table, source_name: str) -> dict[str, RawValue]:
    """Read a table of the file; an empty list sets nothing."""
    settings = {name: value for name, value in table.items() if name != "profiles"}
    return {name: raw_value for name, raw_value in read_table(settings, source_name).items() if raw_value.texts}


def _read_profile(document: Table, chosen: RawValue, path: Path | None) -> dict[str, RawValue]:
    """Read the chosen profile; raise UsageError with the existing ones if there is no such profile."""
    name, profiles = chosen.texts[-1], document.get("profiles", {})
    _table_path(name)
    if name not in profiles:
        known = f"there are: {', '.join(profiles)}" if profiles else f"there are none in {path or 'any file'}"
        hint = f"{suggest(name, profiles)} {known}".lstrip()
        raise UsageError(f"{chosen.source_name}: there is no profile {name!r}", hint)
    if "profile" in profiles[name]:
        raise UsageError(f"{path}: profile {name}: {_NO_NESTING}")
    return _read_values(profiles[name], f"{path}: profile {name}")


def _table_path(profile: str | None) -> TablePath:
    """Return the path of a profile's table, or of the top level; raise UsageError if the name is not valid."""
    if profile is None:
        return ()
    if not _NAME.fullmatch(profile):
        raise UsageError(f"{profile!r} is not a profile's name", "letters, digits, - and _ make a name")
    return ("profiles", profile)


def _get_table(document: Table, table_path: TablePath) -> Table:
    for name in table_path:
        document = document.get(name, {})
    return document


def to_toml_value(value: Any) -> Any:
    """Convert the value of an option to a type that TOML has."""
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _has_null_or_nan(value: Any) -> bool:
    """True if a value contains a null, which TOML lacks, or a NaN, which never equals what is read back."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or value != value or any(map(_has_null_or_nan, inner))  # noqa: PLR0124 - true for NaN only


def _write_value(text: str, path: Path, table_path: TablePath, name: str, value: Any) -> bytes | None:
    """Set a value and read it back as the next call will; return None if that gives another value."""
    try:
        new = toml_edit.set_key(text, path, table_path, name, value).encode()
    except UnicodeEncodeError:
        return None
    raw_value = read_table({name: _get_table(parse_document(new, path), table_path)[name]}, str(path))[name]
    return new if to_toml_value(parse_value(ROWS[name], raw_value)) == value else None
