"""Change the history: lock conversations, undo exchanges, rename, copy and delete."""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.store import paths
from aiml_cli.store.history import find_conversations, locks, reader
from aiml_cli.store.history.database import (
    History,
    Report,
    ignore_progress,
    list_damaged_copies,
    lock_path,
    open_empty,
    open_existing,
    translate_errors,
)
from aiml_cli.store.history.find_conversations import StoredConversation
from aiml_cli.store.history.word_index import chunk_ids, clean_index
from aiml_cli.store.history.writer import generate_name
from aiml_cli.system.stdio import print_err

LOCKED_TOGETHER = 64  # conversations
MAX_VACUUM_SIZE = 8 << 20  # a larger file is made smaller page by page
PAGES_PER_STEP = 50
CHECKPOINT_MS = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# A copy is free, so its usage and cost are NULL.
_COST_COLUMNS = ("usage", "cost_usd", "cost_source")
_COPIED_COLUMNS = [name for name in reader.StoredMessage._fields if name not in ("id", "conversation")]


def check_name(name: str) -> None:
    """Raise UsageError if a conversation cannot have this name."""
    if not _NAME.fullmatch(name) or name == find_conversations.LAST:
        raise UsageError(
            f"{name!r} is not a valid name for a conversation", "a name consists of letters, digits, - and _"
        )


def mark_undone(history: History, conversation: int, after: int, last: int | None = None) -> None:
    """Mark the messages after one id, up to and including another, as undone: they are no longer sent."""
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


def copy_conversation(
    history: History, conversation: int, name: str = "", until: int | None = None
) -> tuple[StoredConversation, dict[int, int]]:
    """Copy a conversation, up to a message, and lock the copy for this process.

    Returns the copy, and a mapping from the original message ids to those of the copy.
    """
    if name:
        check_name(name)
    try:
        with history.transaction() as db:
            copy = _insert_copy(history, db, conversation, name)
            new_ids = _copy_messages(db, conversation, copy, 1 << 62 if until is None else until)
            _update_summaries(db, copy, new_ids)
            return find_conversations.get_by_id(history, copy), new_ids
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


def _copy_messages(db: sqlite3.Connection, conversation: int, copy: int, until: int) -> dict[int, int]:
    columns = ", ".join(_COPIED_COLUMNS)
    values = ", ".join("NULL" if name in _COST_COLUMNS else name for name in _COPIED_COLUMNS)
    statement = f"INSERT INTO messages (conversation, {columns}) SELECT ?, {values} FROM messages WHERE id = ?"
    select = "SELECT id FROM messages WHERE conversation = ? AND id <= ? ORDER BY id"
    rows = db.execute(select, (conversation, until)).fetchall()
    return {message: int(db.execute(statement, (copy, message)).lastrowid or 0) for (message,) in rows}


def _update_summaries(db: sqlite3.Connection, copy: int, new_ids: dict[int, int]) -> None:
    """Change the summaries in a copy so that they replace the messages of the copy."""
    select = "SELECT id, facts FROM messages WHERE conversation = ? AND instr(facts, ?)"
    for message, column in db.execute(select, (copy, f'"{reader.SUMMARY}"')).fetchall():
        facts = reader.parse_column(column, {})
        if (copied := copy_summary(facts, new_ids)) is not facts:
            db.execute("UPDATE messages SET facts = ? WHERE id = ?", (json.dumps(copied), message))


def copy_summary(facts: Mapping[str, Any], new_ids: Mapping[int, int]) -> Mapping[str, Any]:
    """Return the facts for the copy of a message; a summary replaces the copies of what its original replaced."""
    if (until := reader.get_summary_until(facts)) is None:
        return facts
    new = max((new for old, new in new_ids.items() if old <= until), default=0)
    return {**facts, reader.SUMMARY: {**facts[reader.SUMMARY], "until": new}}


def _name_conflict(name: str) -> UsageError:
    return UsageError(f"a conversation {name!r} already exists", "choose another name")


class DeleteResult(NamedTuple):
    """How many conversations were deleted, which were not because they are in use, and whether no traces are left."""

    deleted: int
    in_use: list[str]
    is_clean: bool


def delete_conversations(history: History, ids: Sequence[int], report: Report = ignore_progress) -> DeleteResult:
    """Delete the conversations that no process is writing, in short transactions; raise OutputFailed on failure.

    If the process is killed, one conversation may have lost only its first messages.
    """
    in_use = []
    with translate_errors(history.path):
        for done, chunk in enumerate(chunk_ids(ids, LOCKED_TOGETHER)):
            in_use += _delete_unused(history, chunk, partial(report, "deleting", done * LOCKED_TOGETHER, len(ids)))
        is_clean = True
        if len(in_use) < len(ids):
            clean_index(history, report)
            is_clean = _shrink(history, report)
    return DeleteResult(len(ids) - len(in_use), in_use, is_clean)


