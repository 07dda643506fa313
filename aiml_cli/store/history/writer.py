"""Write a request and its answer to the history: the messages, the answer while it streams, and how it ended."""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.store.history import locks
from aiml_cli.store.history.database import History

STREAMING, COMPLETE, INCOMPLETE, INTERRUPTED, FAILED = "streaming", "complete", "incomplete", "interrupted", "failed"
PLAIN_ITEMS = "null"  # the `items` of a message that is only its text
NAME_LETTERS = "23456789bcdfghjkmnpqrstvwxyz"  # no vowels, so that no name is a word; no letters that look alike
NAME_LENGTH = 6


class NewMessage(NamedTuple):
    """A message of a request. `items` are sent to the API for it; `facts` are JSON."""

    role: str
    text: str
    items: Sequence[Any]
    facts: Any = None


class NewExchange(NamedTuple):
    """A request to be saved. Without `conversation`, it starts a new one; `options` and `facts` are JSON.

    `facts` apply to each message and to the answer. With `copied_until`, the request belongs to a copy of the
    conversation up to the message with this id.
    """

    conversation: int | None
    title: str
    place: str
    system: str | None
    messages: Sequence[NewMessage]
    endpoint: str
    host: str
    model: str
    options: Any
    response_id: str | None = None
    is_replayed: bool = False
    facts: Any = None
    copied_until: int = 0


class AnswerDelta(NamedTuple):
    """A piece of a choice's text, reasoning (`thought`) or refusal."""

    kind: str
    choice: int
    text: str


class AnswerEnd(NamedTuple):
    """A finished answer: how it ended and what is known about it."""

    state: str
    text: str
    thought: str = ""
    items: Sequence[Any] = ()
    usage: Any = None
    cost_usd: float | None = None
    cost_source: str | None = None
    request_id: str | None = None
    response_id: str | None = None
    stored: bool = False
    facts: Any = None


class AnswerId(NamedTuple):
    """The ids of an answer's conversation and message."""

    conversation: int
    message: int


def begin_exchange(history: History, exchange: NewExchange) -> AnswerId:
    """Save the messages of a request and an empty answer, and lock a new conversation for this process."""
    now = time.time()
    with history.transaction() as db:
        conversation = _save_conversation(history, db, exchange, now)
        for message in exchange.messages:
            _add_message(db, conversation, now, exchange, message)
        return AnswerId(conversation, _add_message(db, conversation, now, exchange, None))


def append_deltas(history: History, answer: AnswerId, deltas: Iterable[AnswerDelta]) -> None:
    """Save pieces of an answer in one transaction."""
    with history.transaction() as db:
        db.executemany(
            "INSERT INTO pieces (message, kind, choice, text) VALUES (?, ?, ?, ?)",
            [(answer.message, *delta) for delta in deltas],
        )


def read_pieces(db: sqlite3.Connection, message: int) -> tuple[str, str, list[list[Any]]]:
    """Return the text and the reasoning of a streaming answer, and [choice, text] for each piece of other choices."""
    rows = db.execute("SELECT kind, choice, text FROM pieces WHERE message = ? ORDER BY id", (message,)).fetchall()
    text, thought = (
        "".join(piece for kind, choice, piece in rows if kind == wanted and not choice)
        for wanted in ("text", "thought")
    )
    return text, thought, [[choice, piece] for kind, choice, piece in rows if kind == "text" and choice]


def change_model(history: History, answer: AnswerId, model: str) -> None:
    """Change the model of an answer and of the messages of its request."""
    with history.transaction() as db:
        db.execute(
            "UPDATE messages SET model = ? WHERE conversation = ? AND at = (SELECT at FROM messages WHERE id = ?)",
            (model, answer.conversation, answer.message),
        )


def finish_answer(history: History, answer: AnswerId, end: AnswerEnd) -> None:
    """Save the complete answer and delete its pieces."""
    values = {
        **end._asdict(),
        "items": _format_items("assistant", end.text, end.items),
        "usage": None if end.usage is None else _format_json(end.usage),
        "facts": _format_json(end.facts or {}),
    }
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    with history.transaction() as db:
        db.execute(f"UPDATE messages SET {assignments} WHERE id = :id", {**_clean_values(values), "id": answer.message})
        db.execute("DELETE FROM pieces WHERE message = ?", (answer.message,))
        db.execute("UPDATE conversations SET changed = ? WHERE id = ?", (time.time(), answer.conversation))


def mark_current(history: History, conversation: int) -> None:
    """Make a conversation the one that changed last."""
    with history.transaction() as db:
        db.execute("UPDATE conversations SET changed = ? WHERE id = ?", (time.time(), conversation))


