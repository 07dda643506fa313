"""Look over the history: its conversations, each with how its last answer ended."""

from typing import NamedTuple

from aiml_cli.store import index
from aiml_cli.store.history import History
from aiml_cli.store.past import match


class Summary(NamedTuple):
    """Hold a conversation in a line; of its last answer the state, the endpoint and the model, where there is one."""

    name: str
    title: str
    begun: float
    changed: float
    messages: int
    state: str | None
    endpoint: str | None
    model: str | None


_SELECT = """
    SELECT c.name, c.title, c.begun, c.changed, (SELECT count(*) FROM messages WHERE conversation = c.id),
        last.state, last.endpoint, last.model
    FROM conversations c
    LEFT JOIN messages last ON last.id =
        (SELECT max(id) FROM messages WHERE conversation = c.id AND role = 'assistant')
"""
_SPEAKING = "WHERE c.id IN (SELECT m.conversation FROM words w JOIN messages m ON m.id = w.rowid WHERE words MATCH ?)"


def summaries(history: History, words: str = "", limit: int = 0) -> list[Summary]:
    """Give the conversations in which words stand, or all; the newest first, and no more than a limit (0: no limit)."""
    if wanted := match(words):
        index.catch_up(history)
    rows = history.connection.execute(
        f"{_SELECT} {_SPEAKING if wanted else ''} ORDER BY c.changed DESC, c.id DESC LIMIT ?",
        (*([wanted] if wanted else []), limit or -1),
    )
    return [Summary(*row) for row in rows]
