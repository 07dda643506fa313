"""Find slash commands: each is a function in a file of its own name, and its docstring is its help."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.errors import Misuse

if TYPE_CHECKING:
    from aiml_cli.repl.session import Session

Function = Callable[["Session", str], None]
OTHERWISE = "/help lists them; a message that begins with / is typed with //"
FOLDER = Path(__file__).parent / "commands"


class Command(NamedTuple):
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


def slash(usage: str = "", completes: str = "") -> Callable[[Function], Command]:
    """Make a function a slash command; `completes` names what its words are: models, settings, files, ….

    The function gets the session, and what was typed behind the name.
    """

    def make(function: Function) -> Command:
        return Command(function.__name__.rstrip("_"), usage, completes, function)

    return make


@cache
def names() -> list[str]:
    """List the names of all commands."""
    return sorted(path.stem.rstrip("_") for path in FOLDER.glob("[a-z]*.py"))


@cache
def find(name: str) -> Command:
    """Load a command; raise Misuse with the likely one for a name that is none."""
    if name not in names():
        near = get_close_matches(name, names(), 1)
        raise Misuse(f"there is no command /{name}", f"did you mean /{near[0]}?" if near else OTHERWISE)
    file = name if (FOLDER / f"{name}.py").exists() else f"{name}_"
    module = import_module(f"aiml_cli.repl.commands.{file}")
    found: Command = getattr(module, file)
    return found
