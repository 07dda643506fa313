"""The commands: each collects what was typed and passes it to one function."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import typer

from aiml_cli.cli.flags import SERVER_OPTIONS, TYPER_SETTINGS, Task, flag_value, with_options
from aiml_cli.errors import OutputFailed, ReaderClosed
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import Flags
from aiml_cli.settings.value_types import ValueType, choice

# Typer does not export click; the base class of its errors is found through one that it does export.
ClickError: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
FIRST_HELP = """\
aiml asks models through the AI/ML API. For example:

  aiml chat why is the sky blue       ask, and read the answer as it comes
  git diff | aiml chat review this    say what to do with what is piped in
  aiml chat --demo hello              try it without a key: the embedded server answers

Every command: aiml --help. Every flag: aiml chat --help. Your key: aiml config key
"""
PROMPT_HELP = "The prompt; quotes are not needed. - takes standard input as the prompt."
# Commands with subcommands, and their modules.
GROUPS = {
    "config": "aiml_cli.cli.config_group",
    "history": "aiml_cli.cli.history_group",
    "tools": "aiml_cli.cli.tools_group",
}
app = typer.Typer(**TYPER_SETTINGS)
PERIOD = Option(
    choice("24h", "7d", "30d", "all"), "How far back to look; all with --by only.", "Output", {}, default="7d",
    per_call=True, attribute="period",
)  # fmt: skip
BY = Option(
    choice("model", "day"), "Show what this machine spent, by model or day, and ask nobody.", "Output", {},
    per_call=True, attribute="by",
)  # fmt: skip
COMMON_OPTIONS = [*SERVER_OPTIONS, ROWS["demo"], ROWS["json"], ROWS["quiet"], ROWS["debug"]]
# Options that need no prompt: with one of them, no REPL starts.
PROMPTLESS_OPTIONS = (
    "print", "file", "messages", "tool_result", "continue", "resume", "template", "edit", "save", "wait", "show",
    "cancel", "dry_run", "as", "output", "prompt_id", "in_place", "each",
)  # fmt: skip


@app.callback(invoke_without_command=True)
def top(
    version: bool = typer.Option(False, "--version", "-V", help="Show the version and exit."),
) -> Task:
    """Ask models through the AI/ML API.

    To begin: aiml chat why is the sky blue. Without a key: aiml chat --demo hello.
    """
    from aiml_cli import __version__
    from aiml_cli.system.stdio import print_out

    text = f"aiml {__version__}\n" if version else FIRST_HELP
    return lambda: print_out(text)


@app.command("chat")
@with_options(flags_of("chat"), PROMPT_HELP)
def chat(words: list[str], flags: Flags) -> Task:
    """Ask through POST /v1/chat/completions."""
    return _ask("chat", words, flags)


@app.command("respond")
@with_options(flags_of("responses"), PROMPT_HELP)
def respond(words: list[str], flags: Flags) -> Task:
    """Ask through POST /v1/responses."""
    return _ask("responses", words, flags)


def _ask(endpoint: str, words: list[str], flags: Flags) -> Task:
    from aiml_cli.cli.commands import ask

    if "output" in flags:
        from aiml_cli.cli import argument_errors  # for few calls only

        argument_errors.check_output_flag(words, flags)
    if "save" in flags:
        from aiml_cli.cli.commands import templates  # once for each template

        return lambda: templates.save_as_template(endpoint, words, flags)
    if starts_repl(words, flags):
        from aiml_cli.cli.repl import loop  # the line editor takes a tenth of a second

        return lambda: loop.run_repl(endpoint, words, flags)
    return lambda: ask.ask(endpoint, words, flags)


@app.command("models")
@with_options(COMMON_OPTIONS, "Words that the id, an alias, the name or the developer has; or one id.")
def models(words: list[str], flags: Flags) -> Task:
    """Search the catalogue of models."""
    from aiml_cli.cli.commands import models

    return lambda: models.search_models(words, flags)


@app.command("usage")
@with_options([BY, PERIOD, *COMMON_OPTIONS], "")
def usage(_words: list[str], flags: Flags) -> Task:
    """Show the balance and what the key spent, or (--by) what this machine spent."""
    if "by" not in flags:
        from aiml_cli.cli.commands import usage_gateway

        return lambda: usage_gateway.show_gateway_usage(flags, PERIOD)
    from aiml_cli.cli.commands import usage_local

    by, period = flag_value(BY, flags), flag_value(PERIOD, flags)
    settings = {name: flags[name] for name in flags.keys() - {"by", "period"}}
    return lambda: usage_local.show_local_usage(settings, by, period)


@app.command("demo")
def demo(port: int = typer.Option(0, "--port", metavar="N", help="The port to listen on; 0 takes a free one.")) -> Task:
    """Run the embedded server, which is no model, until Ctrl-C."""
    from aiml_cli.core import start_demo

    return lambda: start_demo.serve_demo(port)


def build_command(name: str = "") -> typer.Typer:
    """Return an app with one command, or with all; building the flags of the others would double the start-up time."""
    selection = typer.Typer(**TYPER_SETTINGS)
    selection.registered_callback = app.registered_callback
    selection.registered_commands = [command for command in app.registered_commands if name in ("", command.name)]
    for group, module in GROUPS.items():
        if name in ("", group):
            selection.add_typer(import_module(module).app, name=group)
    return selection


def _find_command(arguments: list[str]) -> str:
    """Return the name of the command, or "" if it is unknown, so that the error can suggest one of all."""
    names = {*GROUPS, *(command.name for command in app.registered_commands)}
    return arguments[0] if arguments and arguments[0] in names else ""


def _add_bare_values(arguments: list[str]) -> Iterator[str]:
    """Add the default value to flags that may be used without one."""
    bare = {name: row for row in ROWS.values() if row.value_type.bare_value for name in (row.flag, row.short) if name}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for word, following in zip(arguments[:end], [*arguments[1:], ""], strict=False):
        switches, last = _split_bundle(word)
        row = bare.get(last)
        if row and not _is_value(row.value_type, following):
            yield from [*switches, f"{row.flag}={row.value_type.bare_value}"]
        else:
            yield word
    yield from arguments[end:]


def _split_bundle(word: str) -> tuple[list[str], str]:
    """Split `-yx` into its switches and a last flag that may have a value; other words are not split."""
    shorts = {row.short for row in ROWS.values() if row.value_type.is_switch and row.short}
    letters = [f"-{letter}" for letter in word[1:]]
    if word[:1] == "-" and len(letters) > 1 and shorts.issuperset(letters[:-1]):
        return letters[:-1], letters[-1]
    return [], word


def _is_value(value_type: ValueType[Any], word: str) -> bool:
    """True if the word after a flag is its value: one of the choices, or, if there are none, anything but a flag."""
    if value_type.is_value:
        return value_type.is_value(word)
    return word in value_type.choices if value_type.choices else bool(word) and not word.startswith("-")


def parse_arguments(arguments: list[str]) -> Task:
    """Parse a command line and return what is to be done; raise UsageError."""
    try:
        command = build_command(_find_command(arguments))
        result = command(list(_add_bare_values(arguments)), prog_name="aiml", standalone_mode=False)
    except ClickError as error:
        from aiml_cli.cli.argument_errors import to_usage_error  # few command lines are wrong

        raise to_usage_error(error, arguments) from None
    except OSError as error:  # the help could not be written
        raise OutputFailed(f"standard output: {error.strerror}") from None
    except SystemExit:  # how Typer ends if the reader of the help went away
        raise ReaderClosed("the reader went away") from None
    return result if callable(result) else lambda: int(result or 0)


def starts_repl(words: Sequence[str], flags: Flags) -> bool:
    """True for -i, and for a terminal without a prompt; -i with --each is a conflict that is reported later."""
    if "interactive" in flags:
        return "each" not in flags
    if words or any(name in flags for name in PROMPTLESS_OPTIONS):
        return False
    from aiml_cli.prompt.stdin import has_stdin  # --help needs neither
    from aiml_cli.system.terminal import is_terminal

    return is_terminal(0) and is_terminal(1) and not has_stdin()
