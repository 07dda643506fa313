"""Make the prompt and settings of a call from a template."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from aiml_cli.core.confirm_secrets import confirm_secrets
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.compose import escape_placeholders, replace_placeholders
from aiml_cli.prompt.file_sources import read_at_file
from aiml_cli.prompt.mentions import LiteralText, describe_missing, join_typed, mark_row_files, parse_mentions
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Flags, RawValue, parse_value, resolve
from aiml_cli.store import template_files
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.template_files import Template
from aiml_cli.system.stdio import print_err

# The variables for the typed words and for standard input; `{prompt}` is the words, or else standard input.
WORDS, PROMPT, STDIN = "words", "prompt", "stdin"
RESERVED_NAMES = (WORDS, PROMPT, STDIN)
# These flags select or save a template, and are not stored in it.
TEMPLATE_FLAGS = ("save", "template", "param", "edit", "yes")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class PreparedPrompt(NamedTuple):
    """The words and flags of a call, and the settings of its template."""

    words: list[str]
    flags: Flags
    template_settings: Mapping[str, RawValue]


def prepare_prompt(endpoint: str, words: Sequence[str], flags: Flags) -> PreparedPrompt:
    """Open the editor and apply the template, if the flags ask for it.

    Raises UsageError for a missing value, and for a variable that the template does not have.
    """
    text, flags = collect_typed(words, flags, has_rows="each" in flags)
    mentioned = text.files if isinstance(text, LiteralText) else ()
    settings: Mapping[str, RawValue] = {}
    if "template" in flags:
        values, files = read_params(flags)
        template = load_used_templates(flags)
        has_files, has_rows = bool(flags.get("file")), "each" in flags
        text, settings = apply_template(
            template,
            text,
            values,
            is_piped="no_stdin" not in flags and stdin.has_stdin(),
            has_files=has_files,
            has_rows=has_rows,
            reads_stdin="no_stdin" not in flags,
        )
        _confirm_secrets(files, endpoint, flags, settings)
    elif "param" in flags:
        raise UsageError("--param sets a variable of a template", "name the template with -t")
    flags = {name: flag for name, flag in flags.items() if name not in TEMPLATE_FLAGS[:-1]}
    return PreparedPrompt([LiteralText(text, mentioned)] if text or mentioned else [], flags, settings)


def load_used_templates(flags: Flags) -> Template:
    """Return the template of -t, or the combination of several; raise UsageError."""
    search = template_files.read_search(read_sources(flags, os.environ))
    return template_files.load_templates(parse_value(ROWS["template"], flags["template"]), search)


def apply_template(
    template: Template,
    typed: str,
    values: Mapping[str, str],
    *,
    is_piped: bool = False,
    has_files: bool = False,
    has_rows: bool = False,
    reads_stdin: bool = True,
) -> tuple[str, Mapping[str, RawValue]]:
    """Return the prompt and settings of a template that is filled with typed words and values; raise UsageError.

    With rows, variables of the prompt without a value are left to the columns.
    """
    system = _get_system(template)
    in_system = list_variables(system)
    variables = list(dict.fromkeys((*list_variables(template.prompt), *in_system)))
    _check_names(values, template, variables)
    if misplaced := [name for name in in_system if name in RESERVED_NAMES]:
        source = template.settings["system"].source_name
        raise UsageError(f"{source}: {{{misplaced[0]}}} belongs in the prompt, not in system")
    reserved = _get_reserved_values(typed, is_piped=is_piped or has_rows, has_files=has_files)
    if not (reads_stdin or has_rows):
        del reserved[STDIN]
    params = {**template.defaults, **values}
    values = {**params, **reserved}
    required = [*in_system, *RESERVED_NAMES] if has_rows else variables
    if missing := [name for name in variables if name in required and name not in values]:
        names = ", ".join(f"{{{name}}}" for name in missing)
        raise UsageError(f"no value for {names} of the template {template.name}", _hint_for_missing(missing))
    if has_rows:  # what looks like a column in a value stays text
        text = fill_known(template.prompt, {name: escape_braces(value) for name, value in params.items()} | reserved)
    else:
        text = _fill_prompt(template.prompt, params, reserved)
    if not {WORDS, PROMPT} & set(variables):
        text = "\n\n".join(filter(None, (text, typed)))
    return text, {**template.settings, **_fill_system(system, values, template)}


def collect_typed(words: Sequence[str], flags: Flags, *, has_rows: bool = False) -> tuple[str, Flags]:
    """Return the words as one string, edited if --edit is set, and the flags with each file that the string mentions.

    With rows, the flags are unchanged, because -f names the file of the rows; the string is a LiteralText with the
    mentioned files. Files that each row names are marked in it, so that a template by someone else cannot name any.
    """
    if "edit" in flags:
        from aiml_cli.core import prompt_editor  # for few calls only

        typed = join_typed(words)
        words = [prompt_editor.edit_text("" if typed == "-" else typed, os.environ)]
    text, names, missing = parse_mentions(mark_row_files(words) if has_rows else words)
    if missing and "quiet" not in flags:
        print_err(f"aiml: {describe_missing(missing)}")
    if has_rows:
        return LiteralText(text, names), flags
    if names:
        old = flags["file"].texts if "file" in flags else ()
        flags = {**flags, "file": RawValue((*old, *(name for name in names if name not in old)), ROWS["file"].flag)}
    return text, flags


def read_params(flags: Flags) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the values of the variables, and the name and text of each file that was read for them."""
    params = parse_value(ROWS["param"], flags["param"]) if "param" in flags else {}
    files = [(value[1:], read_at_file(value)) for value in params.values() if _is_file(value)]
    texts = dict(files)
    values = {name: texts[value[1:]] if _is_file(value) else value.removeprefix("@") for name, value in params.items()}
    return values, files


