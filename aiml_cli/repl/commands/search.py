"""Answer the slash command /search."""

from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session

MOST = 20


@slash("words")
def search(_session: Session, words: str) -> None:
    """Search the history for words, and show a line of each conversation that has them."""
    from aiml_cli import recall  # for few lines only

    recall.search_(words.split(), {}, MOST)
