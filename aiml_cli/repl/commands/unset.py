"""Answer the slash command /unset."""

from aiml_cli.errors import Misuse
from aiml_cli.repl.command import slash
from aiml_cli.repl.commands.set import known
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say
from aiml_cli.settings.options import value_of


@slash("key", completes="set")
def unset(session: Session, words: str) -> None:
    """Take back what /set or a flag at the start said of a setting.

    What the environment or the config file says of it holds again.
    """
    if not words:
        raise Misuse("/unset: which setting?", "/set shows what is set here")
    row = known(session, words)
    session.set.pop(row.name, None)
    session.flags = {name: said for name, said in session.flags.items() if name != row.name}
    session.template = {name: said for name, said in session.template.items() if name != row.name}
    session.without -= {row.name}
    settings = session.settings()
    value, source = value_of(settings.options, row), settings.sources.get(row.name)
    say(
        f"aiml: {row.name} = {value} ({source.value})"
        if source and value is not None
        else f"aiml: {row.name} is not set"
    )
