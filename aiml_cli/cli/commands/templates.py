"""Show, save and import templates."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiml_cli.core.template_fill import (
    RESERVED_NAMES,
    TEMPLATE_FLAGS,
    collect_typed,
    escape_braces,
    list_variables,
    load_used_templates,
    read_params,
)
from aiml_cli.core.template_formats import PATTERN_FILES, ImportedTemplate, parse_template_file
from aiml_cli.errors import UsageError
from aiml_cli.output.table import Column, format_table, format_tsv, table_width
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import decode_text
from aiml_cli.prompt.file_sources import read_at_file
from aiml_cli.schema.load import is_shorthand, load_schema
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue, parse_value
from aiml_cli.settings.value_types import is_json_text
from aiml_cli.store import template_files
from aiml_cli.store.config_file import read_sources, to_toml_value
from aiml_cli.store.template_files import FoundTemplate, Template, TemplateSearch
from aiml_cli.system.atomic_write import decode_utf8
from aiml_cli.system.questions import confirm, make_replace_prompt
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import is_terminal

_FIELDS = ("name", "prompt", "variables", "path", "hidden_by")
_COLUMNS = (
    Column("NAME", 0),
    Column("PROMPT", 3, min_width=16),
    Column("VARIABLES", 2, min_width=12),
    Column("FROM", 1, min_width=20),
)
SUFFIXES = (".yaml", ".yml", ".md")


def save_as_template(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Save the words and flags as a template, based on the templates of -t; nothing is sent."""
    name = parse_value(ROWS["save"], flags["save"])
    template_files.template_path(name)
    base = load_used_templates(flags) if "template" in flags else None
    typed, rest = collect_typed(words, flags)
    typed = _read_prompt() if typed in ("", "-") and stdin.has_stdin() and "no_stdin" not in flags else typed
    settings = _convert_settings(endpoint, rest)
    old = {key: to_toml_value(parse_value(ROWS[key], raw)) for key, raw in base.settings.items()} if base else {}
    table = {
        "prompt": typed or (base.prompt if base else ""),
        "defaults": {**(base.defaults if base else {}), **read_params(flags)[0]},
        "settings": {**old, **settings},
        "case": _copy_cases(base) if base and base.cases else [],
    }
    if not any(table.values()):
        hint = "a template consists of words and flags: aiml chat --save NAME WORDS"
        raise UsageError("there is nothing to save", hint)
    path = template_files.save_template(name, table, make_replace_prompt("yes" in flags))
    if "quiet" not in flags:
        _report(path, name, table, [ROWS[flag].flag for flag in rest if flag not in settings])
    return 0


def _read_prompt() -> str:
    """Read the prompt from standard input."""
    return decode_text(stdin.read_stdin(lambda text: print_err(f"aiml: {text}")), "standard input")[0].rstrip("\n")


def _copy_cases(base: Template) -> list[dict[str, Any]]:
    """Return the cases of a template, with the content of the files that they refer to in its folder."""
    from aiml_cli.batch import template_cases  # few templates have cases

    return [template_cases.embed_schema(case, base.path.parent) for case in base.cases]


def _convert_settings(endpoint: str, flags: Flags) -> dict[str, Any]:
    """Return the settings of the flags that a template can contain, as TOML values."""
    settings: dict[str, Any] = {"format": "json"} if "json" in flags else {}
    for name, raw in flags.items():
        if not (row := ROWS[name]).template:
            continue
        texts = tuple(_read_file(row, text) for text in raw.texts)
        value = to_toml_value(parse_value(row, RawValue(texts, raw.source_name), endpoint))
        if not template_files.explain_refusal(name, value):
            settings[name] = value
    return settings


def _read_file(row: Option[Any], text: str) -> str:
    """Return the content of the file that a value refers to, or the value itself: templates do not refer to files."""
    if row.name == "schema" and not (is_json_text(text) or is_shorthand(text)):
        return json.dumps(load_schema(text).schema, ensure_ascii=False)
    if row.name == "system" and text.startswith("@"):
        return escape_braces(read_at_file(text))
    return text


def _report(path: Path, name: str, table: Mapping[str, Any], left_out: Sequence[str]) -> None:
    """Print the path of the template, its variables, and the flags that were not saved."""
    print_err(f"aiml: saved as {path}; use it with -t {name}; nothing was sent")
    texts = (table["prompt"], str(table["settings"].get("system", "")))
    variables = dict.fromkeys(variable for text in texts for variable in list_variables(text))
    if own := [variable for variable in variables if variable not in RESERVED_NAMES]:
        print_err(f"aiml: its variables: {', '.join(own)}")
    if flags := [flag for flag in left_out if flag.lstrip("-") not in TEMPLATE_FLAGS and flag != "--json"]:
        print_err(f"aiml: not saved, because they are set for each call: {', '.join(flags)}")


def show_templates(words: Sequence[str], flags: Flags) -> int:
    """List all templates, or show the one with this name; raise UsageError."""
    if len(words) > 1:
        raise UsageError("only one template can be shown at a time", "aiml config templates lists them all")
    search = template_files.read_search(read_sources(flags, os.environ))
    return _show(words[0], search, flags) if words else _list(search, flags)


def _show(name: str, search: TemplateSearch, flags: Flags) -> int:
    template = template_files.load_template(name, search)
    if "json" in flags:
        return _print_json(_to_dict(template))
    if is_terminal(1) and "quiet" not in flags:
        print_err(f"aiml: {template.path}")
    return print_out(decode_utf8(template_files.read_template(template.path) or b"", template.path))


