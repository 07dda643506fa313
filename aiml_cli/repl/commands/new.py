"""Answer the slash command /new."""

from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session


@slash()
def new(session: Session, _words: str) -> None:
    """Begin a new conversation; the settings stay.

    The old one is kept in the history: /resume goes on with it. Files that wait are not sent.
    """
    session.renew()
    session.files, session.outputs = [], []
