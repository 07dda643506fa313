"""Find, read and write templates: TOML files in the user's folder, in shared folders, or at a given path."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import (
    RawValue,
    Source,
    ValuesBySource,
    parse_value,
    persistent_options,
    read_table,
)
from aiml_cli.settings.urls import find_address
from aiml_cli.settings.value_types import JSON_TYPES, PROPERTIES, names_file, suggest
from aiml_cli.store import paths, toml_edit
from aiml_cli.store.paths import read_named_file, save_named_file
from aiml_cli.system.atomic_write import decode_utf8
from aiml_cli.system.stdio import print_err

FILE_KIND = "a template"
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PARTS: dict[str, tuple[type, str]] = {
    "prompt": (str, "a string"),
    "defaults": (dict, "a table"),
    "settings": (dict, "a table"),
    "case": (list, "a list of tables: begin each case with [[case]]"),
}
_OTHER_FORMATS = (".yaml", ".yml", ".md")
_warned: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with variables, their default values, and the settings to use with it.

    `cases` are the tables of the test cases; they are checked when `--test` runs them.
    """

    name: str
    path: Path
    prompt: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, RawValue] = field(default_factory=dict)
    cases: Sequence[Mapping[str, Any]] = ()


class TemplateSearch(NamedTuple):
    """The folders to search after the user's own, and whether warnings are suppressed."""

    folders: tuple[Path, ...] = ()
    is_quiet: bool = False


class FoundTemplate(NamedTuple):
    """The file of a template; `hidden_by` is the file with the same name that is used instead, if any."""

    name: str
    path: Path
    hidden_by: Path | None = None


OWN_FOLDER = TemplateSearch()


def read_search(values: ValuesBySource) -> TemplateSearch:
    """Return the folders to search, from the setting template_path; raise UsageError for an invalid value."""
    found = [values[source] for source in Source if "template_path" in values.get(source, {})]
    names = parse_value(ROWS["template_path"], found[-1]["template_path"]) if found else ()
    return TemplateSearch(expand_folders(names), any("quiet" in each for each in values.values()))


def expand_folders(names: Sequence[str]) -> tuple[Path, ...]:
    """Return the folders of template_path; raise UsageError for `~NAME` if the user does not exist."""
    folders = [Path(os.path.expanduser(name)) for name in names]  # noqa: PTH111 - Path's raises RuntimeError
    if unknown := [str(folder) for folder in folders if not folder.is_absolute()]:
        raise UsageError(f"template_path: {unknown[0]} begins with the name of a user that does not exist")
    return tuple(dict.fromkeys(folders))


def template_path(name: str) -> Path:
    """Return the path of a template in the user's own folder; raise UsageError if the name is not valid."""
    return templates_folder() / _make_file_name(name)


def templates_folder() -> Path:
    """Return the user's own folder of templates; raise UsageError without a home directory."""
    return paths.require_path(paths.config_file()).parent / "templates"


def list_templates(search: TemplateSearch = OWN_FOLDER) -> list[str]:
    """Return the names of the existing templates, sorted."""
    return [found.name for found in find_templates(search) if not found.hidden_by]


def find_templates(search: TemplateSearch = OWN_FOLDER) -> list[FoundTemplate]:
    """Return the files of all templates, sorted by name; a hidden one comes after the one that hides it."""
    used: dict[str, Path] = {}
    found = [
        FoundTemplate(path.stem, path, first if (first := used.setdefault(path.stem, path)) != path else None)
        for folder in dict.fromkeys((templates_folder(), *search.folders))
        for path in _list_folder(folder)
    ]
    return sorted(found, key=lambda each: (each.name.casefold(), each.name))


def _list_folder(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in folder.iterdir() if path.suffix == ".toml" and _NAME.fullmatch(path.stem)]
    return []


def load_templates(references: Sequence[str], search: TemplateSearch = OWN_FOLDER) -> Template:
    """Read templates, and merge them if there are several (the last one wins); raise UsageError if that fails."""
    return merge_templates([load_template(reference, search) for reference in references])


def merge_templates(templates: Sequence[Template]) -> Template:
    """Return one template with the last prompt, and the last value of each setting and each default."""
    if len(templates) == 1:
        return templates[0]
    return Template(
        " + ".join(template.name for template in templates),
        templates[-1].path,
        next((template.prompt for template in reversed(templates) if template.prompt), ""),
        {name: text for template in templates for name, text in template.defaults.items()},
        {name: value for template in templates for name, value in template.settings.items()},
    )


