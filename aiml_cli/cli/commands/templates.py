"""Answer `aiml config templates`: list the templates, or show one."""

import json
from collections.abc import Sequence
from typing import Any

from aiml_cli.core.template_fill import OURS, list_variables
from aiml_cli.errors import UsageError
from aiml_cli.output import table
from aiml_cli.output.table import Column
from aiml_cli.settings.resolve import Flags
from aiml_cli.store import template_files
from aiml_cli.store.template_files import Template
from aiml_cli.system.atomic_write import decode_utf8
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import is_terminal

_FIELDS = ("name", "prompt", "variables")
_COLUMNS = (Column("NAME", 0), Column("PROMPT", 2, least=16), Column("VARIABLES", 1, least=12))


def show_templates(words: Sequence[str], flags: Flags) -> int:
    """List all, or show the one that is named; raise UsageError."""
    if len(words) > 1:
        raise UsageError("one template can be shown at a time", "aiml config templates lists them all")
    return _show(words[0], flags) if words else _list(flags)


def _show(name: str, flags: Flags) -> int:
    """Show a template as its file has it."""
    template = template_files.load_template(name)
    if "json" in flags:
        return print_out(_json(_object(template)))
    if is_terminal(1) and "quiet" not in flags:
        print_err(f"aiml: {template.path}")
    return print_out(decode_utf8(template_files.read_template(template.path) or b"", template.path))


def _list(flags: Flags) -> int:
    """List the templates; one that is damaged is told when the others are listed."""
    found: list[Template] = []
    faults: list[UsageError] = []
    for name in template_files.list_templates():
        try:
            found.append(template_files.load_template(name))
        except UsageError as fault:
            faults.append(fault)
    if "json" in flags:
        print_out(_json([_object(template) for template in found]))
    elif found:
        rows = [_row(template) for template in found]
        print_out(
            table.format_table(_COLUMNS, rows, table.table_width())
            if is_terminal(1)
            else table.format_tsv([_FIELDS, *rows])
        )
    elif not faults and "quiet" not in flags:
        print_err("aiml: there are no templates yet: aiml chat --save NAME WORDS makes one")
    for other in faults[:-1]:
        print_err(f"aiml: {other.message}")
    if faults:
        raise faults[-1]
    return 0


def _row(template: Template) -> list[str]:
    """Tell a template in a line; where it has no prompt its system text says what it is for."""
    return [template.name, _text(template).strip().partition("\n")[0], ", ".join(_wanted(template))]


def _text(template: Template) -> str:
    return template.prompt or _system(template)


def _system(template: Template) -> str:
    return template.settings["system"].texts[-1] if "system" in template.settings else ""


def _wanted(template: Template) -> list[str]:
    """List the variables, those of a default with it."""
    return [f"{name}={value}" if value is not None else name for name, value in _variables(template).items()]


def _variables(template: Template) -> dict[str, str | None]:
    found = (*list_variables(template.prompt), *list_variables(_system(template)))
    return {name: template.defaults.get(name) for name in found if name not in OURS}


def _object(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "path": str(template.path),
        "prompt": template.prompt,
        "variables": _variables(template),
        "settings": {name: list(said.texts) for name, said in template.settings.items()},
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
