"""Convert templates of other programs: llm, mods, aichat, fabric, and the prompt files of GitHub Models."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiml_cli.api.json_values import as_dict
from aiml_cli.core.template_fill import RESERVED_NAMES, escape_braces
from aiml_cli.errors import UsageError, build_install_command
from aiml_cli.prompt.decode_text import decode_text
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import parse_value, read_table
from aiml_cli.store import template_files
from aiml_cli.store.template_files import explain_refusal
from aiml_cli.system.atomic_write import read_bounded
from aiml_cli.system.stdio import print_err

# llm uses `$name`, `${name}`, and `$$` for a dollar sign. Braces are plain text there, but not here.
_LLM_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})|\{[A-Za-z_]\w*\}", re.ASCII)
_LLM_KEYS = ("name", "prompt", "system", "model", "defaults", "options", "schema_object")
_MIN_DASHES = 3  # in the lines before and after the front matter of an aichat file
_AICHAT_INPUT = "__INPUT__"
_AICHAT_VARIABLE = re.compile(r"\{\{__\w+__\}\}")
_AICHAT_KEYS = ("name", "prompt", "temperature", "top_p", "model")
# Fabric and GitHub Models use `{{name}}`, and `{{input}}` for the typed or piped input.
_MUSTACHE = re.compile(r"\{\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}\}|\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}", re.ASCII)
_OTHER_MUSTACHE = re.compile(r"\{\{[^{}\n]*\}\}")
_INPUT = "input"
PATTERN_FILES = ("system.md", "user.md")
_GITHUB_KEYS = (
    "name", "model", "messages", "modelParameters", "responseFormat", "jsonSchema", "testData", "evaluators",
)  # fmt: skip
# The string evaluators as regular expressions; only `equals` is case-sensitive.
_EVALUATORS = {
    "contains": "(?i)TEXT",
    "startsWith": r"(?i)\A\s*TEXT",
    "endsWith": r"(?i)TEXT\s*\Z",
    "equals": r"\A\s*TEXT\s*\Z",
}
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")
_MAX_EXPECTED = 80  # characters; a longer text is unlikely to be in an answer word for word


@dataclass(slots=True)
class ImportedTemplate:
    """A converted template.

    `skipped` lists what could not be converted, `refused` what a template cannot contain, `notes` other remarks.
    """

    name: str
    prompt: str = ""
    defaults: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def file_name(self) -> str:
        """Return the name, with dashes for the characters that the name of a template cannot have."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", self.name).strip("-_")

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


def parse_template_file(path: Path) -> Iterator[ImportedTemplate]:
    """Yield the templates of a file; its content shows which program it is from."""
    if path.is_dir():
        yield _convert_pattern(path)
        return
    text = _read_text(path)
    if path.suffix == ".md":
        yield _convert_aichat_file(path.stem, text, path)
        return
    match _parse_yaml(text, path):
        case {"roles": dict(roles)} as settings:
            yield from (_convert_mods_role(str(name), lines) for name, lines in roles.items())
            if len(settings) > 1:
                print_err(f"aiml: {path}: only the roles are imported")
        case {"messages": list()} as facts:
            yield _convert_github(path.stem.removesuffix(".prompt"), facts)
        case dict(facts):
            yield _convert_llm(path.stem, facts)
        case list(roles):
            yield from (_convert_aichat_role(role) for role in roles if isinstance(role, dict))
        case str(prompt):
            yield _convert_llm(path.stem, {"prompt": prompt})
        case _:
            raise UsageError(f"{path} contains no templates")


