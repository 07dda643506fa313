"""Answer the slash command /undo."""

from aiml_cli.errors import Misuse
from aiml_cli.repl import kept
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.repl.words import number
from aiml_cli.screen.output import say

SHOWN = 60


@slash("[n]")
def undo(session: Session, words: str) -> None:
    """Take the last question and its answer back, or the last n of them.

    They are not sent again, by nobody; the history still shows them, marked as undone.
    """
    count, there = number(words or "1"), len(session.exchanges)
    if count > there:
        raise Misuse(f"there is nothing to take back: the conversation has {there} questions with answers")
    asked = session.exchanges[there - count].asked
    session.exchanges = session.exchanges[: there - count]
    session.unanswered = None
    kept.take_back(session.row, max((each.row for each in session.exchanges), default=0))
    begins = " ".join(asked.split())
    say(f"aiml: taken back to before: {begins[:SHOWN]}{'…' if len(begins) > SHOWN else ''}")
    session.tell_once()
