"""Slash commands for files, the clipboard, the editor and other programs: /file, /copy, /edit, /export, /pipe, …."""

import os
import time
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path

from aiml_cli.api.message_conversion import get_role_and_text
from aiml_cli.api.messages import RawMessage
from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import parse_count, slash, split_words, unquote
from aiml_cli.cli.repl.turns import Turn
from aiml_cli.core.resume import drop_failed_exchanges
from aiml_cli.core.transcript import Transcript, transcripts_json, transcripts_jsonl, transcripts_markdown
from aiml_cli.errors import UsageError
from aiml_cli.output.code_blocks import describe_blocks, find_blocks, format_count
from aiml_cli.output.output_file import OutputFile, is_stdout
from aiml_cli.prompt.decode_text import describe_binary, detect_type, format_size
from aiml_cli.prompt.file_sources import SCHEMES, FileContent, find_path
from aiml_cli.store.history import edits, find_conversations, reader
from aiml_cli.store.history.writer import COMPLETE, INTERRUPTED
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err, print_out

GROUP = "Text, files"
CLIPBOARD = "--clipboard"
EXPORT_FORMATS = {".md": transcripts_markdown, ".json": transcripts_json, ".jsonl": transcripts_jsonl}


@slash("[path …]", completes="files")
def file(session: Session, words: str) -> None:
    """Attach files to the next message.

    Accepts paths, folders, globs and URLs, in quotes if a name contains spaces. --clipboard attaches the image in the
    clipboard, or else its text. - removes all queued files; without a path, they are listed.
    """
    if words == "-":
        session.files, session.shell_outputs = [], []
    names = [] if words == "-" else [words] if find_path(words) and words else split_words(words)
    paths = [name for name in dict.fromkeys(names) if name != CLIPBOARD]
    for name in paths:
        _check_exists(name)
    if CLIPBOARD in names:
        session.shell_outputs.append(_read_clipboard(session.queued))
    session.files += [name for name in paths if name not in session.files]
    queued = ", ".join(session.queued)
    print_err(f"aiml: sent with the next message: {queued}" if queued else "aiml: no file is queued")


def _read_clipboard(queued: Sequence[str]) -> FileContent:
    """Return the image or text in the clipboard, with an unused file name; raise UsageError for anything else."""
    from aiml_cli.system.clipboard import read_clipboard  # few messages need it

    data = read_clipboard()
    media_type = detect_type(data)
    if not media_type.startswith("image/") and (kind := media_type or describe_binary(data)):
        raise UsageError(f"the clipboard contains {kind}, which is neither an image nor text", "nothing was queued")
    if not data.strip():
        raise UsageError("the clipboard is empty", "nothing was queued")
    ending = media_type.removeprefix("image/") or "txt"
    names = (f"clipboard{f'-{number}' * (number > 1)}.{ending}" for number in count(1))
    name = next(name for name in names if name not in queued)
    print_err(f"aiml: {name}: {media_type or 'text'}, {format_size(len(data))}")
    return FileContent(name, data)


def _check_exists(name: str) -> None:
    """Raise UsageError for a path or glob that matches nothing."""
    if name.lower().startswith(SCHEMES) or find_path(name):
        return
    from glob import iglob  # few names are globs

    if not any(iglob(str(Path(name).expanduser()), recursive=True)):  # noqa: PTH207 - as file_sources does
        is_glob = bool({*name} & {*"*?["})
        raise UsageError(f"{name}: {'no file matches' if is_glob else 'no such file'}", "nothing was queued")


def select_answer(session: Session, words: str) -> str:
    """Return the last answer, or its code block with this number; raise UsageError if there is none."""
    if not session.turns:
        raise UsageError("there is no answer yet")
    answer = session.turns[-1].text
    if not (words or answer):
        raise UsageError("the last answer has no text")
    if not words:
        return answer
    blocks, number = find_blocks(answer), parse_count(words)
    if number > len(blocks):
        raise UsageError(f"the answer has {format_count(blocks)}", describe_blocks(blocks))
    return blocks[number - 1].text


@slash("[n]")
def copy(session: Session, words: str) -> None:
    """Copy the last answer, or its code block n.

    Uses wl-copy, xclip, xsel, pbcopy or clip.exe, whichever is installed, or else the terminal (OSC 52). In tmux, it
    also fills tmux's buffer. A number that is too large lists the code blocks.
    """
    from aiml_cli.system.clipboard import copy_text  # few answers are copied

    print_err(f"aiml: {copy_text(select_answer(session, unquote(words)))}")


@slash("[text]")
def edit(session: Session, words: str) -> None:
    """Write a message in $VISUAL or $EDITOR.

    The editor starts with the text, or with the last message. The message is sent when the editor exits, unless nothing
    was changed.
    """
    from aiml_cli.core import prompt_editor  # it loads subprocess

    start = unquote(words) or session.last_prompt
    text = prompt_editor.edit_text(start, os.environ)
    if text.strip() == start.strip():
        raise UsageError("the text was not changed in the editor; nothing was sent")
    session.ask(text)


