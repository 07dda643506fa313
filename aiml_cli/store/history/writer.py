"""Write an exchange into the history: the question, the answer while it comes, and how it ended."""

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
PLAIN = "null"  # in the place of the items: the message is its words
LETTERS = "23456789bcdfghjkmnpqrstvwxyz"  # no vowels, so that no name is a word; none that look alike
NAME_LENGTH = 6


class NewMessage(NamedTuple):
    """Hold a turn of a question: its role, its words, and the items that say it again; `facts` are JSON."""

    role: str
    text: str
    items: Sequence[Any]
    facts: Any = None


class NewExchange(NamedTuple):
    """Hold what is asked of whom. `conversation` None begins a new one; `options` are JSON."""

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


class AnswerDelta(NamedTuple):
    """Hold what grew of a choice: of its text, thought or refusal."""

    kind: str
    choice: int
    text: str


class AnswerEnd(NamedTuple):
    """Hold how an answer ended, and all that is known of it."""

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
    """Name an answer: its conversation and its message."""

    conversation: int
    message: int


def begin_exchange(history: History, asked: NewExchange) -> AnswerId:
    """Write the question, and an answer that is still empty; the conversation is this process's from now on."""
    now = time.time()
    with history.transaction() as change:
        conversation = _conversation(history, change, asked, now)
        for turn in asked.messages:
            _message(change, conversation, now, asked, turn)
        return AnswerId(conversation, _message(change, conversation, now, asked, None))


def append_deltas(history: History, row: AnswerId, pieces: Iterable[AnswerDelta]) -> None:
    """Write what came meanwhile, in one transaction."""
    with history.transaction() as change:
        change.executemany(
            "INSERT INTO pieces (message, kind, choice, text) VALUES (?, ?, ?, ?)",
            [(row.message, piece.kind, piece.choice, piece.text) for piece in pieces],
        )


def change_model(history: History, row: AnswerId, model: str) -> None:
    """Write that another model answers this, and what was asked with it."""
    with history.transaction() as change:
        change.execute(
            "UPDATE messages SET model = ? WHERE conversation = ? AND at = (SELECT at FROM messages WHERE id = ?)",
            (model, row.conversation, row.message),
        )


def finish_answer(history: History, row: AnswerId, ended: AnswerEnd) -> None:
    """Write the whole answer in the place of its pieces."""
    values = {
        "state": ended.state,
        "text": ended.text,
        "thought": ended.thought,
        "items": _items("assistant", ended.text, ended.items),
        "usage": None if ended.usage is None else _json(ended.usage),
        "cost_usd": ended.cost_usd,
        "cost_source": ended.cost_source,
        "request_id": ended.request_id,
        "response_id": ended.response_id,
        "stored": ended.stored,
        "facts": _json(ended.facts or {}),
    }
    names = ", ".join(f"{name} = :{name}" for name in values)
    with history.transaction() as change:
        change.execute(f"UPDATE messages SET {names} WHERE id = :id", {**_whole(values), "id": row.message})
        change.execute("DELETE FROM pieces WHERE message = ?", (row.message,))
        change.execute("UPDATE conversations SET changed = ? WHERE id = ?", (time.time(), row.conversation))


def mark_current(history: History, conversation: int) -> None:
    """Make a conversation the last one that was held."""
    with history.transaction() as change:
        change.execute("UPDATE conversations SET changed = ? WHERE id = ?", (time.time(), conversation))


def finish_stored_response(history: History, asked: NewExchange, ended: AnswerEnd) -> None:
    """Write the end of what the server took on earlier; what was whole before stays as it is."""
    found = history.connection.execute(
        "SELECT conversation, id, state FROM messages WHERE response_id = ? ORDER BY id DESC LIMIT 1",
        (asked.response_id,),
    ).fetchone()
    if not found:
        row = begin_exchange(history, asked)
        finish_answer(history, row, ended)
        release_conversation(history, row.conversation)
    elif found[2] != COMPLETE:
        finish_answer(history, AnswerId(found[0], found[1]), ended)


