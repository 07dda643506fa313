"""Take over templates of other programs: llm's files, the roles of mods and of aichat."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiml_cli.core.template_fill import OURS, escape_braces
from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import decode_text
from aiml_cli.prompt.file_sources import read_input_file
from aiml_cli.settings.options import KEY, ROWS
from aiml_cli.settings.resolve import Flags, RawValue
from aiml_cli.settings.resolve import parse_value as read_said
from aiml_cli.store import template_files
from aiml_cli.system.extras import install_command
from aiml_cli.system.questions import may_replace
from aiml_cli.system.stdio import print_err

ENDINGS = (".yaml", ".yml", ".md")
# llm writes `$name`, `${name}`, and `$$` for a dollar; a brace that says nothing there would say something here.
_OF_LLM = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})|\{[A-Za-z_]\w*\}", re.ASCII)
_FRONT = re.compile(r"\A\s*-{3,}[ \t]*\n(.*?)\n?-{3,}[ \t]*(?:\n|\Z)(.*)", re.DOTALL)
_INPUT = "__INPUT__"
_OF_AICHAT = re.compile(r"\{\{__\w+__\}\}")


@dataclass(slots=True)
class ImportedTemplate:
    """Hold what is made of somebody else's template, and what cannot be taken over."""

    name: str
    prompt: str = ""
    defaults: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def set(self, name: str, value: Any) -> None:
        """Take over a setting, where it is one of ours and its value is in order."""
        row = ROWS.get(name)
        if row is None or row.per_call or row.secret or row.panel == KEY or value is None:
            self.left.append(name)
            return
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        try:
            read_said(row, RawValue((text,), name))
        except UsageError as fault:
            self.left.append(fault.message)
        else:
            self.settings[name] = value


def import_templates(source: str, names: Sequence[str], flags: Flags) -> int:
    """Import a file, or those of a folder; with names only these. Says what is not taken over; raises UsageError."""
    found = [each for path in _files(source) for each in _found(path)]
    chosen = [each for each in found if not names or each.name in names]
    if absent := set(names) - {each.name for each in found}:
        raise UsageError(f"{source} holds no {', '.join(sorted(absent))}", f"it holds {_listed(found)}")
    if not chosen:
        raise UsageError(f"{source}: there is no template in it")
    for each in chosen:
        _take(each, flags)
    return 0


def _listed(found: Sequence[ImportedTemplate]) -> str:
    return ", ".join(each.name for each in found) or "none"


def _take(found: ImportedTemplate, flags: Flags) -> None:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", found.name).strip("-_")
    table = {"prompt": found.prompt, "defaults": found.defaults, "settings": found.settings}
    if not found.prompt and not found.settings:
        print_err(f"aiml: {found.name} is left out: there is neither a prompt nor a setting in it")
        return
    path = template_files.save_template(name, table, may_replace("yes" in flags))
    if "quiet" not in flags:
        print_err(f"aiml: {found.name} is saved as {path}; use it with -t {name}")
    if found.left:
        print_err(f"aiml: {found.name}: not taken over: {', '.join(found.left)}")


def _files(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if each.suffix in ENDINGS and each.is_file())


def _found(path: Path) -> Iterator[ImportedTemplate]:
    """Find the templates of a file, by what it looks like."""
    text = decode_text(read_input_file(str(path)), str(path))[0].replace("\r\n", "\n")
    if path.suffix == ".md":
        yield _role_of_aichat(path.stem, text, path)
        return
    match _yaml(text, path):
        case {"roles": dict(roles)} as whole:
            yield from (_role_of_mods(str(name), lines) for name, lines in roles.items())
            if len(whole) > 1:
                print_err(f"aiml: {path}: only the roles are taken from it")
        case dict(facts):
            yield _of_llm(path.stem, facts)
        case list(roles):
            yield from (_of_aichat(role) for role in roles if isinstance(role, dict))
        case str(prompt):
            yield _of_llm(path.stem, {"prompt": prompt})
        case _:
            raise UsageError(f"{path}: there is no template in it")


