"""Read the commands and their flags from the Typer app, for the documents and the completions."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer

from aiml_cli.cli import app
from aiml_cli.cli.commands.shell_completions import SHELLS
from aiml_cli.cli.flags import with_options
from aiml_cli.demo.models import MODELS
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import persistent_options
from aiml_cli.settings.value_types import ValueType

NAME = "aiml"
SOURCE = "scripts/generate.py; do not edit, run: make generate"
# Typer leaves two columns of an 80-column terminal unused.
WIDTH = 78
DEFAULT_MODEL = ROWS["model"].default
# Rows whose value is a path, although their value type is TEXT.
PATH_ROWS = {"output", "ca_bundle"}


class Files(Enum):
    """Whether the value of a flag is a path."""

    NOWHERE = 0
    ALL = 1
    AFTER_AT = 2


class StoredNames(Enum):
    """The kinds of stored names that a value can be; a shell reads the names at each key press."""

    NOTHING = ""
    MODELS = "models"
    TEMPLATES = "templates"
    PROFILES = "profiles"
    TOOLS = "tools"


STORED_ROWS = {
    "model": StoredNames.MODELS,
    "template": StoredNames.TEMPLATES,
    "save": StoredNames.TEMPLATES,
    "profile": StoredNames.PROFILES,
    "run_tool": StoredNames.TOOLS,
}


@dataclass(frozen=True, slots=True)
class Offer:
    """The completions of a value: words, files, or stored names."""

    words: tuple[str, ...] = ()
    files: Files = Files.NOWHERE
    stored: StoredNames = StoredNames.NOTHING


# Completions of the first argument of a command; in a prompt, any word may be @path.
WORDS = {
    "aiml chat": Offer(files=Files.AFTER_AT),
    "aiml respond": Offer(files=Files.AFTER_AT),
    "aiml models": Offer(stored=StoredNames.MODELS),
    "aiml config templates": Offer(stored=StoredNames.TEMPLATES),
    "aiml templates": Offer(stored=StoredNames.TEMPLATES),
    "aiml config profiles": Offer(stored=StoredNames.PROFILES),
    "aiml profiles": Offer(stored=StoredNames.PROFILES),
    "aiml config completions": Offer(SHELLS),
    "aiml tools show": Offer(stored=StoredNames.TOOLS),
    "aiml tools check": Offer(stored=StoredNames.TOOLS),
    "aiml tools call": Offer(stored=StoredNames.TOOLS),
    "aiml tools remove": Offer(stored=StoredNames.TOOLS),
    "aiml tools import": Offer(files=Files.ALL),
}


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: its spellings, those that turn it off, and its value ("" for a switch)."""

    spellings: tuple[str, ...]
    opposites: tuple[str, ...]
    help: str
    metavar: str
    is_repeatable: bool
    offer: Offer
    has_optional_value: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        """All spellings, those that turn the flag off last."""
        return self.spellings + self.opposites

    def describe_spellings(self) -> Iterator[tuple[str, str]]:
        """Yield every spelling with its help."""
        yield from ((spelling, self.help) for spelling in self.spellings)
        yield from ((spelling, f"The opposite of {self.spellings[0]}.") for spelling in self.opposites)


@dataclass(frozen=True, slots=True)
class Command:
    """A command; `setting_words` counts the arguments that are the name and the value of a setting.

    `usage` is the syntax of its arguments, `words` the metavar and the help of each.
    """

    path: tuple[str, ...]
    summary: str
    help_text: str
    flags: tuple[Flag, ...]
    commands: tuple["Command", ...]
    setting_words: int
    usage: str = ""
    words: tuple[tuple[str, str], ...] = ()

    @property
    def offer(self) -> Offer:
        """The completions of the arguments."""
        return WORDS.get(self.name, Offer())

    @property
    def name(self) -> str:
        """The command as it is typed, such as `aiml config set`."""
        return " ".join(self.path)


def read_commands() -> Command:
    """Return the root command of the app."""
    return _read_command(typer.main.get_command(app.build_command()), None)


