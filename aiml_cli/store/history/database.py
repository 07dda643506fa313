"""Open the history: a private SQLite file that many processes write at the same time.

A damaged file is moved aside. A file that a newer aiml wrote is not changed.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from aiml_cli.errors import AimlError, OutputFailed, UsageError
from aiml_cli.store import paths
from aiml_cli.store.history import locks
from aiml_cli.system.atomic_write import make_private_folder, refuse_symlink

BUSY_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 0.5
# Long work is done in short transactions, with pauses in which other processes can write.
SLICE_S, PAUSE_S = 0.03, 0.02
# Called with the name of a task, how much of it is done, and the total.
Report = Callable[[str, int, int], None]
_DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
REPLACED_DELAYS_S = (0.01, 0.05, 0.2, 0.5)
_DAMAGED_SUFFIX = ".damaged-"


def ignore_progress(_what: str, _done: int, _total: int) -> None:
    """Ignore the progress of a task."""


# Applied in order, each once; `user_version` counts the applied ones. Never change a migration, only add one.
MIGRATIONS = (
    """
    CREATE TABLE conversations (
        -- Ids are never reused: a process that still has a deleted conversation's id must not write to another one.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, place TEXT NOT NULL, system TEXT,
        begun REAL NOT NULL, changed REAL NOT NULL
    );
    CREATE INDEX conversations_by_place ON conversations (place, changed);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        role TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL,
        text TEXT NOT NULL, thought TEXT NOT NULL DEFAULT '', items TEXT NOT NULL DEFAULT '[]',
        endpoint TEXT NOT NULL, host TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
        options TEXT NOT NULL DEFAULT '{}', usage TEXT, cost_usd REAL, cost_source TEXT,
        request_id TEXT, response_id TEXT, stored INTEGER NOT NULL DEFAULT 0,
        facts TEXT NOT NULL DEFAULT '{}', indexed INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX messages_by_conversation ON messages (conversation);
    CREATE INDEX messages_by_response ON messages (response_id) WHERE response_id IS NOT NULL;
    CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming';
    CREATE INDEX messages_not_indexed ON messages (id) WHERE indexed = 0;
    CREATE TABLE pieces (
        id INTEGER PRIMARY KEY,
        message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
        kind TEXT NOT NULL, choice INTEGER NOT NULL, text TEXT NOT NULL
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
    -- Requests that are not saved as messages: sums for each hour (since 1970), from which any day can be computed.
    CREATE TABLE spent (
        hour INTEGER NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL, cost_source TEXT NOT NULL,
        requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        PRIMARY KEY (hour, model, endpoint, cost_source)
    ) WITHOUT ROWID;
    """,
    """
    -- What is computed from the messages is filled in later, in slices (`edits`), so that this step takes no time
    -- however large the history is. The full-text index of earlier versions is deleted in slices too.
    DROP TRIGGER messages_removed;
    DROP TRIGGER messages_changed;
    DROP INDEX messages_not_indexed;
    CREATE INDEX conversations_by_change ON conversations (changed);
    -- The words of each block of 256 message ids; `messages` has a byte for each message that contains the word.
    CREATE TABLE block_words (
        block INTEGER NOT NULL, word TEXT NOT NULL, messages BLOB NOT NULL, PRIMARY KEY (block, word)
    ) WITHOUT ROWID;
    -- Blocks that still contain the words of deleted messages.
    CREATE TABLE stale_blocks (block INTEGER PRIMARY KEY);
    -- The last message whose words, and whose cost, were added; `cleanings` counts the cleaned blocks.
    CREATE TABLE positions (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO positions VALUES ('words', 0), ('costs', 0), ('cleanings', 0);
    -- Messages up to that position whose words must be added again.
    CREATE TABLE not_indexed (message INTEGER PRIMARY KEY);
    CREATE TABLE costs (
        message INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL, host TEXT NOT NULL,
        input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
        cost_usd REAL, cost_source TEXT NOT NULL
    );
    CREATE INDEX costs_by_time ON costs (at);
    -- A count that is damaged is 0, a price that is none is unknown.
    CREATE VIEW answer_costs AS
    WITH answers AS (
        SELECT *, CASE WHEN json_valid(usage) THEN usage ELSE '{}' END AS counts FROM messages
        WHERE role = 'assistant' AND state NOT IN ('failed', 'streaming')
        AND CASE WHEN json_valid(facts) THEN json_extract(facts, '$.replayed') END IS NULL
    ), numbers AS (
        SELECT *, json_extract(counts, '$.input_tokens') AS input, json_extract(counts, '$.output_tokens') AS output,
            json_extract(counts, '$.cached_tokens') AS cached,
            CASE WHEN typeof(cost_usd) IN ('integer', 'real') AND abs(cost_usd) < 1e9 THEN cost_usd END AS usd
        FROM answers
    )
    SELECT id AS message, CASE WHEN typeof(at) IN ('integer', 'real') THEN at ELSE 0 END AS at,
        CAST(model AS TEXT) AS model, CAST(endpoint AS TEXT) AS endpoint, CAST(host AS TEXT) AS host,
        CASE typeof(input) WHEN 'integer' THEN min(max(input, 0), 1000000000000) ELSE 0 END AS input_tokens,
        CASE typeof(output) WHEN 'integer' THEN min(max(output, 0), 1000000000000) ELSE 0 END AS output_tokens,
        CASE typeof(cached) WHEN 'integer' THEN min(max(cached, 0), 1000000000000) ELSE 0 END AS cached_tokens,
        usd AS cost_usd, CASE WHEN usd IS NULL THEN '' ELSE CAST(coalesce(cost_source, '') AS TEXT) END AS cost_source
    FROM numbers;
    CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
        INSERT OR IGNORE INTO stale_blocks VALUES (old.id >> 8);
        DELETE FROM not_indexed WHERE message = old.id;
        DELETE FROM costs WHERE message = old.id;
        -- The id of the last message is used again.
        UPDATE positions SET value = (SELECT coalesce(max(id), 0) FROM messages)
        WHERE name IN ('words', 'costs') AND value > (SELECT coalesce(max(id), 0) FROM messages);
    END;
    CREATE TRIGGER text_changed AFTER UPDATE OF text ON messages
    WHEN old.id <= (SELECT value FROM positions WHERE name = 'words') BEGIN
        INSERT OR IGNORE INTO not_indexed VALUES (old.id);
    END;
    CREATE TRIGGER cost_changed
    AFTER UPDATE OF at, role, state, endpoint, host, model, usage, cost_usd, cost_source, facts ON messages
    WHEN old.id <= (SELECT value FROM positions WHERE name = 'costs') BEGIN
        DELETE FROM costs WHERE message = old.id;
        INSERT INTO costs SELECT * FROM answer_costs WHERE message = old.id;
    END;
    """,
)


class History:
    """An open history; `damaged_copy` is the new path of a damaged file that was moved aside, or None."""

    def __init__(self, connection: sqlite3.Connection, path: Path, damaged_copy: Path | None = None) -> None:
        self.connection, self.path, self.damaged_copy = connection, path, damaged_copy
        self.lock_file = lock_path(path)
        self.is_writing = False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a write transaction; commit it, or roll back on any exception."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.is_writing = True
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        else:
            self.connection.execute("COMMIT")
        finally:
            self.is_writing = False

    def run_in_slices(self, step: Callable[[sqlite3.Connection], bool], report: Callable[[], None]) -> None:
        """Call `step` in short transactions until it returns False; each call should take a few milliseconds."""
        is_done = False
        while not is_done:
            started = time.monotonic()
            with self.transaction() as db:
                while not (is_done := not step(db)) and time.monotonic() < started + SLICE_S:
                    pass
            if not is_done:
                report()
                # A slow disk needs longer pauses.
                time.sleep(max(PAUSE_S, (time.monotonic() - started) / 2) if PAUSE_S else 0)

    def close(self) -> None:
        """Close the file; SQLite removes its journal files when the last process closes it."""
        self.connection.close()


def open_history() -> History:
    """Open the history, and create it if it does not exist.

    Raises OutputFailed if it cannot be used, and UsageError for a symbolic link or without a home directory.
    """
    path = paths.require_path(paths.history_file())
    make_private_folder(path.parent)
    refuse_symlink(path)
    with translate_errors(path):
        # SQLite would wait for a lock that the file system cannot give.
        locks.check_support(lock_path(path))
        try:
            return History(_connect(path), path)
        except sqlite3.DatabaseError as error:
            if not is_damaged(error):
                raise
            return recreate_history()


def recreate_history() -> History:
    """Replace a damaged history, unless another process has already done so; raise the errors of `open_history`."""
    path = paths.require_path(paths.history_file())
    with translate_errors(path):
        with locks.hold_lock(lock_path(path), locks.WHOLE_FILE):
            damaged_copy = None if _is_sound(path) else _move_aside(path)
        return History(_connect(path), path, damaged_copy)


def open_empty() -> History:
    """Open an empty history in memory, for commands that only read and find no file."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("".join(MIGRATIONS))
    return History(connection, paths.history_file() or Path(os.devnull))


def open_existing() -> History | None:
    """Open the history if its file exists; raise the errors of `open_history`."""
    path = paths.history_file()
    return open_history() if path and path.exists() else None


def is_locked() -> bool:
    """True if another process has kept the history locked for half a second."""
    path = paths.require_path(paths.history_file())
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, PROBE_TIMEOUT_S)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        return False
    return True


def is_damaged(error: sqlite3.Error) -> bool:
    """True if the error means that the file itself is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE_CODES


def list_damaged_copies(path: Path) -> list[Path]:
    """Return the damaged files that were moved aside, with their journal files."""
    return sorted(path.parent.glob(f"{path.name}{_DAMAGED_SUFFIX}*"))


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise OutputFailed for an error of the disk or the database."""
    try:
        yield
    except AimlError:
        raise
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputFailed(f"{path}: {reason}", "the history was not changed") from None


def _is_sound(path: Path) -> bool:
    """True if the file is an undamaged database: another process may have replaced the damaged one."""
    try:
        with closing(sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as error:
        if is_damaged(error):
            return False
        raise


def _move_aside(path: Path) -> Path:
    """Rename a damaged file and its journal files; return the new path."""
    copy = path.with_name(f"{path.name}{_DAMAGED_SUFFIX}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    # The file itself last: as soon as it is gone, another process may create a new one with journal files of its own.
    for ending in ("-wal", "-shm", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(copy.with_name(copy.name + ending))
    return copy


def lock_path(path: Path) -> Path:
    """Return the path of the lock file for `locks`."""
    return path.with_name(f"{path.name}.lock")


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file and apply the missing migrations; try again while another process replaces a damaged file."""
    for delay_s in REPLACED_DELAYS_S:
        try:
            return _connect_once(path)
        except sqlite3.OperationalError as error:
            if not _may_be_replaced(error):
                raise
            time.sleep(delay_s)
    return _connect_once(path)


def _may_be_replaced(error: sqlite3.Error) -> bool:
    """True if the error may be caused by another process that renamed or created the file in the meantime."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_READONLY_DBMOVED or code & 0xFF == sqlite3.SQLITE_IOERR


def _connect_once(path: Path) -> sqlite3.Connection:
    _create_private(path)
    connection = sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = _decode_text
    try:
        # A crash of the program loses nothing, and a power failure only the last writes.
        connection.executescript("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -256")
        # Deleted data is overwritten: pieces of answers and conversations.
        connection.execute("PRAGMA secure_delete = ON")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_private(path: Path) -> None:
    """Make the file private before its first byte is written; SQLite gives its journal files the same mode.

    An existing file is not opened: closing it would release the locks that SQLite has on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not path.stat().st_mode & 0o077:
            return
    path.chmod(0o600)  # also for a new file: the umask may have removed the owner's own permissions


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if (version := _read_version(connection)) == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise UsageError(f"{path} was written by a newer aiml", "update aiml, or use --no-log")
    with locks.hold_lock(lock_path(path), locks.WHOLE_FILE):
        if not version:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # works only before the first table
        connection.execute("PRAGMA journal_mode = WAL")
        # Read again: another process may have migrated the file while this one waited.
        for i in range(_read_version(connection), len(MIGRATIONS)):
            connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[i]}; PRAGMA user_version = {i + 1}; COMMIT")


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def decode_row(row: Iterable[Any]) -> list[Any]:
    """Return the values of a row, with bytes decoded to strings."""
    return [_decode_text(value) if isinstance(value, bytes) else value for value in row]


def _decode_text(data: bytes) -> str:
    # A damaged byte only affects its character.
    return data.decode("utf-8", "replace")
