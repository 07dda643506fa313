"""The commands: each gathers what was typed and hands it to one function."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import typer

from aiml_cli.cli.flags import PLAIN, SERVER, Task, flag_value, with_options
from aiml_cli.errors import OutputFailed, ReaderClosed
from aiml_cli.prompt.stdin import has_stdin
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import Flags
from aiml_cli.settings.value_types import ValueType, choice
from aiml_cli.system.terminal import is_terminal

# Typer keeps click to itself; its base class of a wrong command line is reached through one that it shows.
ClickError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
FIRST_HELP = """\
aiml asks models through the AI/ML API. For example:

  aiml chat why is the sky blue       ask, and read the answer as it comes
  git diff | aiml chat review this    say what to do with what is piped in
  aiml chat --demo hello              try it without a key: the embedded server answers

Every command: aiml --help. Every flag: aiml chat --help. Your key: aiml config key
"""
PROMPT = "The prompt; quotes are not needed. - takes standard input as the prompt."
# Commands with commands of their own: what module each is in.
GROUPS = {"config": "aiml_cli.cli.config_group", "history": "aiml_cli.cli.history_group"}
app = typer.Typer(**PLAIN)
PERIOD = Option(
    choice("24h", "7d", "30d", "all"), "How far back to look; all with --by only.", "Output", {}, default="7d",
    per_call=True, attribute="period",
)  # fmt: skip
BY = Option(
    choice("model", "day"), "Show what this machine spent, by model or day, and ask nobody.", "Output", {},
    per_call=True, attribute="by",
)  # fmt: skip
# What asks for something by itself, without a prompt.
ASKS = (
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
@with_options(flags_of("chat"), PROMPT)
def chat(words: list[str], flags: Flags) -> Task:
    """Ask through POST /v1/chat/completions."""
    return _ask("chat", words, flags)


@app.command("respond")
@with_options(flags_of("responses"), PROMPT)
def respond(words: list[str], flags: Flags) -> Task:
    """Ask through POST /v1/responses."""
    return _ask("responses", words, flags)


def _ask(endpoint: str, words: list[str], flags: Flags) -> Task:
    from aiml_cli.cli import argument_errors
    from aiml_cli.cli.commands import ask

    argument_errors.look_for_options(words, flags)
    if "save" in flags:
        from aiml_cli.cli.commands import template_save  # once for each template

        return lambda: template_save.save_as_template(endpoint, words, flags)
    if starts_repl(words, flags):
        from aiml_cli.cli.repl import loop  # the line editor takes a tenth of a second

        return lambda: loop.run_repl(endpoint, words, flags)
    return lambda: ask.ask(endpoint, words, flags)


@app.command("models")
@with_options(
    [*SERVER, ROWS["demo"], ROWS["json"], ROWS["quiet"], ROWS["debug"]],
    "Words that the id, an alias, the name or the developer has; or one id.",
)
def models(words: list[str], flags: Flags) -> Task:
    """Search the catalogue of models."""
    from aiml_cli.cli.commands import models

    return lambda: models.models(words, flags)


@app.command("usage")
@with_options([BY, PERIOD, *SERVER, ROWS["demo"], ROWS["json"], ROWS["quiet"], ROWS["debug"]], "")
def usage(_words: list[str], flags: Flags) -> Task:
    """Show the balance and what the key spent, or (--by) what this machine spent."""
    from aiml_cli.cli.commands import usage_gateway

    if "by" in flags:
        from aiml_cli.cli.commands import usage_local

        by, period = flag_value(BY, flags), flag_value(PERIOD, flags)
        return lambda: usage_local.show_local_usage(
            {name: flags[name] for name in flags.keys() - {"by", "period"}}, by, period
        )

    return lambda: usage_gateway.show_gateway_usage(flags, PERIOD)


@app.command("demo")
def demo(port: int = typer.Option(0, "--port", metavar="N", help="The port to listen on; 0 takes a free one.")) -> Task:
    """Run the embedded server, which is no model, until Ctrl-C."""
    from aiml_cli.core import start_demo

    return lambda: start_demo.serve_demo(port)


def build_command(name: str = "") -> typer.Typer:
    """Give the command of a name, or all: to build the flags of those that are not typed would be half of its work."""
    chosen = typer.Typer(**PLAIN)
    chosen.registered_callback = app.registered_callback
    chosen.registered_commands = [each for each in app.registered_commands if name in ("", each.name)]
    for group, module in GROUPS.items():
        if name in ("", group):
            chosen.add_typer(import_module(module).app, name=group)
    return chosen


def _named(arguments: list[str]) -> str:
    """Give the command that is typed; "" where it is none, so that a near one can be offered."""
    names = {*GROUPS, *(each.name for each in app.registered_commands)}
    return arguments[0] if arguments and arguments[0] in names else ""


def _valued(arguments: list[str]) -> Iterator[str]:
    """Give a flag that may stand alone the value that it then has."""
    bare = {name: row for row in ROWS.values() if row.value_type.bare_value for name in (row.flag, row.short) if name}
    flags = arguments.index("--") if "--" in arguments else len(arguments)
    for word, following in zip(arguments[:flags], [*arguments[1:], ""], strict=False):
        switches, last = _bundle(word)
        row = bare.get(last)
        if row and not _is_value(row.value_type, following):
            yield from [*switches, f"{row.flag}={row.value_type.bare_value}"]
        else:
            yield word
    yield from arguments[flags:]


def _bundle(word: str) -> tuple[list[str], str]:
    """Take `-yx` apart: the switches, and the flag behind them that may have a value; other words are whole."""
    shorts = {row.short for row in ROWS.values() if row.value_type.is_switch and row.short}
    letters = [f"-{letter}" for letter in word[1:]]
    if word[:1] == "-" and len(letters) > 1 and shorts.issuperset(letters[:-1]):
        return letters[:-1], letters[-1]
    return [], word


def _is_value(kind: ValueType[Any], word: str) -> bool:
    """Say whether the word behind a flag is its value: one of those offered, or, where all are, no flag."""
    return word in kind.choices if kind.choices else bool(word) and not word.startswith("-")


def parse_arguments(arguments: list[str]) -> Task:
    """Read a command line; give what is to be done, or raise UsageError in our words."""
    from aiml_cli.cli.argument_errors import usage_error  # the words for mistakes are needed for mistakes only

    try:
        done = build_command(_named(arguments))(list(_valued(arguments)), prog_name="aiml", standalone_mode=False)
    except ClickError as fault:
        raise usage_error(fault, arguments) from None
    except OSError as fault:  # the help could not be written
        raise OutputFailed(f"standard output: {fault.strerror}") from None
    except SystemExit:  # Typer's end when the reader of the help went away
        raise ReaderClosed("the reader went away") from None
    return done if callable(done) else lambda: int(done or 0)


def starts_repl(words: Sequence[str], flags: Flags) -> bool:
    """Say so for -i, and for a terminal on which nothing is asked; -i with rows is refused where those are asked."""
    if "interactive" in flags:
        return "each" not in flags
    is_bare = not words and not any(name in flags for name in ASKS)
    return is_bare and is_terminal(0) and is_terminal(1) and not has_stdin()
