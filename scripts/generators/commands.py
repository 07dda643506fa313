"""The commands and their flags as the documents and the shells need them, read from the Typer app."""

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
# An 80 column terminal: click leaves two of them free.
WIDTH = 78
DEFAULT_MODEL = ROWS["model"].default
# Rows whose value is a path, though their kind is any text.
PATH_ROWS = {"output", "ca_bundle"}


class Files(Enum):
    """Say where a value names a file."""

    NOWHERE = 0
    ALL = 1
    AFTER_AT = 2


class Stored(Enum):
    """Say what of the user's own a value names, which a shell reads at the key press."""

    NOTHING = ""
    MODELS = "models"
    TEMPLATES = "templates"
    PROFILES = "profiles"


STORED_ROWS = {
    "model": Stored.MODELS,
    "template": Stored.TEMPLATES,
    "save": Stored.TEMPLATES,
    "profile": Stored.PROFILES,
}


@dataclass(frozen=True, slots=True)
class Offer:
    """Hold what a shell can offer for a value: words, files, or what the user has stored."""

    words: tuple[str, ...] = ()
    files: Files = Files.NOWHERE
    stored: Stored = Stored.NOTHING


# What the words behind a command are; the first of them, but for a prompt, any of whose words may be @path.
WORDS = {
    "aiml chat": Offer(files=Files.AFTER_AT),
    "aiml respond": Offer(files=Files.AFTER_AT),
    "aiml models": Offer(stored=Stored.MODELS),
    "aiml config templates": Offer(stored=Stored.TEMPLATES),
    "aiml config completions": Offer(SHELLS),
}


@dataclass(frozen=True, slots=True)
class Flag:
    """Describe a flag: its spellings, those that switch it off, and its value ("" for a switch).

    `alone`: it may stand without its value.
    """

    spellings: tuple[str, ...]
    opposites: tuple[str, ...]
    help: str
    metavar: str
    many: bool
    offer: Offer
    alone: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        """List every spelling, the opposites last."""
        return self.spellings + self.opposites

    def told(self) -> Iterator[tuple[str, str]]:
        """Give every spelling with a description."""
        yield from ((spelling, self.help) for spelling in self.spellings)
        yield from ((spelling, f"The opposite of {self.spellings[0]}.") for spelling in self.opposites)


@dataclass(frozen=True, slots=True)
class Command:
    """Describe a command; of its words the first `settings` are a setting's name and its value.

    `usage` is how its line is written, `words` what the help says of them.
    """

    path: tuple[str, ...]
    summary: str
    text: str
    flags: tuple[Flag, ...]
    commands: tuple["Command", ...]
    settings: int
    usage: str = ""
    words: tuple[tuple[str, str], ...] = ()

    @property
    def offer(self) -> Offer:
        """Say what a shell can offer for the words."""
        return WORDS.get(self.name, Offer())

    @property
    def name(self) -> str:
        """Give the command as it is typed: `aiml config set`."""
        return " ".join(self.path)


def tree() -> Command:
    """Read the whole app."""
    return _read(typer.main.get_command(app.build_command()), None)


def walk(top: Command) -> Iterator[Command]:
    """Give a command and all below it."""
    yield top
    for below in top.commands:
        yield from walk(below)


def alike(commands: Iterable[Command], action: Callable[[Offer], str]) -> dict[str, list[str]]:
    """Gather the flags that offer the same: by what a shell does for them, each behind the name of its command."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in commands:
        for flag in each.flags:
            found[action(flag.offer)] += [f"{each.name} {spelling}" for spelling in flag.all]
    return found


def _read(found: Any, parent: typer.Context | None) -> Command:
    context = typer.Context(
        found, info_name=found.name if parent else NAME, parent=parent, terminal_width=WIDTH, **found.context_settings
    )
    path = tuple(context.command_path.split())
    params = [param for param in found.get_params(context) if not getattr(param, "hidden", False)]
    arguments = [param for param in params if param.param_type_name == "argument"]
    names = [param.name for param in arguments]
    return Command(
        path=path,
        summary=(found.help or "").strip().partition("\n")[0],
        text=found.get_help(context),
        flags=tuple(_flag(param, context) for param in params if param.param_type_name == "option"),
        commands=tuple(_read(below, context) for below in getattr(found, "commands", {}).values() if not below.hidden),
        settings=len(names) if path[:2] == (NAME, "config") and names[:1] == ["name"] else 0,
        usage=" ".join(found.collect_usage_pieces(context)),
        words=tuple((param.make_metavar(context), param.help or "") for param in arguments),
    )


def _flag(param: Any, context: typer.Context) -> Flag:
    metavar = "" if param.is_flag else param.metavar or param.type.name.upper()
    # The names of --help come out of a set, in another order each time.
    is_help = set(param.opts) <= set(context.help_option_names)
    return Flag(
        spellings=tuple(reversed(context.help_option_names) if is_help else param.opts),
        opposites=tuple(param.secondary_opts),
        help=param.help or "",
        metavar=metavar,
        many=param.multiple,
        offer=_offer(param, metavar) if metavar else Offer(),
        alone=bool((row := _row(param, metavar)) and row.value_type.bare_value),
    )


def _row(param: Any, metavar: str) -> Option[Any] | None:
    """Find the row of a flag; a flag of one command alone may have a row's name, and other values."""
    return next((row for row in ROWS.values() if row.flag in param.opts and row.value_type.metavar == metavar), None)


def _offer(param: Any, metavar: str) -> Offer:
    """Take from the table what a value can be; a flag that is no row has only its own type."""
    if row := _row(param, metavar):
        return offer_of(row)
    words = tuple(word for word in metavar.split("|") if not word.isupper()) if "|" in metavar else ()
    return Offer(words, Files.ALL if metavar in {"PATH", "FILE"} else Files.NOWHERE)


def offer_of(row: Option[Any]) -> Offer:
    """Say what a shell can offer for a row."""
    return Offer(row.value_type.choices, _files(row, row.value_type), STORED_ROWS.get(row.name, Stored.NOTHING))


def _files(row: Option[Any], kind: ValueType[Any]) -> Files:
    if kind.metavar in {"PATH", "FILE"} or row.name in PATH_ROWS:
        return Files.ALL
    return Files.AFTER_AT if "@FILE" in f"{kind.metavar} {kind.name} {row.help}" else Files.NOWHERE


def demo_models() -> list[str]:
    """List the ids of the embedded server."""
    return [model.id for model in MODELS]


def settings() -> list[Option[Any]]:
    """List the rows that `aiml config set` takes."""
    return list(persistent_options())


def flag_of(row: Option[Any]) -> Flag:
    """Give the flag that a row becomes, on whichever command."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(with_options([row], "")(lambda _words, _flags: None))
    made = typer.main.get_command(app)
    return _flag(made.params[0], typer.Context(made))
