"""Read the history: conversations, their messages, and which one somebody means."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.store.history.database import History
from aiml_cli.store.history.writer import PLAIN, STREAMING

LAST = "last"
_NEW = "indexed = 0 AND state != 'streaming'"
_SELECT = """
    SELECT c.name, c.title, c.begun, c.changed, (SELECT count(*) FROM messages WHERE conversation = c.id),
        last.state, last.endpoint, last.model
    FROM conversations c
    LEFT JOIN messages last ON last.id =
        (SELECT max(id) FROM messages WHERE conversation = c.id AND role = 'assistant')
"""
_SPEAKING = "WHERE c.id IN (SELECT m.conversation FROM words w JOIN messages m ON m.id = w.rowid WHERE words MATCH ?)"


class StoredConversation(NamedTuple):
    """Hold what is known of a conversation without its messages; times are Unix seconds."""

    id: int
    name: str
    title: str
    place: str
    system: str | None
    begun: float
    changed: float


class StoredMessage(NamedTuple):
    """Hold a message of either side. `items` are what says it again; JSON columns are read."""

    id: int
    conversation: int
    role: str
    state: str
    at: float
    text: str
    thought: str
    items: Sequence[Any]
    endpoint: str
    host: str
    model: str
    options: dict[str, Any]
    usage: dict[str, Any] | None
    cost_usd: float | None
    cost_source: str | None
    request_id: str | None
    response_id: str | None
    stored: bool
    facts: dict[str, Any]


_OF_CONVERSATION = ", ".join(StoredConversation._fields)


_OF_MESSAGE = ", ".join(StoredMessage._fields)


def last_in_session(history: History, place: str) -> StoredConversation | None:
    """Give the conversation that was last written in a place."""
    return _one(history, "place = ? ORDER BY changed DESC, id DESC LIMIT 1", place)


def find_conversation(history: History, words: str) -> StoredConversation:
    """Give the conversation of a name, of the beginning of one, or the latest in which words stand.

    `last` is the latest of all. Raises UsageError when there is none.
    """
    words = clean_query(words)
    found = _latest(history) if words == LAST else _by_name(history, words) or _by_words(history, words)
    if found is None:
        raise UsageError(
            "there is no conversation yet"
            if words == LAST
            else f"no conversation is called {words!r}, or speaks of it",
            _likely(history, words),
        )
    return found


def get_conversation(history: History, name: str) -> StoredConversation:
    """Give the conversation of a name, or of the beginning of one; words do not count. Raises UsageError for none."""
    found = _by_name(history, clean_query(name))
    if found is None:
        raise UsageError(f"no conversation is called {name!r}", _likely(history, name))
    return found


def get_by_id(history: History, number: int) -> StoredConversation:
    """Give a conversation that is known to be there."""
    return _some(history, "id = ?", number)[0]


def list_conversations(history: History, before: float = math.inf) -> list[StoredConversation]:
    """Give all conversations, or those that nothing was added to since a time; the oldest first."""
    return _some(history, "changed < ? ORDER BY changed, id", before)


def read_messages(history: History, conversation: int) -> list[StoredMessage]:
    """Give the messages of a conversation in order; one that is still being written as far as it came."""
    rows = history.connection.execute(
        f"SELECT {_OF_MESSAGE} FROM messages WHERE conversation = ? ORDER BY id",
        (conversation,),
    )
    return [_so_far(history, _message(row)) for row in rows]


def fts_query(words: str) -> str:
    """Write a search for words as FTS5 wants it: each in quotes, all of them needed, the last may go on."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in clean_query(words).split()]
    return " ".join(quoted) + ("*" if quoted else "")


def clean_query(words: str) -> str:
    """Give what was typed without the half characters and NUL that SQLite takes for no text."""
    return words.encode("utf-8", "replace").decode().replace("\0", " ")


def format_age(then: float) -> str:
    """Say how long ago a time was, in its largest unit."""
    seconds = max(0, time.time() - then)
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{int(seconds)} s"


