"""The top-level commands: each passes its words and flags to one function."""

from collections.abc import Sequence
from copy import copy
from importlib import import_module

import typer
from typer.models import CommandInfo

from aiml_cli.cli.flags import (
    SERVER_OPTIONS,
    TYPER_SETTINGS,
    Command,
    FlagCallback,
    PromptCommand,
    Task,
    flag_value,
    with_options,
)
from aiml_cli.errors import OutputFailed, ReaderClosed
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import Flags
from aiml_cli.settings.value_types import choice

# Typer does not export click; the base class of click's errors is found through one that Typer exports.
ClickError: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
FIRST_HELP = """\
aiml asks models through the AI/ML API. For example:

  aiml chat why is the sky blue       ask, and read the answer as it arrives
  git diff | aiml chat review this    say what to do with the piped text
  aiml chat --demo hello              try it without a key: the demo server answers

All commands: aiml --help. All flags: aiml chat --help. Your API key: aiml config key
"""
PROMPT_HELP = (
    "The prompt; quote it if it contains ? * ' & or a word that begins with -. Without one, piped text is the prompt; "
    "on a terminal, a conversation starts. - reads the prompt from standard input."
)
TOP_EXAMPLES = """\
aiml chat 'why is the sky blue?'
git diff | aiml chat 'review this change'
aiml chat --demo hello          # needs no key: the demo server answers
aiml config key                 # store your API key"""
CHAT_EXAMPLES = """\
aiml chat 'why is the sky blue?'
git diff | aiml chat 'review this change'
aiml chat -f report.pdf -o summary.md 'summarize the report'"""
RESPOND_EXAMPLES = """\
aiml respond --web-search 'what is new in Python?'
aiml respond --code-interpreter 'plot a sine wave'
aiml respond --background 'write a long report'"""
CMD_EXAMPLES = """\
aiml cmd find the ten largest files here
aiml cmd 'which process uses port 8080?'
make 2>&1 | aiml cmd fix this"""
# Commands with subcommands: their modules and summaries.
GROUPS = {
    "config": ("aiml_cli.cli.config_group", "Show and change settings, and store the API key."),
    "history": ("aiml_cli.cli.history_group", "List, read, search, export and delete past conversations."),
    "tools": ("aiml_cli.cli.tools_group", "List, check, call, add and remove tools that run on this machine."),
}
# Commands of a group that are also top-level commands.
SHORTCUTS = {
    "templates": ("config", "List the templates, show or test one, or import those of another program."),
    "profiles": ("config", "List the profiles of the config file, or show the settings of one."),
}
app = typer.Typer(**TYPER_SETTINGS)
PERIOD = Option(
    choice("24h", "7d", "30d", "all"), "How far back to look; all needs --by.", "Output", {}, default="7d",
    per_call=True, attribute="period",
)  # fmt: skip
BY = Option(
    choice("model", "day"), "Show what this machine spent, by model or day; the server is not contacted.", "Output", {},
    per_call=True, attribute="by",
)  # fmt: skip
COMMON_OPTIONS = [*SERVER_OPTIONS, ROWS["demo"], ROWS["json"], ROWS["quiet"], ROWS["debug"]]
# The help of options that do less in `aiml cmd`: it asks one model, and has no rows.
CMD_HELP = {
    "model": "The model. A,B falls back to B when A is unavailable.",
    "max_cost": "Fail before sending if the estimated cost exceeds this many US dollars. "
    "Without --max-tokens, only the input counts.",
    "retries": "Retry a failed request this many times.",
}
# The options that `aiml cmd` shares with `aiml chat`: none that answers yes, and none that changes the kind of answer.
CMD_OPTIONS = [
    ROWS[name]._replace(help=CMD_HELP[name]) if name in CMD_HELP else ROWS[name]
    for name in (
        "model", "max_cost", "file", "no_stdin", "stdin_wait", "detail", "allow_secrets", "fit", "effort",
        "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stream", "include_usage", "option",
        "schema_retries", "hide_reasoning", "usage", "quiet", "verbose", "debug", "cache", "no_log", "color", "dry_run",
        "as", "profile", "base_url", "headers", "demo", "timeout", "retries", "ca_bundle", "record", "replay",
    )
]  # fmt: skip
# Options that need no prompt: with one of them, no REPL starts.
PROMPTLESS_OPTIONS = (
    "print", "file", "messages", "tool_result", "continue", "resume", "template", "edit", "save", "wait", "show",
    "cancel", "dry_run", "as", "output", "prompt_id", "in_place", "each",
)  # fmt: skip


@app.callback(invoke_without_command=True)
def top(
    version: bool = typer.Option(False, "--version", "-V", help="Show the version and exit."),
) -> Task:
    """Ask AI models from the command line, through the AI/ML API."""
    from aiml_cli import __version__
    from aiml_cli.system.stdio import print_out

    text = f"aiml {__version__}\n" if version else FIRST_HELP
    return lambda: print_out(text)


@app.command("chat", cls=PromptCommand, epilog=CHAT_EXAMPLES)
@with_options(flags_of("chat"), PROMPT_HELP)
def chat(words: list[str], flags: Flags) -> Task:
    """Ask a question or start a conversation (Chat Completions)."""
    return _ask("chat", words, flags)


@app.command("respond", cls=PromptCommand, epilog=RESPOND_EXAMPLES)
@with_options(flags_of("responses"), PROMPT_HELP)
def respond(words: list[str], flags: Flags) -> Task:
    """Ask with web search, code, files or background work (Responses)."""
    return _ask("responses", words, flags)