def _list(search: TemplateSearch, flags: Flags) -> int:
    """Print the templates, and then the errors of those that cannot be read."""
    templates: list[tuple[FoundTemplate, Template]] = []
    errors: list[UsageError] = []
    for found in template_files.find_templates(search):
        try:
            templates.append((found, template_files.load_found(found, search)))
        except UsageError as error:
            errors.append(error)
    if "json" in flags:
        _print_json([{**_to_dict(template), "hidden_by": _text(found.hidden_by)} for found, template in templates])
    elif templates:
        _print_table(templates)
    elif not errors and "quiet" not in flags:
        print_err(f"aiml: {template_files.describe_templates(search)}")
    for skipped in errors[:-1]:
        print_err(f"aiml: {skipped.message}")
    if errors:
        raise errors[-1]
    return 0


def _print_table(templates: Sequence[tuple[FoundTemplate, Template]]) -> None:
    """Print a line for each template; on a terminal the folder is shown if there are several."""
    if not is_terminal(1):
        rows = [[*_build_row(each), str(found.path), _text(found.hidden_by) or ""] for found, each in templates]
        print_out(format_tsv([_FIELDS, *rows]))
        return
    has_several = len({found.path.parent for found, _ in templates}) > 1
    rows = [[*_build_row(each), _format_folder(found) if has_several else ""] for found, each in templates]
    print_out(format_table(_COLUMNS, rows, table_width()))


def _format_folder(found: FoundTemplate) -> str:
    folder, home = str(found.path.parent), os.path.expanduser("~")  # noqa: PTH111 - there may be no home
    folder = folder.replace(home, "~", 1) if home != "/" and folder.startswith(f"{home}/") else folder
    return f"{folder} (hidden)" if found.hidden_by else folder


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _build_row(template: Template) -> list[str]:
    """Return the name, the first line of the prompt or else the system text, and the variables with their defaults."""
    text = template.prompt or _read_system(template)
    variables = (name if value is None else f"{name}={value}" for name, value in _find_variables(template).items())
    return [template.name, text.strip().partition("\n")[0], ", ".join(variables)]


def _read_system(template: Template) -> str:
    return template.settings["system"].texts[-1] if "system" in template.settings else ""


def _find_variables(template: Template) -> dict[str, str | None]:
    names = (*list_variables(template.prompt), *list_variables(_read_system(template)))
    return {name: template.defaults.get(name) for name in names if name not in RESERVED_NAMES}


def _to_dict(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "path": str(template.path),
        "prompt": template.prompt,
        "variables": _find_variables(template),
        "settings": {name: list(raw.texts) for name, raw in template.settings.items()},
        "cases": len(template.cases),
    }


def _print_json(value: Any) -> int:
    return print_out(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def import_templates(source: str, names: Sequence[str], flags: Flags) -> int:
    """Import the templates of a file or a folder, or only those with these names; raise UsageError."""
    templates = [template for path in _list_files(source) for template in parse_template_file(path)]
    known = [template.name for template in templates]
    if unknown := set(names) - set(known):
        hint = f"available: {', '.join(known)}" if known else "it contains no templates"
        raise UsageError(f"{source} does not contain {', '.join(sorted(unknown))}", hint)
    if not templates:
        raise UsageError(f"{source} contains no templates")
    chosen = [template for template in templates if not names or template.name in names]
    _check_all(source, chosen, flags)
    for template in chosen:
        _save(template, flags)
    return 0


def _check_all(source: str, templates: Sequence[ImportedTemplate], flags: Flags) -> None:
    """Raise UsageError if one of the templates cannot be saved, before any is saved."""
    names = [template.file_name for template in templates]
    for template in templates:
        if template.refused:
            raise UsageError(
                f"{source}: {template.name}: {template.refused[0]}", "nothing was imported; remove it from the file"
            )
        if names.count(template.file_name) > 1:
            raise UsageError(f"{source}: two templates are named {template.file_name!r}", "nothing was imported")
    existing = [name for name in names if template_files.template_path(name).exists()]
    if existing and "yes" not in flags and not is_terminal(2):
        raise UsageError(f"these templates already exist: {', '.join(existing)}", "add -y to replace them")


def _save(template: ImportedTemplate, flags: Flags) -> None:
    table = {
        "prompt": template.prompt,
        "defaults": template.defaults,
        "settings": template.settings,
        "case": template.cases,
    }
    if not template.prompt and not template.settings:
        print_err(f"aiml: {template.name} was skipped: it has neither a prompt nor settings")
        return
    path = template_files.template_path(template.file_name)
    if path.exists() and "yes" not in flags and not confirm(f"replace {path}?"):
        print_err(f"aiml: {path} was not changed")
        return
    template_files.save_template(template.file_name, table, lambda _: True)
    if "quiet" not in flags:
        print_err(f"aiml: saved {template.name} as {path}; use it with -t {template.file_name}")
        for note in template.notes:
            print_err(f"aiml: {template.name}: {note}")
    if template.skipped:
        print_err(f"aiml: {template.name}: not imported: {', '.join(template.skipped)}")


def _list_files(source: str) -> list[Path]:
    """Return the files that may contain templates, and the folders of fabric patterns."""
    path = Path(source).expanduser()
    if path.name in PATTERN_FILES and (path.parent / "system.md").is_file():
        return [path.parent]
    if not path.is_dir() or (path / "system.md").is_file():
        return [path]
    return sorted(
        each
        for each in path.iterdir()
        if (each / "system.md").is_file() or (each.suffix in SUFFIXES and each.is_file())
    )
