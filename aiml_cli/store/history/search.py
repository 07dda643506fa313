"""Search the texts of the history."""

from typing import Any, NamedTuple

from aiml_cli.store.history import reader
from aiml_cli.store.history.database import History
from aiml_cli.store.history.reader import clean_query, fts_query

SNIPPET_TOKENS = 24  # in a snippet that FTS5 makes
CHARS_BEFORE, CHARS_AFTER = 40, 80  # in a snippet that is made here


class SearchHit(NamedTuple):
    """A conversation that matches, and a snippet of its latest message that does."""

    name: str
    title: str
    changed: float
    role: str
    at: float
    model: str
    snippet: str


_COLUMNS = "c.name, c.title, c.changed, m.role, m.at, m.model"
_JOIN = "JOIN conversations c ON c.id = m.conversation"
_NEWEST_FIRST = "ORDER BY c.changed DESC, c.id DESC"
# One message of each conversation; only these get a snippet, because snippets are slow.
_LATEST = f"SELECT max(m.id) FROM {{}} {_JOIN} WHERE {{}} GROUP BY m.conversation {_NEWEST_FIRST} LIMIT ?"


def search_history(history: History, words: str, limit: int = 0) -> list[SearchHit]:
    """Return the conversations that contain all words, the newest first (limit 0: no limit).

    If the index finds nothing, the texts are searched: emoji or a part of a Chinese sentence are no words to it.
    """
    terms = clean_query(words).split()
    if not terms:
        return []
    reader.index_new_messages(history)
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
