"""Find and read conversations in the history, and replace a damaged history."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from aiml_cli.core import transcript
from aiml_cli.errors import UsageError
from aiml_cli.output import table
from aiml_cli.output.json_output import json_line
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.history import database, reader, search
from aiml_cli.store.history.database import History
from aiml_cli.store.history.writer import COMPLETE, recover_interrupted
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

T = TypeVar("T")
WIDE = 1 << 20  # a pipe has no width
NONE_YET = "there is no history yet"
_SHARED = ("json", "quiet", "verbose", "yes")
_LIST = (
    table.Column("ID", 0),
    table.Column("AGE", 1, right=True),
    table.Column("MESSAGES", 5, right=True),
    table.Column("STATE", 3),
    table.Column("MODEL", 4, least=12),
    table.Column("TITLE", 2, least=12),
)
_FOUND = (table.Column("ID", 0), table.Column("AGE", 1, right=True), table.Column("FOUND", 2, least=12))


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


def show_list(words: Sequence[str], flags: Flags, limit: int) -> int:
    """List the conversations, or those in which words stand, the newest first."""
    options, asked = resolve_shared_options(flags), " ".join(words)
    found = read_history(lambda history: reader.list_summaries(history, asked, limit))
    if options.json:
        write_out(json_line([_listed(each) for each in found], indent=2))
    elif found:
        print_out(table.format_table(_LIST, [_row(each) for each in found], _width()))
    return report_if_empty(found, asked, options)


def show_hits(words: Sequence[str], flags: Flags, limit: int) -> int:
    """Find the conversations in which words stand, each with a line of its text."""
    options, asked = resolve_shared_options(flags), " ".join(words)
    if not asked.strip():
        raise UsageError("there is nothing to search for", "aiml history list shows all")
    found = read_history(lambda history: search.search_history(history, asked, limit))
    if options.json:
        write_out(json_line([_hit(each) for each in found], indent=2))
    elif found:
        rows = [(each.name, reader.format_age(each.changed), each.snippet) for each in found]
        print_out(table.format_table(_FOUND, rows, _width()))
    return report_if_empty(found, asked, options)


def resolve_shared_options(flags: Flags) -> Options:
    """Settle the settings that these commands share with others; their own flags may have names of settings."""
    return resolve(read_sources({name: flags[name] for name in _SHARED if name in flags}, os.environ)).options


def report_if_empty(found: Sequence[object], words: str, options: Options) -> int:
    """Say when nothing was found; that is no failure."""
    if not found and not options.quiet:
        print_err(f"aiml: nothing in the history speaks of {words!r}" if words else f"aiml: {NONE_YET}")
    return 0


def _width() -> int:
    return table.table_width() if is_terminal(1) else WIDE


def _row(summary: reader.ConversationSummary) -> Sequence[str]:
    state = summary.state if summary.state not in (None, COMPLETE) else ""
    return (
        summary.name,
        reader.format_age(summary.changed),
        str(summary.messages),
        state or "",
        summary.model or "",
        summary.title,
    )


def _listed(summary: reader.ConversationSummary) -> dict[str, Any]:
    return {
        "id": summary.name,
        "title": summary.title,
        "begun": summary.begun,
        "changed": summary.changed,
        "messages": summary.messages,
        "state": summary.state,
        "endpoint": summary.endpoint,
        "model": summary.model,
    }


def _hit(hit: search.SearchHit) -> dict[str, Any]:
    return {
        "id": hit.name,
        "title": hit.title,
        "changed": hit.changed,
        "role": hit.role,
        "at": hit.at,
        "model": hit.model or None,
        "snippet": hit.snippet,
    }
