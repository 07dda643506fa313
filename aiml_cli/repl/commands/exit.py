"""Answer the slash command /exit."""

from aiml_cli.repl import kept
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session


@slash()
def exit(session: Session, _words: str) -> None:  # noqa: A001 - named after what is typed
    """Leave; the conversation is kept in the history.

    `aiml chat -i -c` goes on with it in this terminal.
    """
    kept.let_go(session.row)
    session.is_over = True
