"""Register and find slash commands: each is a function, and its docstring is its help."""

import shlex
from collections.abc import Callable
from difflib import get_close_matches
from inspect import cleandoc
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.errors import UsageError

if TYPE_CHECKING:
    from aiml_cli.cli.repl.session import Session

SlashFunction = Callable[["Session", str], None]
UNKNOWN_COMMAND_HINT = "/help lists them; a message that begins with / is typed with //"


class SlashCommand(NamedTuple):
    """A slash command: its name, the usage of its arguments, the type of word that completes them, its function."""

    name: str
    usage: str
    completes: str
    function: SlashFunction

    @property
    def help(self) -> str:
        """The first line of the docstring."""
        return cleandoc(self.function.__doc__ or "").partition("\n")[0]

    @property
    def details(self) -> str:
        """The docstring without its first line."""
        return cleandoc(self.function.__doc__ or "").partition("\n")[2].strip()


_COMMANDS: dict[str, SlashCommand] = {}


def slash(usage: str = "", completes: str = "") -> Callable[[SlashFunction], SlashCommand]:
    """Make a function a slash command; `completes` is the type of its arguments: models, settings, files, ….

    The function gets the session and the text after the name.
    """

    def make_command(function: SlashFunction) -> SlashCommand:
        return SlashCommand(function.__name__.rstrip("_"), usage, completes, function)

    return make_command


def load_commands(*modules: ModuleType) -> None:
    """Register the commands of some modules."""
    values = [value for module in modules for value in vars(module).values()]
    _COMMANDS.update({value.name: value for value in values if isinstance(value, SlashCommand)})


def list_command_names() -> list[str]:
    """List the names of all commands."""
    return sorted(_COMMANDS)


def find_command(name: str) -> SlashCommand:
    """Return a command; raise UsageError with a similar name for an unknown one."""
    if name not in _COMMANDS:
        similar = get_close_matches(name, list_command_names(), 1)
        hint = f"did you mean /{similar[0]}?" if similar else UNKNOWN_COMMAND_HINT
        raise UsageError(f"there is no command /{name}", hint)
    return _COMMANDS[name]


def parse_count(text: str) -> int:
    """Parse a whole number of at least 1; raise UsageError for any other text."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise UsageError(f"{text!r} is not a whole number from 1")
    return int(text)


def split_words(text: str) -> list[str]:
    """Split words as a shell does, or at spaces if a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
