"""Change saved conversations: undo exchanges, rename, copy and delete."""

import json
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.store.history import find_conversations, locks, reader
from aiml_cli.store.history.database import History, list_damaged_copies, translate_errors
from aiml_cli.store.history.find_conversations import StoredConversation
from aiml_cli.store.history.writer import generate_name

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# A copy has cost nothing, so its usage and cost are NULL.
_COST_COLUMNS = ("usage", "cost_usd", "cost_source")
_COPIED_COLUMNS = [name for name in reader.StoredMessage._fields if name not in ("id", "conversation")]


def check_name(name: str) -> None:
    """Raise UsageError if a conversation cannot have this name."""
    if not _NAME.fullmatch(name) or name == find_conversations.LAST:
        raise UsageError(f"{name!r} is no name for a conversation", "letters, digits, - and _ make a name")


def mark_undone(history: History, conversation: int, after: int, last: int | None = None) -> None:
    """Mark the messages after one id, up to and including another, as no longer sent; they can still be read."""
    rows = history.connection.execute(
        "SELECT id, facts FROM messages WHERE conversation = ? AND id > ? AND id <= ?",
        (conversation, after, 1 << 62 if last is None else last),
    ).fetchall()
    marks = {"rejected": True, "undone": True}
    updates = [(json.dumps({**reader.parse_column(facts, {}), **marks}), message) for message, facts in rows]
    with history.transaction() as db:
        db.executemany("UPDATE messages SET facts = ? WHERE id = ?", updates)


def rename_conversation(history: History, conversation: int, name: str) -> None:
    """Rename a conversation; raise UsageError if the name is not valid or another conversation has it."""
    check_name(name)
    try:
        with history.transaction() as db:
            db.execute("UPDATE conversations SET name = ? WHERE id = ?", (name, conversation))
    except sqlite3.IntegrityError:
        raise _name_conflict(name) from None


def copy_conversation(history: History, conversation: int, name: str = "") -> tuple[StoredConversation, dict[int, int]]:
    """Copy a conversation and lock the copy for this process; return it, and its message ids by the original ones."""
    if name:
        check_name(name)
    try:
        with history.transaction() as db:
            copy = _insert_copy(history, db, conversation, name)
            return find_conversations.get_by_id(history, copy), _copy_messages(db, conversation, copy)
    except sqlite3.IntegrityError:
        raise _name_conflict(name) from None


def _insert_copy(history: History, db: sqlite3.Connection, conversation: int, name: str) -> int:
    insertion = db.execute(
        "INSERT INTO conversations (name, title, place, system, begun, changed)"
        " SELECT ?, title, place, system, begun, ? FROM conversations WHERE id = ?",
        (name or generate_name(), time.time(), conversation),
    )
    copy = int(insertion.lastrowid or 0)
    locks.acquire(history.lock_file, copy)  # before other processes can see it
    return copy


def _copy_messages(db: sqlite3.Connection, conversation: int, copy: int) -> dict[int, int]:
    columns = ", ".join(_COPIED_COLUMNS)
    values = ", ".join("NULL" if name in _COST_COLUMNS else name for name in _COPIED_COLUMNS)
    statement = f"INSERT INTO messages (conversation, {columns}) SELECT ?, {values} FROM messages WHERE id = ?"
    rows = db.execute("SELECT id FROM messages WHERE conversation = ? ORDER BY id", (conversation,)).fetchall()
    return {message: int(db.execute(statement, (copy, message)).lastrowid or 0) for (message,) in rows}


def _name_conflict(name: str) -> UsageError:
    return UsageError(f"there is a conversation {name!r} already", "choose another name")


class DeleteResult(NamedTuple):
    """The deleted conversations, those that a process is still writing, and whether no trace is left on the disk."""

    deleted: list[StoredConversation]
    in_use: list[StoredConversation]
    is_clean: bool


def delete_conversations(history: History, conversations: Sequence[StoredConversation]) -> DeleteResult:
    """Delete the conversations that no process is writing; raise OutputFailed."""
    with translate_errors(history.path):
        deleted = [conversation for conversation in conversations if _acquire_unused(history, conversation)]
        try:
            is_clean = _delete(history, deleted) if deleted else True
        finally:
            for conversation in deleted:
                locks.release(history.lock_file, conversation.id)
    return DeleteResult(deleted, [each for each in conversations if each not in deleted], is_clean)


def delete_damaged_copies(history: History) -> None:
    """Delete the damaged files that were moved aside; raise OutputFailed."""
    with translate_errors(history.path):
        for copy in list_damaged_copies(history.path):
            copy.unlink(missing_ok=True)


def count_copies(copies: Sequence[object]) -> int:
    """Return the number of copies without their journal files."""
    return sum(not str(copy).endswith(("-wal", "-shm")) for copy in copies)


def _acquire_unused(history: History, conversation: StoredConversation) -> bool:
    return not locks.is_held(history.lock_file, conversation.id) and locks.acquire(history.lock_file, conversation.id)


def _delete(history: History, conversations: Sequence[StoredConversation]) -> bool:
    # With temporary files on disk, VACUUM would copy the whole history into the temporary directory.
    history.connection.executescript("PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY")
    with locks.hold_lock(history.lock_file, locks.WHOLE_FILE):
        ids = [(conversation.id,) for conversation in conversations]
        with history.transaction() as db:
            db.executemany("DELETE FROM messages WHERE conversation = ?", ids)
            db.executemany("DELETE FROM conversations WHERE id = ?", ids)
            # The index contains the words of deleted rows until it is rebuilt.
            db.execute("INSERT INTO words (words) VALUES ('rebuild')")
            db.execute("UPDATE messages SET indexed = 1 WHERE NOT indexed")
        return _shrink(history.connection)


def _shrink(connection: sqlite3.Connection) -> bool:
    """Free unused pages and empty the journal; return False if another process is reading it."""
    with suppress(sqlite3.OperationalError):  # the disk is full; the freed pages are zeroed in any case
        connection.execute("VACUUM")
    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
