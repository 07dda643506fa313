"""Read and write the user's templates: TOML files that only the user can read."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import RawValue, parse_value, persistent_options, read_table
from aiml_cli.settings.urls import find_address
from aiml_cli.settings.value_types import JSON_TYPES, PROPERTIES, names_file, suggest
from aiml_cli.store import paths, toml_edit
from aiml_cli.store.named_files import read_named_file, save_named_file
from aiml_cli.system.atomic_write import decode_utf8

FILE_KIND = "a template"
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PARTS = {"prompt": (str, "a text"), "defaults": (dict, "a table"), "settings": (dict, "a table")}


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with variables, their default values, and the settings to use with it."""

    name: str
    path: Path
    prompt: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, RawValue] = field(default_factory=dict)


def template_path(name: str) -> Path:
    """Return the path of a template; raise UsageError if the name is not valid."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a template's name", "letters, digits, - and _ make a name")
    return _templates_folder() / f"{name}.toml"


def list_templates() -> list[str]:
    """Return the names of the existing templates, sorted."""
    with suppress(OSError):
        names = (path.stem for path in _templates_folder().iterdir() if path.suffix == ".toml")
        return sorted((name for name in names if _NAME.fullmatch(name)), key=lambda name: (name.casefold(), name))
    return []


def load_template(name: str) -> Template:
    """Read a template; raise UsageError if it does not exist, with similar names, or if it is not valid."""
    path = template_path(name)
    paths.require_trusted(path)
    data = read_named_file(path, MAX_BYTES)
    if data is None:
        raise UsageError(f"there is no template {name!r}", _suggest_template(name))
    try:
        return parse_template(name, path, toml_edit.parse_toml(decode_utf8(data, path), path))
    except UsageError as error:
        error.hint = error.hint if "did you mean" in error.hint else f"mend it with an editor: {path}"
        raise


def parse_template(name: str, path: Path, table: toml_edit.Table) -> Template:
    """Parse the content of a template's file; raise UsageError if it has anything that a template cannot have."""
    for part, value in table.items():
        if part not in _PARTS:
            raise UsageError(f"{path}: a template has no {part!r}", _suggest_part(part))
        part_type, description = _PARTS[part]
        if not isinstance(value, part_type):
            raise UsageError(f"{path}: {part} is not {description}")
    for setting, value in table.get("settings", {}).items():
        if reason := explain_refusal(setting, value):
            raise UsageError(f"{path}: {reason}")
    settings = read_table(table.get("settings", {}), str(path), FILE_KIND)
    defaults = {
        variable: _parse_default(value, variable, path) for variable, value in table.get("defaults", {}).items()
    }
    settings = {row: raw_value for row, raw_value in settings.items() if raw_value.texts}
    return Template(name, path, table.get("prompt", ""), defaults, settings)


def explain_refusal(name: str, value: object) -> str:
    """Return why a template cannot hold a setting with this value, "" if it can; raise UsageError for a bad value.

    Others may have written a template: nothing in it says where to send, or what to run, read, write or keep.
    """
    row = ROWS.get(name)
    if row is None:
        return ""  # there is no such setting, which is another error
    if not row.template:
        return f"{name} has no place in {FILE_KIND}"
    if isinstance(value, str) and value and names_file(row.value_type, value):
        return f"{name} names a file, which has no place in {FILE_KIND}"
    if row.value_type not in JSON_TYPES:
        return ""
    parsed = parse_value(row, read_table({name: value}, name, FILE_KIND)[name])
    bodies = [_nest(path, item) for path, item in parsed.items()] if row.value_type is PROPERTIES else [parsed]
    if kept := next((found for body in bodies if (found := _find_refused_property(body))), ""):
        return f"{name}: {kept} has no place in {FILE_KIND}"
    return ""


def _nest(path: str, value: object) -> object:
    """Return a property of `-O` as it is in the request, where dots nest."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def _find_refused_property(body: Any) -> str:
    """Return a property that says where a server connects to, or that a setting without a place in templates sets."""
    paths = [path.path for row in ROWS.values() if not row.template for path in row.body_paths.values()]
    names = {path for path in paths if path.isidentifier()}
    found = [name for name in body if name.strip().lower() in names] if isinstance(body, dict) else []
    return find_address(body) or next(iter(found), "")


def save_template(name: str, table: toml_edit.Table, may_replace: Callable[[Path], bool]) -> Path:
    """Write a template and return its path; `may_replace` is called if there is one with this name.

    Raises UsageError if it returns False, if TOML cannot express a value, or if another program changed the file in
    the meantime.
    """
    path = template_path(name)
    table = {part: value for part, value in table.items() if value}
    data = _format_template(path, table)
    parse_template(name, path, table)
    save_named_file(path, data, f"a template {name!r}", MAX_BYTES, may_replace)
    return path


def _templates_folder() -> Path:
    return paths.require_path(paths.config_file()).parent / "templates"


def _suggest_template(name: str) -> str:
    names = list_templates()
    if not names:
        return "there are none yet: aiml chat --save NAME WORDS makes one"
    return f"{suggest(name, names)} there are: {', '.join(names)}".lstrip()


def _suggest_part(part: str) -> str:
    if part in {row.name for row in persistent_options()}:
        return f"did you mean {part} in the table [settings]?"
    return suggest(part, _PARTS)


def _parse_default(value: object, name: str, path: Path) -> str:
    if not VARIABLE_NAME.fullmatch(name) or name == "stdin":
        raise UsageError(f"{path}: {name!r} is not a variable that can have a default")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"{path}: the default of {name} is not a text")
    return str(value)


def _format_template(path: Path, table: toml_edit.Table) -> bytes:
    """Format a template as TOML; raise UsageError if it does not read back as the same values."""
    import tomlkit  # takes 20 ms, and only writing needs it

    try:
        data = "".join(_format_parts(table)).encode()
        is_same = toml_edit.parse_toml(data.decode(), path) == table
    except (tomlkit.exceptions.TOMLKitError, ValueError, TypeError, UsageError):
        is_same = False
    if not is_same:
        prompt = ["the prompt"] if table.get("prompt") else []
        names = ", ".join([*prompt, *table.get("defaults", {}), *table.get("settings", {})])
        raise UsageError(f"a template cannot hold all of {names}", "say it with each call")
    return data


def _format_parts(table: toml_edit.Table) -> Iterable[str]:
    if prompt := table.get("prompt"):
        yield _format_value("prompt", prompt)
    for part in ("defaults", "settings"):
        if inner := table.get(part):
            yield f"\n[{part}]\n"
            yield from (_format_value(name, value) for name, value in inner.items())


def _format_value(name: str, value: Any) -> str:
    """Format a key and its value; text of several lines is written on several lines."""
    if isinstance(value, str) and "\n" in value:
        import tomlkit  # takes 20 ms

        quotes = '"""'
        inner = tomlkit.string(value, multiline=True).as_string().removeprefix(quotes)
        multiline = f"{name} = {quotes}\n{inner}\n"
        with suppress(UsageError):  # a text that does not parse back to itself is written on one line
            if toml_edit.parse_toml(multiline, Path(name)) == {name: value}:
                return multiline
    return toml_edit.format_line(name, value)
