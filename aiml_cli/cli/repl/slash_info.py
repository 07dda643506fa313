"""Answer the slash command /help."""

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import command_names, find_command, slash
from aiml_cli.cli.repl.turns import TurnCost
from aiml_cli.output.format_money import format_dollars
from aiml_cli.system.stdio import print_err

KEYS = """\
!command          show what a shell command prints; !!command sends it along with the next message
@path             send a file along; //text sends a text that begins with a slash
Enter sends; Alt+Enter, Ctrl+J or a \\ at the end begins a new line; \"\"\" opens and closes a block of lines.
Ctrl-C stops an answer, and clears what is typed; Ctrl-D leaves; Ctrl+X Ctrl+E opens the editor."""
MOST = 20


@slash("[command]", completes="commands")
def help(session: Session, words: str) -> None:  # noqa: A001, ARG001 - named after what is typed
    """List the commands, or tell what one does."""
    wanted = [words.removeprefix("/")] if words else command_names()
    for command in map(find_command, wanted):
        print_err(f"/{command.name} {command.usage}".ljust(28) + command.help)
        if words:
            print_err(command.more)
    if not words:
        print_err(KEYS)


@slash()
def cost(session: Session, _words: str) -> None:
    """Tell the tokens and the cost of this conversation, in all and by model; what was undone was paid too."""
    if not session.costs:
        print_err("aiml: nothing was spent in this conversation yet")
        return
    models = dict.fromkeys(each.model for each in session.costs)
    rows = [("in all", session.costs)] if len(models) > 1 else []
    rows += [(model, [each for each in session.costs if each.model == model]) for model in models]
    for name, spent in rows:
        print_err(f"aiml: {name}: {_told(spent)}")


def _told(spent: list[TurnCost]) -> str:
    asked, answered = sum(each.input_tokens or 0 for each in spent), sum(each.output_tokens or 0 for each in spent)
    known = [each.cost_usd for each in spent if each.cost_usd is not None]
    price = f"${format_dollars(sum(known))}" if known else "cost unknown"
    more = f" and what {len(spent) - len(known)} of them cost" if known and len(known) < len(spent) else ""
    answers = f"{len(spent)} answer{'' if len(spent) == 1 else 's'}"
    return f"{answers}, {asked:,} tokens in, {answered:,} tokens out, {price}{more}"


@slash("[words]")
def history(_session: Session, words: str) -> None:
    """List the last conversations, or those in which words stand."""
    from aiml_cli.core import find_conversation  # for few lines only

    find_conversation.show_list(words.split(), {}, MOST)


@slash("words")
def search(_session: Session, words: str) -> None:
    """Search the history for words, and show a line of each conversation that has them."""
    from aiml_cli.core import find_conversation  # for few lines only

    find_conversation.show_hits(words.split(), {}, MOST)
