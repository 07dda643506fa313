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
UNKNOWN_COMMAND_HINT = "/help lists them; to send a message that begins with /, type //"
# Other names of commands: ALIASES run the command, _SUGGESTIONS are only suggested.
ALIASES = {"quit": "exit", "q": "exit", "bye": "exit", "h": "help", "?": "help"}
_SUGGESTIONS = {
    "compact": "compress summarize summary shrink",
    "continue": "more go resume",
    "copy": "yank clip clipboard",
    "cost": "usage tokens price stats",
    "edit": "editor",
    "export": "download dump",
    "file": "attach add read upload image files",
    "fork": "branch duplicate clone",
    "history": "list ls conversations sessions chats",
    "model": "switch use",
    "new": "clear reset cls start",
    "pipe": "pager less shell",
    "resume": "load open restore",
    "retry": "regenerate redo again rerun",
    "save": "name rename title",
    "search": "find grep",
    "set": "settings config options",
    "system": "sys role persona instructions",
    "template": "prompt prompts templates",
    "tools": "tool functions mcp plugins",
    "undo": "back pop delete rm",
    "write": "output",
}


class SlashCommand(NamedTuple):
    """A slash command: its name, its arguments, the type of their completions, and its function.

    `group` is the heading under which /help lists it.
    """

    name: str
    usage: str
    completes: str
    function: SlashFunction
    group: str = ""

    @property
    def synopsis(self) -> str:
        """Return the name and the arguments."""
        return f"/{self.name} {self.usage}".rstrip()

    @property
    def help(self) -> str:
        """Return the first line of the docstring."""
        return cleandoc(self.function.__doc__ or "").partition("\n")[0]

    @property
    def details(self) -> str:
        """Return the docstring without its first line."""
        return cleandoc(self.function.__doc__ or "").partition("\n")[2].strip()


_COMMANDS: dict[str, SlashCommand] = {}


def slash(usage: str = "", completes: str = "") -> Callable[[SlashFunction], SlashCommand]:
    """Turn a function into a slash command; `completes` is the type of its arguments: models, settings, files, ….

    The function gets the session and the text after the command's name.
    """

    def make_command(function: SlashFunction) -> SlashCommand:
        return SlashCommand(function.__name__.rstrip("_"), usage, completes, function)

    return make_command


def load_commands(*modules: ModuleType) -> None:
    """Register the commands of some modules; the constant GROUP of a module is the heading of its commands."""
    for module in modules:
        commands = [value for value in vars(module).values() if isinstance(value, SlashCommand)]
        _COMMANDS.update({command.name: command._replace(group=module.GROUP) for command in commands})


def list_commands() -> list[SlashCommand]:
    """Return all commands, by heading."""
    return list(_COMMANDS.values())


def list_command_names() -> list[str]:
    """Return the names of all commands, sorted."""
    return sorted(_COMMANDS)


def find_command(name: str) -> SlashCommand:
    """Return a command; raise UsageError with a suggestion for an unknown name."""
    name = ALIASES.get(name.lower(), name.lower())
    if name not in _COMMANDS:
        likely = _suggest_name(name)
        raise UsageError(f"there is no command /{name}", f"did you mean /{likely}?" if likely else UNKNOWN_COMMAND_HINT)
    return _COMMANDS[name]


def _suggest_name(name: str) -> str:
    """Return the most likely command: by the beginning of its name, its meaning, or a similar spelling."""
    names = list_command_names()
    meanings = {word: known for known, words in _SUGGESTIONS.items() for word in words.split() if known in names}
    targets = {**meanings, **ALIASES, **{known: known for known in names}}
    same_start = [known for known in names if name and known.startswith(name)]
    same_meaning = [meanings[name]] if name in meanings else []
    similar = [targets[word] for word in get_close_matches(name, targets, 1)]
    longer = [known for known in names if name.startswith(known)]
    likely = [*same_start, *same_meaning, *similar, *longer]
    return likely[0] if likely else ""


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


def unquote(text: str) -> str:
    """Remove the quotes around a text, as a shell does; quotes inside a text are kept."""
    words = split_words(text) if text[:1] in ("'", '"') else []
    return words[0] if len(words) == 1 else text
