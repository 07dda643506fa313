"""Answer `aiml history list`, `show` and `search`: what was asked and answered."""

import os
import time
from collections.abc import Sequence

from aiml_cli.core import transcript
from aiml_cli.core.find_conversation import (
    find_by_words,
    load_transcripts,
    read_history,
    report_if_empty,
    resolve_shared_options,
)
from aiml_cli.core.transcript import Transcript, transcripts_json, transcripts_jsonl, transcripts_markdown
from aiml_cli.errors import UsageError
from aiml_cli.output.json_output import json_line
from aiml_cli.output.output_file import OutputFile
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags
from aiml_cli.store.history import reader
from aiml_cli.store.history.database import History, list_damaged_copies
from aiml_cli.store.history.edits import DeleteResult, count_copies, delete_conversations, delete_damaged_copies
from aiml_cli.store.history.reader import StoredConversation
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

WAYS = "say ids, or --older-than, or --all"
PRIVATE = 0o077  # what the umask takes


def show_conversation(words: Sequence[str], flags: Flags) -> int:
    """Show a conversation, the latest unless words name another."""
    options = resolve_shared_options(flags)
    found = read_history(lambda history: load_transcripts(history, find_by_words(history, words)))
    if not found:
        return report_if_empty(found, "", options)
    if options.json:
        write_out(json_line(transcript.conversation_to_dict(*found[0]), indent=2))
        return 0
    return print_out(transcript.format_conversation(*found[0], verbose=bool(options.verbose)))


def delete_history(words: Sequence[str], flags: Flags, seconds: float | None, everything: bool) -> int:
    """Delete the conversations of some ids, those older than a time, or all with what was damaged.

    Raises UsageError when one of them stays because another process is writing it.
    """
    options = resolve_shared_options(flags)
    if bool(words) + (seconds is not None) + everything != 1:
        raise UsageError("which conversations?" if not words else "either ids or a flag says which conversations", WAYS)
    kept = read_history(lambda history: _removed(history, words, seconds, options))
    if kept:
        raise UsageError(
            f"not deleted, for another process is writing {'it' if len(kept) == 1 else 'them'}: {_names(kept)}",
            "delete again when that has ended",
        )
    return 0


def _removed(
    history: History, words: Sequence[str], seconds: float | None, options: Options
) -> list[StoredConversation]:
    """Delete, and give those that stay."""
    chosen = _chosen_for_removal(history, words, seconds)
    copies = 0 if words or seconds is not None else count_copies(list_damaged_copies(history.path))
    if not chosen and not copies:
        _say(
            options,
            "nothing was deleted: no conversation is so old" if seconds is not None else "there is no history yet",
        )
        return []
    if not words and not _may(_counted(len(chosen), copies), options):
        _say(options, "nothing was deleted")
        return []
    outcome = delete_conversations(history, chosen)
    if copies:
        delete_damaged_copies(history)
    _tell(outcome, copies, history, options)
    return outcome.kept


def _chosen_for_removal(history: History, words: Sequence[str], seconds: float | None) -> list[StoredConversation]:
    if words:
        return list({each.id: each for each in (reader.get_conversation(history, word) for word in words)}.values())
    return (
        reader.list_conversations(history)
        if seconds is None
        else reader.list_conversations(history, time.time() - seconds)
    )


def _may(what: str, options: Options) -> bool:
    """Ask, unless yes was said beforehand; raise UsageError where nobody can be asked."""
    if options.yes:
        return True
    if not (is_terminal(0) and is_terminal(2)):
        raise UsageError(f"this would delete {what}", "say -y to do so")
    return confirm(f"delete {what}?")


def _tell(outcome: DeleteResult, copies: int, history: History, options: Options) -> None:
    _say(options, f"{_counted(len(outcome.deleted), copies)} deleted")
    if not outcome.is_clean:
        print_err(
            f"aiml: some of the text may be in {history.path}-wal until the other processes that read it have ended"
        )


def _counted(conversations: int, copies: int) -> str:
    said = [f"{conversations} conversation{'' if conversations == 1 else 's'}"] if conversations or not copies else []
    said += [f"{copies} damaged {'copy' if copies == 1 else 'copies'}"] if copies else []
    return " and ".join(said)


def _names(kept: Sequence[StoredConversation]) -> str:
    return ", ".join(each.name for each in kept)


def _say(options: Options, words: str) -> None:
    if not options.quiet:
        print_err(f"aiml: {words}")


def export_history(words: Sequence[str], flags: Flags, form: str, output: str | None) -> int:
    """Write the conversations that words name, or all, to standard output or a file."""
    options = resolve_shared_options(flags)
    file = _opened(output) if output else None  # before anything is read, as an answer's file is
    found: list[Transcript] = []
    is_written = False
    try:
        found = read_history(lambda history: load_transcripts(history, _chosen_for_export(history, words)))
        data = {"md": transcripts_markdown, "json": transcripts_json, "jsonl": transcripts_jsonl}[form](found)
        if file:
            file.write(data)
        else:
            print_out(data.decode())
        is_written = True
    finally:
        if file:
            file.close(complete=is_written)
    return report_if_empty(found, "", options)


def _opened(name: str) -> OutputFile:
    """Open a file for this user alone: what was asked is nobody else's business. One that is there keeps its modes."""
    before = os.umask(PRIVATE)
    try:
        return OutputFile(name)
    finally:
        os.umask(before)


def _chosen_for_export(history: History, words: Sequence[str]) -> list[StoredConversation]:
    """Find conversations by their ids, or else one by words."""
    if not words:
        return reader.list_conversations(history)
    try:
        return list({each.id: each for each in (reader.get_conversation(history, word) for word in words)}.values())
    except UsageError:
        return find_by_words(history, words)
