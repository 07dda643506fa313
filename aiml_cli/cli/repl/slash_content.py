"""Slash commands for files, the clipboard and the editor: /file, /copy, /edit, /export, /write."""

import base64
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiml_cli.cli.repl import conversation_lock
from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import parse_count, slash, split_words
from aiml_cli.cli.repl.turns import Turn
from aiml_cli.core.resume import live_messages
from aiml_cli.core.transcript import Transcript, transcripts_json, transcripts_jsonl, transcripts_markdown
from aiml_cli.errors import UsageError
from aiml_cli.output.code_blocks import describe_blocks, find_blocks, format_count
from aiml_cli.output.output_file import OutputFile, is_stdout
from aiml_cli.prompt.file_sources import SCHEMES, find_path
from aiml_cli.store.history import find_conversations, reader
from aiml_cli.store.history.writer import COMPLETE, INTERRUPTED
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

CLIPBOARD_TIMEOUT_S = 5
# About the limit of the terminals that support OSC 52, in base64 characters.
MAX_OSC_52 = 74_994
EXPORT_FORMATS = {".md": transcripts_markdown, ".json": transcripts_json, ".jsonl": transcripts_jsonl}


@slash("[path …]", completes="files")
def file(session: Session, words: str) -> None:
    """Send files along with the next message, or list those that wait.

    A path, folder, glob or URL, or several; quotes keep a name with spaces together. - lets go of all that wait.
    """
    if words == "-":
        session.files, session.shell_outputs = [], []
    names = [] if words == "-" else [words] if find_path(words) and words else split_words(words)
    for name in names:
        _check_exists(name)
    session.files += [name for name in dict.fromkeys(names) if name not in session.files]
    queued = ", ".join(session.queued)
    print_err(f"aiml: goes along with the next message: {queued}" if queued else "aiml: no file waits to be sent")


def _check_exists(name: str) -> None:
    """Raise UsageError for a path or glob that matches nothing."""
    if name.lower().startswith(SCHEMES) or find_path(name):
        return
    from glob import iglob  # few names are globs

    if not any(iglob(str(Path(name).expanduser()), recursive=True)):  # noqa: PTH207 - as file_sources does
        is_glob = bool({*name} & {*"*?["})
        raise UsageError(f"{name}: {'no file matches' if is_glob else 'there is no such file'}", "nothing is queued")


def select_answer(session: Session, words: str) -> str:
    """Return the last answer, or its code block with a number; raise UsageError if there is none."""
    if not session.turns:
        raise UsageError("there is no answer yet")
    answer = session.turns[-1].text
    if not words:
        return answer
    blocks, number = find_blocks(answer), parse_count(words)
    if number > len(blocks):
        raise UsageError(f"the answer has {format_count(blocks)}", describe_blocks(blocks))
    return blocks[number - 1].text


def copy_to_clipboard(text: str, environ: Mapping[str, str]) -> str:
    """Copy a text and return the name of the program that did it; raise UsageError if none can."""
    data = text.encode("utf-8", "replace")
    for program, *arguments in _list_clipboard_commands(environ):
        path = shutil.which(program)
        if path and _pipe_to_program([path, *arguments], text.encode("utf-16") if program == "clip.exe" else data):
            return program
    encoded = base64.b64encode(data)
    if not is_terminal(1):
        raise UsageError("there is no clipboard: neither a program for it, nor a terminal")
    if len(encoded) > MAX_OSC_52:
        message = f"{len(data):,} bytes are more than a terminal takes"
        raise UsageError(message, "install wl-copy or xclip; or /write FILE")
    write_out(b"\x1b]52;c;" + encoded + b"\x07")
    return "the terminal, if it allows that"


def _list_clipboard_commands(environ: Mapping[str, str]) -> Iterator[Sequence[str]]:
    if environ.get("WAYLAND_DISPLAY"):
        yield ("wl-copy",)
    if environ.get("DISPLAY"):
        yield "xclip", "-selection", "clipboard"
        yield "xsel", "--clipboard", "--input"
    yield ("pbcopy",)
    yield ("clip.exe",)


