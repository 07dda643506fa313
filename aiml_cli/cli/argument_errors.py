"""Explain an invalid command line: suggest a similar flag or command, or the equivalent of one from another tool."""

from collections.abc import Sequence
from itertools import takewhile
from shlex import quote
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.value_types import CODE_BLOCK, MAX_SUGGESTIONS, ask_if_meant, find_similar

MAX_SHOWN_COMMAND = 200
KEY_FLAGS = ("--api-key", "--key", "--token", "-k")
SECRET_FLAGS = (*KEY_FLAGS, "--header", "-H", "--headers")
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
    "--prompt": "there is no such flag; write the prompt after the command",
    "--temp": "--temperature",
    "--cid": "--resume",
    "--conversation": "--resume",
    "--silent": "--quiet",
    "--no-history": "--no-log",
    "--raw-output": "--format raw",
}
COMMANDS = {
    "help": "aiml --help",
    "version": "aiml --version",
    "ask": "aiml chat",
    "responses": "aiml respond",
    "logs": "aiml history",
    "roles": "aiml templates",
    "keys": "aiml config key",
    "login": "aiml config key",
    "repl": "aiml chat",
}


def to_usage_error(error: Exception, arguments: list[str]) -> UsageError:
    """Convert an error of Typer to a UsageError with a hint."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else " ".join(["aiml", *takewhile(str.isalpha, arguments)])
    message = getattr(error, "message", "") or str(error)
    flag = getattr(error, "option_name", "")
    if flag and message.startswith("No such option"):
        return UsageError(f"{path} has no flag {flag}", suggest_flag(flag, path, _list_flags(context)))
    if message.startswith("No such command"):
        word = message.partition("'")[2].partition("'")[0]
        return UsageError(f"{path} has no command {word}", _suggest_command(word, path, context, arguments))
    return UsageError(message[:1].lower() + message[1:].rstrip("."), f"see: {path} --help")


def quote_words(path: str, arguments: Sequence[str], start: int, end: int) -> str:
    """Return the hint to quote the arguments from `start` to `end` as one prompt.

    A command line that may contain a secret, or is very long, is not shown.
    """
    words = [*arguments[:start], " ".join(arguments[start:end]), *arguments[end:]]
    command = " ".join([path, *map(quote, words)])
    is_secret = any(argument.partition("=")[0] in SECRET_FLAGS for argument in arguments)
    return "quote the prompt" if is_secret or len(command) > MAX_SHOWN_COMMAND else f"quote the prompt: {command}"


def check_output_value(value: str, words: Sequence[str]) -> None:
    """Raise UsageError for `-o NAME VALUE` where NAME is an option: other programs set options with -o."""
    row = ROWS.get(value.replace("-", "_"))
    if row and row.body_paths:
        value = next((word for word in words if _is_valid(row, word)), "VALUE")
        raise UsageError(f"-o is the output file; {row.name} is an option", f"use -O {row.name}={value}")


def _is_valid(row: Option[Any], word: str) -> bool:
    try:
        row.value_type.parse(word)
    except ValueError:
        return False
    return True


def _list_flags(context: Any) -> list[str]:
    """Return the long flags of the command that was typed."""
    parameters = context.command.get_params(context) if context else ()
    names = [name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)]
    return [name for name in names if name.startswith("--")]


def suggest_flag(flag: str, path: str, flags: Sequence[str]) -> str:
    """Return the hint for a flag that the command does not have; `flags` are the flags that it has."""
    similar = [] if not flag.startswith("--") else find_similar(flag, [name for name in flags if name != "--yes"])
    if path == "aiml tools add" and not similar:
        return f"flags of the command are written after --, as in: {path} NAME -- COMMAND {flag}"
    if flag in KEY_FLAGS:
        return "the key is not passed as a flag: store it with aiml config key, or set AIMLAPI_API_KEY"
    if path == "aiml cmd" and flag in ("-y", "--yes"):
        return "a command only runs after you confirm it on the terminal"
    if flag in FLAGS and (not FLAGS[flag].startswith("--") or FLAGS[flag].partition(" ")[0] in flags):
        return f"use {FLAGS[flag]}"
    owner = next((name for name, endpoint in ENDPOINTS.items() if _has_flag(endpoint, flag)), "")
    if owner and path.removeprefix("aiml ") in ENDPOINTS:
        return f"{flag} belongs to aiml {owner}; send any other property with -O KEY=VALUE"
    if owner and path == "aiml cmd":
        return f"{flag} belongs to aiml {owner}; in a pipe, aiml cmd only prints the command"
    if not any(name.startswith(flag) for name in similar):
        similar = _find_value(flag, flags) or similar
    return ask_if_meant(similar) or (f"{flag} belongs to aiml {owner}" if owner else f"see: {path} --help")


def _has_flag(endpoint: str, flag: str) -> bool:
    return any(flag in (row.flag, row.short, *row.aliases) for row in flags_of(endpoint))


def _find_value(flag: str, flags: Sequence[str]) -> list[str]:
    """Return the flags that accept a word as their value, such as `--as curl` for --curl."""
    word = flag.removeprefix("--")
    rows = [row for row in ROWS.values() if row.flag in flags and not row.value_type.is_switch]
    rows = [row for row in rows if word in row.value_type.choices and row.value_type is not CODE_BLOCK]
    return [f"{row.flag} {word}" for row in sorted(rows, key=lambda row: not row.common)[:MAX_SUGGESTIONS]]


def _suggest_command(word: str, path: str, context: Any, arguments: list[str]) -> str:
    commands = context.command.commands
    if path == "aiml" and word in COMMANDS:
        return f"use {COMMANDS[word]}"
    names = [f"{name} {word}" for name, group in commands.items() if word in getattr(group, "commands", ())]
    similar = find_similar(word, commands) if not names else names[:MAX_SUGGESTIONS]
    hint = ask_if_meant([f"{path} {name}" for name in similar])
    prompt = " ".join(arguments)
    is_plain = all(quote(argument) == argument and not argument.startswith("-") for argument in arguments)
    question = f"to ask a question: aiml chat {prompt if is_plain else quote(prompt)}"
    question = question if len(question) <= MAX_SHOWN_COMMAND else "to ask a question: aiml chat"
    if path == "aiml history" and not hint:
        search = " ".join([f"to search it: {path} search", *map(quote, arguments[arguments.index(word) :])])
        return search if len(search) <= MAX_SHOWN_COMMAND else f"to search it: {path} search WORDS"
    if path != "aiml" or (hint and len(arguments) == 1):
        return hint or f"see: {path} --help"
    return f"{hint} {question}".lstrip()
