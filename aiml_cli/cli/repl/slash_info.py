"""Slash commands that show something: /help, /cost, /history, /search."""

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import find_command, list_command_names, slash
from aiml_cli.cli.repl.turns import TurnCost
from aiml_cli.core import browse_history
from aiml_cli.output.format_money import format_dollars
from aiml_cli.system.stdio import print_err

KEYS = """\
!command          show what a shell command prints; !!command sends it along with the next message
@path             send a file along; //text sends a text that begins with a slash
Enter sends; Alt+Enter, Ctrl+J or a \\ at the end begins a new line; \"\"\" opens and closes a block of lines.
Ctrl-C stops an answer, and clears what is typed; Ctrl-D leaves; Ctrl+X Ctrl+E opens the editor."""
MAX_LISTED = 20


@slash("[command]", completes="commands")
def help(session: Session, words: str) -> None:  # noqa: A001, ARG001 - named after what is typed
    """List the commands, or tell what one does."""
    names = [words.removeprefix("/")] if words else list_command_names()
    for command in map(find_command, names):
        print_err(f"/{command.name} {command.usage}".ljust(28) + command.help)
        if words:
            print_err(command.details)
    if not words:
        print_err(KEYS)


@slash()
def cost(session: Session, _words: str) -> None:
    """Tell the tokens and the cost of this conversation, in all and by model; what was undone was paid too."""
    if not session.costs:
        print_err("aiml: nothing was spent in this conversation yet")
        return
    models = dict.fromkeys(cost.model for cost in session.costs)
    rows = [("in all", session.costs)] if len(models) > 1 else []
    rows += [(model, [cost for cost in session.costs if cost.model == model]) for model in models]
    for name, costs in rows:
        print_err(f"aiml: {name}: {_format_costs(costs)}")


def _format_costs(costs: list[TurnCost]) -> str:
    tokens_in = sum(cost.input_tokens or 0 for cost in costs)
    tokens_out = sum(cost.output_tokens or 0 for cost in costs)
    known = [cost.cost_usd for cost in costs if cost.cost_usd is not None]
    price = f"${format_dollars(sum(known))}" if known else "cost unknown"
    more = f" and what {len(costs) - len(known)} of them cost" if known and len(known) < len(costs) else ""
    answers = f"{len(costs)} answer{'' if len(costs) == 1 else 's'}"
    return f"{answers}, {tokens_in:,} tokens in, {tokens_out:,} tokens out, {price}{more}"


@slash("[words]")
def history(_session: Session, words: str) -> None:
    """List the last conversations, or those in which words stand."""
    browse_history.show_list(words.split(), {}, MAX_LISTED)


@slash("words")
def search(_session: Session, words: str) -> None:
    """Search the history for words, and show a line of each conversation that has them."""
    browse_history.show_hits(words.split(), {}, MAX_LISTED)
