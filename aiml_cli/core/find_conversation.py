"""Find and read conversations in the history, and replace a damaged history."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiml_cli.core import transcript
from aiml_cli.store.history import database, reader
from aiml_cli.store.history.database import History
from aiml_cli.store.history.writer import recover_interrupted
from aiml_cli.system.stdio import print_err

T = TypeVar("T")


def read_history(work: Callable[[History], T]) -> T:
    """Read the history after mending it; where it proves damaged, tell so and read the new one."""
    history = database.open_existing() or database.open_empty()
    _tell_moved(history)
    with database.translate_errors(history.path):
        try:
            return _worked(history, work)
        except sqlite3.DatabaseError as fault:
            if not database.is_damaged(fault):
                raise
        finally:
            history.close()
        anew = database.recreate_history()
        _tell_moved(anew)
        return _worked(anew, work)


def find_by_words(history: History, words: Sequence[str]) -> list[reader.StoredConversation]:
    """Return the conversation that words name, or the latest; raise UsageError if none matches."""
    if words:
        return [reader.find_conversation(history, " ".join(words))]
    return reader.list_conversations(history)[-1:]


def load_transcripts(
    history: History, conversations: Sequence[reader.StoredConversation]
) -> list[transcript.Transcript]:
    """Read conversations with their messages."""
    return [transcript.Transcript(each, reader.read_messages(history, each.id)) for each in conversations]


def _worked(history: History, work: Callable[[History], T]) -> T:
    recover_interrupted(history)
    return work(history)


def _tell_moved(history: History) -> None:
    if history.moved:
        print_err(f"aiml: the history was damaged and is kept as {history.moved}; a new one is begun")
        print_err(f"hint: what can be read of it: sqlite3 '{history.moved}' .recover")