def delete_damaged_copies(history: History) -> None:
    """Delete the damaged files that were moved aside; raise OutputFailed if that fails."""
    with translate_errors(history.path):
        for copy in list_damaged_copies(history.path):
            copy.unlink(missing_ok=True)


def count_copies(copies: Sequence[object]) -> int:
    """Return the number of copies without their journal files."""
    return sum(not str(copy).endswith(("-wal", "-shm")) for copy in copies)


def _delete_unused(history: History, ids: Sequence[int], report: Callable[[], None]) -> list[str]:
    """Delete conversations, and return the names of those that are in use."""
    unused = [conversation for conversation in ids if _acquire_unused(history, conversation)]
    try:
        if unused:
            history.run_in_slices(partial(_delete_message, list(unused)), report)
            report()
    finally:
        for conversation in unused:
            locks.release(history.lock_file, conversation)
    names = "SELECT name FROM conversations WHERE id = ?"
    rows = (history.connection.execute(names, (left,)).fetchone() for left in ids if left not in unused)
    return [name for (name,) in filter(None, rows)]


def _acquire_unused(history: History, conversation: int) -> bool:
    return not locks.is_held(history.lock_file, conversation) and locks.acquire(history.lock_file, conversation)


def _delete_message(conversations: list[int], db: sqlite3.Connection) -> bool:
    """Delete a message of the first conversation, or the conversation when it has none; return whether more is left."""
    message = db.execute("SELECT min(id) FROM messages WHERE conversation = ?", conversations[:1]).fetchone()
    if message[0] is not None:
        db.execute("DELETE FROM messages WHERE id = ?", message)
    else:
        db.execute("DELETE FROM conversations WHERE id = ?", conversations[:1])
        del conversations[0]
    return bool(conversations)


def _shrink(history: History, report: Report) -> bool:
    """Free unused pages and empty the journal; return False if another process is reading it."""
    db = history.connection
    pages, size, free = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "freelist_count")
    )
    # With temporary files on disk, VACUUM would copy the history into the temporary directory.
    db.execute("PRAGMA temp_store = MEMORY")
    with suppress(sqlite3.OperationalError):  # the disk is full; the freed pages are zeroed in any case
        if (pages - free) * size <= MAX_VACUUM_SIZE:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # for a file of an earlier version
            db.execute("VACUUM")
        elif free:
            _free_pages(history, free, report)
    with suppress(sqlite3.OperationalError):
        db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_MS}")  # during the checkpoint, nobody can write
        return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return False


def _free_pages(history: History, total: int, report: Report) -> None:
    """Return unused pages to the disk; a file of an earlier version keeps them for new conversations."""

    def step(db: sqlite3.Connection) -> bool:
        db.execute(f"PRAGMA incremental_vacuum({PAGES_PER_STEP})").fetchall()
        left = db.execute("PRAGMA freelist_count").fetchone()[0]
        report("freeing space", total - left, total)
        is_progress, progress[0] = left < progress[0], left
        return bool(left and is_progress)

    progress = [total]
    history.run_in_slices(step, lambda: None)


@contextmanager
def open_history() -> Iterator[History]:
    """Open the history, or an empty one if there is none; raise OutputFailed if it cannot be read or written."""
    history = open_existing() or open_empty()
    try:
        with translate_errors(history.path):
            yield history
    finally:
        history.close()


def relock_conversation(conversation_id: int | None) -> None:
    """Lock a conversation one more time, because writing an answer releases it once."""
    if conversation_id is not None and (path := paths.history_file()):
        with suppress(OSError):
            locks.acquire(lock_path(path), conversation_id)


def ensure_locked(conversation_id: int | None) -> bool:
    """Lock a conversation unless this process has done so; return False if another process has the lock."""
    if conversation_id is not None and (path := paths.history_file()):
        with suppress(OSError):
            return locks.ensure_held(lock_path(path), conversation_id)
    return True


def unlock_conversation(conversation_id: int | None) -> None:
    """Let other processes write a conversation."""
    if conversation_id is not None and ensure_locked(conversation_id) and (path := paths.history_file()):
        locks.release(lock_path(path), conversation_id)


def undo_in_history(conversation_id: int | None, after_id: int, last_id: int | None = None) -> None:
    """Mark the messages after one answer, up to another, as undone; print an error of the history as a notice."""
    if conversation_id is None:
        return
    try:
        with open_history() as history:
            mark_undone(history, conversation_id, after_id, last_id)
    except AimlError as error:
        print_err(f"aiml: undone here, but not in the history: {error.message}")
