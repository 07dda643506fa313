"""Run `aiml config templates`: list the templates, or show one."""

import json
from collections.abc import Sequence
from typing import Any

from aiml_cli.core.template_fill import RESERVED_NAMES, list_variables
from aiml_cli.errors import UsageError
from aiml_cli.output.table import Column, format_table, format_tsv, table_width
from aiml_cli.settings.resolve import Flags
from aiml_cli.store import template_files
from aiml_cli.store.template_files import Template
from aiml_cli.system.atomic_write import decode_utf8
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import is_terminal

_FIELDS = ("name", "prompt", "variables")
_COLUMNS = (Column("NAME", 0), Column("PROMPT", 2, min_width=16), Column("VARIABLES", 1, min_width=12))


def show_templates(words: Sequence[str], flags: Flags) -> int:
    """List all templates, or show the one with this name; raise UsageError."""
    if len(words) > 1:
        raise UsageError("one template can be shown at a time", "aiml config templates lists them all")
    return _show(words[0], flags) if words else _list(flags)


def _show(name: str, flags: Flags) -> int:
    template = template_files.load_template(name)
    if "json" in flags:
        return _print_json(_to_dict(template))
    if is_terminal(1) and "quiet" not in flags:
        print_err(f"aiml: {template.path}")
    return print_out(decode_utf8(template_files.read_template_bytes(template.path) or b"", template.path))


def _list(flags: Flags) -> int:
    """Print the templates, and then the errors of those that cannot be read."""
    templates: list[Template] = []
    errors: list[UsageError] = []
    for name in template_files.list_templates():
        try:
            templates.append(template_files.load_template(name))
        except UsageError as error:
            errors.append(error)
    if "json" in flags:
        _print_json([_to_dict(template) for template in templates])
    elif templates:
        rows = [_build_row(template) for template in templates]
        print_out(format_table(_COLUMNS, rows, table_width()) if is_terminal(1) else format_tsv([_FIELDS, *rows]))
    elif not errors and "quiet" not in flags:
        print_err("aiml: there are no templates yet: aiml chat --save NAME WORDS makes one")
    for skipped in errors[:-1]:
        print_err(f"aiml: {skipped.message}")
    if errors:
        raise errors[-1]
    return 0


def _build_row(template: Template) -> list[str]:
    """Return name, first line of the prompt or else of the system text, and variables with their defaults."""
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
    }


def _print_json(value: Any) -> int:
    return print_out(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