def _likely(history: History, name: str) -> str:
    """Name the conversation that may have been meant."""
    rows = history.connection.execute("SELECT name FROM conversations ORDER BY changed DESC LIMIT 1000")
    near = get_close_matches(name, [row[0] for row in rows], 1)
    return (f"did you mean {near[0]}? " if near else "") + "aiml history list shows those there are"


def _latest(history: History) -> StoredConversation | None:
    return _one(history, "1 ORDER BY changed DESC, id DESC LIMIT 1")


def _by_name(history: History, name: str) -> StoredConversation | None:
    """Find by the whole name, or by a beginning that is only one's."""
    whole = _one(history, "name = ?", name)
    if whole or not name.isalnum():
        return whole
    rows = _some(history, "name GLOB ? LIMIT 2", name + "*")
    return rows[0] if len(rows) == 1 else None


def _by_words(history: History, words: str) -> StoredConversation | None:
    if not words.strip():
        return None
    index_new_messages(history)
    inner = "SELECT m.conversation FROM words w JOIN messages m ON m.id = w.rowid WHERE words MATCH ?"
    return _one(history, f"id IN ({inner}) ORDER BY changed DESC, id DESC LIMIT 1", fts_query(words))


def _one(history: History, where: str, *values: Any) -> StoredConversation | None:
    return next(iter(_some(history, where, *values)), None)


def _some(history: History, where: str, *values: Any) -> list[StoredConversation]:
    rows: Iterable[Any] = history.connection.execute(
        f"SELECT {_OF_CONVERSATION} FROM conversations WHERE {where}", values
    )
    return [StoredConversation(*row) for row in rows]


def _message(row: Sequence[Any]) -> StoredMessage:
    found = StoredMessage(*row)
    plain: Any = [{"role": found.role, "content": found.text}]
    return found._replace(
        items=plain if found.items == PLAIN else _loaded(found.items, []),
        options=_loaded(found.options, {}),
        facts=_loaded(found.facts, {}),
        usage=_loaded(found.usage, {}) or None,
        stored=bool(found.stored),
    )


def _loaded(text: Any, default: Any) -> Any:
    """Read a JSON column; one that is spoilt, or of another form, holds nothing."""
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return default
    return value if isinstance(value, type(default)) else default


def _so_far(history: History, message: StoredMessage) -> StoredMessage:
    if message.state != STREAMING:
        return message
    rows = history.connection.execute(
        "SELECT kind, text FROM pieces WHERE message = ? AND choice = 0 ORDER BY id", (message.id,)
    ).fetchall()
    text, thought = ("".join(text for each, text in rows if each == kind) for kind in ("text", "thought"))
    return message._replace(text=text, thought=thought)


def index_new_messages(history: History) -> None:
    """Add the words of what was written since the last search."""
    if history.connection.execute(f"SELECT 1 FROM messages WHERE {_NEW} LIMIT 1").fetchone() is None:
        return
    with history.transaction() as change:
        change.execute(f"INSERT INTO words (rowid, text) SELECT id, text FROM messages WHERE {_NEW}")
        change.execute(f"UPDATE messages SET indexed = 1 WHERE {_NEW}")


class ConversationSummary(NamedTuple):
    """Hold a conversation in a line; of its last answer the state, the endpoint and the model, where there is one."""

    name: str
    title: str
    begun: float
    changed: float
    messages: int
    state: str | None
    endpoint: str | None
    model: str | None


def list_summaries(history: History, words: str = "", limit: int = 0) -> list[ConversationSummary]:
    """Give the conversations in which words stand, or all; the newest first, and no more than a limit (0: no limit)."""
    if wanted := fts_query(words):
        index_new_messages(history)
    rows = history.connection.execute(
        f"{_SELECT} {_SPEAKING if wanted else ''} ORDER BY c.changed DESC, c.id DESC LIMIT ?",
        (*([wanted] if wanted else []), limit or -1),
    )
    return [ConversationSummary(*row) for row in rows]
