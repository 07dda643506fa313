"""Find and read conversations in the history, and replace a damaged history."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiml_cli.core import transcript
from aiml_cli.store.history import database, reader
from aiml_cli.store.history.database import History
from aiml_cli.store.history.writer import mend
from aiml_cli.system.stdio import print_err

T = TypeVar("T")


def recalled(work: Callable[[History], T]) -> T:
    """Read the history after mending it; where it proves damaged, tell so and read the new one."""
    history = database.existing() or database.nothing()
    _tell_moved(history)
    with database.in_words(history.path):
        try:
            return _worked(history, work)
        except sqlite3.DatabaseError as fault:
            if not database.is_damaged(fault):
                raise
        finally:
            history.close()
        anew = database.opened_anew()
        _tell_moved(anew)
        return _worked(anew, work)


def named(history: History, words: Sequence[str]) -> list[reader.Conversation]:
    """Give the conversation that words name; without words the latest, where there is one. Raises Misuse for none."""
    if words:
        return [reader.named(history, " ".join(words))]
    return reader.everything(history)[-1:]


def read(history: History, conversations: Sequence[reader.Conversation]) -> list[transcript.Whole]:
    """Read conversations with their messages."""
    return [transcript.Whole(each, reader.messages(history, each.id)) for each in conversations]


def _worked(history: History, work: Callable[[History], T]) -> T:
    mend(history)
    return work(history)


def _tell_moved(history: History) -> None:
    if history.moved:
        print_err(f"aiml: the history was damaged and is kept as {history.moved}; a new one is begun")
        print_err(f"hint: what can be read of it: sqlite3 '{history.moved}' .recover")
