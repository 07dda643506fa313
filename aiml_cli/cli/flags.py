"""Turn rows of the option table into the flags of a Typer command."""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from typing import Any

import typer

from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue, parse_value

Words = list[str]
# What a command returns, for `main` to run: Typer would handle Ctrl-C and a closed pipe in its own way.
Task = Callable[[], int]
SERVER_OPTIONS = [ROWS[name] for name in ("profile", "base_url", "headers", "timeout", "ca_bundle", "record", "replay")]
TYPER_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def with_options(
    rows: Iterable[Option[Any]], words_help: str
) -> Callable[[Callable[[Words, Flags], Any]], Callable[..., Any]]:
    """Add words and a flag for each row to a command.

    The command is called with the words and with only those flags that were typed. `words_help` is "" for a command
    without words.
    """
    rows = list(rows)

    def decorate(function: Callable[[Words, Flags], Any]) -> Callable[..., Any]:
        def command(**values: Any) -> Any:
            return function(values.get("words") or [], dict(_collect_flags(rows, values)))

        parameters = [*([_build_words(words_help)] if words_help else []), *(_build_flag(row) for row in rows)]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        vars(command)["__signature__"] = Signature(parameters)
        return command

    return decorate


def _build_words(help_text: str) -> Parameter:
    default = typer.Argument(None, help=help_text, metavar="[WORDS]...", show_default=False)
    return Parameter("words", Parameter.KEYWORD_ONLY, default=default, annotation=list[str] | None)


def _build_flag(row: Option[Any]) -> Parameter:
    has_default = row.default is not None and not row.value_type.is_switch
    default = typer.Option(
        None,
        *_list_spellings(row),
        help=f"{row.help} [default: {row.default}]" if has_default else row.help,
        rich_help_panel=row.panel,
        show_default=False,
        metavar=None if row.value_type.is_switch else row.value_type.metavar,
    )
    return Parameter(row.attribute, Parameter.KEYWORD_ONLY, default=default, annotation=_choose_type(row))


def _choose_type(row: Option[Any]) -> Any:
    """Return the type that Typer sees: a switch, or text that the option table parses."""
    if row.value_type.is_switch:
        return bool | None
    return list[str] | None if row.value_type.is_list or row.value_type.repeats else str | None


def _list_spellings(row: Option[Any]) -> list[str]:
    """Return the names of a flag; a persistent switch has a `--no-` form that switches it off for one call."""
    short = [row.short] if row.short else []
    if not row.value_type.is_switch or row.per_call or row.name.startswith("no_"):
        return [row.flag, *short, *row.aliases]
    if row.name == "stream":
        return [f"{row.flag}/--no-stream", " /-S"]
    return [f"{row.flag}/--no-{row.flag[2:]}", *short]


def _collect_flags(rows: Iterable[Option[Any]], values: Mapping[str, Any]) -> Iterable[tuple[str, RawValue]]:
    for row in rows:
        match values[row.attribute]:
            case None | []:
                continue
            case bool() as is_on:
                yield row.name, RawValue(("on" if is_on else "off",), row.flag)
            case list() as texts:
                yield row.name, RawValue(tuple(texts), row.flag)
            case text:
                yield row.name, RawValue((text,), row.flag)


def flag_value(row: Option[Any], flags: Flags) -> Any:
    """Return the value of a flag that only one command has."""
    return parse_value(row, flags[row.name]) if row.name in flags else row.default
