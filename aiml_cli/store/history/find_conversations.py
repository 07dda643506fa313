"""Find conversations in the history: by id, session or words, with a snippet of the text that matches."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.value_types import suggest
from aiml_cli.store.history.database import History

if TYPE_CHECKING:
    from collections.abc import Iterable

SNIPPET_TOKENS = 24  # in a snippet that FTS5 makes
CHARS_BEFORE, CHARS_AFTER = 40, 80  # in a snippet that is made here
_COLUMNS = "c.name, c.title, c.changed, m.role, m.at, m.model"
_JOIN = "JOIN conversations c ON c.id = m.conversation"
_NEWEST_FIRST = "ORDER BY c.changed DESC, c.id DESC"
# One message of each conversation; only these get a snippet, because snippets are slow.
_LATEST = f"SELECT max(m.id) FROM {{}} {_JOIN} WHERE {{}} GROUP BY m.conversation {_NEWEST_FIRST} LIMIT ?"
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


class SearchHit(NamedTuple):
    """A conversation that matches, and a snippet of its latest message that does."""

    name: str
    title: str
    changed: float
    role: str
    at: float
    model: str
    snippet: str


def search_history(history: History, words: str, limit: int = 0) -> list[SearchHit]:
    """Return the conversations that contain all words, the newest first (limit 0: no limit).

    If the index finds nothing, the texts are searched: emoji or a part of a Chinese sentence are no words to it.
    """
    terms = clean_query(words).split()
    if not terms:
        return []
    index_new_messages(history)
    return _search_index(history, fts_query(words), limit) or _search_texts(history, terms, limit)


def _search_index(history: History, query: str, limit: int) -> list[SearchHit]:
    latest = _LATEST.format("words w JOIN messages m ON m.id = w.rowid", "words MATCH ?")
    rows: Any = history.connection.execute(
        f"SELECT {_COLUMNS}, snippet(words, 0, '', '', '…', {SNIPPET_TOKENS})"
        f" FROM words JOIN messages m ON m.id = words.rowid"
        f" {_JOIN} WHERE words MATCH ? AND words.rowid IN ({latest}) {_NEWEST_FIRST}",
        (query, query, limit or -1),
    )
    return [SearchHit(*row) for row in rows]


def _search_texts(history: History, terms: list[str], limit: int) -> list[SearchHit]:
    latest = _LATEST.format("messages m", " AND ".join("instr(lower(m.text), lower(?))" for _ in terms))
    rows: Any = history.connection.execute(
        f"SELECT {_COLUMNS}, m.text FROM messages m {_JOIN} WHERE m.id IN ({latest}) {_NEWEST_FIRST}",
        (*terms, limit or -1),
    )
    return [SearchHit._make([*columns, _cut_snippet(text, terms[0])]) for *columns, text in rows]


def _cut_snippet(text: str, term: str) -> str:
    position = max(text.lower().find(term.lower()), 0)
    start, end = max(0, position - CHARS_BEFORE), position + CHARS_AFTER
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


class StoredConversation(NamedTuple):
    """A row of the conversations; times are Unix seconds."""

    id: int
    name: str
    title: str
    place: str
    system: str | None
    begun: float
    changed: float


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


def fts_query(words: str) -> str:
    """Return an FTS5 query for texts that contain all words; the last may be the beginning of one."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in clean_query(words).split()]
    return " ".join(quoted) + ("*" if quoted else "")


def clean_query(words: str) -> str:
    """Replace lone surrogates and NUL characters, which SQLite does not accept in a text."""
    return words.encode("utf-8", "replace").decode().replace("\0", " ")


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
