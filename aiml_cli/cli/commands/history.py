"""Run `aiml history show`, `export` and `rm`: print, export and delete conversations."""

import os
import time
from collections.abc import Sequence

from aiml_cli.core import transcript
from aiml_cli.core.browse_history import (
    find_by_words,
    load_transcripts,
    read_history,
    report_if_empty,
    resolve_shared_options,
)
from aiml_cli.core.transcript import Transcript, transcripts_json, transcripts_jsonl, transcripts_markdown
from aiml_cli.errors import UsageError
from aiml_cli.output.json_output import json_line
from aiml_cli.output.output_file import OutputFile, open_output
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags
from aiml_cli.store.history import find_conversations
from aiml_cli.store.history.database import History, list_damaged_copies
from aiml_cli.store.history.edits import count_copies, delete_conversations, delete_damaged_copies
from aiml_cli.store.history.find_conversations import StoredConversation
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

HOW_TO_SELECT = "say ids, or --older-than, or --all"
PRIVATE_UMASK = 0o077


def show_conversation(words: Sequence[str], flags: Flags) -> int:
    """Print the conversation that words name, or the latest."""
    options = resolve_shared_options(flags)
    transcripts = read_history(lambda history: load_transcripts(history, find_by_words(history, words)))
    if not transcripts:
        return report_if_empty(transcripts, "", options)
    if options.json:
        write_out(json_line(transcript.conversation_to_dict(*transcripts[0]), indent=2))
        return 0
    return print_out(transcript.format_conversation(*transcripts[0], verbose=bool(options.verbose)))


def delete_history(words: Sequence[str], flags: Flags, min_age_s: float | None, everything: bool) -> int:
    """Delete the conversations with some ids, those older than an age, or all with the copies of damaged files.

    Raises UsageError if one of them is left because another process is writing it.
    """
    options = resolve_shared_options(flags)
    if bool(words) + (min_age_s is not None) + everything != 1:
        message = "which conversations?" if not words else "either ids or a flag says which conversations"
        raise UsageError(message, HOW_TO_SELECT)
    in_use = read_history(lambda history: _delete(history, words, min_age_s, options))
    if in_use:
        which, names = "it" if len(in_use) == 1 else "them", ", ".join(conversation.name for conversation in in_use)
        raise UsageError(
            f"not deleted, for another process is writing {which}: {names}", "delete again when that has ended"
        )
    return 0


def _delete(
    history: History, words: Sequence[str], min_age_s: float | None, options: Options
) -> list[StoredConversation]:
    """Delete conversations, and return those that are in use."""
    if words:
        conversations = _find_by_ids(history, words)
    else:
        before = float("inf") if min_age_s is None else time.time() - min_age_s
        conversations = find_conversations.list_conversations(history, before)
    copies = 0 if words or min_age_s is not None else count_copies(list_damaged_copies(history.path))
    if not conversations and not copies:
        reason = "there is no history yet" if min_age_s is None else "nothing was deleted: no conversation is so old"
        _notify(options, reason)
        return []
    if not words and not _confirm_deletion(_format_counts(len(conversations), copies), options):
        _notify(options, "nothing was deleted")
        return []
    result = delete_conversations(history, conversations)
    if copies:
        delete_damaged_copies(history)
    _notify(options, f"{_format_counts(len(result.deleted), copies)} deleted")
    if not result.is_clean:
        print_err(
            f"aiml: some of the text may be in {history.path}-wal until the other processes that read it have ended"
        )
    return result.in_use


def _find_by_ids(history: History, ids: Sequence[str]) -> list[StoredConversation]:
    """Return the conversations, each once; raise UsageError for an unknown id."""
    conversations = [find_conversations.get_conversation(history, word) for word in ids]
    return list({conversation.id: conversation for conversation in conversations}.values())


def _confirm_deletion(what: str, options: Options) -> bool:
    """Ask, unless --yes is set; raise UsageError without a terminal."""
    if options.yes:
        return True
    if not (is_terminal(0) and is_terminal(2)):
        raise UsageError(f"this would delete {what}", "say -y to do so")
    return confirm(f"delete {what}?")


def _format_counts(conversations: int, copies: int) -> str:
    parts = [f"{conversations} conversation{'' if conversations == 1 else 's'}"] if conversations or not copies else []
    parts += [f"{copies} damaged {'copy' if copies == 1 else 'copies'}"] if copies else []
    return " and ".join(parts)


def _notify(options: Options, text: str) -> None:
    if not options.quiet:
        print_err(f"aiml: {text}")


def export_history(words: Sequence[str], flags: Flags, export_format: str, output: str | None) -> int:
    """Write the conversations that words name, or all, to standard output or a file."""
    options = resolve_shared_options(flags)
    file = _open_private(output) if output else None  # before anything is read, as an answer's file is
    transcripts: list[Transcript] = []
    is_complete = False
    formats = {"md": transcripts_markdown, "json": transcripts_json, "jsonl": transcripts_jsonl}
    try:
        transcripts = read_history(lambda history: load_transcripts(history, _select_for_export(history, words)))
        data = formats[export_format](transcripts)
        if file:
            file.write(data)
        else:
            print_out(data.decode())
        is_complete = True
    finally:
        if file:
            file.close(complete=is_complete)
    return report_if_empty(transcripts, "", options)


def _open_private(name: str) -> OutputFile | None:
    """Open a file that only this user may read; an existing file keeps its mode. None is standard output."""
    umask = os.umask(PRIVATE_UMASK)
    try:
        return open_output(name)
    finally:
        os.umask(umask)


def _select_for_export(history: History, words: Sequence[str]) -> list[StoredConversation]:
    """Return conversations by their ids, or else one by its words."""
    if not words:
        return find_conversations.list_conversations(history)
    try:
        return _find_by_ids(history, words)
    except UsageError:
        return find_by_words(history, words)
