"""The commands of `aiml history`."""

import typer

from aiml_cli.cli.flags import TYPER_SETTINGS, PromptCommand, Task, flag_value, with_options
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags
from aiml_cli.settings.value_types import PATH, SWITCH, ValueType, choice, integer, parse_age

app = typer.Typer(**TYPER_SETTINGS)


AGE = ValueType("a time such as 12h, 30d or 2w", parse_age, "AGE")
CONVERSATION = "A conversation: its id or the beginning of it, its number in the list, or words in it."
CONVERSATIONS = "Conversations: their ids or numbers in the list, or words in one of them."
LIMIT = Option(
    integer(0, 10**9),
    "Show this many; 0 shows all.",
    "Output",
    {},
    default=20,
    short="-n",
    per_call=True,
    attribute="limit",
)
FORMAT = Option(
    choice("md", "json", "jsonl"), "The format.", "Output", {}, default="md", per_call=True, attribute="format"
)
OUTPUT = Option(PATH, "Write to this file.", "Output", {}, short="-o", per_call=True, attribute="output")
OLDER = Option(
    AGE, "Delete those that have not changed for this long.", "Output", {}, per_call=True, attribute="older_than"
)
ALL = Option(
    SWITCH,
    "Delete all conversations, the cached answers, and the copies of damaged history files.",
    "Output",
    {},
    per_call=True,
    attribute="all",
)


@app.callback(invoke_without_command=True)
def history() -> Task:
    """List, read, search, export and delete past conversations.

    Without a command: list them.
    """
    from aiml_cli.core import browse_history

    return lambda: browse_history.show_list((), {}, LIMIT.default or 0)


@app.command("list", cls=PromptCommand)
@with_options([LIMIT, ROWS["json"], ROWS["quiet"]], "Only conversations that contain these words.")
def history_list(words: list[str], flags: Flags) -> Task:
    """List conversations, the newest first."""
    from aiml_cli.core import browse_history

    limit = flag_value(LIMIT, flags)
    return lambda: browse_history.show_list(words, flags, limit)


@app.command("show", cls=PromptCommand)
@with_options([ROWS["json"], ROWS["quiet"], ROWS["verbose"]], f"{CONVERSATION} Default: the latest.")
def history_show(words: list[str], flags: Flags) -> Task:
    """Show a conversation; with -v also the reasoning, tokens and cost."""
    from aiml_cli.cli.commands import history

    return lambda: history.show_conversation(words, flags)


@app.command("search", cls=PromptCommand)
@with_options([LIMIT, ROWS["json"], ROWS["quiet"]], "Words in a message, in any order.")
def history_search(words: list[str], flags: Flags) -> Task:
    """Search conversations, and show each with a matching line."""
    from aiml_cli.core import browse_history

    limit = flag_value(LIMIT, flags)
    return lambda: browse_history.show_hits(words, flags, limit)


@app.command("export", cls=PromptCommand)
@with_options([FORMAT, OUTPUT, ROWS["quiet"]], f"{CONVERSATIONS} Default: all.")
def history_export(words: list[str], flags: Flags) -> Task:
    """Export conversations as Markdown, JSON, or a JSON line for each message."""
    from aiml_cli.cli.commands import history

    export_format, output = flag_value(FORMAT, flags), flag_value(OUTPUT, flags)
    return lambda: history.export_history(words, flags, export_format, output)


@app.command("rm", cls=PromptCommand)
@with_options([OLDER, ALL, ROWS["yes"], ROWS["quiet"]], CONVERSATIONS)
def history_rm(words: list[str], flags: Flags) -> Task:
    """Delete conversations, and overwrite their text on disk."""
    from aiml_cli.cli.commands import history

    min_age_s, everything = flag_value(OLDER, flags), bool(flag_value(ALL, flags))
    return lambda: history.delete_history(words, flags, min_age_s, everything)
