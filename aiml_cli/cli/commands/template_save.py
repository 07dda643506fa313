"""Make a template of words and flags."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiml_cli.core.template_fill import MAKING, OURS, collect_typed, list_variables, read_params
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import decode_text
from aiml_cli.prompt.file_sources import existing_path
from aiml_cli.settings.options import KEY, ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue, parse_value
from aiml_cli.store import config_file, template_files
from aiml_cli.store.template_files import Template
from aiml_cli.system.questions import may_replace
from aiml_cli.system.stdio import print_err


def save_as_template(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Write a template of the words and the flags, on top of the one that -t names, and send nothing."""
    name = parse_value(ROWS["save"], flags["save"])
    template_files.template_path(name)
    base = (
        template_files.load_template(parse_value(ROWS["template"], flags["template"])) if "template" in flags else None
    )
    typed, rest = collect_typed(words, flags)
    typed = _piped() if typed in ("", "-") and stdin.has_stdin() and "no_stdin" not in flags else typed
    table = {
        "prompt": typed or (base.prompt if base else ""),
        "defaults": {**(base.defaults if base else {}), **read_params(flags)[0]},
        "settings": {**_old(base), **_settings(endpoint, rest)},
    }
    if not any(table.values()):
        raise UsageError(
            "there is nothing to save", "a template is made of words and flags: aiml chat --save NAME WORDS"
        )
    path = template_files.save_template(name, table, may_replace("yes" in flags))
    if "quiet" not in flags:
        _tell(path, name, table, [ROWS[each].flag for each in rest if _is_left_out(ROWS[each])])
    return 0


def _piped() -> str:
    """Read the prompt that is saved from standard input."""
    return decode_text(stdin.read_stdin(lambda words: print_err(f"aiml: {words}")), "standard input")[0].rstrip("\n")


def _old(base: Template | None) -> dict[str, Any]:
    return (
        {name: config_file.to_toml_value(parse_value(ROWS[name], said)) for name, said in base.settings.items()}
        if base
        else {}
    )


def _settings(endpoint: str, flags: Flags) -> dict[str, Any]:
    """Give what the flags settle as a file has it; a file that they name is named by its whole path."""
    kept = {name: said for name, said in flags.items() if not _is_left_out(ROWS[name])}
    settings = {
        name: config_file.to_toml_value(parse_value(ROWS[name], _whole(ROWS[name], said), endpoint))
        for name, said in kept.items()
    }
    return {**settings, "format": "json"} if "json" in flags else settings


def _is_left_out(row: Option[Any]) -> bool:
    """Say whether a flag is for this call only."""
    return row.per_call or row.secret or row.panel == KEY


def _whole(row: Option[Any], said: RawValue) -> RawValue:
    return RawValue(tuple(_anywhere(row, text) for text in said.texts), said.source_name)


def _anywhere(row: Option[Any], text: str) -> str:
    """Name a file so that it is the same one in every directory."""
    is_path = row.value_type.metavar == "PATH" or (row.value_type.metavar == "TEXT|@FILE" and text.startswith("@"))
    is_schema = row.name == "schema" and not text.startswith("{") and (found := existing_path(text.removeprefix("@")))
    if not (is_path or (is_schema and found and found.is_file())):
        return text
    at = "@" if text.startswith("@") else ""
    return at + str(Path(text.removeprefix("@")).expanduser().absolute())


def _tell(path: Path, name: str, table: Mapping[str, Any], left: Sequence[str]) -> None:
    """Say where the template is, what it wants, and what is not in it."""
    for line in _told(path, name, table, left):
        print_err(f"aiml: {line}")


def _told(path: Path, name: str, table: Mapping[str, Any], left: Sequence[str]) -> Iterator[str]:
    yield f"saved as {path}; use it with -t {name}; nothing was sent"
    found = dict.fromkeys((*list_variables(table["prompt"]), *list_variables(str(table["settings"].get("system", "")))))
    if own := [each for each in found if each not in OURS]:
        yield f"its variables: {', '.join(own)}"
    if said := [flag for flag in left if flag.lstrip("-") not in MAKING and flag != "--json"]:
        yield f"not in it, for it is said with each call: {', '.join(said)}"
