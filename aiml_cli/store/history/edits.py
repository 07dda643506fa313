"""Change a conversation of the history afterwards: take exchanges back, copy it, give it another name."""

import json
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.store.history import locks, reader
from aiml_cli.store.history.database import History, list_damaged_copies, translate_errors
from aiml_cli.store.history.reader import StoredConversation
from aiml_cli.store.history.writer import generate_name

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# What a copy shares with its original must be counted once: it cost nothing again.
_SPENT = {"usage": None, "cost_usd": None, "cost_source": None, "indexed": 0}
_COPIED = [name for name in reader.StoredMessage._fields if name not in ("id", "conversation")]


def check_name(name: str) -> None:
    """Raise UsageError for what is no name of a conversation."""
    if not NAME.fullmatch(name) or name == reader.LAST:
        raise UsageError(f"{name!r} is no name for a conversation", "letters, digits, - and _ make a name")


def mark_undone(history: History, conversation: int, behind: int, to: int | None = None) -> None:
    """Mark what was said behind a message (to another one), so that it is not sent again but can still be read."""
    rows = history.connection.execute(
        "SELECT id, facts FROM messages WHERE conversation = ? AND id > ? AND id <= ?",
        (conversation, behind, 1 << 62 if to is None else to),
    ).fetchall()
    with history.transaction() as change:
        change.executemany("UPDATE messages SET facts = ? WHERE id = ?", [(_undone(facts), row) for row, facts in rows])


def rename_conversation(history: History, conversation: int, name: str) -> None:
    """Give a conversation another name; raise UsageError for none, and for another one's."""
    check_name(name)
    try:
        with history.transaction() as change:
            change.execute("UPDATE conversations SET name = ? WHERE id = ?", (name, conversation))
    except sqlite3.IntegrityError:
        raise _taken(name) from None


def copy_conversation(
    history: History, conversation: int, name: str = ""
) -> tuple[reader.StoredConversation, dict[int, int]]:
    """Copy a conversation; give the new one, which is this process's to write, and its messages by the old ones."""
    if name:
        check_name(name)
    try:
        with history.transaction() as change:
            new = _begun(history, change, conversation, name)
            return reader.get_by_id(history, new), _copied(change, conversation, new)
    except sqlite3.IntegrityError:
        raise _taken(name) from None


def _begun(history: History, change: sqlite3.Connection, conversation: int, name: str) -> int:
    added = change.execute(
        "INSERT INTO conversations (name, title, place, system, begun, changed)"
        " SELECT ?, title, place, system, begun, ? FROM conversations WHERE id = ?",
        (name or generate_name(), time.time(), conversation),
    )
    locks.acquire(history.lock, added.lastrowid or 0)  # before anybody else can see it
    return int(added.lastrowid or 0)


def _copied(change: sqlite3.Connection, conversation: int, new: int) -> dict[int, int]:
    values = ", ".join(f":{name}" if name in _SPENT else name for name in _COPIED)
    rows = change.execute("SELECT id FROM messages WHERE conversation = ? ORDER BY id", (conversation,)).fetchall()
    named = {name: value for name, value in _SPENT.items() if name in _COPIED}
    statement = f"INSERT INTO messages (conversation, {', '.join(_COPIED)}) SELECT :new, {values} FROM messages"
    found: dict[int, int] = {}
    for (row,) in rows:
        added = change.execute(f"{statement} WHERE id = :id", {**named, "new": new, "id": row})
        found[row] = int(added.lastrowid or 0)
    return found


def _undone(facts: str) -> str:
    try:
        found: Any = json.loads(facts or "{}")
    except ValueError:
        found = {}
    return json.dumps({**(found if isinstance(found, dict) else {}), "rejected": True, "undone": True})


def _taken(name: str) -> UsageError:
    return UsageError(f"there is a conversation {name!r} already", "choose another name")


class DeleteResult(NamedTuple):
    """Hold what was deleted, what a live process writes and so stayed, and whether no trace is left."""

    deleted: list[StoredConversation]
    kept: list[StoredConversation]
    is_clean: bool


def delete_conversations(history: History, conversations: Sequence[StoredConversation]) -> DeleteResult:
    """Delete conversations that no live process writes; raise OutputFailed."""
    with translate_errors(history.path):
        gone = [each for each in conversations if _take(history, each)]
        try:
            is_clean = _delete(history, gone) if gone else True
        finally:
            for each in gone:
                locks.release(history.lock, each.id)
    return DeleteResult(gone, [each for each in conversations if each not in gone], is_clean)


def delete_damaged_copies(history: History) -> None:
    """Delete what was moved aside because it was damaged; raise OutputFailed."""
    with translate_errors(history.path):
        for copy in list_damaged_copies(history.path):
            copy.unlink(missing_ok=True)


def count_copies(copies: Sequence[object]) -> int:
    """Count the copies; a copy's own journal files are part of it."""
    return sum(not str(copy).endswith(("-wal", "-shm")) for copy in copies)


def _take(history: History, conversation: StoredConversation) -> bool:
    return not locks.is_held(history.lock, conversation.id) and locks.acquire(history.lock, conversation.id)


def _delete(history: History, conversations: Sequence[StoredConversation]) -> bool:
    # VACUUM would copy the whole history into the temporary directory.
    history.connection.executescript("PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY")
    with locks.hold_lock(history.lock, locks.WHOLE):
        ids = [(each.id,) for each in conversations]
        with history.transaction() as change:
            change.executemany("DELETE FROM messages WHERE conversation = ?", ids)
            change.executemany("DELETE FROM conversations WHERE id = ?", ids)
            # The index keeps the words of deleted rows until it is made anew.
            change.execute("INSERT INTO words (words) VALUES ('rebuild')")
            change.execute("UPDATE messages SET indexed = 1 WHERE NOT indexed")
        return _shrink(history.connection)


def _shrink(connection: sqlite3.Connection) -> bool:
    """Give the room back, empty the journal, and say whether that could be done: a reader may be in the way."""
    with suppress(sqlite3.OperationalError):  # a full disk; the freed pages are zeroed all the same
        connection.execute("VACUUM")
    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
