"""The commands: each gathers what was typed and hands it to one function."""

from collections.abc import Callable, Iterator
from typing import Any

import typer

from aiml_cli.errors import OutputFailed, ReaderGone
from aiml_cli.settings.flags import Flags, command
from aiml_cli.settings.kinds import PATH, SWITCH, Kind, choice, integer
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import Said, read

# A command gives back what is to be done, and `main` does it: Typer would turn Ctrl-C and a reader that
# went away into endings of its own.
Task = Callable[[], int]

# Typer keeps click to itself; its base class of a wrong command line is reached through one that it shows.
UsageFault: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

FIRST_HELP = """\
aiml asks models through the AI/ML API. For example:

  aiml chat why is the sky blue       ask, and read the answer as it comes
  git diff | aiml chat review this    say what to do with what is piped in
  aiml chat --demo hello              try it without a key: the embedded server answers

Every command: aiml --help. Every flag: aiml chat --help. Your key: aiml config key
"""
PROMPT = "The prompt; quotes are not needed. - takes standard input as the prompt."
SERVER = [ROWS[name] for name in ("profile", "base_url", "timeout", "ca_bundle")]
PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(**PLAIN)
config = typer.Typer(help="Show and change settings, and store the API key.", **PLAIN)
app.add_typer(config, name="config")
history = typer.Typer(help="Look at what was asked and answered, and delete it.", **PLAIN)
app.add_typer(history, name="history")


@app.callback(invoke_without_command=True)
def top(
    version: bool = typer.Option(False, "--version", "-V", help="Show the version and exit."),
) -> Task:
    """Ask models through the AI/ML API.

    To begin: aiml chat why is the sky blue. Without a key: aiml chat --demo hello.
    """
    from aiml_cli import __version__
    from aiml_cli.screen.output import show

    text = f"aiml {__version__}\n" if version else FIRST_HELP
    return lambda: show(text)


@app.command("chat")
@command(flags_of("chat"), PROMPT)
def chat(words: list[str], flags: Flags) -> Task:
    """Ask through POST /v1/chat/completions."""
    return _ask("chat", words, flags)


@app.command("respond")
@command(flags_of("responses"), PROMPT)
def respond(words: list[str], flags: Flags) -> Task:
    """Ask through POST /v1/responses."""
    return _ask("responses", words, flags)


def _ask(endpoint: str, words: list[str], flags: Flags) -> Task:
    from aiml_cli import habits, run
    from aiml_cli.repl.wanted import wants_turns

    habits.look_for_options(words, flags)
    if "save" in flags:
        from aiml_cli import template_new  # once for each template

        return lambda: template_new.save(endpoint, words, flags)
    if wants_turns(words, flags):
        from aiml_cli.repl import loop  # the line editor takes a tenth of a second

        return lambda: loop.run(endpoint, words, flags)
    return lambda: run.ask(endpoint, words, flags)


@app.command("models")
@command(
    [*SERVER, ROWS["demo"], ROWS["json"], ROWS["quiet"], ROWS["debug"]],
    "Words that the id, an alias, the name or the developer has; or one id.",
)
def models(words: list[str], flags: Flags) -> Task:
    """Search the catalogue of models."""
    from aiml_cli import browse

    return lambda: browse.models(words, flags)


PERIOD = Option(
    choice("24h", "7d", "30d"), "How far back to look.", "Output", {}, default="7d", once=True, attribute="period"
)


@app.command("usage")
@command([PERIOD, *SERVER, ROWS["demo"], ROWS["json"], ROWS["quiet"], ROWS["debug"]], "")
def usage(_words: list[str], flags: Flags) -> Task:
    """Show the balance, and what the key spent by model."""
    from aiml_cli import spend

    return lambda: spend.usage(flags, PERIOD)


@app.command("demo")
def demo(port: int = typer.Option(0, "--port", metavar="N", help="The port to listen on; 0 takes a free one.")) -> Task:
    """Run the embedded server, which is no model, until Ctrl-C."""
    from aiml_cli import embedded

    return lambda: embedded.run(port)


SETTING = typer.Argument(metavar="NAME", help="The setting.")
PROFILE = typer.Option(None, "--profile", metavar="NAME", help="The profile instead of the whole file.")


@config.command("show")
@command([*SERVER, ROWS["json"]], "")
def config_show(_words: list[str], flags: Flags) -> Task:
    """Show every setting, its value, and who said so."""
    from aiml_cli import configure

    return lambda: configure.show_all({**flags})


@config.command("get")
def config_get(name: str = SETTING) -> Task:
    """Print the value of one setting."""
    from aiml_cli import configure

    return lambda: configure.get(name)


@config.command("set")
def config_set(
    name: str = SETTING,
    value: str = typer.Argument(metavar="VALUE", help="Its value, as a flag would have it."),
    profile: str | None = PROFILE,
) -> Task:
    """Set a setting in the config file."""
    from aiml_cli import configure

    return lambda: configure.set_(name, value, profile)


@config.command("unset")
def config_unset(name: str = SETTING, profile: str | None = PROFILE) -> Task:
    """Remove a setting from the config file."""
    from aiml_cli import configure

    return lambda: configure.unset(name, profile)


@config.command("edit")
def config_edit() -> Task:
    """Open the config file in $VISUAL or $EDITOR."""
    from aiml_cli import configure

    return configure.edit


@config.command("path")
def config_path() -> Task:
    """Print where the config file is."""
    from aiml_cli import configure

    return configure.path


