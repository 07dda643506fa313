"""Answer a wrong command line: with the likely right word, or with what an old habit is called here."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import Flags

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_FLAGS = ("--api-key", "--key", "--token", "-k")
ASKING = {"chat": "chat", "respond": "responses"}
FLAGS = {
    "--instructions": "--system",
    "--no-markdown": "--format text",
    "--raw": "--format raw",
    "--output-file": "--output",
    "--input": "--file",
    "--role": "--template",
    "--var": "--param",
    "--endpoint": "--base-url",
    "--url": "--base-url",
    "--param": "-O",
    "--prompt": "no flag at all: the prompt stands behind the command",
}
COMMANDS = {
    "help": "aiml --help",
    "version": "aiml --version",
    "ask": "aiml chat",
    "responses": "aiml respond",
    "logs": "aiml history list",
    "templates": "aiml config templates",
    "roles": "aiml config templates",
    "keys": "aiml config key",
    "login": "aiml config key",
    "repl": "aiml chat",
}


def usage_error(fault: Exception, arguments: list[str]) -> UsageError:
    """Give the failure in our words, with one line of advice; `fault` is Typer's, and knows the command."""
    context: Any = getattr(fault, "ctx", None)
    path = context.command_path if context else "aiml"
    message = getattr(fault, "message", "") or str(fault)
    flag = getattr(fault, "option_name", "")
    if flag and message.startswith("No such option"):
        return UsageError(f"there is no flag {flag} of {path}", _flag_advice(flag, path, _flags(context)))
    if message.startswith("No such command"):
        word = message.partition("'")[2].partition("'")[0]
        return UsageError(f"there is no command {path} {word}", _command_advice(word, path, context, arguments))
    return UsageError(message[:1].lower() + message[1:].rstrip("."), f"see: {path} --help")


def look_for_options(words: list[str], flags: Flags) -> None:
    """Raise UsageError where `-o NAME VALUE` sets an option elsewhere; here `-o` is the output file."""
    said = flags.get("output")
    row = ROWS.get(said.texts[-1].replace("-", "_")) if said else None
    if row and row.body_paths:
        value = next((word for word in words if _fits(row, word)), "VALUE")
        raise UsageError(f"-o is the output file, and {row.name} is an option", f"here it is -O {row.name}={value}")


def _fits(row: Option[Any], word: str) -> bool:
    try:
        row.value_type.parse(word)
    except ValueError:
        return False
    return True


def _flags(context: Any) -> list[str]:
    """List the long flags of the command that was typed."""
    parameters: Iterable[Any] = context.command.get_params(context) if context else ()
    return [name for each in parameters for name in each.opts if name.startswith("--")]


def _flag_advice(flag: str, path: str, flags: list[str]) -> str:
    if flag in KEY_FLAGS:
        return "no flag takes the key: store it with aiml config key, or set AIMLAPI_API_KEY"
    if flag in FLAGS:
        return f"here it is {FLAGS[flag]}"
    owner = next((name for name, endpoint in ASKING.items() if _has(endpoint, flag)), "")
    if owner and path.removeprefix("aiml ") in ASKING:
        return f"{flag} belongs to aiml {owner}; any property of the request can be sent with -O KEY=VALUE"
    near = get_close_matches(flag, flags, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"{flag} belongs to aiml {owner}" if owner else f"see: {path} --help"


def _has(endpoint: str, flag: str) -> bool:
    return any(flag in (row.flag, *row.also) for row in flags_of(endpoint))


def _command_advice(word: str, path: str, context: Any, arguments: list[str]) -> str:
    if path == "aiml" and word in COMMANDS:
        return f"here it is {COMMANDS[word]}"
    near = get_close_matches(word, context.command.list_commands(context), 1)
    if near:
        return f"did you mean {path} {near[0]}?"
    return f"to ask a question: aiml chat {' '.join(arguments)[:60]}" if path == "aiml" else f"see: {path} --help"
