"""Give the conversation in hand as the history would."""

import time

from aiml_cli.errors import Misuse
from aiml_cli.repl import kept
from aiml_cli.repl.session import Session
from aiml_cli.repl.talked import Exchange
from aiml_cli.resume import standing
from aiml_cli.store import past
from aiml_cli.store.exchange import COMPLETE, INTERRUPTED
from aiml_cli.transcript import Whole


def whole(session: Session) -> Whole:
    """Give it with its messages, from the history where it is kept; raise Misuse where nothing was said."""
    if not session.exchanges:
        raise Misuse("nothing was said in this conversation yet")
    if session.row is not None:
        with kept.opened() as store:
            return Whole(past.by_id(store, session.row), standing(past.messages(store, session.row)))
    now, title = time.time(), " ".join(session.exchanges[0].asked.split())
    here = past.Conversation(0, "not-kept", title, "", session.system, now, now)
    return Whole(here, [message for each in session.exchanges for message in _messages(session, each, now)])


def _messages(session: Session, exchange: Exchange, now: float) -> list[past.Message]:
    asked = past.Message(
        0, 0, "user", COMPLETE, now, exchange.asked, "", [each.item for each in exchange.said], session.endpoint,
        exchange.host, exchange.model, {}, None, None, None, None, None, False, {},
    )  # fmt: skip
    answered = asked._replace(
        role="assistant",
        state=INTERRUPTED if exchange.is_cut else COMPLETE,
        text=exchange.text,
        items=[each.item for each in exchange.answered],
    )
    return [asked, answered]
