"""List and search the conversations of the history, read them, and replace a damaged history."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import TextDelta
from aiml_cli.core.transcript import describe_attachments, describe_ending, other_choices, speaker_name
from aiml_cli.errors import UsageError
from aiml_cli.output import table
from aiml_cli.output.choose_renderer import build_output, has_color
from aiml_cli.output.json_output import json_line
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.history import database, find_conversations, reader
from aiml_cli.store.history.database import History, Report, ignore_progress
from aiml_cli.store.history.find_conversations import StoredConversation
from aiml_cli.store.history.reader import StoredMessage
from aiml_cli.store.history.writer import COMPLETE, recover_interrupted
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import print_err, print_out, write_err_raw, write_out
from aiml_cli.system.terminal import GREEN, get_terminal_size, is_terminal

T = TypeVar("T")
PIPE_WIDTH = 1 << 20  # wide enough that no line is truncated
PROGRESS_DELAY_S, PROGRESS_INTERVAL_S = 0.5, 0.1
SHOWN_TURNS, MAX_QUESTION_LINES = 2, 10
SHARED_OPTIONS = ("json", "quiet", "verbose", "yes")
_LIST_COLUMNS = (
    table.Column("ID", 0),
    table.Column("AGE", 1, right=True),
    table.Column("MESSAGES", 5, right=True),
    table.Column("STATE", 3),
    table.Column("MODEL", 4, min_width=12),
    table.Column("TITLE", 2, min_width=12),
)
_SEARCH_COLUMNS = (table.Column("ID", 0), table.Column("AGE", 1, right=True), table.Column("FOUND", 2, min_width=12))


def read_history(read: Callable[[History], T]) -> T:
    """Return what `read` returns for the history, or for a new history if this one is damaged."""
    history = database.open_existing() or database.open_empty()
    with database.translate_errors(history.path):
        try:
            return _recover_and_read(history, read)
        except sqlite3.DatabaseError as error:
            if not database.is_damaged(error):
                raise
        finally:
            history.close()
        with closing(database.recreate_history()) as history:
            return _recover_and_read(history, read)


def _recover_and_read(history: History, read: Callable[[History], T]) -> T:
    if history.damaged_copy:
        print_err(f"aiml: the history was damaged; it was moved to {history.damaged_copy}, and a new one was started")
        print_err(f"hint: recover what can be read: sqlite3 '{history.damaged_copy}' .recover")
    recover_interrupted(history)
    return read(history)


@contextmanager
def show_progress(quiet: bool | None) -> Iterator[Report]:
    """Yield a function that shows the progress of slow work on the terminal; erase its line at the end."""
    if quiet or not is_terminal(2) or os.environ.get("TERM", "") in {"", "dumb"}:
        yield ignore_progress
        return
    next_time, width = monotonic() + PROGRESS_DELAY_S, 0

    def report(what: str, done: int, total: int) -> None:
        nonlocal next_time, width
        if monotonic() < next_time:
            return
        share = f" {min(100, done * 100 // total)}%" if total else ""
        line = f"aiml: {what} …{share}"[: get_terminal_size(2)[0] - 1]
        write_err_raw("\r" + line.ljust(width))
        next_time, width = monotonic() + PROGRESS_INTERVAL_S, len(line)

    try:
        yield report
    finally:
        if width:
            write_err_raw("\r" + " " * width + "\r")


def select_or_latest(history: History, words: Sequence[str], report: Report) -> list[StoredConversation]:
    """Return the conversations that the words name, or else the latest; raise UsageError if none or several match."""
    if words:
        return find_conversations.select_conversations(history, words, report)
    return list(filter(None, [find_conversations.find_latest(history)]))


def show_list(words: Sequence[str], flags: Flags, limit: int) -> int:
    """Print the conversations that contain the words, or all, the newest first."""
    options, text = resolve_shared_options(flags), " ".join(words)
    with show_progress(options.quiet) as report:
        summaries = read_history(lambda history: _list_summaries(history, text, limit, report))
    if options.json:
        write_out(json_line([_summary_to_dict(summary) for summary in summaries], indent=2))
    elif summaries:
        print_out(table.format_table(_LIST_COLUMNS, [_make_row(summary) for summary in summaries], _get_width()))
    return report_if_empty(summaries, text, options)


def _list_summaries(
    history: History, text: str, limit: int, report: Report
) -> list[find_conversations.ConversationSummary]:
    if text.strip():
        return find_conversations.search_summaries(history, text, limit, report)
    return find_conversations.list_summaries(history, limit)


def show_hits(words: Sequence[str], flags: Flags, limit: int) -> int:
    """Print the conversations that contain the words, each with a line of its text."""
    options, text = resolve_shared_options(flags), " ".join(words)
    if not text.strip():
        raise UsageError("the search is empty", "aiml history list shows all")
    with show_progress(options.quiet) as report:
        hits = read_history(lambda history: find_conversations.search_history(history, text, limit, report))
    if options.json:
        write_out(json_line([_hit_to_dict(hit) for hit in hits], indent=2))
    elif hits:
        rows = [(hit.name, reader.format_age(hit.changed), hit.snippet) for hit in hits]
        print_out(table.format_table(_SEARCH_COLUMNS, rows, _get_width()))
    return report_if_empty(hits, text, options)


def resolve_shared_options(flags: Flags) -> Options:
    """Resolve only the flags shared with other commands; the others may have the same names as options."""
    return resolve(read_sources({name: flags[name] for name in SHARED_OPTIONS if name in flags}, os.environ)).options


def report_if_empty(results: Sequence[object], words: str, options: Options) -> int:
    """Print a notice if there are no results, and return 0: that is not a failure."""
    if not results and not options.quiet:
        print_err(f"aiml: no conversation contains {words!r}" if words else "aiml: there is no history yet")
    return 0


def draw_turns(messages: Sequence[StoredMessage], options: Options, count: int) -> int:
    """Draw the last turns on the terminal as in a live conversation; return the number of earlier turns."""
    starts = [index for index, message in enumerate(messages) if message.role == "user"]
    shown = messages[starts[-count] :] if count < len(starts) else messages
    for message in shown:
        print_out("\n")
        _draw_message(message, options)
    print_out("\n")
    return max(len(starts) - count, 0)


def _draw_message(message: StoredMessage, options: Options) -> None:
    if message.role != "assistant":
        _draw_question(message, options)
    elif message.text:
        _draw_answer(message.text, options)
    choices = (f"choice {index}: {text}" for index, text in other_choices(message))
    for note in filter(None, (*describe_attachments(message.items), *choices, describe_ending(message))):
        print_out(f"[{note}]\n")


def _draw_question(message: StoredMessage, options: Options) -> None:
    """Write a user message after the prompt mark; truncate a long one."""
    lines = message.text.split("\n")
    if len(lines) > MAX_QUESTION_LINES:
        lines = [*lines[: MAX_QUESTION_LINES - 1], f"… and {len(lines) - MAX_QUESTION_LINES + 1} more lines"]
    mark = "> " if speaker_name(message) == "you" else f"{speaker_name(message)}> "
    bold, plain = (f"\x1b[1;{GREEN}m", "\x1b[0m") if has_color(1, options.color or "auto", os.environ) else ("", "")
    write_out(f"{bold}{sanitize(mark)}{plain}{sanitize(f'{chr(10)}  '.join(lines))}\n".encode("utf-8", "replace"))


def _draw_answer(text: str, options: Options) -> None:
    """Draw an answer as Markdown, or write it as text with --format text."""
    form = "text" if options.format == "text" else "md"
    options = replace(options, format=form, json=None, items=None, extract=None, logprobs=None, top_logprobs=None)
    renderer = build_output(None, options, os.environ).stdout
    renderer.show([TextDelta(text)])
    renderer.close(Answer(""))


def _get_width() -> int:
    return table.table_width() if is_terminal(1) else PIPE_WIDTH


def _make_row(summary: find_conversations.ConversationSummary) -> Sequence[str]:
    state = summary.state if summary.state not in (None, COMPLETE) else ""
    age, count = reader.format_age(summary.changed), str(summary.messages)
    return (summary.name, age, count, state or "", summary.model or "", summary.title)


def _summary_to_dict(summary: find_conversations.ConversationSummary) -> dict[str, Any]:
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


def _hit_to_dict(hit: find_conversations.SearchHit) -> dict[str, Any]:
    return {
        "id": hit.name,
        "title": hit.title,
        "changed": hit.changed,
        "role": hit.role,
        "at": hit.at,
        "model": hit.model or None,
        "snippet": hit.snippet,
    }
