"""Answer the slash command /fork."""

from aiml_cli.errors import Misuse
from aiml_cli.repl import kept
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say


@slash("[name]")
def fork(session: Session, words: str) -> None:
    """Go on in a copy of the conversation; the original stays as it is now.

    A name of letters, digits, - and _ is the copy's; without one it gets one.
    """
    if not session.exchanges:
        raise Misuse("there is nothing to copy: nothing was answered yet")
    if session.row is None:
        session.tell_once()
        return
    from aiml_cli.store import amend

    with kept.opened() as store:
        copy, rows = amend.copy(store, session.row, words)
    kept.let_go(session.row)
    session.row = copy.id
    session.exchanges = [each._replace(row=rows.get(each.row, 0)) for each in session.exchanges]
    say(f"aiml: going on with the copy {copy.name}")
