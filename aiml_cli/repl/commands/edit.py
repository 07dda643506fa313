"""Answer the slash command /edit."""

import os

from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session


@slash("[text]")
def edit(session: Session, words: str) -> None:
    """Write the next message in $VISUAL or $EDITOR, beginning with the last one, and send it."""
    from aiml_cli import editor  # for few lines only

    session.ask(editor.written(words or session.prompt, os.environ))
