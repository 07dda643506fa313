"""Lock the REPL's conversation for this process, and change it in the history."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiml_cli.errors import AimlError
from aiml_cli.store import paths
from aiml_cli.store.history import database, edits, locks
from aiml_cli.system.stdio import print_err


@contextmanager
def open_history() -> Iterator[database.History]:
    """Open the history, or an empty one if there is none; raise OutputFailed if it cannot be read or written."""
    history = database.open_existing() or database.open_empty()
    try:
        with database.translate_errors(history.path):
            yield history
    finally:
        history.close()


def acquire_again(conversation_id: int | None) -> None:
    """Lock a conversation one more time, because writing an answer releases it once."""
    if conversation_id is not None and (path := paths.history_file()):
        with suppress(OSError):
            locks.acquire(database.lock_path(path), conversation_id)


def ensure_held(conversation_id: int | None) -> bool:
    """Lock a conversation unless this process has done so; return False if another process has the lock."""
    if conversation_id is not None and (path := paths.history_file()):
        with suppress(OSError):
            return locks.ensure_held(database.lock_path(path), conversation_id)
    return True


def release(conversation_id: int | None) -> None:
    """Let other processes write a conversation."""
    if conversation_id is not None and ensure_held(conversation_id) and (path := paths.history_file()):
        locks.release(database.lock_path(path), conversation_id)


def undo_in_history(conversation_id: int | None, after_id: int, last_id: int | None = None) -> None:
    """Mark the messages after one answer, up to another, as undone; print an error of the history as a notice."""
    if conversation_id is None:
        return
    try:
        with open_history() as history:
            edits.mark_undone(history, conversation_id, after_id, last_id)
    except AimlError as error:
        print_err(f"aiml: undone here, but not in the history: {error.message}")
