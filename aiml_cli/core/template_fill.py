"""Make the words and settings of a call from a template."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from aiml_cli.core.confirm_secrets import SecretGuard
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.compose import PLACE, extract_mentions, read_at_file
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Flags, RawValue, parse_value, resolve
from aiml_cli.store import template_files
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.template_files import Template

# What the words and standard input are called in a prompt: `{words}`; `{prompt}`, the words or else what is piped in.
WORDS, PROMPT, STDIN = "words", "prompt", "stdin"
OURS = (WORDS, PROMPT, STDIN)
# These make the template, and are no part of it.
MAKING = ("save", "template", "param", "edit", "yes")
NOTHING: Mapping[str, RawValue] = {}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = re.compile(rf"\{{\{{({NAME.pattern})\}}\}}|\{{({NAME.pattern})\}}")


class PreparedPrompt(NamedTuple):
    """Hold what is to be asked: the words and the flags typed now, and what the template says."""

    words: list[str]
    flags: Flags
    said: Mapping[str, RawValue] = NOTHING


def prepare_prompt(endpoint: str, words: Sequence[str], flags: Flags) -> PreparedPrompt:
    """Let the prompt be written in an editor, and put it into the template, where the flags ask for it.

    Raises UsageError for what is missing, and for variables that the template does not have.
    """
    typed, flags = collect_typed(words, flags)
    said: Mapping[str, RawValue] = NOTHING
    if "template" in flags:
        values, seen = read_params(flags)
        template = template_files.load_template(parse_value(ROWS["template"], flags["template"]))
        files = bool(flags.get("file"))
        rows, piped = "each" in flags, stdin.has_stdin()
        typed, said = apply_template(template, typed, values, is_piped=piped, has_files=files, has_rows=rows)
        _look(seen, endpoint, flags, said)
    elif "param" in flags:
        raise UsageError("--param fills a variable of a template", "name the template with -t")
    return PreparedPrompt(
        _as_words(typed), {name: flag for name, flag in flags.items() if name not in MAKING[:-1]}, said
    )


def apply_template(
    template: Template,
    typed: str,
    values: Mapping[str, str],
    *,
    is_piped: bool = False,
    has_files: bool = False,
    has_rows: bool = False,
) -> tuple[str, Mapping[str, RawValue]]:
    """Give the prompt that a template makes of words and values, and what it settles; raise UsageError.

    With rows the variables of the prompt for which nothing is said are left to their columns.
    """
    system = _system(template)
    wanted = list(dict.fromkeys((*list_variables(template.prompt), *list_variables(system))))
    _know(values, template, wanted)
    if misplaced := [name for name in list_variables(system) if name in OURS]:
        raise UsageError(f"{template.path}: {{{misplaced[0]}}} has its place in the prompt, not in system")
    ours = _ours(typed, is_piped=is_piped or has_rows, has_files=has_files) | {STDIN: PLACE}
    said = {**template.defaults, **values}
    values = {**said, **ours}
    needed = [*list_variables(system), *OURS] if has_rows else wanted
    if missing := [name for name in wanted if name in needed and name not in values]:
        named = ", ".join(f"{{{name}}}" for name in missing)
        raise UsageError(f"nothing was said for {named} of the template {template.name}", _how_to_say(missing))
    text = _begun(template.prompt, said, ours) if has_rows else fill_variables(template.prompt, values)
    if not {WORDS, PROMPT} & set(wanted):
        text = "\n\n".join(filter(None, (text, typed)))
    return text, {**template.settings, **_filled(system, values, template)}


def _begun(prompt: str, said: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Fill what is known before there is a row; what looks like a column in a value stays text."""
    return fill_known(prompt, {**{name: escape_braces(value) for name, value in said.items()}, **ours})


def collect_typed(words: Sequence[str], flags: Flags) -> tuple[str, Flags]:
    """Give the words as one text, with their `@file` as flags, and let them be edited where that is asked for."""
    text, names = extract_mentions(words)
    if names:
        old = flags["file"].texts if "file" in flags else ()
        flags = {**flags, "file": RawValue((*old, *(name for name in names if name not in old)), ROWS["file"].flag)}
    if "edit" in flags:
        from aiml_cli.core import prompt_editor  # for few calls only

        text = prompt_editor.edit_text("" if text == "-" else text, os.environ)
    return text, flags


