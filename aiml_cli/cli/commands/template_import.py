"""Import templates of other programs: those of llm, and the roles of mods and aichat."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiml_cli.api.json_values import as_dict
from aiml_cli.core.template_fill import RESERVED_NAMES, escape_braces
from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import decode_text
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Flags, parse_value, read_table
from aiml_cli.store import template_files
from aiml_cli.store.template_files import explain_refusal
from aiml_cli.system.atomic_write import read_bounded
from aiml_cli.system.extras import build_install_command
from aiml_cli.system.questions import make_replace_prompt
from aiml_cli.system.stdio import print_err

SUFFIXES = (".yaml", ".yml", ".md")
# llm writes `$name`, `${name}`, and `$$` for a dollar. A brace means nothing there, and something here.
_LLM_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})|\{[A-Za-z_]\w*\}", re.ASCII)
_LLM_KEYS = ("name", "prompt", "system", "model", "defaults", "options", "schema_object")
_MIN_DASHES = 3  # of the lines around the settings of an aichat file
_AICHAT_INPUT = "__INPUT__"
_AICHAT_VARIABLE = re.compile(r"\{\{__\w+__\}\}")
_AICHAT_KEYS = ("name", "prompt", "temperature", "top_p", "model")


@dataclass(slots=True)
class ImportedTemplate:
    """A converted template; `skipped` lists what could not be converted, `refused` what no template can hold."""

    name: str
    prompt: str = ""
    defaults: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add_setting(self, name: str, value: Any) -> None:
        """Add a setting; skip it if there is no such setting or its value is not valid."""
        row = ROWS.get(name.lower().replace("-", "_"))
        if value is None or row is None or (row.template and row.name != name):
            self.skipped.append(name)
            return
        try:
            if reason := explain_refusal(row.name, value):
                self.refused.append(reason)
            else:
                parse_value(row, read_table({name: value}, self.name)[name])
                self.settings[name] = value
        except UsageError as error:
            self.skipped.append(error.message)


def import_templates(source: str, names: Sequence[str], flags: Flags) -> int:
    """Import the templates of a file or a folder, or only those with some names; raise UsageError."""
    templates = [template for path in _list_files(source) for template in _parse_file(path)]
    known = [template.name for template in templates]
    if unknown := set(names) - set(known):
        raise UsageError(f"{source} holds no {', '.join(sorted(unknown))}", f"it holds {', '.join(known) or 'none'}")
    if not templates:
        raise UsageError(f"{source}: there is no template in it")
    chosen = [template for template in templates if not names or template.name in names]
    for template in chosen:
        if template.refused:
            raise UsageError(
                f"{source}: {template.name}: {template.refused[0]}", "nothing was imported; remove it there"
            )
    for template in chosen:
        _save(template, flags)
    return 0


def _save(template: ImportedTemplate, flags: Flags) -> None:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", template.name).strip("-_")
    table = {"prompt": template.prompt, "defaults": template.defaults, "settings": template.settings}
    if not template.prompt and not template.settings:
        print_err(f"aiml: {template.name} is left out: there is neither a prompt nor a setting in it")
        return
    path = template_files.save_template(name, table, make_replace_prompt("yes" in flags))
    if "quiet" not in flags:
        print_err(f"aiml: {template.name} is saved as {path}; use it with -t {name}")
    if template.skipped:
        print_err(f"aiml: {template.name}: not taken over: {', '.join(template.skipped)}")


def _list_files(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _parse_file(path: Path) -> Iterator[ImportedTemplate]:
    """Yield the templates of a file; its content shows which program it is from."""
    text = decode_text(_read(path), str(path))[0].replace("\r\n", "\n")
    if path.suffix == ".md":
        yield _convert_aichat_file(path.stem, text, path)
        return
    match _parse_yaml(text, path):
        case {"roles": dict(roles)} as settings:
            yield from (_convert_mods_role(str(name), lines) for name, lines in roles.items())
            if len(settings) > 1:
                print_err(f"aiml: {path}: only the roles are taken from it")
        case dict(facts):
            yield _convert_llm(path.stem, facts)
        case list(roles):
            yield from (_convert_aichat_role(role) for role in roles if isinstance(role, dict))
        case str(prompt):
            yield _convert_llm(path.stem, {"prompt": prompt})
        case _:
            raise UsageError(f"{path}: there is no template in it")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, template_files.MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _parse_yaml(text: str, path: Path) -> Any:
    """Parse YAML; raise UsageError with line and column. Aliases are refused: a few lines of them make gigabytes."""
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        message = f"{path}: YAML is read by PyYAML, which is not installed"
        raise UsageError(message, build_install_command("yaml", "pyyaml")) from None
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UsageError(f"{path}: it has YAML aliases, which are not followed", "write out what they stand for")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{path}{position}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise UsageError(f"{path}: not YAML that can be read") from None


def _convert_llm(name: str, facts: dict[Any, Any]) -> ImportedTemplate:
    """Convert a template of llm; its options become settings if they are known here."""
    template = ImportedTemplate(name, _convert_variables(str(facts.get("prompt") or "")))
    for key, value in as_dict(facts.get("defaults")).items():
        template.defaults[_rename_if_reserved(str(key))] = str(value)
    for key, value in as_dict(facts.get("options")).items():
        template.add_setting(str(key), value)
    if system := str(facts.get("system") or ""):
        converted = _convert_variables(system)
        if "{prompt}" in converted:  # the input belongs to the prompt only
            template.skipped.append("$input in the system text")
            converted = escape_braces(system)
        template.add_setting("system", converted)
    if model := facts.get("model"):
        template.add_setting("model", str(model))
    if isinstance(facts.get("schema_object"), dict):
        template.add_setting("schema", json.dumps(facts["schema_object"], ensure_ascii=False, default=str))
    template.skipped += [str(key) for key in facts if key not in _LLM_KEYS]
    return template


def _convert_variables(text: str) -> str:
    """Convert llm's variables to ours; `$input` is what is typed or piped in."""

    def convert(match: re.Match[str]) -> str:
        dollar, bare, braced = match.groups()
        name = bare or braced
        if dollar or not name:
            return "$" if dollar else escape_braces(match[0])
        if not re.match(r"[A-Za-z_]", name):  # $5 is money
            return match[0]
        return "{prompt}" if name == "input" else f"{{{_rename_if_reserved(name)}}}"

    return _LLM_VARIABLE.sub(convert, text)


