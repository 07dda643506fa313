"""Read the words behind a slash command."""

import shlex

from aiml_cli.errors import Misuse
from aiml_cli.screen.output import tell


def number(text: str) -> int:
    """Read a number from 1 on; raise Misuse."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise Misuse(f"{text!r} is not a whole number from 1")
    return int(text)


def parted(text: str) -> list[str]:
    """Part words as a shell does, where their quotes match."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def agrees(question: str) -> bool:
    """Ask on the terminal; what cannot be answered is no."""
    from aiml_cli.repl.place import opened  # for few lines only

    try:
        with opened() as terminal:
            tell(f"{question} [y/N] ")
            answer = terminal.readline()
    except (Misuse, OSError):
        return False
    return answer.strip().lower() in ("y", "yes")