def _yaml(text: str, path: Path) -> Any:
    """Read YAML; raise UsageError naming line and column. Aliases are refused: a few lines of them make gigabytes."""
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise UsageError(
            f"{path}: YAML is read by PyYAML, which is not installed", install_command("yaml", "pyyaml")
        ) from None
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UsageError(f"{path}: it has YAML aliases, which are not followed", "write out what they stand for")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{path}{where}: {fault.problem or fault.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise UsageError(f"{path}: not YAML that can be read") from None


def _of_llm(name: str, facts: dict[Any, Any]) -> ImportedTemplate:
    """Make a template of one of llm's; its options are settings here, where they are known."""
    found = ImportedTemplate(name, _with_variables(str(facts.get("prompt") or "")))
    defaults, options = facts.get("defaults"), facts.get("options")
    for key, value in (defaults if isinstance(defaults, dict) else {}).items():
        found.defaults[_ours(str(key))] = str(value)
    for key, value in (options if isinstance(options, dict) else {}).items():
        found.set(str(key), value)
    if system := facts.get("system"):
        _take_system(found, _with_variables(str(system)), str(system))
    if model := facts.get("model"):
        found.set("model", str(model))
    if isinstance(facts.get("schema_object"), dict):
        found.set("schema", json.dumps(facts["schema_object"], ensure_ascii=False, default=str))
    taken = ("name", "prompt", "system", "model", "defaults", "options", "schema_object")
    found.left += [str(key) for key in facts if key not in taken]
    return found


def _take_system(found: ImportedTemplate, text: str, plain: str) -> None:
    """Take over a system text; the input has its place in the prompt only."""
    if "{prompt}" in text:
        found.left.append("$input in the system text")
        text = escape_braces(plain)
    found.set("system", text)


def _with_variables(text: str) -> str:
    """Write llm's variables as ours; `$input` is what is typed, or else piped in."""

    def ours(found: re.Match[str]) -> str:
        dollar, bare, braced = found.groups()
        name = bare or braced
        if dollar or not name:
            return "$" if dollar else escape_braces(found[0])
        if not re.match(r"[A-Za-z_]", name):  # $5 is money
            return found[0]
        return "{prompt}" if name == "input" else f"{{{_ours(name)}}}"

    return _OF_LLM.sub(ours, text)


def _ours(name: str) -> str:
    """Give a variable another name where ours of that name means something."""
    return f"{name}_" if name in OURS else name


def _role_of_mods(name: str, lines: Any) -> ImportedTemplate:
    """Make a template of a role: its lines are the system text; a line that names a file or address is left out."""
    found = ImportedTemplate(name)
    texts = [str(line) for line in (lines if isinstance(lines, list) else [lines]) if line is not None]
    found.left += [line for line in texts if _is_address(line)]
    if text := "\n".join(line for line in texts if not _is_address(line)):
        found.set("system", escape_braces(text))
    return found


def _is_address(line: str) -> bool:
    return line.strip().startswith(("file://", "http://", "https://"))


def _role_of_aichat(name: str, text: str, path: Path) -> ImportedTemplate:
    """Make a template of a Markdown file: YAML between dashes, then the prompt."""
    parts = _FRONT.match(text)
    facts = (_yaml(parts[1], path) if parts and parts[1].strip() else None) or {}
    if not isinstance(facts, dict):
        raise UsageError(f"{path}: what stands between its dashes is no list of settings")
    return _of_aichat({**facts, "name": name, "prompt": (parts[2] if parts else text).strip()})


def _of_aichat(facts: dict[Any, Any]) -> ImportedTemplate:
    """Make a template of a role: with its sign for the input it is a prompt, else a system text."""
    found = ImportedTemplate(str(facts.get("name") or ""))
    text = str(facts.get("prompt") or "").strip()
    if _INPUT in text:
        found.prompt = escape_braces(text).replace(_INPUT, "{prompt}")
    elif text:
        found.set("system", escape_braces(text))
    for key in ("temperature", "top_p"):
        if facts.get(key) is not None:
            found.set(key, facts[key])
    if model := facts.get("model"):
        found.left.append(f"model {model}: -m or [settings] names the gateway's")
    if "### INPUT:" in text:
        found.left.append("its examples as turns of their own")
    found.left += sorted(set(_OF_AICHAT.findall(text)))
    found.left += [str(key) for key in facts if key not in ("name", "prompt", "temperature", "top_p", "model")]
    return found