def _ask(endpoint: str, words: list[str], flags: Flags) -> Task:
    from aiml_cli.cli.commands import ask

    if "output" in flags:
        from aiml_cli.cli import argument_errors  # few calls need it

        argument_errors.check_output_value(flags["output"].texts[-1], words)
    if "save" in flags:
        from aiml_cli.cli.commands import templates  # few calls save a template

        return lambda: templates.save_as_template(endpoint, words, flags)
    if starts_repl(words, flags):
        from aiml_cli.cli.repl import loop  # importing the line editor takes a tenth of a second

        return lambda: loop.run_repl(endpoint, words, flags)
    return lambda: ask.ask(endpoint, words, flags)


@app.command("cmd", cls=PromptCommand, epilog=CMD_EXAMPLES)
@with_options(CMD_OPTIONS, "What the command should do. - reads it from standard input.")
def cmd(words: list[str], flags: Flags) -> Task:
    """Suggest a shell command, and run it after you confirm."""
    from aiml_cli.cli.commands import cmd

    return lambda: cmd.write_command(words, flags, [row.name for row in CMD_OPTIONS])


@app.command("models", cls=PromptCommand)
@with_options(COMMON_OPTIONS, "Words of an id, name or developer. An exact id shows all details of the model.")
def models(words: list[str], flags: Flags) -> Task:
    """Find a model, its price and what it can do."""
    from aiml_cli.cli.commands import models

    return lambda: models.search_models(words, flags)


@app.command("usage", cls=Command)
@with_options([BY, PERIOD, *COMMON_OPTIONS], "")
def usage(_words: list[str], flags: Flags) -> Task:
    """Show your balance and what you spent."""
    from aiml_cli.cli.commands import usage

    if "by" not in flags:
        return lambda: usage.show_gateway_usage(flags, PERIOD)
    by, period = flag_value(BY, flags), flag_value(PERIOD, flags)
    settings = {name: flags[name] for name in flags.keys() - {"by", "period"}}
    return lambda: usage.show_local_usage(settings, by, period)


@app.command("demo", cls=Command)
def demo(port: int = typer.Option(0, "--port", metavar="N", help="The port to listen on; 0 picks a free one.")) -> Task:
    """Run the demo server until Ctrl-C; it needs no key and runs no model."""
    from aiml_cli.core import start_demo

    return lambda: start_demo.serve_demo(port)


def build_command(name: str = "", arguments: Sequence[str] | None = None) -> typer.Typer:
    """Return an app with one command, or with all if `name` is "".

    With `arguments`, the command has only the flags that they use: building all flags would double the start-up time.
    """
    selection = typer.Typer(**TYPER_SETTINGS, epilog=TOP_EXAMPLES)
    selection.registered_callback = app.registered_callback
    commands = [command for command in app.registered_commands if name in ("", command.name)]
    selection.registered_commands = [_select_flags(command, arguments) for command in commands]
    for group, (module, summary) in GROUPS.items():
        if name in ("", group):
            selection.add_typer(import_module(module).app, name=group, help=summary)
    for shortcut, (group, _) in SHORTCUTS.items():
        if name in ("", shortcut):
            commands = import_module(GROUPS[group][0]).app.registered_commands
            selection.registered_commands += [command for command in commands if command.name == shortcut]
    return selection


def _select_flags(command: CommandInfo, arguments: Sequence[str] | None) -> CommandInfo:
    """Return the command with only the flags that its arguments use."""
    if arguments is None or not isinstance(command.callback, FlagCallback):
        return command
    selected = copy(command)
    selected.callback = command.callback.select_typed(arguments)
    return selected


def _build_overview() -> typer.Typer:
    """Return an app for `aiml --help`: its commands have summaries but no flags."""
    overview = typer.Typer(**TYPER_SETTINGS, epilog=TOP_EXAMPLES)
    overview.registered_callback = app.registered_callback
    summaries = [(command.name, getattr(command.callback, "__doc__", "")) for command in app.registered_commands]
    others = {**SHORTCUTS, **GROUPS}.items()
    for name, summary in [*summaries, *((name, summary) for name, (_, summary) in others)]:
        overview.command(name, cls=Command, help=summary)(lambda: None)
    return overview


def _choose_app(arguments: list[str]) -> typer.Typer:
    """Return an app with the typed command; with all commands if it is unknown, so that the error can suggest one."""
    if arguments[:1] in (["-h"], ["--help"]):
        return _build_overview()
    names = {*GROUPS, *SHORTCUTS, *(command.name for command in app.registered_commands)}
    return build_command(arguments[0], arguments[1:]) if arguments and arguments[0] in names else build_command()


def parse_arguments(arguments: list[str]) -> Task:
    """Parse a command line and return the task to run; raise UsageError."""
    try:
        result = _choose_app(arguments)(arguments, prog_name="aiml", standalone_mode=False)
    except ClickError as error:
        from aiml_cli.cli.argument_errors import to_usage_error  # few command lines are wrong

        raise to_usage_error(error, arguments) from None
    except OSError as error:  # the help could not be written
        raise OutputFailed(f"standard output: {error.strerror}") from None
    except SystemExit:  # Typer raises it if the reader of the help closed the pipe
        raise ReaderClosed("the program that reads the output closed the pipe") from None
    return result if callable(result) else lambda: int(result or 0)


def starts_repl(words: Sequence[str], flags: Flags) -> bool:
    """True with -i, or on a terminal without a prompt; -i with --each is a conflict that is reported later."""
    if "interactive" in flags:
        return "each" not in flags
    if words or any(name in flags for name in PROMPTLESS_OPTIONS):
        return False
    from aiml_cli.prompt.stdin import has_stdin  # --help does not need these
    from aiml_cli.system.terminal import is_terminal

    return is_terminal(0) and is_terminal(1) and not has_stdin()
