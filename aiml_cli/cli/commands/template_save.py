"""Save words and flags as a template."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiml_cli.core.template_fill import RESERVED_NAMES, TEMPLATE_FLAGS, collect_typed, list_variables, read_params
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import decode_text
from aiml_cli.prompt.file_sources import find_path
from aiml_cli.settings.options import KEY, ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue, parse_value
from aiml_cli.store import template_files
from aiml_cli.store.config_file import to_toml_value
from aiml_cli.system.questions import make_replace_prompt
from aiml_cli.system.stdio import print_err


def save_as_template(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Save a template of the words and flags, based on the one of -t, and send nothing."""
    name = parse_value(ROWS["save"], flags["save"])
    template_files.template_path(name)
    base = None
    if "template" in flags:
        base = template_files.load_template(parse_value(ROWS["template"], flags["template"]))
    typed, rest = collect_typed(words, flags)
    typed = _read_prompt() if typed in ("", "-") and stdin.has_stdin() and "no_stdin" not in flags else typed
    old = {key: to_toml_value(parse_value(ROWS[key], raw)) for key, raw in base.settings.items()} if base else {}
    table = {
        "prompt": typed or (base.prompt if base else ""),
        "defaults": {**(base.defaults if base else {}), **read_params(flags)[0]},
        "settings": {**old, **_convert_settings(endpoint, rest)},
    }
    if not any(table.values()):
        hint = "a template is made of words and flags: aiml chat --save NAME WORDS"
        raise UsageError("there is nothing to save", hint)
    path = template_files.save_template(name, table, make_replace_prompt("yes" in flags))
    if "quiet" not in flags:
        _report(path, name, table, [ROWS[flag].flag for flag in rest if _is_left_out(ROWS[flag])])
    return 0


def _read_prompt() -> str:
    """Read the prompt from standard input."""
    return decode_text(stdin.read_stdin(lambda text: print_err(f"aiml: {text}")), "standard input")[0].rstrip("\n")


def _convert_settings(endpoint: str, flags: Flags) -> dict[str, Any]:
    """Return the settings of the flags as TOML values, with absolute paths."""
    settings: dict[str, Any] = {}
    for name, raw in flags.items():
        if not _is_left_out(row := ROWS[name]):
            absolute = RawValue(tuple(_make_absolute(row, text) for text in raw.texts), raw.source_name)
            settings[name] = to_toml_value(parse_value(row, absolute, endpoint))
    return {**settings, "format": "json"} if "json" in flags else settings


def _is_left_out(row: Option[Any]) -> bool:
    """True if a flag is for one call only."""
    return row.per_call or row.secret or row.panel == KEY


def _make_absolute(row: Option[Any], text: str) -> str:
    """Return the value of a flag with an absolute path, if it names a file."""
    name = text.removeprefix("@")
    is_file = row.value_type.metavar == "PATH" or (row.value_type.metavar == "TEXT|@FILE" and text.startswith("@"))
    if row.name == "schema" and not text.startswith("{"):
        path = find_path(name)
        is_file = is_file or bool(path and path.is_file())
    return text.removesuffix(name) + str(Path(name).expanduser().absolute()) if is_file else text


def _report(path: Path, name: str, table: Mapping[str, Any], left_out: Sequence[str]) -> None:
    """Print where the template is, its variables, and the flags that are not in it."""
    print_err(f"aiml: saved as {path}; use it with -t {name}; nothing was sent")
    texts = (table["prompt"], str(table["settings"].get("system", "")))
    variables = dict.fromkeys(variable for text in texts for variable in list_variables(text))
    if own := [variable for variable in variables if variable not in RESERVED_NAMES]:
        print_err(f"aiml: its variables: {', '.join(own)}")
    if flags := [flag for flag in left_out if flag.lstrip("-") not in TEMPLATE_FLAGS and flag != "--json"]:
        print_err(f"aiml: not in it, for it is said with each call: {', '.join(flags)}")