def _rename_if_reserved(name: str) -> str:
    return f"{name}_" if name in RESERVED_NAMES else name


def _convert_mods_role(name: str, lines: Any) -> ImportedTemplate:
    """Convert a role of mods: its lines become the system text; lines with a file or an address are skipped."""
    template = ImportedTemplate(name)
    texts = [str(line) for line in (lines if isinstance(lines, list) else [lines]) if line is not None]
    template.skipped += [line for line in texts if _is_address(line)]
    if text := "\n".join(line for line in texts if not _is_address(line)):
        template.add_setting("system", escape_braces(text))
    return template


def _is_address(line: str) -> bool:
    return line.strip().startswith(("file://", "http://", "https://"))


def _convert_aichat_file(name: str, text: str, path: Path) -> ImportedTemplate:
    """Convert a Markdown file of aichat: YAML front matter, then the prompt."""
    settings, prompt = _split_front_matter(text)
    facts = (_parse_yaml(settings, path) if settings.strip() else None) or {}
    if not isinstance(facts, dict):
        raise UsageError(f"{path}: what stands between its dashes is no list of settings")
    return _convert_aichat_role({**facts, "name": name, "prompt": prompt.strip()})


def _split_front_matter(text: str) -> tuple[str, str]:
    """Return what stands between two lines of dashes at the start, and the rest; "" and the text if there are none."""
    lines = text.lstrip().split("\n")
    rules = [number for number, line in enumerate(lines) if _is_rule(line)][:2]
    if len(rules) < 2 or rules[0] != 0:  # noqa: PLR2004 - the two lines
        return "", text
    return "\n".join(lines[1 : rules[1]]), "\n".join(lines[rules[1] + 1 :])


def _is_rule(line: str) -> bool:
    dashes = line.rstrip()
    return len(dashes) >= _MIN_DASHES and not dashes.strip("-")


def _convert_aichat_role(facts: dict[Any, Any]) -> ImportedTemplate:
    """Convert a role of aichat: with a placeholder for the input it is a prompt, else a system text."""
    template = ImportedTemplate(str(facts.get("name") or ""))
    text = str(facts.get("prompt") or "").strip()
    if _AICHAT_INPUT in text:
        template.prompt = escape_braces(text).replace(_AICHAT_INPUT, "{prompt}")
    elif text:
        template.add_setting("system", escape_braces(text))
    for key in ("temperature", "top_p"):
        if facts.get(key) is not None:
            template.add_setting(key, facts[key])
    if model := facts.get("model"):
        template.skipped.append(f"model {model}: -m or [settings] names the gateway's")
    if "### INPUT:" in text:
        template.skipped.append("its examples as turns of their own")
    template.skipped += sorted(set(_AICHAT_VARIABLE.findall(text)))
    template.skipped += [str(key) for key in facts if key not in _AICHAT_KEYS]
    return template
