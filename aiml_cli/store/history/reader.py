"""Read the messages of a conversation from the history."""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiml_cli.store.history.database import History
from aiml_cli.store.history.writer import PLAIN_ITEMS, STREAMING, read_pieces


class StoredMessage(NamedTuple):
    """A row of the messages, with its JSON columns parsed. `items` are what is sent to the API for it."""

    id: int
    conversation: int
    role: str
    state: str
    at: float
    text: str
    thought: str
    items: Sequence[Any]
    endpoint: str
    host: str
    model: str
    options: dict[str, Any]
    usage: dict[str, Any] | None
    cost_usd: float | None
    cost_source: str | None
    request_id: str | None
    response_id: str | None
    stored: bool
    facts: dict[str, Any]


def read_messages(history: History, conversation: int) -> list[StoredMessage]:
    """Return the messages of a conversation in order; an answer that is still streaming has its text so far."""
    columns = ", ".join(StoredMessage._fields)
    rows = history.connection.execute(
        f"SELECT {columns} FROM messages WHERE conversation = ? ORDER BY id", (conversation,)
    )
    return [_parse_message(history, StoredMessage(*row)) for row in rows]


def parse_column(column: Any, default: Any) -> Any:
    """Parse a JSON column; return the default for a damaged one and for a value of another type."""
    try:
        value = json.loads(column or "null")
    except (ValueError, TypeError, RecursionError):
        return default
    return value if isinstance(value, type(default)) else default


def format_age(then: float) -> str:
    """Format the time since a Unix time in its largest unit: `2 days`, `5 min`."""
    seconds = max(0, time.time() - then)
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{int(seconds)} s"


def _parse_message(history: History, row: StoredMessage) -> StoredMessage:
    """Parse the JSON columns of a row, and add the text of an answer that is still streaming."""
    plain_items: Any = [{"role": row.role, "content": row.text}]
    message = row._replace(
        items=plain_items if row.items == PLAIN_ITEMS else parse_column(row.items, []),
        options=parse_column(row.options, {}),
        facts=parse_column(row.facts, {}),
        usage=parse_column(row.usage, {}) or None,
        stored=bool(row.stored),
    )
    if message.state == STREAMING:
        text, thought, _ = read_pieces(history.connection, message.id)
        message = message._replace(text=text, thought=thought)
    return message
