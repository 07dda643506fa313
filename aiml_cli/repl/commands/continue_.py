"""Answer the slash command /continue."""

from aiml_cli.errors import Misuse
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.resume import REST


@slash()
def continue_(session: Session, _words: str) -> None:
    """Ask for the rest of an answer that was cut, and join the two."""
    last = session.exchanges[-1] if session.exchanges else None
    if last is None or not (last.is_cut and last.text):
        raise Misuse("the last answer was not cut: there is no rest to ask for", "type what to say next")
    session.hold(session.settings(), again=REST)
