"""Find conversations in the history: by id, number, session or words, with a snippet of the matching text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.value_types import suggest
from aiml_cli.store.history.database import History, Report, decode_row, ignore_progress
from aiml_cli.store.history.word_index import Query, find_candidates, index_new_messages

CHARS_BEFORE, CHARS_AFTER = 40, 80  # in a snippet
LAST = "last"
MAX_NUMBER = 999  # a larger number is a word to search for
MIN_BEGINNING = 3  # a shorter beginning of an id is first searched for as a word
MAX_SHOWN = 10  # of the conversations that an ambiguous word matches
FEW_CANDIDATES = 1000
_NEWEST_FIRST = "ORDER BY c.changed DESC, c.id DESC"
_SUMMARIES = """
    SELECT c.name, c.title, c.begun, c.changed, (SELECT count(*) FROM messages WHERE conversation = c.id),
        last.state, last.endpoint, last.model
    FROM conversations c
    LEFT JOIN messages last ON last.id =
        (SELECT id FROM messages WHERE conversation = c.id AND role = 'assistant' ORDER BY id DESC LIMIT 1)
"""
# A few candidates are looked up by id; for many, all conversations are read until enough of them match.
_MATCHES_BY_ID = f"""
    SELECT c.id, m.id FROM json_each(?) AS wanted CROSS JOIN messages m ON m.id = wanted.value
    CROSS JOIN conversations c ON c.id = m.conversation {_NEWEST_FIRST}, m.id DESC
"""
_ALL_MATCHES = f"""
    SELECT c.id, m.id FROM conversations c CROSS JOIN messages m ON m.conversation = c.id {_NEWEST_FIRST}, m.id DESC
