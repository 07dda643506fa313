"""Open the history: a private SQLite file that many processes write at once.

A file that is damaged is moved aside; a newer program's file is left alone.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aiml_cli.errors import AimlError, OutputFailed, UsageError
from aiml_cli.store import paths
from aiml_cli.store.history import locks
from aiml_cli.system import atomic_write

PATIENCE_S = 20.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MOVED = ".damaged-"
# A step is applied once, in order; `user_version` counts those that were. A step is never changed, only added.
STEPS = (
    """
    CREATE TABLE conversations (
        -- No number comes again: who holds that of a conversation that was deleted must not write into another.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        place TEXT NOT NULL,
        system TEXT,
        begun REAL NOT NULL,
        changed REAL NOT NULL
    );
    CREATE INDEX conversations_by_place ON conversations (place, changed);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        text TEXT NOT NULL,
        thought TEXT NOT NULL DEFAULT '',
        items TEXT NOT NULL DEFAULT '[]',
        endpoint TEXT NOT NULL,
        host TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '',
        options TEXT NOT NULL DEFAULT '{}',
        usage TEXT,
        cost_usd REAL,
        cost_source TEXT,
        request_id TEXT,
        response_id TEXT,
        stored INTEGER NOT NULL DEFAULT 0,
        facts TEXT NOT NULL DEFAULT '{}',
        indexed INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX messages_by_conversation ON messages (conversation);
    CREATE INDEX messages_by_response ON messages (response_id) WHERE response_id IS NOT NULL;
    CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming';
    CREATE INDEX messages_not_indexed ON messages (id) WHERE indexed = 0;
    CREATE TABLE pieces (
        id INTEGER PRIMARY KEY,
        message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        choice INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX pieces_by_message ON pieces (message);
    CREATE VIRTUAL TABLE words USING fts5 (text, content = 'messages', content_rowid = 'id');
    CREATE TRIGGER messages_removed AFTER DELETE ON messages WHEN old.indexed BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TRIGGER messages_changed AFTER UPDATE OF text ON messages WHEN old.indexed BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
        UPDATE messages SET indexed = 0 WHERE id = old.id;
    END;
    """,
    """
    -- What was asked and is not kept word by word: summed up by the hour (since 1970), so that any day can be told.
    CREATE TABLE spent (
        hour INTEGER NOT NULL,
        model TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        cost_source TEXT NOT NULL,
        requests INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        PRIMARY KEY (hour, model, endpoint, cost_source)
    ) WITHOUT ROWID;
    """,
)


class History:
    """Hold an open history; `moved` is where a damaged one was put, None when it was in order."""

    def __init__(self, connection: sqlite3.Connection, path: Path, moved: Path | None = None) -> None:
        self.connection, self.path, self.moved = connection, path, moved
        self.lock = lock_path(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make one transaction, the only one at its time."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file; the last to close it tidies up."""
        self.connection.close()


def open_history() -> History:
    """Open the history, and make it where there is none.

    Raises OutputFailed where it cannot be used, and UsageError for a link or where there is no home.
    """
    path = paths.require_path(paths.history_file())
    atomic_write.make_private_folder(path.parent)
    atomic_write.refuse_symlink(path)
    with translate_errors(path):
        try:
            return History(_connected(path), path)
        except sqlite3.DatabaseError as fault:
            if not is_damaged(fault):
                raise
            return recreate_history()


def recreate_history() -> History:
    """Begin a new history in the place of one that turned out to be damaged; raise as `opened` does.

    Who finds the damage second finds it mended, and moves nothing.
    """
    path = paths.require_path(paths.history_file())
    with translate_errors(path):
        with locks.hold_lock(lock_path(path), locks.WHOLE):
            moved = None if _is_sound(path) else _moved_aside(path)
        return History(_connected(path), path, moved)


def open_empty() -> History:
    """Give a history without rows, in memory, for who only reads where there is none."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("".join(STEPS))
    return History(connection, paths.history_file() or Path(os.devnull))


def open_existing() -> History | None:
    """Open the history where there is one; raise as `opened` does."""
    path = paths.history_file()
    return open_history() if path and path.exists() else None


def is_damaged(fault: sqlite3.Error) -> bool:
    """Say whether the file itself is at fault."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def list_damaged_copies(path: Path) -> list[Path]:
    """List what was moved aside."""
    return sorted(path.parent.glob(f"{path.name}{_MOVED}*"))


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Say in our words what the disk or the database complains of."""
    try:
        yield
    except AimlError:
        raise
    except (sqlite3.Error, OSError) as fault:
        words = getattr(fault, "strerror", None) or str(fault)
        raise OutputFailed(f"{path}: {words}", "the history is as it was") from None


def _is_sound(path: Path) -> bool:
    """Look through the file, and mend its index, which can be made anew."""
    try:
        with closing(sqlite3.connect(path, PATIENCE_S, isolation_level=None)) as connection:
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                return False
            if _version(connection):
                connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
                connection.execute("UPDATE messages SET indexed = 1 WHERE NOT indexed")
            return True
    except sqlite3.DatabaseError as fault:
        if is_damaged(fault):
            return False
        raise


def _moved_aside(path: Path) -> Path:
    """Put a damaged file, and what belongs to it, under another name; give that."""
    moved = path.with_name(f"{path.name}{_MOVED}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(moved.with_name(moved.name + ending))
    return moved


def lock_path(path: Path) -> Path:
    """Name the file in which what a process writes is locked."""
    return path.with_name(f"{path.name}.lock")


def _connected(path: Path) -> sqlite3.Connection:
    """Open the file and bring it up to date."""
    _made(path)
    connection = sqlite3.connect(path, PATIENCE_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = _text
    try:
        # What was written outlives the program at once, and a power cut all but the last moments.
        connection.executescript("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -256")
        _step_up(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _made(path: Path) -> None:
    """Make the file private before the first byte is in it; SQLite gives its other files the same modes.

    A file that is there is not opened: closing it would take away the locks that SQLite holds on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    else:
        path.chmod(0o600)  # the umask may have taken what we need ourselves


def _step_up(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the steps that the file lacks, as the only process that does."""
    if (version := _version(connection)) == len(STEPS):
        return
    if version > len(STEPS):
        raise UsageError(f"{path} was written by a newer aiml", "update aiml, or say --no-log")
    with locks.hold_lock(lock_path(path), locks.WHOLE):
        connection.execute("PRAGMA journal_mode = WAL")
        for number in range(_version(connection), len(STEPS)):
            connection.executescript(f"BEGIN IMMEDIATE; {STEPS[number]}; PRAGMA user_version = {number + 1}; COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _text(data: bytes) -> str:
    """Read a text of the file; a disk that turned some of its bits takes only those characters."""
    return data.decode("utf-8", "replace")
