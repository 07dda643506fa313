"""Write conversations into the history without a server."""

from contextlib import closing
from typing import Any

from aiml_cli.store.history import database, find_conversations, writer
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage


def write_conversation(question: str, answer: str = "The answer.", **more: Any) -> str:
    """Write a conversation of one exchange, and return its id; `more` are the facts of the answer."""
    exchange = NewExchange(
        None, question, "place", None, [NewMessage("user", question, [])], "chat", "host", "some/model", {}
    )
    with closing(database.open_history()) as history:
        row = writer.begin_exchange(history, exchange)
        writer.finish_answer(history, row, AnswerEnd(writer.COMPLETE, answer, **more))
        writer.release_conversation(history, row.conversation)
        return find_conversations.get_by_id(history, row.conversation).name