def _as_words(text: str) -> list[str]:
    """Give a text as the words of a command; its own `@` names no file."""
    return [f"@{text}" if text.startswith("@") else text] if text else []


def read_params(flags: Flags) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Give the values of the variables, and the files that were read for them."""
    said = parse_value(ROWS["param"], flags["param"]) if "param" in flags else {}
    seen = [(value[1:], read_at_file(value)) for value in said.values() if _is_file(value)]
    texts = dict(seen)
    values = {name: texts[value[1:]] if _is_file(value) else _unescaped(value) for name, value in said.items()}
    for name, value in values.items():
        if PLACE in value:
            raise UsageError(f"--param {name}: its text holds {PLACE}, which stands for what is piped in", "pipe it in")
    return values, seen


def _is_file(value: str) -> bool:
    return value.startswith("@") and not value.startswith("@@")


def _unescaped(value: str) -> str:
    return value[1:] if value.startswith("@@") else value


def _look(seen: Sequence[tuple[str, str]], endpoint: str, flags: Flags, said: Mapping[str, RawValue]) -> None:
    """Hold back what seems secret in a file that fills a variable."""
    if not seen:
        return
    guard = SecretGuard(resolve(read_sources(flags, os.environ, said), endpoint))
    for name, text in seen:
        guard.check(name, text)
    guard.confirm()


def _system(template: Template) -> str:
    """Give the system text that may hold variables; one in a file is taken as it is."""
    said = template.settings.get("system")
    return said.texts[-1] if said and not said.texts[-1].startswith("@") else ""


def _filled(system: str, values: Mapping[str, str], template: Template) -> dict[str, RawValue]:
    if not list_variables(system) and "{{" not in system:
        return {}
    text = fill_variables(system, values)
    if text.startswith("@"):  # it would name a file
        raise UsageError(f"{template.path}: the system text would begin with @")
    return {"system": RawValue((text,), template.settings["system"].source_name)}


def _ours(typed: str, *, is_piped: bool, has_files: bool) -> dict[str, str]:
    """Give the words under both of their names; with files beside them there may be none."""
    if typed == "-":
        return {WORDS: PLACE, PROMPT: PLACE}
    if typed or (has_files and not is_piped):
        return {WORDS: typed, PROMPT: typed}
    return {PROMPT: PLACE} if is_piped else {}


def _know(values: Mapping[str, str], template: Template, wanted: Sequence[str]) -> None:
    """Raise UsageError for a value that has no place in the template."""
    for name in values:
        if name in OURS:
            raise UsageError(f"--param {name}: that is typed behind the command, or piped in")
        if name not in wanted:
            free = [each for each in wanted if each not in OURS]
            near = get_close_matches(name, free, 1)
            known = f"it has {', '.join(free)}" if free else "it has none"
            hint = f"did you mean {near[0]}?" if near else known
            raise UsageError(f"--param: the template {template.name} has no variable {name!r}", hint)


def _how_to_say(missing: Sequence[str]) -> str:
    """Say how each missing value is given."""
    named = " ".join(f"-P {name}=…" for name in missing if name not in OURS)
    typed = "type it behind the command" if {WORDS, PROMPT} & set(missing) else ""
    return "; ".join(filter(None, (named and f"give it with {named}", typed)))


def list_variables(text: str) -> list[str]:
    """List the variables of a text in their order, each once."""
    return list(dict.fromkeys(found[2] for found in _FORM.finditer(text) if found[2]))


def fill_variables(text: str, values: Mapping[str, str]) -> str:
    """Put the values in, all at once: what looks like a variable in a value stays text. A missing one stays too."""
    return _FORM.sub(lambda found: f"{{{found[1]}}}" if found[1] else values.get(found[2], found[0]), text)


def fill_known(text: str, values: Mapping[str, str]) -> str:
    """Put values in for good, and leave all other variables to a later `fill`."""
    return _FORM.sub(lambda found: found[0] if found[1] else values.get(found[2], found[0]), text)


def escape_braces(text: str) -> str:
    """Write a text so that `fill` gives it back as it is."""
    return re.sub(rf"\{{({NAME.pattern})\}}", r"{{\1}}", text)
