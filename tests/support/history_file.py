"""What the history's file holds, read past the program."""

import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

JSON = ("items", "options", "usage", "facts")
PIECES = 200


def history_file() -> Path:
    """Name the file."""
    return Path(os.environ["XDG_DATA_HOME"]) / "aiml" / "history.db"


def select(query: str) -> list[dict[str, Any]]:
    """Give the rows of a query, none where there is no file or no table yet."""
    if not history_file().exists():
        return []
    with closing(sqlite3.connect(history_file(), 20)) as database:
        database.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in database.execute(query)]
        except sqlite3.OperationalError:
            return []


def messages() -> list[dict[str, Any]]:
    """Give all messages in order, their JSON read; items that only repeat the words are not written."""
    rows = [{name: _read(name, value) for name, value in row.items()} for row in select("SELECT * FROM messages")]
    return [{**row, "items": _items(row)} for row in sorted(rows, key=lambda row: row["id"])]


def answers() -> list[dict[str, Any]]:
    """Give the messages that were streamed, not said."""
    return [row for row in messages() if row["role"] == "assistant"]


def endings() -> list[tuple[str, str]]:
    """Give the state and the text of each answer."""
    return [(row["state"], row["text"]) for row in answers()]


def streamed() -> str:
    """Give what is written of answers that are still coming."""
    return "".join(row["text"] for row in select("SELECT text FROM pieces ORDER BY id"))


def becomes(look: Callable[[], object], wanted: object) -> bool:
    """Look again and again until something is as it shall be, for ten seconds."""
    tick = threading.Event()
    return any(look() == wanted or tick.wait(0.05) for _ in range(PIECES))


def _items(row: dict[str, Any]) -> Any:
    return [{"role": row["role"], "content": row["text"]}] if row["items"] is None else row["items"]


def _read(name: str, value: Any) -> Any:
    return json.loads(value) if name in JSON and value else value
