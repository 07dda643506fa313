"""Answer the slash command /history."""

from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session

MOST = 20


@slash("[words]")
def history(_session: Session, words: str) -> None:
    """List the last conversations, or those in which words stand."""
    from aiml_cli import recall  # for few lines only

    recall.list_(words.split(), {}, MOST)
