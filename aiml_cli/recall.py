"""Answer `aiml history list`, `show` and `search`: what was asked and answered."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from aiml_cli import transcript
from aiml_cli.errors import Misuse
from aiml_cli.screen import table
from aiml_cli.screen.json import line
from aiml_cli.screen.output import is_terminal, say, show, write
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import resolve
from aiml_cli.store import history as histories
from aiml_cli.store import overview, past, search
from aiml_cli.store.config import layers
from aiml_cli.store.exchange import COMPLETE, mend
from aiml_cli.store.history import History

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


def list_(words: Sequence[str], flags: Flags, limit: int) -> int:
    """List the conversations, or those in which words stand, the newest first."""
    options, asked = settled(flags), " ".join(words)
    found = recalled(lambda history: overview.summaries(history, asked, limit))
    if options.json:
        write(line([_listed(each) for each in found], indent=2))
    elif found:
        show(table.table(_LIST, [_row(each) for each in found], _width()))
    return found_or_told(found, asked, options)


def search_(words: Sequence[str], flags: Flags, limit: int) -> int:
    """Find the conversations in which words stand, each with a line of its text."""
    options, asked = settled(flags), " ".join(words)
    if not asked.strip():
        raise Misuse("there is nothing to search for", "aiml history list shows all")
    found = recalled(lambda history: search.hits(history, asked, limit))
    if options.json:
        write(line([_hit(each) for each in found], indent=2))
    elif found:
        rows = [(each.name, past.age(each.changed), each.snippet) for each in found]
        show(table.table(_FOUND, rows, _width()))
    return found_or_told(found, asked, options)


def show_(words: Sequence[str], flags: Flags) -> int:
    """Show a conversation, the latest unless words name another."""
    options = settled(flags)
    found = recalled(lambda history: read(history, named(history, words)))
    if not found:
        return found_or_told(found, "", options)
    if options.json:
        write(line(transcript.as_object(*found[0]), indent=2))
        return 0
    return show(transcript.spoken(*found[0], verbose=bool(options.verbose)))


def recalled(work: Callable[[History], T]) -> T:
    """Read the history after mending it; where it proves damaged, tell so and read the new one."""
    history = histories.existing() or histories.nothing()
    _tell_moved(history)
    with histories.in_words(history.path):
        try:
            return _worked(history, work)
        except sqlite3.DatabaseError as fault:
            if not histories.is_damaged(fault):
                raise
        finally:
            history.close()
        anew = histories.opened_anew()
        _tell_moved(anew)
        return _worked(anew, work)


def named(history: History, words: Sequence[str]) -> list[past.Conversation]:
    """Give the conversation that words name; without words the latest, where there is one. Raises Misuse for none."""
    if words:
        return [past.named(history, " ".join(words))]
    return past.everything(history)[-1:]


def read(history: History, conversations: Sequence[past.Conversation]) -> list[transcript.Whole]:
    """Read conversations with their messages."""
    return [transcript.Whole(each, past.messages(history, each.id)) for each in conversations]


def settled(flags: Flags) -> Options:
    """Settle the settings that these commands share with others; their own flags may have names of settings."""
    return resolve(layers({name: flags[name] for name in _SHARED if name in flags}, os.environ)).options


def found_or_told(found: Sequence[object], words: str, options: Options) -> int:
    """Say when nothing was found; that is no failure."""
    if not found and not options.quiet:
        say(f"aiml: nothing in the history speaks of {words!r}" if words else f"aiml: {NONE_YET}")
    return 0


def _worked(history: History, work: Callable[[History], T]) -> T:
    mend(history)
    return work(history)


def _tell_moved(history: History) -> None:
    if history.moved:
        say(f"aiml: the history was damaged and is kept as {history.moved}; a new one is begun")
        say(f"hint: what can be read of it: sqlite3 '{history.moved}' .recover")


def _width() -> int:
    return table.width() if is_terminal(1) else WIDE


def _row(summary: overview.Summary) -> Sequence[str]:
    state = summary.state if summary.state not in (None, COMPLETE) else ""
    return (
        summary.name,
        past.age(summary.changed),
        str(summary.messages),
        state or "",
        summary.model or "",
        summary.title,
    )


def _listed(summary: overview.Summary) -> dict[str, Any]:
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


def _hit(hit: search.Hit) -> dict[str, Any]:
    return {
        "id": hit.name,
        "title": hit.title,
        "changed": hit.changed,
        "role": hit.role,
        "at": hit.at,
        "model": hit.model or None,
        "snippet": hit.snippet,
    }