def _read_text(path: Path) -> str:
    try:
        data = read_bounded(path, template_files.MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    return decode_text(data, str(path))[0].replace("\r\n", "\n")


def _parse_yaml(text: str, path: Path) -> Any:
    """Parse YAML; raise UsageError with line and column. Aliases are rejected: they can expand to gigabytes."""
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        message = f"{path}: YAML files need PyYAML, which is not installed"
        raise UsageError(message, build_install_command("yaml", "pyyaml")) from None
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UsageError(f"{path}: YAML aliases are not supported", "write out their content")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{path}{position}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise UsageError(f"{path} is not valid YAML") from None


def _convert_llm(name: str, facts: dict[Any, Any]) -> ImportedTemplate:
    """Convert a template of llm; its options become settings if they are known here."""
    template = ImportedTemplate(name, _convert_variables(str(facts.get("prompt") or "")))
    for key, value in as_dict(facts.get("defaults")).items():
        template.defaults[_rename_if_reserved(str(key))] = str(value)
    for key, value in as_dict(facts.get("options")).items():
        template.add_setting(str(key), value)
    if system := str(facts.get("system") or ""):
        converted = _convert_variables(system)
        if "{prompt}" in converted:  # only the prompt can contain the input
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
    """Convert llm's variables to ours; `$input` is the typed or piped input."""

    def convert(match: re.Match[str]) -> str:
        dollar, bare, braced = match.groups()
        name = bare or braced
        if dollar or not name:
            return "$" if dollar else escape_braces(match[0])
        if not re.match(r"[A-Za-z_]", name):  # $5 is an amount of money
            return match[0]
        return "{prompt}" if name == "input" else f"{{{_rename_if_reserved(name)}}}"

    return _LLM_VARIABLE.sub(convert, text)


def _rename_if_reserved(name: str) -> str:
    return f"{name}_" if name in RESERVED_NAMES else name


def _convert_mods_role(name: str, lines: Any) -> ImportedTemplate:
    """Convert a role of mods: its lines become the system text; lines with a file or a URL are skipped."""
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
        raise UsageError(f"{path}: the front matter between the dashes is not a list of settings")
    return _convert_aichat_role({**facts, "name": name, "prompt": prompt.strip()})


def _split_front_matter(text: str) -> tuple[str, str]:
    """Return the front matter between two lines of dashes, and the text after it; "" and the text if there is none."""
    lines = text.lstrip().split("\n")
    rules = [number for number, line in enumerate(lines) if _is_rule(line)][:2]
    if len(rules) < 2 or rules[0] != 0:  # noqa: PLR2004 - the two lines of dashes
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
        template.skipped.append(f"model {model}: set a model of the gateway with -m or in [settings]")
    if "### INPUT:" in text:
        template.skipped.append("its examples as separate turns")
    template.skipped += sorted(set(_AICHAT_VARIABLE.findall(text)))
    template.skipped += [str(key) for key in facts if key not in _AICHAT_KEYS]
    return template


def _convert_pattern(folder: Path) -> ImportedTemplate:
    """Convert a pattern of fabric: `system.md` is the system text, or the prompt if it says where the input is."""
    template = ImportedTemplate(folder.resolve().name)
    system = _read_text(folder / "system.md").strip()
    user = _read_text(folder / "user.md").strip() if (folder / "user.md").is_file() else ""
    if _INPUT in _list_mustache(system):
        template.prompt = convert_mustache(template, "\n\n".join(filter(None, (system, user))), _INPUT)
    else:
        template.prompt = convert_mustache(template, user, _INPUT)
        if system:
            template.add_setting("system", convert_mustache(template, system, ""))
    template.skipped += sorted(file.name for file in folder.iterdir() if file.name not in PATTERN_FILES)
    return template


def _list_mustache(text: str) -> list[str]:
    return [match[1] or match[2] for match in _MUSTACHE.finditer(text)]


def convert_mustache(template: ImportedTemplate, text: str, input_name: str) -> str:
    """Convert `{{name}}` to our variables, and that of the input to `{prompt}`; all other braces stay text."""
    converted, position = [], 0
    for match in _MUSTACHE.finditer(text):
        name = match[1] or match[2]
        converted += [escape_braces(text[position : match.start()]), f"{{{_rename(template, name, input_name)}}}"]
        position = match.end()
    others = [other for other in _OTHER_MUSTACHE.findall(text) if not _MUSTACHE.fullmatch(other)]
    template.skipped += [f"{other}, which is kept as text" for other in dict.fromkeys(others)]
    return "".join((*converted, escape_braces(text[position:])))


def _rename(template: ImportedTemplate, name: str, input_name: str) -> str:
    """Return the new name of a variable; add a note if it differs."""
    if name == input_name:
        return "prompt"
    new = _rename_if_reserved(re.sub(r"\W", "_", name, flags=re.ASCII))
    note = f"the variable {name} is renamed to {new}"
    if new != name and note not in template.notes:
        template.notes.append(note)
    return new


def _convert_github(name: str, facts: dict[Any, Any]) -> ImportedTemplate:
    """Convert a prompt file of GitHub Models: system messages, the last user message, parameters and test data."""
    template = ImportedTemplate(name)
    system, prompt = _read_messages(template, facts["messages"])
    input_name = "" if _INPUT in _list_mustache(system) else _INPUT
    template.prompt = convert_mustache(template, prompt, input_name)
    if system:
        template.add_setting("system", convert_mustache(template, system, ""))
    if model := facts.get("model"):
        template.add_setting("model", str(model))
    _add_parameters(template, as_dict(facts.get("modelParameters")))
    _add_answer_format(template, facts)
    _add_cases(template, facts, [*_list_mustache(system), *_list_mustache(prompt)], input_name)
    template.skipped += [str(key) for key in facts if key not in _GITHUB_KEYS]
    return template


def _read_messages(template: ImportedTemplate, messages: list[Any]) -> tuple[str, str]:
    """Return the system text and the prompt; other messages are skipped."""
    texts = [(str(as_dict(each).get("role")), as_dict(each).get("content")) for each in messages]
    is_system = [role in ("system", "developer") and isinstance(text, str) for role, text in texts]
    users = [number for number, (role, text) in enumerate(texts) if role == "user" and isinstance(text, str)]
    used = [number for number, is_used in enumerate(is_system) if is_used] + users[-1:]
    template.skipped += [
        f"message {number + 1} ({role}), a separate turn"
        for number, (role, _) in enumerate(texts)
        if number not in used
    ]
    system = "\n\n".join(str(text).strip() for (_, text), is_used in zip(texts, is_system, strict=True) if is_used)
    return system, str(texts[users[-1]][1]).strip() if users else ""


def _add_parameters(template: ImportedTemplate, parameters: dict[str, Any]) -> None:
    """Add parameters of the model; a number or string that is not a setting here becomes a property of the request."""
    options = {}
    for key, value in parameters.items():
        name = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", str(key)).lower()
        if name in ROWS:
            template.add_setting(name, value)
        elif value is not None:
            options[name] = value
    if options:
        template.add_setting("option", options)


def _add_answer_format(template: ImportedTemplate, facts: dict[Any, Any]) -> None:
    kind, schema = facts.get("responseFormat"), facts.get("jsonSchema")
    if kind == "json_object":
        template.add_setting("json_object", True)
    elif kind == "json_schema" or schema:
        try:
            parsed = json.loads(schema) if isinstance(schema, str) else schema
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            inner = parsed if "properties" in parsed or not isinstance(parsed.get("schema"), dict) else parsed["schema"]
            template.add_setting("schema", json.dumps(inner, ensure_ascii=False, default=str))
        else:
            template.skipped.append("jsonSchema")
    elif kind not in (None, "text"):
        template.skipped.append(f"responseFormat {kind}")


def _add_cases(template: ImportedTemplate, facts: dict[Any, Any], variables: Sequence[str], input_name: str) -> None:
    """Add a case for each row of test data, with what its string evaluators expect."""
    evaluators = _list_tables(template, facts, "evaluators")
    checks = [pair for each in evaluators for pair in as_dict(each.get("string")).items() if pair[0] in _EVALUATORS]
    template.skipped += [
        f"the evaluator {each.get('name') or each.get('uses')}"
        for each in evaluators
        if not as_dict(each.get("string")).keys() & _EVALUATORS.keys()
    ]
    compared = {name for _, source in checks for name in _list_mustache(_to_text(source))}
    for number, row in enumerate(_list_tables(template, facts, "testData"), 1):
        texts = {str(key): _to_text(value) for key, value in row.items()}
        unknown = texts.keys() - {*variables, *compared, "expected"}
        template.skipped += [f"{key} of test {number}, which is not a variable" for key in sorted(unknown)]
        expect = _build_expect(checks, texts)
        if "expected" in texts and "expected" not in compared:
            _add_expected(template, expect, texts["expected"].strip(), number)
        if expect:
            values = {_rename(template, key, input_name): text for key, text in texts.items() if key in variables}
            lists = {key: found if len(found) > 1 else found[0] for key, found in expect.items()}
            template.cases.append({"vars": values, "expect": lists})
        else:
            template.skipped.append(f"test {number}, which has nothing that can be checked here")


def _list_tables(template: ImportedTemplate, facts: dict[Any, Any], key: str) -> list[dict[str, Any]]:
    values = facts.get(key) or []
    if not isinstance(values, list):
        template.skipped.append(key)
        return []
    return [value for value in values if isinstance(value, dict)]


def _build_expect(checks: Sequence[tuple[str, Any]], texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what a case expects: the strings of the evaluators, with the values of its row."""
    expect: dict[str, list[str]] = {}
    for kind, source in checks:
        if text := _MUSTACHE.sub(lambda match: texts.get(match[1] or match[2], match[0]), _to_text(source)):
            pattern = _EVALUATORS[kind].replace("TEXT", _SPECIAL.sub(r"\\\g<0>", text))
            expect.setdefault("matches", []).append(pattern)
    return expect


def _add_expected(template: ImportedTemplate, expect: dict[str, list[str]], expected: str, number: int) -> None:
    """Add the expected text of a row to what its case expects, if that is empty and the text is short."""
    if expect or not expected or len(expected) > _MAX_EXPECTED or "\n" in expected:
        template.skipped.append(f"the expected text of test {number}")
        return
    expect["contains"] = [expected]
    template.notes.append(f"test {number} expects an answer that contains {expected!r}")


def _to_text(value: object) -> str:
    """Return a YAML value as a string: a string or number unchanged, everything else as JSON."""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)
