"""Read and change what the config file says, at its top and in its profiles.

A profile is a table `[profiles.NAME]`; the key `profile` names the one in use. (They cannot both be called
`profile`: in TOML a name is either a key or a table.)
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import RawValue, Source, ValuesBySource, parse_value, read_environment, read_table
from aiml_cli.store import paths, toml_edit
from aiml_cli.store.toml_edit import Table
from aiml_cli.system.atomic_write import decode_utf8, read_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NO_PLACE = "profile has no place in a profile"


def read_sources(
    flags: Mapping[str, RawValue], environ: Mapping[str, str], template: Mapping[str, RawValue] | None = None
) -> ValuesBySource:
    """Gather what flags, template, environment, profile and file say.

    Raises UsageError for a damaged file or a missing profile.
    """
    template = template or {}
    environment = read_environment(environ)
    path = paths.config_file()
    data = read_file(path) if path else None
    document = parse_document(data, path) if data and path else {}
    top = _said(document, str(path))
    chosen = next((each["profile"] for each in (flags, template, environment, top) if "profile" in each), None)
    profile = _profile(document, chosen, path) if chosen else {}
    return {
        Source.FILE: top,
        Source.PROFILE: profile,
        Source.ENVIRONMENT: environment,
        Source.TEMPLATE: template,
        Source.FLAG: flags,
    }


def set_value(name: str, text: str, profile: str | None = None) -> None:
    """Set a value at the top of the file or in a profile; of a KEY=VALUE setting the other keys stay.

    Raises UsageError in the words of every other speaker, and for a value that TOML cannot hold.
    """
    from aiml_cli.system import atomic_write  # only a writer needs locks

    said = read_table({name: text}, "config set")[name]
    if ROWS[name].value_type.is_list and not parse_value(ROWS[name], said):
        raise UsageError(
            f"{said.source_name}: {text!r} is not {ROWS[name].value_type.name}", f"aiml config unset {name} removes it"
        )
    path = paths.require_path(paths.config_file())
    atomic_write.update_file(path, lambda old: _with(old or b"", path, _way(profile), name, said))


def _with(old: bytes, path: Path, way: toml_edit.TablePath, name: str, said: RawValue) -> bytes:
    """Write a setting into the file's bytes."""
    document, row = parse_document(old, path), ROWS[name]
    if name == "profile" and way:
        raise UsageError(f"{said.source_name}: {_NO_PLACE}")
    if name == "profile":
        _profile(document, said, path)
    there, value = _at(document, way).get(name), to_toml_value(parse_value(row, said))
    if row.value_type.is_list and isinstance(there, dict) and isinstance(value, dict):
        value = {**there, **value}
    new = None if _strange(value) else _held(decode_utf8(old, path), path, way, name, value)
    if new is None:
        raise UsageError(
            f"{said.source_name}: the config file cannot hold {said.texts[0]!r}", f"say {row.flag} with each call"
        )
    return new


def unset_value(name: str, profile: str | None = None) -> bool:
    """Take a setting out of the file and say whether it was there; raise UsageError for a name that is no setting."""
    from aiml_cli.system import atomic_write

    way = _way(profile)
    path = paths.require_path(paths.config_file())
    found = False

    def change(old: bytes | None) -> bytes | None:
        nonlocal found
        found = name in _at(parse_document(old or b"", path), way)
        if not found:
            read_table({name: ""}, "config unset")
            return None
        return toml_edit.remove_key(decode_utf8(old or b"", path), path, way, name).encode()

    atomic_write.update_file(path, change)
    return found


def validate_config(data: bytes, path: Path) -> None:
    """Raise UsageError for anything in a config file that would be refused when it is used."""
    document = parse_document(data, path)
    top = _said(document, str(path))
    said = [top, *(_profile(document, RawValue((name,), str(path)), path) for name in document.get("profiles", {}))]
    for name, each in ((name, each) for table in said for name, each in table.items()):
        parse_value(ROWS[name], each)
    if "profile" in top:
        _profile(document, top["profile"], path)


def parse_document(data: bytes, path: Path) -> Table:
    """Read the file's bytes; raise UsageError naming file, line and column."""
    document = toml_edit.parse_toml(decode_utf8(data, path), path)
    profiles = document.get("profiles", {})
    if isinstance(document.get("profile"), dict):
        raise UsageError(f"{path}: [profile] is no table", "write [profiles.NAME]; profile = NAME chooses one")
    if not isinstance(profiles, dict) or not all(isinstance(each, dict) for each in profiles.values()):
        raise UsageError(f"{path}: profiles holds tables only", "write [profiles.NAME]")
    return document


def _said(table: Table, where: str) -> dict[str, RawValue]:
    """Read a table of the file; an empty list says nothing."""
    settings = {name: value for name, value in table.items() if name != "profiles"}
    return {name: said for name, said in read_table(settings, where).items() if said.texts}


def _profile(document: Table, chosen: RawValue, path: Path | None) -> dict[str, RawValue]:
    """Find the profile that somebody named; raise UsageError listing those there are."""
    name, profiles = chosen.texts[-1], document.get("profiles", {})
    _way(name)
    if name not in profiles:
        near = get_close_matches(name, profiles, 1)
        known = f"there are: {', '.join(profiles)}" if profiles else f"there are none in {path or 'any file'}"
        raise UsageError(
            f"{chosen.source_name}: there is no profile {name!r}", f"did you mean {near[0]}? {known}" if near else known
        )
    if "profile" in profiles[name]:
        raise UsageError(f"{path}: profile {name}: {_NO_PLACE}")
    return _said(profiles[name], f"{path}: profile {name}")


def _way(profile: str | None) -> toml_edit.TablePath:
    """Name the table of a profile, or the top; raise UsageError for a name that is none."""
    if profile is None:
        return ()
    if not _NAME.fullmatch(profile):
        raise UsageError(f"{profile!r} is not a profile's name", "letters, digits, - and _ make a name")
    return ("profiles", profile)


def _at(document: Table, way: toml_edit.TablePath) -> Table:
    for each in way:
        document = document.get(each, {})
    return document


def to_toml_value(value: Any) -> Any:
    """Give a settled value as TOML would."""
    match value:
        case tuple():
            return list(value)
        case Mapping():
            return dict(value)
        case _:
            return value


def _strange(value: Any) -> bool:
    """Say whether a value holds a null, which TOML has not, or a NaN, which no check can find equal."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or value != value or any(map(_strange, inner))  # noqa: PLR0124 - so a NaN is known


def _held(text: str, path: Path, way: toml_edit.TablePath, name: str, value: Any) -> bytes | None:
    """Write a setting, and read it back as every run will; None where another value would come out."""
    try:
        new = toml_edit.set_key(text, path, way, name, value).encode()
    except UnicodeEncodeError:
        return None
    said = read_table({name: _at(parse_document(new, path), way)[name]}, str(path))[name]
    return new if to_toml_value(parse_value(ROWS[name], said)) == value else None
