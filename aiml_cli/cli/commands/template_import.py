"""Import the templates of another program: find them, check all of them, and save them."""

from collections.abc import Sequence
from pathlib import Path

from aiml_cli.core.template_formats import PATTERN_FILES, ImportedTemplate, parse_template_file
from aiml_cli.errors import UsageError
from aiml_cli.settings.resolve import Flags
from aiml_cli.store import template_files
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal

SUFFIXES = (".yaml", ".yml", ".md")


def import_templates(source: str, names: Sequence[str], flags: Flags) -> int:
    """Import the templates of a file or a folder, or only those with some names; raise UsageError."""
    templates = [template for path in _list_files(source) for template in parse_template_file(path)]
    known = [template.name for template in templates]
    if unknown := set(names) - set(known):
        raise UsageError(f"{source} holds no {', '.join(sorted(unknown))}", f"it holds {', '.join(known) or 'none'}")
    if not templates:
        raise UsageError(f"{source}: there is no template in it")
    chosen = [template for template in templates if not names or template.name in names]
    _check_all(source, chosen, flags)
    for template in chosen:
        _save(template, flags)
    return 0


def _check_all(source: str, templates: Sequence[ImportedTemplate], flags: Flags) -> None:
    """Raise UsageError if one of the templates cannot be saved; then none is."""
    names = [template.file_name for template in templates]
    for template in templates:
        if template.refused:
            raise UsageError(
                f"{source}: {template.name}: {template.refused[0]}", "nothing was imported; remove it there"
            )
        if names.count(template.file_name) > 1:
            raise UsageError(f"{source}: two templates are called {template.file_name!r}", "nothing was imported")
    existing = [name for name in names if template_files.template_path(name).exists()]
    if existing and "yes" not in flags and not is_terminal(2):
        raise UsageError(f"there are templates already: {', '.join(existing)}", "-y replaces them")


def _save(template: ImportedTemplate, flags: Flags) -> None:
    table = {
        "prompt": template.prompt,
        "defaults": template.defaults,
        "settings": template.settings,
        "case": template.cases,
    }
    if not template.prompt and not template.settings:
        print_err(f"aiml: {template.name} is left out: there is neither a prompt nor a setting in it")
        return
    path = template_files.template_path(template.file_name)
    if path.exists() and "yes" not in flags and not confirm(f"replace {path}?"):
        print_err(f"aiml: {path} stays as it is")
        return
    template_files.save_template(template.file_name, table, lambda _: True)
    if "quiet" not in flags:
        print_err(f"aiml: {template.name} is saved as {path}; use it with -t {template.file_name}")
        for note in template.notes:
            print_err(f"aiml: {template.name}: {note}")
    if template.skipped:
        print_err(f"aiml: {template.name}: not taken over: {', '.join(template.skipped)}")


def _list_files(source: str) -> list[Path]:
    """Return the files with templates, and the folders that are patterns of fabric."""
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
