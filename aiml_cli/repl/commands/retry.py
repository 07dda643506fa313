"""Answer the slash command /retry."""

from aiml_cli.api.messages import Conversation
from aiml_cli.errors import Misuse
from aiml_cli.repl.command import slash
from aiml_cli.repl.named import see_that_it_is_known
from aiml_cli.repl.session import Session
from aiml_cli.settings.resolve import Said


@slash("[-m other]")
def retry(session: Session, words: str) -> None:
    """Ask the last question again, with its files; the new answer takes the place of the old one.

    -m asks another model this once. After a failure it asks what was asked in vain.
    """
    flag, _, name = words.partition(" ")
    name = name.strip()
    if words and (flag not in ("-m", "--model") or not name):
        raise Misuse(f"/retry does not take {words!r}", "/retry, or /retry -m MODEL")
    if name:
        see_that_it_is_known(session, name)
    settings = session.settings({"model": Said((name,), "/retry -m")} if name else None)
    if session.unanswered:
        session.hold(settings, session.prompt.split(" "), session.unanswered)
    elif session.exchanges:
        last = session.exchanges[-1]
        session.hold(settings, last.asked.split(" "), Conversation(last.said), instead_of=1)
    else:
        raise Misuse("there is nothing to ask again: nothing was asked yet")