def load_template(reference: str, search: TemplateSearch = OWN_FOLDER) -> Template:
    """Read the template with this name, or `@FILE`; raise UsageError if it does not exist or is not valid."""
    return load_found(FoundTemplate(reference, _find_file(reference, search)), search)


def load_found(found: FoundTemplate, search: TemplateSearch = OWN_FOLDER) -> Template:
    """Read the file of a template; raise UsageError if it does not exist or is not valid."""
    name, path = found.name, found.path
    data = read_template(path, search)
    if data is None:
        raise _build_missing_error(name, path, search)
    try:
        return parse_template(name, path, toml_edit.parse_toml(decode_utf8(data, path), path))
    except UsageError as error:
        if path.suffix in _OTHER_FORMATS:
            error.hint = f"a template is a TOML file; to import another format: aiml config templates --import {path}"
        elif "did you mean" not in error.hint:
            error.hint = f"fix it with an editor: {path}"
        raise


def read_template(path: Path, search: TemplateSearch = OWN_FOLDER) -> bytes | None:
    """Return the bytes of a template's file, or None if it does not exist.

    Raises UsageError if everyone can change it or it belongs to another user; warns if a group can change it. Symbolic
    links are only followed outside the user's own folder.
    """
    if paths.require_trusted(path) and path not in _warned and not search.is_quiet:
        _warned.add(path)
        print_err(f"aiml: the group of {path} can change it: chmod g-w {path}")
    is_own = path.parent == templates_folder()
    return read_named_file(path if is_own else Path(os.path.realpath(path)), MAX_BYTES)


def _find_file(reference: str, search: TemplateSearch) -> Path:
    """Return the path of a template, even if there is no file; raise UsageError for an invalid name."""
    if reference.startswith("@") and "\0" not in reference:
        return Path(os.path.abspath(os.path.expanduser(reference[1:])))  # noqa: PTH100, PTH111 - as above
    if not _NAME.fullmatch(reference) and reference.endswith(".toml"):
        raise UsageError(f"{reference!r} is not a valid template name", f"use @{reference} for the file")
    name = _make_file_name(reference)
    files = [folder / name for folder in (templates_folder(), *search.folders)]
    return next((path for path in files if os.path.lexists(path)), files[0])


def _make_file_name(name: str) -> str:
    if _NAME.fullmatch(name):
        return f"{name}.toml"
    raise UsageError(f"{name!r} is not a valid template name", "a name consists of letters, digits, - and _")


def parse_template(name: str, path: Path, table: toml_edit.Table) -> Template:
    """Parse the content of a template's file; raise UsageError for anything that a template cannot contain."""
    for part, value in table.items():
        if part not in _PARTS:
            raise UsageError(f"{path}: a template cannot have {part!r}", _suggest_part(part))
        part_type, description = _PARTS[part]
        if not isinstance(value, part_type):
            raise UsageError(f"{path}: {part} is not {description}")
    if not all(isinstance(case, dict) for case in table.get("case", ())):
        raise UsageError(f"{path}: case is not {_PARTS['case'][1]}")
    for setting, value in table.get("settings", {}).items():
        if reason := explain_refusal(setting, value):
            raise UsageError(f"{path}: {reason}")
    settings = read_table(table.get("settings", {}), str(path), FILE_KIND)
    defaults = {
        variable: _parse_default(value, variable, path) for variable, value in table.get("defaults", {}).items()
    }
    settings = {row: raw_value for row, raw_value in settings.items() if raw_value.texts}
    return Template(name, path, table.get("prompt", ""), defaults, settings, table.get("case", ()))


def explain_refusal(name: str, value: object) -> str:
    """Return why a template cannot contain a setting with this value, or ""; raise UsageError for an invalid value.

    A template may come from someone else, so it cannot say where to send, or what to run, read, write or store.
    """
    row = ROWS.get(name)
    if row is None:
        return ""  # an unknown setting, which is reported elsewhere
    if not row.template:
        return f"{name} cannot be set in {FILE_KIND}"
    if isinstance(value, str) and value and names_file(row.value_type, value):
        return f"{name} names a file, which cannot be set in {FILE_KIND}"
    if row.value_type not in JSON_TYPES:
        return ""
    parsed = parse_value(row, read_table({name: value}, name, FILE_KIND)[name])
    bodies = [_nest(path, item) for path, item in parsed.items()] if row.value_type is PROPERTIES else [parsed]
    if kept := next((found for body in bodies if (found := _find_refused_property(body))), ""):
        return f"{name}: {kept} cannot be set in {FILE_KIND}"
    return ""


