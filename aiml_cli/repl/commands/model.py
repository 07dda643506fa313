"""Answer the slash command /model."""

from aiml_cli.repl.command import slash
from aiml_cli.repl.named import see_that_it_is_known
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say
from aiml_cli.settings.resolve import Said


@slash("[id]", completes="models")
def model(session: Session, words: str) -> None:
    """Show the model, or ask another one from now on.

    A name that the catalogue does not have, but has near ones of, is told; /set model=NAME takes it all the same.
    """
    if words:
        see_that_it_is_known(session, words)
        session.set["model"] = Said((words,), "/model")
        session.without -= {"model"}
    say(f"aiml: model = {session.settings().options.model}")