def walk(top: Command) -> Iterator[Command]:
    """Yield a command and all its subcommands."""
    yield top
    for below in top.commands:
        yield from walk(below)


def group_flags(commands: Iterable[Command], describe: Callable[[Offer], str]) -> dict[str, list[str]]:
    """Group the flags with the same completions: `command --flag` by what a shell does for it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for command in commands:
        for flag in command.flags:
            groups[describe(flag.offer)] += [f"{command.name} {spelling}" for spelling in flag.all]
    return groups


def _read_command(command: Any, parent: typer.Context | None) -> Command:
    context = typer.Context(
        command,
        info_name=command.name if parent else NAME,
        parent=parent,
        terminal_width=WIDTH,
        **command.context_settings,
    )
    path = tuple(context.command_path.split())
    params = [param for param in command.get_params(context) if not getattr(param, "hidden", False)]
    arguments = [param for param in params if param.param_type_name == "argument"]
    names = [param.name for param in arguments]
    return Command(
        path=path,
        summary=(command.help or "").strip().partition("\n")[0],
        help_text=command.get_help(context),
        flags=tuple(_read_flag(param, context) for param in params if param.param_type_name == "option"),
        commands=tuple(
            _read_command(below, context) for below in getattr(command, "commands", {}).values() if not below.hidden
        ),
        setting_words=len(names) if path[:2] == (NAME, "config") and names[:1] == ["name"] else 0,
        usage=" ".join(command.collect_usage_pieces(context)),
        words=tuple((param.make_metavar(context), param.help or "") for param in arguments),
    )


def _read_flag(param: Any, context: typer.Context) -> Flag:
    metavar = "" if param.is_flag else param.metavar or param.type.name.upper()
    # Click keeps the names of --help in a set, whose order varies.
    is_help = set(param.opts) <= set(context.help_option_names)
    return Flag(
        spellings=tuple(reversed(context.help_option_names) if is_help else param.opts),
        opposites=tuple(param.secondary_opts),
        help=param.help or "",
        metavar=metavar,
        is_repeatable=param.multiple,
        offer=_read_offer(param, metavar) if metavar else Offer(),
        has_optional_value=bool((row := _find_row(param, metavar)) and row.value_type.bare_value),
    )


def _find_row(param: Any, metavar: str) -> Option[Any] | None:
    """Return the row of a flag; the flag of a command may have the same name as a row but other values."""
    return next((row for row in ROWS.values() if row.flag in param.opts and row.value_type.metavar == metavar), None)


def _read_offer(param: Any, metavar: str) -> Offer:
    """Return the completions of the row, or of the type if the flag is not in the option table."""
    if row := _find_row(param, metavar):
        return make_offer(row)
    words = tuple(word for word in metavar.split("|") if not word.isupper()) if "|" in metavar else ()
    return Offer(words, Files.ALL if metavar in {"PATH", "FILE"} else Files.NOWHERE)


def make_offer(row: Option[Any]) -> Offer:
    """Return the completions of a row's value."""
    return Offer(
        row.value_type.choices, _find_files(row, row.value_type), STORED_ROWS.get(row.name, StoredNames.NOTHING)
    )


def _find_files(row: Option[Any], value_type: ValueType[Any]) -> Files:
    if value_type.metavar in {"PATH", "FILE"} or row.name in PATH_ROWS:
        return Files.ALL
    return Files.AFTER_AT if "@FILE" in f"{value_type.metavar} {value_type.name} {row.help}" else Files.NOWHERE


def list_demo_models() -> list[str]:
    """Return the model ids of the demo server."""
    return [model.id for model in MODELS]


def list_settings() -> list[Option[Any]]:
    """Return the rows that `aiml config set` accepts."""
    return list(persistent_options())


def make_flag(row: Option[Any]) -> Flag:
    """Return the flag of a row."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(with_options([row], "")(lambda _words, _flags: None))
    command = typer.main.get_command(app)
    return _read_flag(command.params[0], typer.Context(command))