def _nest(path: str, value: object) -> object:
    """Return a property of `-O` as it is in the request, nested at the dots of its name."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def _find_refused_property(body: Any) -> str:
    """Return a property that names a server to connect to, or belongs to a setting that templates cannot set."""
    paths = [path.path for row in ROWS.values() if not row.template for path in row.body_paths.values()]
    names = {path for path in paths if path.isidentifier()}
    found = [name for name in body if name.strip().lower() in names] if isinstance(body, dict) else []
    return find_address(body) or next(iter(found), "")


def save_template(name: str, table: toml_edit.Table, may_replace: Callable[[Path], bool]) -> Path:
    """Write a template and return its path; `may_replace` is called if one with this name exists.

    Raises UsageError if `may_replace` returns False, if TOML cannot express a value, or if another program changed the
    file in the meantime.
    """
    path = template_path(name)
    table = {part: value for part, value in table.items() if value}
    data = _format_template(path, table)
    parse_template(name, path, table)
    save_named_file(path, data, f"a template {name!r}", MAX_BYTES, may_replace)
    return path


def _build_missing_error(reference: str, path: Path, search: TemplateSearch) -> UsageError:
    names = list_templates(search)
    if reference.startswith("@"):
        name = reference[1:]
        hint = f"did you mean -t {name}?" if name in names else ""
        return UsageError(f"{path}: no such file", hint or suggest(path.name, _list_neighbours(path)))
    if not names:
        return UsageError(f"there is no template {reference!r}", describe_templates(search))
    hint = f"{suggest(reference, names)} {describe_templates(search)}".lstrip()
    return UsageError(f"there is no template {reference!r}", hint)


def describe_templates(search: TemplateSearch = OWN_FOLDER) -> str:
    """Return a hint with the names of all templates."""
    names = list_templates(search)
    return (
        f"available: {', '.join(names)}"
        if names
        else "there are no templates yet; to save one: aiml chat --save NAME WORDS"
    )


def _list_neighbours(path: Path) -> Iterator[str]:
    with suppress(OSError):
        yield from (other.name for other in path.parent.iterdir() if other.suffix == ".toml")


def _suggest_part(part: str) -> str:
    if part in {row.name for row in persistent_options()}:
        return f"did you mean {part} in the table [settings]?"
    return suggest(part, _PARTS)


def _parse_default(value: object, name: str, path: Path) -> str:
    if not VARIABLE_NAME.fullmatch(name) or name == "stdin":
        raise UsageError(f"{path}: the variable {name!r} cannot have a default")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"{path}: the default of {name} is not a string")
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
        raise UsageError(f"a template cannot contain all of {names}", "pass it on each call")
    return data


def _format_parts(table: toml_edit.Table) -> Iterable[str]:
    if prompt := table.get("prompt"):
        yield _format_value("prompt", prompt)
    for part in ("defaults", "settings"):
        if inner := table.get(part):
            yield f"\n[{part}]\n"
            yield from (_format_value(name, value) for name, value in inner.items())
    for case in table.get("case", ()):
        yield "\n[[case]]\n"
        yield from (_format_value(name, value) for name, value in case.items() if not isinstance(value, dict))
        for part, inner in case.items():
            if isinstance(inner, dict):
                yield f"[case.{part}]\n"
                yield from (_format_value(name, value) for name, value in inner.items())


def _format_value(name: str, value: Any) -> str:
    """Format a key and its value; a string of several lines is written on several lines."""
    if isinstance(value, str) and "\n" in value:
        import tomlkit  # takes 20 ms

        quotes = '"""'
        inner = tomlkit.string(value, multiline=True).as_string().removeprefix(quotes)
        multiline = f"{name} = {quotes}\n{inner}\n"
        with suppress(UsageError):  # a string that does not parse back to itself is written on one line
            if toml_edit.parse_toml(multiline, Path(name)) == {name: value}:
                return multiline
    return toml_edit.format_line(name, value)
