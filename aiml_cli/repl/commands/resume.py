"""Answer the slash command /resume."""

from aiml_cli.repl import loaded
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session


@slash("[id or words]", completes="conversations")
def resume(session: Session, words: str) -> None:
    """Go on with another conversation, and show what was said in it.

    By its id or name, the beginning of one, or words of it; without, the last one of this terminal.
    """
    loaded.load(session, words or None)
