"""Convert rows of the option table to flags of a Typer command, and check the order of its flags and words."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from inspect import Parameter, Signature
from itertools import takewhile
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue, parse_value
from aiml_cli.settings.value_types import PATHS, ValueType

Words = list[str]
# A command returns a task for `main` to run: Typer would handle Ctrl-C and a closed pipe in its own way.
Task = Callable[[], int]
SERVER_OPTIONS = [ROWS[name] for name in ("profile", "base_url", "headers", "timeout", "ca_bundle", "record", "replay")]
JSON_HELP = "Print JSON instead of text."
_IS_BRIEF = "aiml.is_brief"  # in the context of Typer: -h was typed, not --help


class _WithHelpScreens:
    """The help screens of commands and groups of commands: -h and --help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, and remember whether -h or --help was typed."""
        ctx.meta[_IS_BRIEF] = "-h" in args and "--help" not in args
        parent: Any = super()
        parsed: list[str] = parent.parse_args(ctx, args)
        return parsed

    def get_help(self, ctx: Any) -> str:
        """Return the help screen."""
        from aiml_cli.cli.help_screens import format_help  # only help needs it

        return format_help(self, ctx, is_brief=ctx.meta.get(_IS_BRIEF, False))

    def get_help_option(self, ctx: Any) -> Any:
        """Return the help flag with our help text."""
        parent: Any = super()
        option = parent.get_help_option(ctx)
        if option:
            option.help = "Show help: -h for the most used flags, --help for all."
        return option


class Command(_WithHelpScreens, TyperCommand):
    """A command without subcommands."""


class PromptCommand(Command):
    """A command whose words form one text; its flags go before the first word or after the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raise UsageError for a flag between words."""
        return super().parse_args(ctx, _ArgumentReader(ctx.command_path, args, self.get_params(ctx)).read())


class Group(_WithHelpScreens, TyperGroup):
    """A command with subcommands."""


TYPER_SETTINGS: dict[str, Any] = {
    "cls": Group,
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "subcommand_metavar": "COMMAND",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def with_options(
    rows: Iterable[Option[Any]], words_help: str
) -> Callable[[Callable[[Words, Flags], Any]], Callable[..., Any]]:
    """Add an argument for words to a command, and a flag for each row.

    The command is called with the words and with only the flags that were typed. `words_help` is "" for a command
    without words.
    """
    rows = list(rows)
    return lambda function: FlagCallback(function, rows, words_help)


class FlagCallback:
    """The function of a command, for Typer: its flags are built only when Typer asks for its signature."""

    def __init__(self, function: Callable[[Words, Flags], Any], rows: Sequence[Option[Any]], words_help: str) -> None:
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._function, self._rows, self._words_help = function, rows, words_help

    def __call__(self, **values: Any) -> Any:
        """Call the function with the words and the flags that were typed."""
        return self._function(values.get("words") or [], dict(_collect_flags(self._rows, values)))

    @cached_property
    def __signature__(self) -> Signature:
        has_format = any(row.name == "format" for row in self._rows)
        helps = (JSON_HELP if row.name == "json" and not has_format else row.help for row in self._rows)
        flags = map(_build_flag, self._rows, helps)
        return Signature([*([_build_words(self._words_help)] if self._words_help else []), *flags])

    def select_typed(self, arguments: Sequence[str]) -> "FlagCallback":
        """Return the callback with only the flags that were typed, or with all if a word may be another flag.

        Building a hundred flags takes 5 ms.
        """
        words = takewhile(lambda word: word != "--", arguments)
        typed = {word.partition("=")[0] if word.startswith("--") else word for word in words if _is_flag(word)}
        names = [{name.strip() for name in "/".join(_list_spellings(row)).split("/")} for row in self._rows]
        if typed.difference(*names):
            return self
        rows = [row for row, row_names in zip(self._rows, names, strict=True) if not typed.isdisjoint(row_names)]
        return FlagCallback(self._function, rows, self._words_help)

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {name: parameter.annotation for name, parameter in self.__signature__.parameters.items()}


def _build_words(help_text: str) -> Parameter:
    default = typer.Argument(None, help=help_text, metavar="[WORDS...]", show_default=False)
    return Parameter("words", Parameter.KEYWORD_ONLY, default=default, annotation=list[str] | None)


def _build_flag(row: Option[Any], help_text: str) -> Parameter:
    has_default = row.default is not None and not row.value_type.is_switch
    default = typer.Option(
        None,
        *_list_spellings(row),
        help=f"{help_text} [default: {row.default}]" if has_default else help_text,
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
    """Return the spellings of a flag; a persistent switch has a `--no-` form that turns it off for one call."""
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


class _Spelling(NamedTuple):
    """What is known about one spelling of a flag."""

    has_value: bool
    row: Option[Any] | None


class _ArgumentReader:
    """Reads the arguments of a command whose words form one text.

    The arguments are changed for Typer: a flag whose value is optional gets its default value, and -f gets all the
    files that the shell expanded from `*.py`.
    """

    def __init__(self, path: str, arguments: Sequence[str], parameters: Iterable[Any]) -> None:
        self._path, self._arguments = path, list(arguments)
        self._end = self._arguments.index("--") if "--" in self._arguments else len(self._arguments)
        self._spellings = dict(_read_spellings(parameters))
        self._words: list[int] = []
        self._flags: list[int] = []
        self._errors: list[UsageError] = []

    def read(self) -> list[str]:
        """Return the arguments for Typer; raise UsageError for a flag between words, and for an invalid one."""
        result: list[str] = []
        position = 0
        while position < self._end:
            if _is_flag(self._arguments[position]):
                self._flags.append(position)
                pieces, position = self._read_flag(position)
                result += pieces
            else:
                self._words.append(position)
                result.append(self._arguments[position])
                position += 1
        self._words += range(self._end + 1, len(self._arguments))
        self._check_order()
        if self._errors:
            raise self._errors[0]
        return result + self._arguments[self._end :]

    def _check_order(self) -> None:
        """Raise UsageError for a flag between words."""
        between = [flag for flag in self._flags if self._words and self._words[0] < flag < self._words[-1]]
        if not between:
            return
        from aiml_cli.cli.argument_errors import check_output_value, quote_words  # few command lines are wrong

        for flag in between:
            if self._split(self._arguments[flag])[0] not in self._spellings:
                raise self._errors[0]  # an unknown flag: the first error has a better hint
            if self._arguments[flag] in ("-o", "--output"):
                check_output_value(self._arguments[flag + 1], [self._arguments[word] for word in self._words])
        hint = quote_words(self._path, self._arguments, self._words[0], self._words[-1] + 1)
        message = f"the flag {self._arguments[between[0]]} is between words"
        raise UsageError(message, f"{hint}; flags go before the first word or after the last")

    def _read_flag(self, position: int) -> tuple[list[str], int]:
        """Return the flag at a position with its values, and the position after them."""
        word = self._arguments[position]
        name, joined = self._split(word)
        spelling = self._spellings.get(name)
        if spelling is None:
            self._check_known(name)
        elif joined is not None:
            self._check_joined(word, name, joined, spelling)
        if spelling is None or joined is not None or not spelling.has_value:
            return [word], position + 1
        following = self._arguments[position + 1] if position + 1 < self._end else ""
        row = spelling.row
        if row and row.value_type.bare_value and not _is_value(row.value_type, following):
            switches = [f"-{letter}" for letter in word[1:-1]] if not word.startswith("--") else []
            return [*switches, f"{row.flag}={row.value_type.bare_value}"], position + 1
        self._check_value(name, spelling, position + 1)
        more = self._count_files(position + 2) if row and row.value_type is PATHS else 0
        files = self._arguments[position + 2 : position + 2 + more]
        return [*self._arguments[position : position + 2], *(f"--file={file}" for file in files)], position + 2 + more

    def _split(self, word: str) -> tuple[str, str | None]:
        """Return the last flag of a word such as `-yx`, and the value that is joined to it, if any."""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            return name, value if equals else None
        for index, letter in enumerate(word[1:], 1):
            spelling = self._spellings.get(f"-{letter}")
            if spelling is None or spelling.has_value:
                return f"-{letter}", word[index + 1 :] or None
        return f"-{word[-1]}", None

    def _check_known(self, name: str) -> None:
        from aiml_cli.cli.argument_errors import suggest_flag  # few command lines are wrong

        hint = suggest_flag(name, self._path, [flag for flag in self._spellings if flag.startswith("--")])
        self._add_error(f"{self._path} has no flag {name}", hint)

    def _check_joined(self, word: str, name: str, value: str, spelling: _Spelling) -> None:
        """Record an error for a flag that may be part of the text, such as -rf: here, -r with the value f."""
        known = spelling.row.value_type.choices if spelling.row else ()
        if word.startswith("--") or value in known:
            return
        if f"-{word.partition('=')[0]}" in self._spellings:
            self._add_error(f"{self._path} has no flag {word}", f"did you mean -{word}?")
        elif self._words and value.isalpha() and value.isascii():
            message = f"{word} is ambiguous: part of the text, or {name} with the value {value}"
            self._add_error(message, f"write {name} {value}")

    def _check_value(self, name: str, spelling: _Spelling, position: int) -> None:
        """Record an error for a value that is missing or looks like a flag."""
        value = self._arguments[position] if position < len(self._arguments) else ""
        long = spelling.row.flag if spelling.row else name
        if position >= len(self._arguments):
            self._add_error(f"{name} needs a value", f"see: {self._path} --help")
        elif _is_flag(value) and not _is_number(value):
            self._add_error(f"{name} needs a value, and {value} looks like a flag", f"write {long}={value}")

    def _add_error(self, message: str, hint: str) -> None:
        """Record the error of a flag; it is raised unless a flag is between words, which is the better error."""
        if self._words:
            from aiml_cli.cli.argument_errors import quote_words  # few command lines are wrong

            quoted = quote_words(self._path, self._arguments, self._words[0], len(self._arguments))
            hint = f"{quoted}; or {hint}"
        self._errors.append(UsageError(message, hint))

    def _count_files(self, position: int) -> int:
        """Return how many words from this position on are more files for -f, as when a shell expands `-f *.py`."""
        words = self._arguments[position : self._end]
        count = next((index for index, word in enumerate(words) if not _is_file(word)), len(words))
        marks = [index for index in range(count) if {".", "/"} & {*words[index]}]
        return count if count > 1 else (marks[-1] + 1 if marks else 0)


def _read_spellings(parameters: Iterable[Any]) -> Iterator[tuple[str, _Spelling]]:
    for parameter in parameters:
        if parameter.param_type_name == "option":
            row = ROWS.get((parameter.name or "").rstrip("_"))
            row = row if row and row.flag in parameter.opts else None
            for name in (*parameter.opts, *parameter.secondary_opts):
                yield name.strip(), _Spelling(not parameter.is_flag, row)


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _is_number(word: str) -> bool:
    return word[1:].replace(".", "", 1).isdecimal()


def _is_value(value_type: ValueType[Any], word: str) -> bool:
    """True if the word after a flag is its value: one of the choices, or, if there are none, anything but a flag."""
    if value_type.is_value:
        return value_type.is_value(word)
    return word in value_type.choices if value_type.choices else bool(word) and not word.startswith("-")


def _is_file(word: str) -> bool:
    """True for a file, and for a folder whose path has a slash: a single word may be the name of a folder by chance."""
    try:
        return os.path.isfile(word) or ("/" in word and os.path.isdir(word))  # noqa: PTH112, PTH113 - pathlib raises for a long string
    except ValueError:
        return False