@slash("file", completes="files")
def export(session: Session, words: str) -> None:
    """Write the conversation to a file.

    The format is Markdown for .md, JSON for .json, and one line of JSON for each message for .jsonl. You are asked
    before a file is replaced. The file is written completely or not at all.
    """
    name = _parse_file(words, "for example: /export chat.md, /export chat.json or /export chat.jsonl")
    encode = EXPORT_FORMATS.get(Path(name).suffix.lower())
    if encode is None:
        raise UsageError(f"/export: {name!r} does not end with .md, .json or .jsonl", "nothing was written")
    write_file(name, encode([build_transcript(session)]))


@slash("[n] file", completes="files")
def write(session: Session, words: str) -> None:
    """Write the answer or block n; /pipe pipes it.

    You are asked before a file is replaced. The file is written completely or not at all.
    """
    number, rest = _split_number(words)
    name = _parse_file(rest, "for example: /write answer.md, or /write 2 program.py for code block 2")
    text = select_answer(session, number)
    write_file(name, _end_line(text))


@slash("[n] command")
def pipe(session: Session, words: str) -> None:
    """Send the last answer, or its code block n, to a shell command.

    The command reads it from standard input and can use the terminal: /pipe less, /pipe 2 python3 -, /pipe wc -l >
    count.txt.
    """
    number, command = _split_number(words)
    if not command or command.isdecimal():
        raise UsageError("a command is required", "for example: /pipe less, or /pipe 2 python3 - for code block 2")
    data = _end_line(select_answer(session, number))
    if session.pastes.contains(words, words):
        print_err(f"aiml: pasted command: /pipe {words}")
        if not confirm("run it?"):
            raise UsageError("the pasted command was not run")
    from aiml_cli.system.child_process import run_shell  # few answers go to a command

    report_exit(run_shell(command, data))


def report_exit(code: int) -> None:
    """Print how a command ended if it failed, on a new line if a key ended it."""
    from aiml_cli.system.child_process import describe_exit

    if code:
        print_err("\n" * (code < 0) + f"aiml: the command {describe_exit(code)}")


def _split_number(words: str) -> tuple[str, str]:
    """Return the number of a code block, or "", and the rest; a number alone is not the number of a block."""
    first, rest = [*words.split(None, 1), "", ""][:2]
    return (first, rest) if first.isdecimal() and rest.strip() else ("", words)


def _end_line(text: str) -> bytes:
    """Return the bytes of a text, with a line break at its end."""
    return (text if text.endswith("\n") else text + "\n").encode("utf-8", "replace")


def _parse_file(text: str, example: str) -> str:
    """Return the only word of an argument; raise UsageError for none or several."""
    words = split_words(text)
    if not words:
        raise UsageError("a file is required", example)
    if len(words) > 1:
        raise UsageError(
            f"only one file can be written, but there are {len(words)} names", "put quotes around a name with spaces"
        )
    return words[0]


def write_file(name: str, data: bytes) -> None:
    """Write a file atomically; ask before replacing one, and raise UsageError if the user declines."""
    if is_stdout(name):
        print_out(data.decode())
        return
    path = Path(name).expanduser()
    if path.is_file() and not confirm(f"replace {path}?"):
        raise UsageError(f"{path} already exists", "nothing was written")
    file, is_written = OutputFile(str(path)), False
    try:
        file.write(data)
        is_written = True
    finally:
        file.close(complete=is_written)
    print_err(f"aiml: wrote {len(data):,} bytes to {path}")


def build_transcript(session: Session) -> Transcript:
    """Return the conversation, from the history if it is saved there; raise UsageError if it has no turns."""
    if not session.turns:
        raise UsageError("this conversation is empty")
    if session.conversation_id is not None:
        with edits.open_history() as history:
            messages = drop_failed_exchanges(reader.read_messages(history, session.conversation_id))
            return Transcript(find_conversations.get_by_id(history, session.conversation_id), messages)
    now, title = time.time(), " ".join(session.turns[0].prompt.split())
    conversation = find_conversations.StoredConversation(0, "not-kept", title, "", session.system, now, now)
    return Transcript(conversation, [each for turn in session.turns for each in _to_stored(session, turn, now)])


def _to_stored(session: Session, turn: Turn, now: float) -> list[reader.StoredMessage]:
    question = reader.StoredMessage(
        0, 0, "user", COMPLETE, now, turn.prompt, "", [message.item for message in turn.messages], session.endpoint,
        turn.host, turn.model, {}, None, None, None, None, None, False, turn.facts,
    )  # fmt: skip
    groups = groupby(turn.answer_messages, lambda message: get_role_and_text(message)[0])
    answers = [each for role, group in groups for each in _to_answers(question, role, list(group))]
    last = (
        answers.pop() if answers and answers[-1].role == "assistant" else question._replace(role="assistant", items=[])
    )
    state = INTERRUPTED if turn.is_truncated else COMPLETE
    return [question, *answers, last._replace(state=state, text=turn.text)]


def _to_answers(
    question: reader.StoredMessage, role: str, messages: Sequence[RawMessage]
) -> Iterator[reader.StoredMessage]:
    """Yield an answer as one message, and each tool result as a separate message."""
    for group in [messages] if role == "assistant" else [[message] for message in messages]:
        texts = [get_role_and_text(message)[1] for message in group if message.item.get("type") != "reasoning"]
        yield question._replace(role=role, text="".join(texts), items=[message.item for message in group])
