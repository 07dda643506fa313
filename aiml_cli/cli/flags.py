"""Turn rows of the table into the flags of a Typer command."""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from typing import Any

import typer

from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue, parse_value

Words = list[str]
# A command gives back what is to be done, and `main` does it: Typer would turn Ctrl-C and a reader that
# went away into endings of its own.
Task = Callable[[], int]
SERVER = [ROWS[name] for name in ("profile", "base_url", "timeout", "ca_bundle", "record", "replay")]
PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def with_options(
    rows: Iterable[Option[Any]], words: str
) -> Callable[[Callable[[Words, Flags], Any]], Callable[..., Any]]:
    """Give a command its words and a flag for each row.

    The function is called with the words and with only those flags that were typed. `words` is their help;
    "" for a command that takes none.
    """
    rows = list(rows)

    def decorate(function: Callable[[Words, Flags], Any]) -> Callable[..., Any]:
        def typed(**values: Any) -> Any:
            return function(values.get("words") or [], dict(_said(rows, values)))

        parameters = [*([_words(words)] if words else []), *(_flag(row) for row in rows)]
        typed.__name__, typed.__doc__ = function.__name__, function.__doc__
        typed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        vars(typed)["__signature__"] = Signature(parameters)
        return typed

    return decorate


def _words(help_text: str) -> Parameter:
    default = typer.Argument(None, help=help_text, metavar="[WORDS]...", show_default=False)
    return Parameter("words", Parameter.KEYWORD_ONLY, default=default, annotation=list[str] | None)


def _flag(row: Option[Any]) -> Parameter:
    default = typer.Option(
        None,
        *_spellings(row),
        help=_help(row),
        rich_help_panel=row.panel,
        show_default=False,
        metavar=None if row.value_type.is_switch else row.value_type.metavar,
    )
    return Parameter(row.attribute, Parameter.KEYWORD_ONLY, default=default, annotation=_annotation(row))


def _annotation(row: Option[Any]) -> Any:
    """Leave the reading of values to the table: a flag has text, or is there or not."""
    if row.value_type.is_switch:
        return bool | None
    return list[str] | None if row.value_type.is_list or row.value_type.repeats else str | None


def _spellings(row: Option[Any]) -> list[str]:
    """List how a flag is written; a lasting switch has a `--no-` form, so that it can be switched off for once."""
    short = [row.short] if row.short else []
    if not row.value_type.is_switch or row.per_call or row.name.startswith("no_"):
        return [row.flag, *short, *row.also]
    if row.name == "stream":
        return [f"{row.flag}/--no-stream", " /-S"]
    return [f"{row.flag}/--no-{row.flag[2:]}", *short]


def _help(row: Option[Any]) -> str:
    return row.help if row.default is None or row.value_type.is_switch else f"{row.help} [default: {row.default}]"


def _said(rows: Iterable[Option[Any]], values: Mapping[str, Any]) -> Iterable[tuple[str, RawValue]]:
    for row in rows:
        match values[row.attribute]:
            case None | []:
                continue
            case bool() as switched:
                yield row.name, RawValue(("on" if switched else "off",), row.flag)
            case list() as texts:
                yield row.name, RawValue(tuple(texts), row.flag)
            case text:
                yield row.name, RawValue((text,), row.flag)


def flag_value(row: Option[Any], flags: Flags) -> Any:
    """Read a flag that only one command has."""
    return parse_value(row, flags[row.name]) if row.name in flags else row.default
