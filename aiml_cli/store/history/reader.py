"""Read the history: conversations, their messages, and the conversation that a user's words mean."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.value_types import suggest
from aiml_cli.store.history.database import History
from aiml_cli.store.history.writer import PLAIN_ITEMS, STREAMING, read_pieces

LAST = "last"
_NOT_INDEXED = "indexed = 0 AND state != 'streaming'"
_MATCHING = "SELECT m.conversation FROM words w JOIN messages m ON m.id = w.rowid WHERE words MATCH ?"
_SUMMARIES = """
    SELECT c.name, c.title, c.begun, c.changed, (SELECT count(*) FROM messages WHERE conversation = c.id),
        last.state, last.endpoint, last.model
    FROM conversations c
    LEFT JOIN messages last ON last.id =
        (SELECT max(id) FROM messages WHERE conversation = c.id AND role = 'assistant')
"""


class StoredConversation(NamedTuple):
    """A row of the conversations; times are Unix seconds."""

    id: int
    name: str
    title: str
    place: str
    system: str | None
    begun: float
    changed: float


class StoredMessage(NamedTuple):
    """A row of the messages, with its JSON columns parsed. `items` are what is sent to the API for it."""

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


class ConversationSummary(NamedTuple):
    """A conversation in one line, with the state, endpoint and model of its last answer if there is one."""

    name: str
    title: str
    begun: float
    changed: float
    messages: int
    state: str | None
    endpoint: str | None
    model: str | None


def last_in_session(history: History, session: str) -> StoredConversation | None:
    """Return the conversation that changed last in a session."""
    return _select_one(history, "place = ? ORDER BY changed DESC, id DESC LIMIT 1", session)


def find_conversation(history: History, words: str) -> StoredConversation:
    """Return the conversation with this name or unique beginning of a name, else the latest that contains the words.

    `last` is the latest of all. Raises UsageError if there is none.
    """
    words = clean_query(words)
    if words == LAST:
        conversation = _select_one(history, "1 ORDER BY changed DESC, id DESC LIMIT 1")
        message = "there is no conversation yet"
    else:
        conversation = _find_by_name(history, words) or _find_by_words(history, words)
        message = f"no conversation is called {words!r}, or speaks of it"
    if conversation is None:
        raise UsageError(message, _suggest_conversation(history, words))
    return conversation


def get_conversation(history: History, name: str) -> StoredConversation:
    """Return the conversation with this name or unique beginning of a name; raise UsageError if there is none."""
    conversation = _find_by_name(history, clean_query(name))
    if conversation is None:
        raise UsageError(f"no conversation is called {name!r}", _suggest_conversation(history, name))
    return conversation


def get_by_id(history: History, conversation: int) -> StoredConversation:
    """Return the conversation with this id, which must exist."""
    return _select(history, "id = ?", conversation)[0]


def list_conversations(history: History, before: float = math.inf) -> list[StoredConversation]:
    """Return the conversations that have not changed since a Unix time, the oldest first."""
    return _select(history, "changed < ? ORDER BY changed, id", before)


def list_summaries(history: History, words: str = "", limit: int = 0) -> list[ConversationSummary]:
    """Return the conversations that contain the words, or all, the newest first (limit 0: no limit)."""
    if query := fts_query(words):
        index_new_messages(history)
    rows = history.connection.execute(
        f"{_SUMMARIES} {f'WHERE c.id IN ({_MATCHING})' if query else ''} ORDER BY c.changed DESC, c.id DESC LIMIT ?",
        (*([query] if query else []), limit or -1),
    )
    return [ConversationSummary(*row) for row in rows]


def read_messages(history: History, conversation: int) -> list[StoredMessage]:
    """Return the messages of a conversation in order; an answer that is still streaming has its text so far."""
    columns = ", ".join(StoredMessage._fields)
    rows = history.connection.execute(
        f"SELECT {columns} FROM messages WHERE conversation = ? ORDER BY id", (conversation,)
    )
    return [_parse_message(history, StoredMessage(*row)) for row in rows]


def parse_column(column: Any, default: Any) -> Any:
    """Parse a JSON column; return the default for a damaged one and for a value of another type."""
    try:
        value = json.loads(column or "null")
    except (ValueError, TypeError, RecursionError):
        return default
    return value if isinstance(value, type(default)) else default


def fts_query(words: str) -> str:
    """Return an FTS5 query for texts that contain all words; the last may be the beginning of one."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in clean_query(words).split()]
    return " ".join(quoted) + ("*" if quoted else "")


def clean_query(words: str) -> str:
    """Replace lone surrogates and NUL characters, which SQLite does not accept in a text."""
    return words.encode("utf-8", "replace").decode().replace("\0", " ")


def format_age(then: float) -> str:
    """Format the time since a Unix time in its largest unit: `2 days`, `5 min`."""
    seconds = max(0, time.time() - then)
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{int(seconds)} s"


def index_new_messages(history: History) -> None:
    """Add the messages that were written since the last search to the index."""
    if history.connection.execute(f"SELECT 1 FROM messages WHERE {_NOT_INDEXED} LIMIT 1").fetchone() is None:
        return
    with history.transaction() as db:
        db.execute(f"INSERT INTO words (rowid, text) SELECT id, text FROM messages WHERE {_NOT_INDEXED}")
        db.execute(f"UPDATE messages SET indexed = 1 WHERE {_NOT_INDEXED}")


def _suggest_conversation(history: History, name: str) -> str:
    rows = history.connection.execute("SELECT name FROM conversations ORDER BY changed DESC LIMIT 1000")
    return f"{suggest(name, [row[0] for row in rows])} aiml history list shows those there are".lstrip()


def _find_by_name(history: History, name: str) -> StoredConversation | None:
    conversation = _select_one(history, "name = ?", name)
    if conversation or not name.isalnum():
        return conversation
    matches = _select(history, "name GLOB ? LIMIT 2", name + "*")
    return matches[0] if len(matches) == 1 else None


def _find_by_words(history: History, words: str) -> StoredConversation | None:
    if not words.strip():
        return None
    index_new_messages(history)
    return _select_one(history, f"id IN ({_MATCHING}) ORDER BY changed DESC, id DESC LIMIT 1", fts_query(words))


def _select_one(history: History, where: str, *values: Any) -> StoredConversation | None:
    return next(iter(_select(history, where, *values)), None)


def _select(history: History, where: str, *values: Any) -> list[StoredConversation]:
    columns = ", ".join(StoredConversation._fields)
    rows: Iterable[Any] = history.connection.execute(f"SELECT {columns} FROM conversations WHERE {where}", values)
    return [StoredConversation(*row) for row in rows]


def _parse_message(history: History, row: StoredMessage) -> StoredMessage:
    """Parse the JSON columns of a row, and add the text of an answer that is still streaming."""
    plain_items: Any = [{"role": row.role, "content": row.text}]
    message = row._replace(
        items=plain_items if row.items == PLAIN_ITEMS else parse_column(row.items, []),
        options=parse_column(row.options, {}),
        facts=parse_column(row.facts, {}),
        usage=parse_column(row.usage, {}) or None,
        stored=bool(row.stored),
    )
    if message.state == STREAMING:
        text, thought, _ = read_pieces(history.connection, message.id)
        message = message._replace(text=text, thought=thought)
    return message
