"""Answer the slash command /cost."""

from aiml_cli.api.prices import dollars
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.repl.talked import Spent
from aiml_cli.screen.output import say


@slash()
def cost(session: Session, _words: str) -> None:
    """Tell the tokens and the cost of this conversation, in all and by model; what was undone was paid too."""
    if not session.spent:
        say("aiml: nothing was spent in this conversation yet")
        return
    models = dict.fromkeys(each.model for each in session.spent)
    rows = [("in all", session.spent)] if len(models) > 1 else []
    rows += [(model, [each for each in session.spent if each.model == model]) for model in models]
    for name, spent in rows:
        say(f"aiml: {name}: {_told(spent)}")


def _told(spent: list[Spent]) -> str:
    asked, answered = sum(each.input_tokens or 0 for each in spent), sum(each.output_tokens or 0 for each in spent)
    known = [each.cost_usd for each in spent if each.cost_usd is not None]
    price = f"${dollars(sum(known))}" if known else "cost unknown"
    more = f" and what {len(spent) - len(known)} of them cost" if known and len(known) < len(spent) else ""
    answers = f"{len(spent)} answer{'' if len(spent) == 1 else 's'}"
    return f"{answers}, {asked:,} tokens in, {answered:,} tokens out, {price}{more}"
