"""Answer the slash command /save."""

from aiml_cli.errors import Misuse
from aiml_cli.repl import kept
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say


@slash("[name]")
def save(session: Session, words: str) -> None:
    """Name the conversation in the history, or say what it is called.

    Letters, digits, - and _ make a name; /resume NAME goes on with it.
    """
    from aiml_cli.store import amend, past

    if words:
        amend.see_that_it_is_a_name(words)
    if not session.exchanges and session.row is None:
        raise Misuse("there is nothing to name: nothing was answered yet")
    if session.row is None:
        session.tell_once()
        return
    with kept.opened() as store:
        if words:
            amend.rename(store, session.row, words)
        name = past.by_id(store, session.row).name
    say(f"aiml: kept as {name}; /resume {name} goes on with it")
