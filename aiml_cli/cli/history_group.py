"""The commands of `aiml history`."""

import typer

from aiml_cli.cli.flags import TYPER_SETTINGS, PromptCommand, Task, flag_value, with_options
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags
from aiml_cli.settings.value_types import PATH, SWITCH, ValueType, choice, integer, parse_age

app = typer.Typer(help="Look at what was asked and answered, and delete it.", **TYPER_SETTINGS)


AGE = ValueType("a time such as 12h, 30d or 2w", parse_age, "AGE")
CONVERSATION = "A conversation: its id or the beginning of it, its number in the list, or words of it."
CONVERSATIONS = "Ids of conversations, their numbers in the list, or words of one."
LIMIT = Option(
    integer(0, 10**9), "How many; 0 for all.", "Output", {}, default=20, short="-n", per_call=True, attribute="limit"
)
FORMAT = Option(
    choice("md", "json", "jsonl"), "How to write.", "Output", {}, default="md", per_call=True, attribute="format"
)
OUTPUT = Option(PATH, "Write to a file instead.", "Output", {}, short="-o", per_call=True, attribute="output")
OLDER = Option(AGE, "Those that nothing was added to for so long.", "Output", {}, per_call=True, attribute="older_than")
ALL = Option(SWITCH, "All of them, and what was kept of damaged files.", "Output", {}, per_call=True, attribute="all")


@app.command("list", cls=PromptCommand)
@with_options([LIMIT, ROWS["json"], ROWS["quiet"]], "Only conversations in which these words stand.")
def history_list(words: list[str], flags: Flags) -> Task:
    """List the conversations, the newest first."""
    from aiml_cli.core import browse_history

    limit = flag_value(LIMIT, flags)
    return lambda: browse_history.show_list(words, flags, limit)


@app.command("show", cls=PromptCommand)
@with_options([ROWS["json"], ROWS["quiet"], ROWS["verbose"]], f"{CONVERSATION} Without it: the latest.")
def history_show(words: list[str], flags: Flags) -> Task:
    """Show a conversation; with -v also the reasoning, tokens and cost."""
    from aiml_cli.cli.commands import history

    return lambda: history.show_conversation(words, flags)


@app.command("search", cls=PromptCommand)
@with_options([LIMIT, ROWS["json"], ROWS["quiet"]], "Words that stand in a message, in any order.")
def history_search(words: list[str], flags: Flags) -> Task:
    """Search what was said; show each conversation with a line of it."""
    from aiml_cli.core import browse_history

    limit = flag_value(LIMIT, flags)
    return lambda: browse_history.show_hits(words, flags, limit)


@app.command("export", cls=PromptCommand)
@with_options([FORMAT, OUTPUT, ROWS["quiet"]], f"{CONVERSATIONS} Without them: all.")
def history_export(words: list[str], flags: Flags) -> Task:
    """Write conversations as Markdown, JSON, or a JSON line for each message."""
    from aiml_cli.cli.commands import history

    export_format, output = flag_value(FORMAT, flags), flag_value(OUTPUT, flags)
    return lambda: history.export_history(words, flags, export_format, output)


@app.command("rm", cls=PromptCommand)
@with_options([OLDER, ALL, ROWS["yes"], ROWS["quiet"]], CONVERSATIONS)
def history_rm(words: list[str], flags: Flags) -> Task:
    """Delete conversations; their text is gone from the disk's files."""
    from aiml_cli.cli.commands import history

    min_age_s, everything = flag_value(OLDER, flags), bool(flag_value(ALL, flags))
    return lambda: history.delete_history(words, flags, min_age_s, everything)