def finish_stored_response(history: History, exchange: NewExchange, end: AnswerEnd) -> None:
    """Save the result of a background response; an answer that is already complete is not changed."""
    row = history.connection.execute(
        "SELECT conversation, id, state FROM messages WHERE response_id = ? ORDER BY id DESC LIMIT 1",
        (exchange.response_id,),
    ).fetchone()
    if not row:
        answer = begin_exchange(history, exchange)
        finish_answer(history, answer, end)
        release_conversation(history, answer.conversation)
    elif row[2] != COMPLETE:
        finish_answer(history, AnswerId(row[0], row[1]), end)


def recover_interrupted(history: History) -> None:
    """Mark the answers of killed processes as interrupted, and restore their text from the saved pieces."""
    rows = history.connection.execute("SELECT id, conversation FROM messages WHERE state = ?", (STREAMING,)).fetchall()
    for message, conversation in rows:
        if locks.is_held(history.lock_file, conversation) or not locks.acquire(history.lock_file, conversation):
            continue
        try:
            with history.transaction() as db:
                _save_interrupted(db, message)
        finally:
            locks.release(history.lock_file, conversation)


def acquire_conversation(history: History, conversation: int) -> None:
    """Lock a conversation for this process; raise UsageError if another one has locked it."""
    if not locks.acquire(history.lock_file, conversation):
        name = history.connection.execute("SELECT name FROM conversations WHERE id = ?", (conversation,)).fetchone()[0]
        raise UsageError(
            f"another process is writing the conversation {name}",
            "wait until it has finished, or continue another one: aiml history list",
        )


def release_conversation(history: History, conversation: int) -> None:
    """Let other processes write a conversation."""
    locks.release(history.lock_file, conversation)


def generate_name() -> str:
    """Return a random name for a conversation."""
    return "".join(NAME_LETTERS[byte % len(NAME_LETTERS)] for byte in os.urandom(NAME_LENGTH))


def _save_conversation(history: History, db: sqlite3.Connection, exchange: NewExchange, now: float) -> int:
    system = exchange.system and _clean_text(exchange.system)
    if exchange.conversation is not None:
        db.execute(
            "UPDATE conversations SET changed = ?, place = ?, system = ? WHERE id = ?",
            (now, exchange.place, system, exchange.conversation),
        )
        return exchange.conversation
    while True:
        insertion = db.execute(
            "INSERT OR IGNORE INTO conversations (name, title, place, system, begun, changed)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (generate_name(), _clean_text(exchange.title), exchange.place, system, now, now),
        )
        if insertion.rowcount:
            conversation = int(insertion.lastrowid or 0)
            locks.acquire(history.lock_file, conversation)  # before other processes can see it
            return conversation


def _add_message(
    db: sqlite3.Connection, conversation: int, now: float, exchange: NewExchange, message: NewMessage | None
) -> int:
    """Insert a message of the request, or an empty answer if `message` is None; return its id."""
    values = {
        "conversation": conversation,
        "role": message.role if message else "assistant",
        "state": COMPLETE if message else STREAMING,
        "at": now,
        "text": message.text if message else "",
        "items": _format_items(message.role, message.text, message.items) if message else "[]",
        "endpoint": exchange.endpoint,
        "host": exchange.host,
        "model": exchange.model,
        "options": "{}" if message else _format_json(exchange.options),
        "facts": _format_json({**(exchange.facts or {}), **((message and message.facts) or {})}),
    }
    names = ", ".join(values)
    parameters = ", ".join(f":{name}" for name in values)
    insertion = db.execute(f"INSERT INTO messages ({names}) VALUES ({parameters})", _clean_values(values))
    return int(insertion.lastrowid or 0)


def _save_interrupted(db: sqlite3.Connection, message: int) -> None:
    text, thought, others = read_pieces(db, message)
    db.execute(
        "UPDATE messages SET state = ?, text = ?, thought = ?, items = ? WHERE id = ? AND state = ?",
        (INTERRUPTED, text, thought, PLAIN_ITEMS if text else "[]", message, STREAMING),
    )
    if others:
        db.execute("UPDATE messages SET facts = ? WHERE id = ?", (_format_json({"others": others}), message))
    db.execute("DELETE FROM pieces WHERE message = ?", (message,))


def _format_items(role: str, text: str, items: Sequence[Any]) -> str:
    """Format the items of a message; PLAIN_ITEMS if they only repeat its text."""
    return PLAIN_ITEMS if list(items) == [{"role": role, "content": text}] else _format_json(items)


def _format_json(value: Any) -> str:
    return _clean_text(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


def _clean_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _clean_text(value) if isinstance(value, str) else value for name, value in values.items()}


def _clean_text(text: str) -> str:
    """Replace lone surrogates, which SQLite cannot store."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
