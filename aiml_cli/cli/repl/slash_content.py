"""Answer the slash command /file."""

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
from aiml_cli.core.transcript import Transcript
from aiml_cli.errors import UsageError
from aiml_cli.output.output_file import OutputFile
from aiml_cli.prompt.file_sources import SCHEMES, existing_path
from aiml_cli.store.history import reader
from aiml_cli.store.history.writer import COMPLETE, INTERRUPTED
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err, write_out
from aiml_cli.system.terminal import is_terminal

PATIENCE_S = 5
# Terminals that take it at all take about so much.
MOST_FOR_TERMINAL = 74_994


@slash("[path …]", completes="files")
def file(session: Session, words: str) -> None:
    """Send files along with the next message, or list those that wait.

    A path, folder, glob or URL, or several; quotes keep a name with spaces together. - lets go of all that wait.
    """
    if words == "-":
        session.files, session.outputs = [], []
    names = [] if words == "-" else [words] if existing_path(words) and words else split_words(words)
    for name in names:
        _see_that_it_is_there(name)
    session.files += [name for name in dict.fromkeys(names) if name not in session.files]
    waiting = session.queued
    print_err(
        f"aiml: goes along with the next message: {', '.join(waiting)}" if waiting else "aiml: no file waits to be sent"
    )


def _see_that_it_is_there(name: str) -> None:
    """Raise UsageError now for what could not be sent later."""
    if name.lower().startswith(SCHEMES) or existing_path(name):
        return
    from glob import iglob  # few names are globs
    from pathlib import Path

    if not any(iglob(str(Path(name).expanduser()), recursive=True)):  # noqa: PTH207 - as what sends it finds it
        is_glob = bool({*name} & {*"*?["})
        raise UsageError(f"{name}: {'no file matches' if is_glob else 'there is no such file'}", "nothing is queued")


def select_answer(session: Session, words: str) -> str:
    """Give the last answer, or its code block of a number; raise UsageError where there is none."""
    if not session.turns:
        raise UsageError("there is no answer yet")
    answer = session.turns[-1].text
    if not words:
        return answer
    from aiml_cli.output.code_blocks import count_text, find_blocks, list_blocks  # for few lines only

    found, wanted = find_blocks(answer), parse_count(words)
    if not 1 <= wanted <= len(found):
        raise UsageError(f"the answer has {count_text(found)}", list_blocks(found))
    return found[wanted - 1].text


def copy_to_clipboard(text: str, environ: Mapping[str, str]) -> str:
    """Put it there, and say by what; raise UsageError where nothing can."""
    data = text.encode("utf-8", "replace")
    for program, *arguments in _programs(environ):
        path = shutil.which(program)
        if path and _taken([path, *arguments], text.encode("utf-16") if program == "clip.exe" else data):
            return program
    coded = base64.b64encode(data)
    if not is_terminal(1):
        raise UsageError("there is no clipboard: neither a program for it, nor a terminal")
    if len(coded) > MOST_FOR_TERMINAL:
        raise UsageError(
            f"{len(data):,} bytes are more than a terminal takes", "install wl-copy or xclip; or /write FILE"
        )
    write_out(b"\x1b]52;c;" + coded + b"\x07")
    return "the terminal, if it allows that"


def _programs(environ: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """List the programs that may work here."""
    if environ.get("WAYLAND_DISPLAY"):
        yield ("wl-copy",)
    if environ.get("DISPLAY"):
        yield "xclip", "-selection", "clipboard"
        yield "xsel", "--clipboard", "--input"
    yield ("pbcopy",)
    yield ("clip.exe",)


def _taken(command: Sequence[str], data: bytes) -> bool:
    """Give it to a program; return whether that took it."""
    from aiml_cli.system.child_process import ProgramFailed, run_program  # few answers are copied

    try:
        run_program(command, data=data, seconds=PATIENCE_S, reads_output=False)
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
    from aiml_cli.core import prompt_editor  # for few lines only

    session.ask(prompt_editor.edit_text(words or session.prompt, os.environ))


@slash("file", completes="files")
def export(session: Session, words: str) -> None:
    """Write the conversation to a file: Markdown for .md, JSON for .json, a message a line for .jsonl.

    It asks before it replaces a file, and writes all of it or nothing.
    """
    from aiml_cli.core import transcript  # for few lines only

    form = {
        ".md": transcript.transcripts_markdown,
        ".json": transcript.transcripts_json,
        ".jsonl": transcript.transcripts_jsonl,
    }.get(Path(words).suffix.lower())
    if form is None:
        raise UsageError(
            f"/export: {words!r} ends with none of .md, .json and .jsonl" if words else "/export: to which file?"
        )
    write_file(words, form([current_transcript(session)]))


@slash("[n] file", completes="files")
def write(session: Session, words: str) -> None:
    """Write the last answer to a file, or its code block n.

    It asks before it replaces a file, and writes all of it or nothing.
    """
    first, _, rest = words.partition(" ")
    place, name = (first, rest.strip()) if first.isdecimal() and rest.strip() else ("", words)
    if not name:
        raise UsageError("/write: to which file?", "/write answer.md, or /write 2 program.py for code block 2")
    text = select_answer(session, place)
    write_file(name, (text if text.endswith("\n") else text + "\n").encode("utf-8", "replace"))


def write_file(name: str, data: bytes) -> None:
    """Write a file, whole or not at all; ask before one is replaced. Raises UsageError for a no."""
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


def current_transcript(session: Session) -> Transcript:
    """Give it with its messages, from the history where it is kept; raise UsageError where nothing was said."""
    if not session.turns:
        raise UsageError("nothing was said in this conversation yet")
    if session.row is not None:
        with conversation_lock.open_or_empty() as store:
            return Transcript(
                reader.get_by_id(store, session.row), live_messages(reader.read_messages(store, session.row))
            )
    now, title = time.time(), " ".join(session.turns[0].asked.split())
    here = reader.StoredConversation(0, "not-kept", title, "", session.system, now, now)
    return Transcript(here, [message for each in session.turns for message in _messages(session, each, now)])


def _messages(session: Session, exchange: Turn, now: float) -> list[reader.StoredMessage]:
    asked = reader.StoredMessage(
        0, 0, "user", COMPLETE, now, exchange.asked, "", [each.item for each in exchange.messages], session.endpoint,
        exchange.host, exchange.model, {}, None, None, None, None, None, False, {},
    )  # fmt: skip
    answered = asked._replace(
        role="assistant",
        state=INTERRUPTED if exchange.is_cut else COMPLETE,
        text=exchange.text,
        items=[each.item for each in exchange.answer_messages],
    )
    return [asked, answered]