"""


class SearchHit(NamedTuple):
    """A conversation that matches, and a snippet of its latest matching message."""

    name: str
    title: str
    changed: float
    role: str
    at: float
    model: str
    snippet: str


class StoredConversation(NamedTuple):
    """A row of the table of conversations; times are Unix seconds."""

    id: int
    name: str
    title: str
    place: str
    system: str | None
    begun: float
    changed: float


class ConversationSummary(NamedTuple):
    """A line in a list of conversations, with the state, endpoint and model of the last answer, if any."""

    name: str
    title: str
    begun: float
    changed: float
    messages: int
    state: str | None
    endpoint: str | None
    model: str | None


def search_history(history: History, words: str, limit: int, report: Report = ignore_progress) -> list[SearchHit]:
    """Return the conversations with a message that matches a query, the newest first (limit 0: no limit)."""
    query = Query(words)
    matches = _find_matches(history, query, report)
    return [_make_hit(history, query, message) for _, message in islice(matches, limit or None)]


def list_summaries(history: History, limit: int = 0) -> list[ConversationSummary]:
    """Return the conversations, the newest first (limit 0: no limit)."""
    rows: Any = history.connection.execute(f"{_SUMMARIES} {_NEWEST_FIRST} LIMIT ?", (limit or -1,))
    return [ConversationSummary(*decode_row(row)) for row in rows]


def search_summaries(
    history: History, words: str, limit: int, report: Report = ignore_progress
) -> list[ConversationSummary]:
    """Return the conversations with a message that matches a query, the newest first (limit 0: no limit)."""
    matches = islice(_find_matches(history, Query(words), report), limit or None)
    rows = (history.connection.execute(f"{_SUMMARIES} WHERE c.id = ?", (found,)).fetchone() for found, _ in matches)
    return [ConversationSummary(*decode_row(row)) for row in rows if row]


def _find_matches(history: History, query: Query, report: Report) -> Iterator[tuple[int, int]]:
    """Yield the ids of matching conversations and of their latest matching messages, the newest first."""
    if not query:
        return
    index_new_messages(history, report)
    candidates, last = find_candidates(history, query), None
    with closing(_select_candidates(history, candidates)) as rows:
        for conversation, message in rows:
            is_candidate = conversation != last and message in candidates
            if is_candidate and query.find(_read_text(history, message)):
                last = conversation
                yield conversation, message


def _select_candidates(history: History, candidates: set[int]) -> Any:
    if len(candidates) <= FEW_CANDIDATES:
        return history.connection.execute(_MATCHES_BY_ID, (json.dumps(list(candidates)),))
    return history.connection.execute(_ALL_MATCHES)


def _read_text(history: History, message: int) -> str:
    row = history.connection.execute("SELECT text FROM messages WHERE id = ?", (message,)).fetchone()
    return str(decode_row(row)[0]) if row else ""


def _make_hit(history: History, query: Query, message: int) -> SearchHit:
    row = history.connection.execute(
        "SELECT c.name, c.title, c.changed, m.role, m.at, m.model, m.text"
        " FROM messages m JOIN conversations c ON c.id = m.conversation WHERE m.id = ?",
        (message,),
    ).fetchone()
    *columns, text = decode_row(row)
    return SearchHit._make([*columns, _cut_snippet(str(text), query)])


def _cut_snippet(text: str, query: Query) -> str:
    """Return the line that contains the first word of the query, shortened around the word."""
    number, position = query.find(text) or (0, 0)
    line = text.split("\n", number + 1)[number]
    start, end = max(0, position - CHARS_BEFORE), position + CHARS_AFTER
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")


def select_conversations(
    history: History, words: Sequence[str], report: Report = ignore_progress
) -> list[StoredConversation]:
    """Return the conversations that the words select: one for each word, or else the one that contains all words.

    A word selects by id, the beginning of an id, `last`, or the number in the list. Raises UsageError if there is no
    conversation, or if the words are ambiguous.
    """
    named = [_find_named(history, word) for word in words]
    if all(len(conversations) == 1 for conversations in named):
        return list({found.id: found for (found,) in named}.values())
    text = " ".join(words)
    matches = _find_matches(history, Query(text), report)
    found = [get_by_id(history, conversation) for conversation, _ in islice(matches, MAX_SHOWN + 1)]
    found = found or next((several for several in named if len(several) > 1), [])
    if not found and len(words) == 1:
        found = _find_by_beginning(history, text)
    if len(found) == 1:
        return found
    if found:
        raise UsageError(f"several conversations match {text!r}:\n{_format_candidates(found)}", "use the id of one")
    unknown = [word for word, conversations in zip(words, named, strict=True) if not conversations]
    raise _not_found(history, unknown[0] if len(unknown) < len(words) else text)


def _format_candidates(conversations: Sequence[StoredConversation]) -> str:
    lines = [f"  {found.name}  {' '.join(found.title.split())}" for found in conversations[:MAX_SHOWN]]
    return "\n".join(lines + ["  …"] * (len(conversations) > MAX_SHOWN))


def _not_found(history: History, words: str) -> UsageError:
    if words == LAST:
        return UsageError("there are no conversations yet")
    return UsageError(f"no conversation matches {words!r}", _suggest_conversation(history, words))


def last_in_session(history: History, session: str) -> StoredConversation | None:
    """Return the conversation that changed last in a session."""
    return _select_one(history, "place = ? ORDER BY changed DESC, id DESC LIMIT 1", session)


def find_latest(history: History) -> StoredConversation | None:
    """Return the conversation that changed last."""
    return _select_one(history, "1 ORDER BY changed DESC, id DESC LIMIT 1")


def find_conversation(history: History, words: str, report: Report = ignore_progress) -> StoredConversation:
    """Return the conversation that a word selects, as in `select_conversations`, else the latest that contains it.

    Raises UsageError if there is none.
    """
    named = _find_named(history, words)
    if len(named) == 1:
        return named[0]
    for conversation, _ in _find_matches(history, Query(words), report):
        return get_by_id(history, conversation)
    if len(found := _find_by_beginning(history, words)) == 1:
        return found[0]
    raise _not_found(history, words)


def get_by_id(history: History, conversation: int) -> StoredConversation:
    """Return the conversation with this id, which must exist."""
    return _select(history, "id = ?", conversation)[0]


def find_by_id(history: History, conversation: int) -> StoredConversation | None:
    """Return the conversation with this id, or None if it was deleted."""
    return _select_one(history, "id = ?", conversation)


def list_conversations(history: History) -> list[StoredConversation]:
    """Return all conversations, the one that changed last at the end."""
    return _select(history, "1 ORDER BY changed, id")


def list_ids(history: History, before: float | None = None) -> list[int]:
    """Return the ids of all conversations, or of those that have not changed since a Unix time, the oldest first."""
    where, values = ("", ()) if before is None else ("WHERE changed < ?", (before,))
    query = f"SELECT id FROM conversations {where} ORDER BY changed, id"
    return [conversation for (conversation,) in history.connection.execute(query, values)]


def _suggest_conversation(history: History, name: str) -> str:
    rows = history.connection.execute("SELECT name FROM conversations ORDER BY changed DESC LIMIT 1000")
    return f"{suggest(name, [row[0] for row in rows])} aiml history list lists them all".lstrip()


def _find_named(history: History, word: str) -> list[StoredConversation]:
    """Return the conversations that a word selects without a search; several for an ambiguous beginning."""
    word = _make_storable(word)
    if conversation := _select_one(history, "name = ?", word):
        return [conversation]
    if word == LAST:
        return list(filter(None, [find_latest(history)]))
    if word.isdecimal() and word.isascii() and 0 < int(word[:9]) <= MAX_NUMBER:
        numbered = _select(history, "1 ORDER BY changed DESC, id DESC LIMIT 1 OFFSET ?", int(word) - 1)
        if numbered:
            return numbered
    return _find_by_beginning(history, word) if len(word) >= MIN_BEGINNING else []


def _find_by_beginning(history: History, word: str) -> list[StoredConversation]:
    """Return conversations whose ids begin with a word, at most one more than a message lists."""
    word = _make_storable(word)
    if not word:
        return []
    return _select(history, "name >= ? AND name < ? LIMIT ?", word, word + "\U0010ffff", MAX_SHOWN + 1)


def _make_storable(text: str) -> str:
    """Replace lone surrogates and NUL characters, which SQLite does not accept in strings."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def _select_one(history: History, where: str, *values: Any) -> StoredConversation | None:
    return next(iter(_select(history, where, *values)), None)


def _select(history: History, where: str, *values: Any) -> list[StoredConversation]:
    columns = ", ".join(StoredConversation._fields)
    rows: Iterable[Any] = history.connection.execute(f"SELECT {columns} FROM conversations WHERE {where}", values)
    return [StoredConversation(*decode_row(row)) for row in rows]
