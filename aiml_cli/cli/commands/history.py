"""Run `aiml history show`, `export` and `rm`: print, export and delete conversations."""

import gc
import os
import sqlite3
import time
from collections.abc import Sequence

from aiml_cli.core.browse_history import (
    read_history,
    report_if_empty,
    resolve_shared_options,
    select_or_latest,
    show_progress,
)
from aiml_cli.core.transcript import Exporter, Transcript, conversation_to_dict, format_conversation
from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.output.json_output import json_line
from aiml_cli.output.output_file import OutputFile, open_output
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags
from aiml_cli.store.answer_cache import count_answers, delete_answers
from aiml_cli.store.history import find_conversations
from aiml_cli.store.history.database import History, Report, is_damaged, list_damaged_copies
from aiml_cli.store.history.edits import count_copies, delete_conversations, delete_damaged_copies
from aiml_cli.store.history.reader import read_messages
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

HOW_TO_SELECT = "add the id of a conversation, its number in the list or words in it, or use --older-than or --all"
PRIVATE_UMASK = 0o077


def show_conversation(words: Sequence[str], flags: Flags) -> int:
    """Print the conversation that the words select, or the latest."""
    options = resolve_shared_options(flags)
    with show_progress(options.quiet) as report:
        transcripts = read_history(lambda history: _load_transcript(history, words, report))
    if not transcripts:
        return report_if_empty(transcripts, "", options)
    if options.json:
        write_out(json_line(conversation_to_dict(*transcripts[0]), indent=2))
        return 0
    return print_out(format_conversation(*transcripts[0], verbose=bool(options.verbose)))


def _load_transcript(history: History, words: Sequence[str], report: Report) -> list[Transcript]:
    conversations = select_or_latest(history, words, report)
    if len(conversations) > 1:
        raise UsageError("only one conversation can be shown at a time", "to export several, use aiml history export")
    return [Transcript(found, read_messages(history, found.id)) for found in conversations]


def delete_history(words: Sequence[str], flags: Flags, min_age_s: float | None, everything: bool) -> int:
    """Delete the conversations that the words select, those older than an age, or all.

    `everything` also deletes the copies of damaged files and the cached answers. Raises UsageError if a conversation is
    not deleted because another process is writing it.
    """
    options = resolve_shared_options(flags)
    if bool(words) + (min_age_s is not None) + everything != 1:
        message = "a conversation is required" if not words else "words cannot be used with --older-than or --all"
        raise UsageError(message, HOW_TO_SELECT)
    with show_progress(options.quiet) as report:
        in_use = read_history(lambda history: _delete(history, words, min_age_s, options, report))
    if in_use:
        which = "it" if len(in_use) == 1 else "them"
        raise UsageError(
            f"not deleted, because another process is writing {which}: {', '.join(in_use)}",
            "try again when that process has finished",
        )
    return 0


def _delete(
    history: History, words: Sequence[str], min_age_s: float | None, options: Options, report: Report
) -> list[str]:
    """Delete conversations, and return the names of those that are in use and were not deleted."""
    ids = _select_for_deletion(history, words, min_age_s, report)
    is_all = not words and min_age_s is None
    copies = count_copies(list_damaged_copies(history.path)) if is_all else 0
    answers = count_answers() if is_all else 0
    if not ids and not copies and not answers:
        reason = "there is no history yet" if min_age_s is None else "nothing was deleted: no conversation is that old"
        _notify(options, reason)
        return []
    if not words and not _confirm_deletion(_format_counts(len(ids), copies, answers), options):
        _notify(options, "nothing was deleted")
        return []
    result = delete_conversations(history, ids, report)
    if copies:
        delete_damaged_copies(history)
    answers = delete_answers() if answers else 0
    _notify(options, f"{_format_counts(result.deleted, copies, answers)} deleted")
    if not result.is_clean:
        print_err(
            f"aiml: some of the text may be in {history.path}-wal until the other processes that read it have ended"
        )
    return result.in_use


def _select_for_deletion(history: History, words: Sequence[str], min_age_s: float | None, report: Report) -> list[int]:
    if words:
        return [found.id for found in find_conversations.select_conversations(history, words, report)]
    return find_conversations.list_ids(history, None if min_age_s is None else time.time() - min_age_s)


def _confirm_deletion(what: str, options: Options) -> bool:
    """Ask, unless --yes is set; raise UsageError without a terminal."""
    if options.yes:
        return True
    if not (is_terminal(0) and is_terminal(2)):
        raise UsageError(f"this would delete {what}", "add -y to do it")
    return confirm(f"delete {what}?")


def _format_counts(conversations: int, copies: int, answers: int) -> str:
    parts = [f"{conversations} conversation{'' if conversations == 1 else 's'}"]
    parts += [f"{copies} damaged {'copy' if copies == 1 else 'copies'}"] if copies else []
    parts += [f"{answers} cached answer{'' if answers == 1 else 's'}"] if answers else []
    parts = parts[1:] if not conversations and len(parts) > 1 else parts
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _notify(options: Options, text: str) -> None:
    if not options.quiet:
        print_err(f"aiml: {text}")


def export_history(words: Sequence[str], flags: Flags, export_format: str, output: str | None) -> int:
    """Write the conversations that the words select, or all, to standard output or a file."""
    options = resolve_shared_options(flags)
    file = _open_private(output) if output else None  # opened before anything is read, like the file of an answer
    gc.enable()  # each JSON object leaves a reference cycle, and there may be many
    exporter = Exporter(export_format, file.write if file else _print_bytes)
    is_complete = False
    try:
        with show_progress(options.quiet or not file) as report:
            read_history(lambda history: _export(history, words, exporter, report))
        exporter.close()
        is_complete = True
    finally:
        if file:
            file.close(complete=is_complete)
    return report_if_empty(range(exporter.count), "", options)


def _print_bytes(data: bytes) -> None:
    print_out(data.decode())


def _export(history: History, words: Sequence[str], exporter: Exporter, report: Report) -> None:
    """Write conversations, reading one at a time: other processes need not wait, and memory use is bounded."""
    ids = [found.id for found in find_conversations.select_conversations(history, words, report)] if words else None
    ids = find_conversations.list_ids(history) if ids is None else ids
    for done, conversation in enumerate(ids):
        try:
            transcript = _read_transcript(history, conversation)
        except sqlite3.DatabaseError as error:
            if exporter.count and is_damaged(error):
                raise OutputFailed(f"{history.path} is damaged: the export is incomplete") from None
            raise
        if transcript:
            exporter.write(transcript)
        report("exporting", done + 1, len(ids))


def _read_transcript(history: History, conversation: int) -> Transcript | None:
    """Return a conversation; None if another process has deleted it."""
    found = find_conversations.find_by_id(history, conversation)
    return Transcript(found, read_messages(history, conversation)) if found else None


def _open_private(name: str) -> OutputFile | None:
    """Open a file that only this user may read (an existing file keeps its mode); return None for standard output."""
    umask = os.umask(PRIVATE_UMASK)
    try:
        return open_output(name)
    finally:
        os.umask(umask)
