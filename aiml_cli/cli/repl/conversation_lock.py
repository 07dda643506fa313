"""Keep the REPL's conversation this process's to write, and change it in the history."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiml_cli.errors import AimlError
from aiml_cli.store import paths
from aiml_cli.store.history import database, locks
from aiml_cli.system.stdio import print_err


@contextmanager
def open_or_empty() -> Iterator[database.History]:
    """Open the history where there is one, else nothing; raise OutputFailed where it cannot be read or written."""
    store = database.open_existing() or database.open_empty()
    try:
        with database.translate_errors(store.path):
            yield store
    finally:
        store.close()


def acquire_again(row: int | None) -> None:
    """Take a conversation once more: who writes an answer lets go of it once."""
    if row is not None and (path := paths.history_file()):
        with suppress(OSError):
            locks.acquire(database.lock_path(path), row)


def ensure_held(row: int | None) -> bool:
    """Hold a conversation, once; say whether no other process does."""
    if row is None or not (path := paths.history_file()):
        return True
    with suppress(OSError):
        return locks.ensure_held(database.lock_path(path), row)
    return True


def release(row: int | None) -> None:
    """Let others write a conversation."""
    if row is not None and ensure_held(row) and (path := paths.history_file()):
        locks.release(database.lock_path(path), row)


def undo_in_history(row: int | None, behind: int, to: int | None = None) -> None:
    """Mark what was said behind an answer, to another one; what the history refuses costs a notice."""
    if row is None:
        return
    from aiml_cli.store.history import edits  # for few lines only

    try:
        with open_or_empty() as store:
            edits.mark_undone(store, row, behind, to)
    except AimlError as fault:
        print_err(f"aiml: it is taken back here, but not in the history: {fault.message}")
