"""Answer a wrong command line: with the likely right word, or with what an old habit is called here."""

from difflib import get_close_matches
from typing import Any

from aiml_cli.errors import Misuse
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import ROWS, Option

KEY_FLAGS = ("--api-key", "--key", "--token", "-k")
COMMANDS = ("chat", "respond", "models", "config", "demo")
HABITS = {
    "--instructions": "--system",
    "--no-markdown": "--format text",
    "--raw": "--format raw",
    "--output-file": "--output",
    "--input": "--file",
    "--endpoint": "--base-url",
    "--url": "--base-url",
    "--max-output": "--max-tokens",
    "--param": "-O",
    "--prompt": "no flag at all: the prompt stands behind the command",
}


def misuse(fault: Exception, arguments: list[str]) -> Misuse:
    """Give the failure in our words, with one line of advice."""
    message = getattr(fault, "message", "") or str(fault)
    flag = getattr(fault, "option_name", "")
    if flag and message.startswith("No such option"):
        return Misuse(f"there is no flag {flag}{_on(arguments)}", _advice(flag, arguments))
    if message.startswith("No such command"):
        return Misuse(f"there is no command {_word(arguments)!r}", _command_advice(arguments))
    return Misuse(message[:1].lower() + message[1:].rstrip("."), "see: aiml --help")


def look_for_options(words: list[str], flags: Flags) -> None:
    """Raise Misuse where `-o NAME VALUE` sets an option elsewhere; here `-o` is the output file."""
    said = flags.get("output")
    row = ROWS.get(said.texts[-1].replace("-", "_")) if said else None
    if row and row.wire:
        value = next((word for word in words if _fits(row, word)), "VALUE")
        raise Misuse(f"-o is the output file, and {row.name} is an option", f"here it is -O {row.name}={value}")


def _fits(row: Option[Any], word: str) -> bool:
    try:
        row.kind.parse(word)
    except ValueError:
        return False
    return True


def _on(arguments: list[str]) -> str:
    return f" of aiml {arguments[0]}" if arguments and arguments[0] in COMMANDS else ""


def _word(arguments: list[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


def _advice(flag: str, arguments: list[str]) -> str:
    if flag in KEY_FLAGS:
        return "no flag takes the key: store it with aiml config key, or set AIMLAPI_API_KEY"
    if flag in HABITS:
        return f"here it is {HABITS[flag]}"
    flags = {spelling: row for row in ROWS.values() for spelling in (row.flag, *row.also) if not row.secret}
    if flag in flags:
        return _elsewhere(flag, arguments)
    near = get_close_matches(flag, flags, 1)
    return f"did you mean {near[0]}?" if near else f"see: aiml {_word(arguments)} --help"


def _elsewhere(flag: str, arguments: list[str]) -> str:
    command = {"chat": "respond", "respond": "chat"}.get(_word(arguments), "chat")
    return f"{flag} belongs to aiml {command}; any property of the request can be sent with -O KEY=VALUE"


def _command_advice(arguments: list[str]) -> str:
    word = _word(arguments)
    near = get_close_matches(word, COMMANDS, 1)
    return f"did you mean aiml {near[0]}?" if near else f"to ask a question: aiml chat {' '.join(arguments)[:60]}"
