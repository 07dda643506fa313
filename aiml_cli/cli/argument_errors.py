"""Explain a wrong command line: suggest the likely word, or what the same thing is called here."""

from difflib import get_close_matches
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import Flags

KEY_FLAGS = ("--api-key", "--key", "--token", "-k")
ENDPOINTS = {"chat": "chat", "respond": "responses"}
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


def to_usage_error(error: Exception, arguments: list[str]) -> UsageError:
    """Convert an error of Typer to ours, with a hint."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "aiml"
    message = getattr(error, "message", "") or str(error)
    flag = getattr(error, "option_name", "")
    if flag and message.startswith("No such option"):
        return UsageError(f"there is no flag {flag} of {path}", _suggest_flag(flag, path, _list_flags(context)))
    if message.startswith("No such command"):
        word = message.partition("'")[2].partition("'")[0]
        return UsageError(f"there is no command {path} {word}", _suggest_command(word, path, context, arguments))
    return UsageError(message[:1].lower() + message[1:].rstrip("."), f"see: {path} --help")


def check_output_flag(words: list[str], flags: Flags) -> None:
    """Raise UsageError for `-o NAME VALUE` with the name of an option, which other programs set so."""
    output = flags.get("output")
    row = ROWS.get(output.texts[-1].replace("-", "_")) if output else None
    if row and row.body_paths:
        value = next((word for word in words if _is_valid(row, word)), "VALUE")
        raise UsageError(f"-o is the output file, and {row.name} is an option", f"here it is -O {row.name}={value}")


def _is_valid(row: Option[Any], word: str) -> bool:
    try:
        row.value_type.parse(word)
    except ValueError:
        return False
    return True


def _list_flags(context: Any) -> list[str]:
    """Return the long flags of the command that was typed."""
    parameters = context.command.get_params(context) if context else ()
    return [name for parameter in parameters for name in parameter.opts if name.startswith("--")]


def _suggest_flag(flag: str, path: str, flags: list[str]) -> str:
    if path == "aiml tools add" and not get_close_matches(flag, flags, 1):
        return f"flags of the command are written after --, as in: {path} NAME -- COMMAND {flag}"
    if flag in KEY_FLAGS:
        return "no flag takes the key: store it with aiml config key, or set AIMLAPI_API_KEY"
    if flag in FLAGS:
        return f"here it is {FLAGS[flag]}"
    owner = next((name for name, endpoint in ENDPOINTS.items() if _has_flag(endpoint, flag)), "")
    if owner and path.removeprefix("aiml ") in ENDPOINTS:
        return f"{flag} belongs to aiml {owner}; any property of the request can be sent with -O KEY=VALUE"
    near = get_close_matches(flag, flags, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"{flag} belongs to aiml {owner}" if owner else f"see: {path} --help"


def _has_flag(endpoint: str, flag: str) -> bool:
    return any(flag in (row.flag, *row.aliases) for row in flags_of(endpoint))


def _suggest_command(word: str, path: str, context: Any, arguments: list[str]) -> str:
    if path == "aiml" and word in COMMANDS:
        return f"here it is {COMMANDS[word]}"
    near = get_close_matches(word, context.command.list_commands(context), 1)
    if near:
        return f"did you mean {path} {near[0]}?"
    return f"to ask a question: aiml chat {' '.join(arguments)[:60]}" if path == "aiml" else f"see: {path} --help"
