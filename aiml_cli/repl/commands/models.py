"""Answer the slash command /models."""

from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session


@slash("words", completes="models")
def models(session: Session, words: str) -> None:
    """Search the catalogue for models; an exact id shows all that is known of it."""
    from aiml_cli import browse  # for few lines only

    browse.browse(words.split(), session.settings(), as_json=False)