def _pipe_to_program(command: Sequence[str], data: bytes) -> bool:
    """Run a program with this input; return whether it succeeded."""
    from aiml_cli.system.child_process import ProgramFailed, run_program  # few answers are copied

    try:
        run_program(command, data=data, seconds=CLIPBOARD_TIMEOUT_S, reads_output=False)
    except ProgramFailed:
        return False
    return True


@slash("[n]")
def copy(session: Session, words: str) -> None:
    """Copy the last answer to the clipboard, or its code block n.

    By wl-copy, xclip, xsel, pbcopy or clip.exe, whichever is there, else by the terminal (OSC 52). A number that
    no code block has lists those there are.
    """
    text = select_answer(session, words)
    print_err(f"aiml: copied {len(text):,} characters by {copy_to_clipboard(text, os.environ)}")


@slash("[text]")
def edit(session: Session, words: str) -> None:
    """Write the next message in $VISUAL or $EDITOR, beginning with the last one, and send it."""
    from aiml_cli.core import prompt_editor  # it loads subprocess

    session.ask(prompt_editor.edit_text(words or session.last_prompt, os.environ))


@slash("file", completes="files")
def export(session: Session, words: str) -> None:
    """Write the conversation to a file: Markdown for .md, JSON for .json, a message a line for .jsonl.

    It asks before it replaces a file, and writes all of it or nothing.
    """
    encode = EXPORT_FORMATS.get(Path(words).suffix.lower())
    if encode is None:
        problem = f"{words!r} ends with none of .md, .json and .jsonl" if words else "to which file?"
        raise UsageError(f"/export: {problem}")
    write_file(words, encode([build_transcript(session)]))


@slash("[n] file", completes="files")
def write(session: Session, words: str) -> None:
    """Write the last answer to a file, or its code block n.

    It asks before it replaces a file, and writes all of it or nothing.
    """
    first, _, rest = words.partition(" ")
    number, name = (first, rest.strip()) if first.isdecimal() and rest.strip() else ("", words)
    if not name:
        raise UsageError("/write: to which file?", "/write answer.md, or /write 2 program.py for code block 2")
    text = select_answer(session, number)
    write_file(name, (text if text.endswith("\n") else text + "\n").encode("utf-8", "replace"))


def write_file(name: str, data: bytes) -> None:
    """Write a file atomically; ask before replacing one, and raise UsageError for a no."""
    if is_stdout(name):
        print_out(data.decode())
        return
    path = Path(name).expanduser()
    if path.is_file() and not confirm(f"replace {path}?"):
        raise UsageError(f"{path} is there already", "nothing was written")
    file, is_written = OutputFile(str(path)), False
    try:
        file.write(data)
        is_written = True
    finally:
        file.close(complete=is_written)
    print_err(f"aiml: {len(data):,} bytes are in {path}")


def build_transcript(session: Session) -> Transcript:
    """Return the conversation, from the history if it is saved there; raise UsageError if it has no turns."""
    if not session.turns:
        raise UsageError("nothing was said in this conversation yet")
    if session.conversation_id is not None:
        with conversation_lock.open_history() as history:
            messages = live_messages(reader.read_messages(history, session.conversation_id))
            return Transcript(find_conversations.get_by_id(history, session.conversation_id), messages)
    now, title = time.time(), " ".join(session.turns[0].prompt.split())
    conversation = find_conversations.StoredConversation(0, "not-kept", title, "", session.system, now, now)
    return Transcript(conversation, [each for turn in session.turns for each in _to_stored(session, turn, now)])


def _to_stored(session: Session, turn: Turn, now: float) -> list[reader.StoredMessage]:
    question = reader.StoredMessage(
        0, 0, "user", COMPLETE, now, turn.prompt, "", [message.item for message in turn.messages], session.endpoint,
        turn.host, turn.model, {}, None, None, None, None, None, False, {},
    )  # fmt: skip
    state = INTERRUPTED if turn.is_truncated else COMPLETE
    items = [message.item for message in turn.answer_messages]
    return [question, question._replace(role="assistant", state=state, text=turn.text, items=items)]
