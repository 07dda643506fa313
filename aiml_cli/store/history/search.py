"""Search the words of the history."""

from typing import Any, NamedTuple

from aiml_cli.store.history import reader
from aiml_cli.store.history.database import History
from aiml_cli.store.history.reader import clean_query, fts_query

TOKENS = 24  # of a snippet
BEFORE, BEHIND = 40, 80  # characters of a snippet that is cut here


class SearchHit(NamedTuple):
    """Hold where words were found: the conversation, and the words around them in its latest message that has them."""

    name: str
    title: str
    changed: float
    role: str
    at: float
    model: str
    snippet: str


_FACTS = "c.name, c.title, c.changed, m.role, m.at, m.model"
_OF = "JOIN conversations c ON c.id = m.conversation"
_NEWEST = "ORDER BY c.changed DESC, c.id DESC"
# One message of each conversation; snippets are made of these only, for they take their time.
_LATEST = f"SELECT max(m.id) FROM {{}} {_OF} WHERE {{}} GROUP BY m.conversation {_NEWEST} LIMIT ?"


def search_history(history: History, words: str, limit: int = 0) -> list[SearchHit]:
    """Find the conversations in which all of some words stand, the newest first (limit 0: no limit).

    What the index does not know as words (emoji, the middle of a Chinese sentence) is looked for in the texts.
    """
    wanted = clean_query(words).split()
    if not wanted:
        return []
    reader.index_new_messages(history)
    return _matching(history, fts_query(words), limit) or _holding(history, wanted, limit)


def _matching(history: History, wanted: str, limit: int) -> list[SearchHit]:
    latest = _LATEST.format("words w JOIN messages m ON m.id = w.rowid", "words MATCH ?")
    rows: Any = history.connection.execute(
        f"SELECT {_FACTS}, snippet(words, 0, '', '', '…', {TOKENS}) FROM words JOIN messages m ON m.id = words.rowid"
        f" {_OF} WHERE words MATCH ? AND words.rowid IN ({latest}) {_NEWEST}",
        (wanted, wanted, limit or -1),
    )
    return [SearchHit(*row) for row in rows]


def _holding(history: History, wanted: list[str], limit: int) -> list[SearchHit]:
    latest = _LATEST.format("messages m", " AND ".join("instr(lower(m.text), lower(?))" for _ in wanted))
    rows: Any = history.connection.execute(
        f"SELECT {_FACTS}, m.text FROM messages m {_OF} WHERE m.id IN ({latest}) {_NEWEST}", (*wanted, limit or -1)
    )
    return [SearchHit._make([*facts, _around(text, wanted[0])]) for *facts, text in rows]


def _around(text: str, word: str) -> str:
    """Cut a text to a line around a word."""
    place = max(text.lower().find(word.lower()), 0)
    start, end = max(0, place - BEFORE), place + BEHIND
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