def recover_interrupted(history: History) -> None:
    """Take what a process left that was killed for what it is: an interrupted answer."""
    found = history.connection.execute("SELECT id, conversation FROM messages WHERE state = ?", (STREAMING,)).fetchall()
    for message, conversation in found:
        if locks.is_held(history.lock, conversation) or not locks.acquire(history.lock, conversation):
            continue
        try:
            with history.transaction() as change:
                _join(change, message)
        finally:
            locks.release(history.lock, conversation)


def acquire_conversation(history: History, conversation: int) -> None:
    """Take a conversation for this process to write; raise UsageError when another live one does."""
    if not locks.acquire(history.lock, conversation):
        name = history.connection.execute("SELECT name FROM conversations WHERE id = ?", (conversation,)).fetchone()[0]
        raise UsageError(
            f"another process is writing the conversation {name}",
            "wait for it to end, or go on with another: aiml history list",
        )


def release_conversation(history: History, conversation: int) -> None:
    """Let others write a conversation."""
    locks.release(history.lock, conversation)


def generate_name() -> str:
    """Draw a name for a conversation."""
    return "".join(LETTERS[byte % len(LETTERS)] for byte in os.urandom(NAME_LENGTH))


def _conversation(history: History, change: sqlite3.Connection, asked: NewExchange, now: float) -> int:
    if asked.conversation is not None:
        change.execute(
            "UPDATE conversations SET changed = ?, place = ?, system = ? WHERE id = ?",
            (now, asked.place, asked.system and _clean(asked.system), asked.conversation),
        )
        return asked.conversation
    while True:
        name = generate_name()
        added = change.execute(
            "INSERT OR IGNORE INTO conversations (name, title, place, system, begun, changed)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (name, _clean(asked.title), asked.place, asked.system and _clean(asked.system), now, now),
        )
        if added.rowcount:
            # Before anybody else can see it.
            locks.acquire(history.lock, added.lastrowid or 0)
            return int(added.lastrowid or 0)


def _message(
    change: sqlite3.Connection, conversation: int, now: float, asked: NewExchange, said: NewMessage | None
) -> int:
    """Add a turn of the question, or (None) the answer that is to come."""
    values = {
        "conversation": conversation,
        "role": said.role if said else "assistant",
        "state": COMPLETE if said else STREAMING,
        "at": now,
        "text": said.text if said else "",
        "items": _items(said.role, said.text, said.items) if said else "[]",
        "endpoint": asked.endpoint,
        "host": asked.host,
        "model": asked.model,
        "options": "{}" if said else _json(asked.options),
        "facts": _json((said and said.facts) or {}),
    }
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    added = change.execute(f"INSERT INTO messages ({names}) VALUES ({places})", _whole(values))
    return int(added.lastrowid or 0)


def _join(change: sqlite3.Connection, message: int) -> None:
    """Put the pieces of an answer together."""
    found = change.execute("SELECT kind, choice, text FROM pieces WHERE message = ? ORDER BY id", (message,)).fetchall()
    texts = {
        kind: "".join(text for each, choice, text in found if each == kind and not choice)
        for kind in ("text", "thought")
    }
    change.execute(
        "UPDATE messages SET state = ?, text = ?, thought = ?, items = ? WHERE id = ? AND state = ?",
        (INTERRUPTED, texts["text"], texts["thought"], PLAIN if texts["text"] else "[]", message, STREAMING),
    )
    others = [[choice, text] for kind, choice, text in found if kind == "text" and choice]
    if others:
        change.execute("UPDATE messages SET facts = ? WHERE id = ?", (_json({"others": others}), message))
    change.execute("DELETE FROM pieces WHERE message = ?", (message,))


def _items(role: str, text: str, items: Sequence[Any]) -> str:
    """Write the items of a message; one that holds its words and nothing else need not repeat them."""
    return PLAIN if list(items) == [{"role": role, "content": text}] else _json(items)


def _json(found: Any) -> str:
    return _clean(json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=str))


def _whole(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _clean(value) if isinstance(value, str) else value for name, value in values.items()}


def _clean(text: str) -> str:
    """Give a text without half characters, which the file could not hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
