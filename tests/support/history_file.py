"""The contents of the history database, read without the program."""

import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

JSON_COLUMNS = ("items", "options", "usage", "facts")
ATTEMPTS = 200


def history_path() -> Path:
    """Return the path of the database."""
    return Path(os.environ["XDG_DATA_HOME"]) / "aiml" / "history.db"


def select(query: str) -> list[dict[str, Any]]:
    """Return the rows of a query; an empty list if the file or the table does not exist yet."""
    if not history_path().exists():
        return []
    with closing(sqlite3.connect(history_path(), 20)) as database:
        database.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in database.execute(query)]
        except sqlite3.OperationalError:
            return []


def read_messages() -> list[dict[str, Any]]:
    """Return all messages in order, with parsed JSON; items that only repeat the text are added."""
    rows = [
        {name: _parse_column(name, value) for name, value in row.items()} for row in select("SELECT * FROM messages")
    ]
    return [{**row, "items": _complete_items(row)} for row in sorted(rows, key=lambda row: row["id"])]


def read_answers() -> list[dict[str, Any]]:
    """Return the messages of the assistant."""
    return [row for row in read_messages() if row["role"] == "assistant"]


def read_answer_states() -> list[tuple[str, str]]:
    """Return the state and the text of each answer."""
    return [(row["state"], row["text"]) for row in read_answers()]


def read_streaming_text() -> str:
    """Return the saved text of answers that are still streaming."""
    return "".join(row["text"] for row in select("SELECT text FROM pieces ORDER BY id"))


def wait_until_equal(read: Callable[[], object], expected: object) -> bool:
    """Wait up to ten seconds until `read` returns the expected value; return whether it did."""
    timer = threading.Event()
    return any(read() == expected or timer.wait(0.05) for _ in range(ATTEMPTS))


def _complete_items(row: dict[str, Any]) -> Any:
    return [{"role": row["role"], "content": row["text"]}] if row["items"] is None else row["items"]


def _parse_column(name: str, value: Any) -> Any:
    return json.loads(value) if name in JSON_COLUMNS and value else value
