"""Keep the index of words up with the messages: who searches does it, so that no answer waits for it."""

from aiml_cli.store.history import History

_NEW = "indexed = 0 AND state != 'streaming'"


def catch_up(history: History) -> None:
    """Add the words of what was written since the last search."""
    if history.connection.execute(f"SELECT 1 FROM messages WHERE {_NEW} LIMIT 1").fetchone() is None:
        return
    with history.change() as change:
        change.execute(f"INSERT INTO words (rowid, text) SELECT id, text FROM messages WHERE {_NEW}")
        change.execute(f"UPDATE messages SET indexed = 1 WHERE {_NEW}")
