"""Keep the REPL's conversation this process's to write, and change it in the history."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiml_cli.errors import AimlError
from aiml_cli.store import paths
from aiml_cli.store.history import database, locks
from aiml_cli.system.stdio import print_err


@contextmanager
def opened() -> Iterator[database.History]:
    """Open the history where there is one, else nothing; raise OutputFailed where it cannot be read or written."""
    store = database.existing() or database.nothing()
    try:
        with database.in_words(store.path):
            yield store
    finally:
        store.close()


def lend(row: int | None) -> None:
    """Take a conversation once more: who writes an answer lets go of it once."""
    if row is not None and (path := paths.history_file()):
        with suppress(OSError):
            locks.take(database.lock_of(path), row)


def own(row: int | None) -> bool:
    """Hold a conversation, once; say whether no other process does."""
    if row is None or not (path := paths.history_file()):
        return True
    with suppress(OSError):
        return locks.once(database.lock_of(path), row)
    return True


def let_go(row: int | None) -> None:
    """Let others write a conversation."""
    if row is not None and own(row) and (path := paths.history_file()):
        locks.let_go(database.lock_of(path), row)


def take_back(row: int | None, behind: int, to: int | None = None) -> None:
    """Mark what was said behind an answer, to another one; what the history refuses costs a notice."""
    if row is None:
        return
    from aiml_cli.store.history import edits  # for few lines only

    try:
        with opened() as store:
            edits.take_back(store, row, behind, to)
    except AimlError as fault:
        print_err(f"aiml: it is taken back here, but not in the history: {fault.message}")