@config.command("key")
def config_key(
    remove: bool = typer.Option(False, "--remove", help="Remove the stored key."),
    from_stdin: bool = typer.Option(False, "--stdin", help="Read the key from standard input."),
    base_url: str | None = typer.Option(None, "--base-url", metavar="TEXT", help="The server that the key is for."),
) -> Task:
    """Store the API key of the server; it is asked for and not shown."""
    from aiml_cli import configure

    flags = {"base_url": Said((base_url,), "--base-url")} if base_url else {}
    return lambda: configure.key(remove, from_stdin, flags)


@config.command("check")
@command([*SERVER, ROWS["debug"]], "")
def config_check(_words: list[str], flags: Flags) -> Task:
    """Check settings, key, file modes, server and balance."""
    from aiml_cli import check

    return lambda: check.check(flags)


IMPORT = Option(
    PATH, "Take over llm's templates, or roles of mods or aichat: a file or folder of them.", "Output", {}, once=True,
    attribute="import_",
)  # fmt: skip


@config.command("templates")
@command([IMPORT, ROWS["json"], ROWS["yes"], ROWS["quiet"]], "The template to show. Without it all are listed.")
def config_templates(words: list[str], flags: Flags) -> Task:
    """List the templates, show one, or import those of another program."""
    from aiml_cli import template_list

    source = _said(IMPORT, flags)
    return lambda: template_list.answer(words, flags, source)


def _seconds(text: str) -> float:
    """Read 12h, 30d or 2w; raise ValueError."""
    if text[-1:] not in UNITS or not text[:-1].isdecimal():
        raise ValueError(text)
    return float(text[:-1]) * UNITS[text[-1]]


UNITS = {"h": 3600, "d": 86400, "w": 604800}
AGE = Kind("a time such as 12h, 30d or 2w", _seconds, "AGE")
ANY = "A conversation: its id, the beginning of it, or words of it."
LIMIT = Option(
    integer(0, 10**9), "How many; 0 for all.", "Output", {}, default=20, short="-n", once=True, attribute="limit"
)
FORM = Option(choice("md", "json", "jsonl"), "How to write.", "Output", {}, default="md", once=True, attribute="format")
INTO = Option(PATH, "Write to a file instead.", "Output", {}, short="-o", once=True, attribute="output")
OLDER = Option(AGE, "Those that nothing was added to for so long.", "Output", {}, once=True, attribute="older_than")
ALL = Option(SWITCH, "All of them, and what was kept of damaged files.", "Output", {}, once=True, attribute="all")


def _said(row: Option[Any], flags: Flags) -> Any:
    """Read a flag that only one command has."""
    return read(row, flags[row.name]) if row.name in flags else row.default


@history.command("list")
@command([LIMIT, ROWS["json"], ROWS["quiet"]], "Only conversations in which these words stand.")
def history_list(words: list[str], flags: Flags) -> Task:
    """List the conversations, the newest first."""
    from aiml_cli import recall

    limit = _said(LIMIT, flags)
    return lambda: recall.list_(words, flags, limit)


@history.command("show")
@command([ROWS["json"], ROWS["quiet"], ROWS["verbose"]], f"{ANY} Without it: the latest.")
def history_show(words: list[str], flags: Flags) -> Task:
    """Show a conversation; with -v also the reasoning, tokens and cost."""
    from aiml_cli import recall

    return lambda: recall.show_(words, flags)


@history.command("search")
@command([LIMIT, ROWS["json"], ROWS["quiet"]], "Words that stand in a message, in any order.")
def history_search(words: list[str], flags: Flags) -> Task:
    """Search what was said; show each conversation with a line of it."""
    from aiml_cli import recall

    limit = _said(LIMIT, flags)
    return lambda: recall.search_(words, flags, limit)


@history.command("export")
@command([FORM, INTO, ROWS["quiet"]], "Ids of conversations, or words of one. Without them: all.")
def history_export(words: list[str], flags: Flags) -> Task:
    """Write conversations as Markdown, JSON, or a JSON line for each message."""
    from aiml_cli import export

    form, output = _said(FORM, flags), _said(INTO, flags)
    return lambda: export.export(words, flags, form, output)


@history.command("rm")
@command([OLDER, ALL, ROWS["yes"], ROWS["quiet"]], "Ids of conversations.")
def history_rm(words: list[str], flags: Flags) -> Task:
    """Delete conversations; their text is gone from the disk's files."""
    from aiml_cli import removal

    older, everything = _said(OLDER, flags), bool(_said(ALL, flags))
    return lambda: removal.rm(words, flags, older, everything)


def _valued(arguments: list[str]) -> Iterator[str]:
    """Give a flag that may stand alone the value that it then has."""
    bare = {name: row for row in ROWS.values() if row.kind.bare for name in (row.flag, row.short)}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        row = bare.get(word)
        yield f"{row.flag}={row.kind.bare}" if row and not _is_value(row.kind, following) else word


def _is_value(kind: Kind[Any], word: str) -> bool:
    """Say whether the word behind a flag is its value: one of those offered, or, where all are, no flag."""
    return word in kind.choices if kind.choices else bool(word) and not word.startswith("-")


def parse(arguments: list[str]) -> Task:
    """Read a command line; give what is to be done, or raise Misuse in our words."""
    from aiml_cli.habits import misuse  # the words for mistakes are needed for mistakes only

    try:
        done = app(list(_valued(arguments)), prog_name="aiml", standalone_mode=False)
    except UsageFault as fault:
        raise misuse(fault, arguments) from None
    except OSError as fault:  # the help could not be written
        raise OutputFailed(f"standard output: {fault.strerror}") from None
    except SystemExit:  # Typer's end when the reader of the help went away
        raise ReaderGone("the reader went away") from None
    return done if callable(done) else lambda: int(done or 0)
