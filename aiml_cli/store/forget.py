"""Delete conversations so that their text is really gone from the file."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from aiml_cli.store import locks
from aiml_cli.store.history import History, damaged_copies, in_words
from aiml_cli.store.past import Conversation


class Outcome(NamedTuple):
    """Hold what was deleted, what a live process writes and so stayed, and whether no trace is left."""

    gone: list[Conversation]
    kept: list[Conversation]
    is_clean: bool


def forget(history: History, conversations: Sequence[Conversation]) -> Outcome:
    """Delete conversations that no live process writes; raise OutputFailed."""
    with in_words(history.path):
        gone = [each for each in conversations if _take(history, each)]
        try:
            is_clean = _delete(history, gone) if gone else True
        finally:
            for each in gone:
                locks.let_go(history.lock, each.id)
    return Outcome(gone, [each for each in conversations if each not in gone], is_clean)


def forget_copies(history: History) -> None:
    """Delete what was moved aside because it was damaged; raise OutputFailed."""
    with in_words(history.path):
        for copy in damaged_copies(history.path):
            copy.unlink(missing_ok=True)


def count_of_copies(copies: Sequence[object]) -> int:
    """Count the copies; a copy's own journal files are part of it."""
    return sum(not str(copy).endswith(("-wal", "-shm")) for copy in copies)


def _take(history: History, conversation: Conversation) -> bool:
    return not locks.is_ours(history.lock, conversation.id) and locks.take(history.lock, conversation.id)


def _delete(history: History, conversations: Sequence[Conversation]) -> bool:
    # VACUUM would copy the whole history into the temporary directory.
    history.connection.executescript("PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY")
    with locks.held(history.lock, locks.WHOLE):
        ids = [(each.id,) for each in conversations]
        with history.change() as change:
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
