"""Slash commands that show something: /help, /cost, /history, /search."""

import re
import textwrap
from collections.abc import Iterable, Iterator

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import find_command, list_commands, slash, split_words
from aiml_cli.cli.repl.turns import TurnCost
from aiml_cli.core import browse_history
from aiml_cli.output.format_money import format_dollars
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import get_terminal_size

GROUP = "Information"
KEYS = (
    ('@path, @"my file"', "Send a file with the message; also a URL."),
    ("!cmd, !!cmd", "Run a shell command; !! sends its output."),
    ("Alt+Enter, Ctrl+J", "Begin a new line; so does \\ before Enter."),
    ("Ctrl-C, Ctrl+X Ctrl+E", "Stop, or clear the line; open the editor."),
)
NOTE = "/help NAME explains a command, /exit or Ctrl-D leaves, //text sends /text."
MAX_LISTED = 20
# The columns of /help: the heading, the usage, and what the command does.
GROUP_WIDTH, USAGE_WIDTH, MIN_HELP_WIDTH, MAX_WIDTH = 13, 23, 30, 100


@slash("[command]", completes="commands")
def help(_session: Session, words: str) -> None:  # noqa: A001 - named after what is typed
    """List the commands, or explain one."""
    width = min(get_terminal_size(2)[0], MAX_WIDTH)
    print_err(_explain_command(words.removeprefix("/"), width) if words else _list_commands(width))


def _explain_command(name: str, width: int) -> str:
    """Return the usage and the complete help of a command; raise UsageError if there is no such command."""
    command = find_command(name)
    paragraphs = [command.help, *filter(None, command.details.split("\n\n"))]
    return "\n\n".join((command.synopsis, *("\n".join(_wrap(text, width)) for text in paragraphs)))


def _list_commands(width: int) -> str:
    """Return commands and keys by heading, as a table or, on a narrow terminal, as a list.

    A command that another command's line mentions does not get its own line.
    """
    commands = list_commands()
    named = {*re.findall(r"/(\w+)", " ".join((NOTE, *(command.help for command in commands))))}
    groups: dict[str, list[tuple[str, str]]] = {command.group: [] for command in commands}
    for command in commands:
        if command.name not in named:
            groups[command.group].append((command.synopsis, command.help))
    format_group = _format_rows if width >= GROUP_WIDTH + USAGE_WIDTH + MIN_HELP_WIDTH else _format_list
    lines = [line for name, rows in {**groups, "Keys": KEYS}.items() for line in format_group(name, rows, width)]
    return "\n".join((*lines, *_wrap(NOTE, width)))


def _format_rows(group: str, rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    for usage, text in rows:
        first, *more = _wrap(text, width - GROUP_WIDTH - USAGE_WIDTH)
        yield f"{group.ljust(GROUP_WIDTH)}{usage.ljust(USAGE_WIDTH)}{first}"
        yield from (" " * (GROUP_WIDTH + USAGE_WIDTH) + line for line in more)
        group = ""


def _format_list(group: str, rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    yield group
    for usage, text in rows:
        first, *more = _wrap(f"{usage}: {text}", width - 4)
        yield from (f"  {first}", *(f"    {line}" for line in more))


def _wrap(text: str, width: int) -> list[str]:
    """Break a text between words."""
    return textwrap.wrap(" ".join(text.split()), max(width, 1), break_long_words=False, break_on_hyphens=False)


@slash()
def cost(session: Session, _words: str) -> None:
    """Show tokens and cost of the conversation.

    They are shown in total and by model, and include turns that were undone.
    """
    if not session.costs:
        print_err("aiml: this conversation has no costs yet")
        return
    models = dict.fromkeys(cost.model for cost in session.costs)
    rows = [("total", session.costs)] if len(models) > 1 else []
    rows += [(model, [cost for cost in session.costs if cost.model == model]) for model in models]
    for name, costs in rows:
        print_err(f"aiml: {name}: {_format_costs(costs)}")


def _format_costs(costs: list[TurnCost]) -> str:
    tokens_in = sum(cost.input_tokens or 0 for cost in costs)
    tokens_out = sum(cost.output_tokens or 0 for cost in costs)
    known = [cost.cost_usd for cost in costs if cost.cost_usd is not None]
    price = f"${format_dollars(sum(known))}" if known else "cost unknown"
    more = f", without {len(costs) - len(known)} of unknown cost" if known and len(known) < len(costs) else ""
    answers = f"{len(costs)} answer{'' if len(costs) == 1 else 's'}"
    return f"{answers}, {tokens_in:,} tokens in, {tokens_out:,} tokens out, {price}{more}"


@slash("[words]")
def history(_session: Session, words: str) -> None:
    """List conversations; /search searches them.

    Lists the latest ones, or those that contain the words.
    """
    browse_history.show_list(split_words(words), {}, MAX_LISTED)


@slash("words")
def search(_session: Session, words: str) -> None:
    """Search the history, and show a matching line of each conversation that contains the words."""
    browse_history.show_hits(split_words(words), {}, MAX_LISTED)
