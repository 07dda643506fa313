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

Function = Callable[["Session", str], None]
OTHERWISE = "/help lists them; a message that begins with / is typed with //"


class SlashCommand(NamedTuple):
    """Hold a slash command: what stands behind its name, what completes that, and what it does."""

    name: str
    usage: str
    completes: str
    function: Function

    @property
    def help(self) -> str:
        """Give the first line of the docstring."""
        return cleandoc(self.function.__doc__ or "").partition("\n")[0]

    @property
    def more(self) -> str:
        """Give what else the docstring says."""
        return cleandoc(self.function.__doc__ or "").partition("\n")[2].strip()


_COMMANDS: dict[str, SlashCommand] = {}


def slash(usage: str = "", completes: str = "") -> Callable[[Function], SlashCommand]:
    """Make a function a slash command; `completes` names what its words are: models, settings, files, ….

    The function gets the session, and what was typed behind the name.
    """

    def make(function: Function) -> SlashCommand:
        return SlashCommand(function.__name__.rstrip("_"), usage, completes, function)

    return make


def load_commands(*modules: ModuleType) -> None:
    """Make the commands of some modules known."""
    found = [each for module in modules for each in vars(module).values() if isinstance(each, SlashCommand)]
    _COMMANDS.update({command.name: command for command in found})


def command_names() -> list[str]:
    """List the names of all commands."""
    return sorted(_COMMANDS)


def find_command(name: str) -> SlashCommand:
    """Return a command; raise UsageError with the likely one for a name that is none."""
    if name not in _COMMANDS:
        near = get_close_matches(name, command_names(), 1)
        raise UsageError(f"there is no command /{name}", f"did you mean /{near[0]}?" if near else OTHERWISE)
    return _COMMANDS[name]


def parse_count(text: str) -> int:
    """Read a number from 1 on; raise UsageError."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise UsageError(f"{text!r} is not a whole number from 1")
    return int(text)


def split_words(text: str) -> list[str]:
    """Part words as a shell does, where their quotes match."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