def _is_file(value: str) -> bool:
    return value.startswith("@") and not value.startswith("@@")


def _confirm_secrets(
    files: Sequence[tuple[str, str]], endpoint: str, flags: Flags, settings: Mapping[str, RawValue]
) -> None:
    if not files:
        return
    confirm_secrets(files, resolve(read_sources(flags, os.environ, settings), endpoint))


def _get_system(template: Template) -> str:
    """Return the system text, which may have variables, or "" if it names a file."""
    value = template.settings.get("system")
    return value.texts[-1] if value and not value.texts[-1].startswith("@") else ""


def _fill_system(system: str, values: Mapping[str, str], template: Template) -> dict[str, RawValue]:
    if not list_variables(system) and "{{" not in system:
        return {}
    text = fill_variables(system, values)
    if text.startswith("@"):  # it would name a file
        raise UsageError(f"{template.settings['system'].source_name}: the filled system text must not begin with @")
    return {"system": RawValue((text,), template.settings["system"].source_name)}


def _get_reserved_values(typed: str, *, is_piped: bool, has_files: bool) -> dict[str, str]:
    """Return the values of the reserved names; with files the words may be empty."""
    values = {STDIN: stdin.PLACEHOLDER}
    if typed == "-":
        return {**values, WORDS: stdin.PLACEHOLDER, PROMPT: stdin.PLACEHOLDER}
    if typed or (has_files and not is_piped):
        return {**values, WORDS: typed, PROMPT: typed}
    return {**values, PROMPT: stdin.PLACEHOLDER} if is_piped else values


def _check_names(values: Mapping[str, str], template: Template, variables: Sequence[str]) -> None:
    """Raise UsageError for a value whose name is not a variable of the template."""
    for name in values:
        if name in RESERVED_NAMES:
            raise UsageError(f"--param {name}: write it after the command, or pipe it in")
        if name not in variables:
            names = [variable for variable in variables if variable not in RESERVED_NAMES]
            near = get_close_matches(name, names, 1)
            known = f"it has {', '.join(names)}" if names else "it has none"
            hint = f"did you mean {near[0]}?" if near else known
            raise UsageError(f"--param: the template {template.name} has no variable {name!r}", hint)


def _hint_for_missing(missing: Sequence[str]) -> str:
    params = " ".join(f"-P {name}=…" for name in missing if name not in RESERVED_NAMES)
    typed = "write it after the command" if {WORDS, PROMPT} & set(missing) else ""
    piped = "standard input is not read here" if STDIN in missing else ""
    return "; ".join(filter(None, (params and f"pass it with {params}", typed, piped)))


def _fill_prompt(prompt: str, params: Mapping[str, str], reserved: Mapping[str, str]) -> str:
    """Fill a prompt; escape {stdin} in values, so that only that of the template is replaced by standard input."""
    values = {**{name: escape_placeholders(value, STDIN) for name, value in params.items()}, **reserved}
    return fill_variables(prompt.replace(f"{{{stdin.PLACEHOLDER}}}", f"{{{{{stdin.PLACEHOLDER}}}}}"), values)


def list_variables(text: str) -> list[str]:
    """Return the variables of a text in order, each once."""
    names: dict[str, None] = {}
    replace_placeholders(text, lambda inside, _: names.setdefault(inside) if _NAME.fullmatch(inside) else None)
    return list(names)


def fill_variables(text: str, values: Mapping[str, str]) -> str:
    """Replace all variables that have a value, in one pass: what looks like a variable in a value stays text."""
    return replace_placeholders(text, lambda inside, _: values.get(inside.strip()))


def fill_known(text: str, values: Mapping[str, str]) -> str:
    """Replace the variables that have a value, and leave all others to a later `fill_variables`."""
    return replace_placeholders(text, lambda inside, _: values.get(inside.strip()), keeps_escapes=True)


def escape_braces(text: str) -> str:
    """Escape a text so that `fill_variables` restores it."""
    return escape_placeholders(text)
