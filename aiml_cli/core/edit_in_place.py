"""Put an answer in the place of the file that it is about, after a look at the difference."""

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import unified_diff
from io import StringIO
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AnswerMismatch, OutputFailed, UsageError
from aiml_cli.output.choose_renderer import AnswerOutput, choose_output, wants_color
from aiml_cli.output.code_blocks import block_code, find_blocks, select_complete
from aiml_cli.output.json_output import NullRenderer
from aiml_cli.output.output_file import OutputFile
from aiml_cli.prompt.file_sources import FileContent, read_input_file
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.questions import can_ask, confirm
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, write_err

ASKED = "Answer with the whole new text of {name} and nothing else: no explanation, no code fence around it."
BOM = "\ufeff"
COLOURS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


class FileEdit(NamedTuple):
    """Hold the file: its name as it was typed, where it really is, and what it held when it was sent."""

    name: str
    path: Path
    old: bytes

    @property
    def text(self) -> str:
        """Give the text that is sent, with newlines as models write them."""
        return self.old.decode().removeprefix(BOM).replace("\r\n", "\n")

    @property
    def is_dos(self) -> bool:
        """Say whether every line ends with a carriage return too."""
        return b"\n" in self.old and self.old.count(b"\r\n") == self.old.count(b"\n")


def edit_file(name: str, words: Sequence[str], settings: Settings) -> int:
    """Ask for a file's new text, show what changes, and put it in its place; give the exit code.

    Raises UsageError before anything is sent when that could not be done, and AnswerMismatch where the user says no.
    """
    # Half a file must not take the place of the whole.
    settings = replace(settings, options=replace(settings.options, fit=None, allow_cut=None))
    options = settings.options
    _check_words(settings, words)
    edit = _opened(options.in_place or "")
    said = [*words, "\n\n" + ASKED.format(name=edit.path.name)]
    if options.dry_run or options.as_:
        from aiml_cli.core import dry_run  # needed here only

        return dry_run.print_snippet(
            ChatRequest(ENDPOINTS[name], said, dry_run.use_placeholder_server(settings), extra_files=(_source(edit),))
        )
    _see_that_somebody_answers(options)
    with start_demo_if_asked(settings) as settled:
        question = ChatRequest(ENDPOINTS[name], said, settled, extra_files=(_source(edit),))
        kept = _PendingFile(OutputFile(str(edit.path)))
        try:
            answer = turn.run_turn(question, _screen(options)).answer
            return _settle(edit, answer, options, kept)
        finally:
            kept.end()


class _PendingFile:
    """Hold the new text in a file beside the old one, which it replaces, or which keeps it under a name of its own."""

    def __init__(self, file: OutputFile) -> None:
        self._file, self._is_open = file, True

    def replace(self, data: bytes) -> None:
        """Put it in the place of the old one."""
        self._file.write(data)
        self._is_open = False
        self._file.close(complete=True)

    def beside(self, text: str) -> None:
        """Leave it beside the old one, and say where."""
        self._file.write(text.encode("utf-8", "replace"))
        self.end()

    def end(self) -> None:
        """Close it, once; a file in which nothing stands is taken away."""
        if self._is_open:
            self._is_open = False
            if part := self._file.close(complete=False):
                print_err(f"aiml: what came is in {part}")


def _check_words(settings: Settings, words: Sequence[str]) -> None:
    """Raise UsageError for several choices, of which only one could be the file, and for a missing prompt."""
    if (settings.options.n or 1) > 1:
        raise UsageError("-n cannot be used with --in-place", "nothing was sent")
    if not any(word.strip() for word in words):
        raise UsageError(f"what shall be done with {settings.options.in_place}?", "say it behind the command")


def _see_that_somebody_answers(options: Options) -> None:
    """Raise UsageError where nobody could say yes."""
    if not options.yes and not can_ask():
        raise UsageError("--in-place asks before it replaces a file, and here is no terminal", "-y answers yes")


def _opened(name: str) -> FileEdit:
    """Read the file; raise UsageError for one that cannot be sent, or not be replaced."""
    path = Path(os.path.realpath(name))
    try:
        is_file = S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as fault:
        raise UsageError(f"{name}: {getattr(fault, 'strerror', None) or fault}", "nothing was sent") from None
    if not is_file:
        raise UsageError(f"{name} is no regular file, and cannot be replaced", "nothing was sent")
    edit = FileEdit(name, path, read_input_file(str(path)))
    try:
        is_text = "\0" not in edit.text
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise UsageError(f"{name} is not UTF-8 text", "nothing was sent")
    return edit


def _source(edit: FileEdit) -> FileContent:
    return FileContent(edit.name, edit.text.encode())


def _screen(options: Options) -> AnswerOutput:
    """Give screens that show all but the answer itself."""
    return replace(choose_output(replace(options, extract=None, format="text"), os.environ), stdout=NullRenderer())


def _settle(edit: FileEdit, answer: Answer, options: Options, kept: _PendingFile) -> int:
    """Put the answer in the file's place when it is whole, new and agreed to; raise what keeps it from that."""
    if answer.error:
        kept.beside(answer.completion.first.output_text)
        raise answer.error
    new = _fitting(edit, _text(answer, options.extract, edit.text))
    if new == edit.old:
        _say(options, f"{edit.name} stays as it is: the answer changes nothing")
        return 0
    if not (options.quiet and options.yes):
        _show_difference(edit, new, options)
    try:
        is_agreed = options.yes or confirm(f"replace {sanitize(edit.name)}?")
    except Stopped:
        kept.beside(new.decode())
        raise
    if not is_agreed:
        raise AnswerMismatch(f"{edit.name} is as it was", "" if options.no_log else "aiml history show has the answer")
    _see_that_it_is_unchanged(edit, kept, new)
    kept.replace(new)
    _say(options, f"{edit.name} is replaced")
    return 0


def _text(answer: Answer, word: str | None, old: str) -> str:
    """Give the file's new text: the block that was asked for, the only one where there is nothing else, or all."""
    text = answer.completion.first.text
    found = select_complete(text, word or "all", answer.completion.is_complete)
    if word or (len(found) == 1 and found[0].is_alone and not _is_one_block(old)):
        return block_code(found[0])
    if not text.strip():
        raise AnswerMismatch("the answer has no text", "ask again; the file is as it was")
    return text


def _is_one_block(old: str) -> bool:
    """Say whether the file itself is Markdown that is nothing but a block."""
    found = find_blocks(old)
    return len(found) == 1 and found[0].is_alone and old.startswith(("```", "~~~"))


def _fitting(edit: FileEdit, text: str) -> bytes:
    """Give the new text the old one's beginning and ending, and its ends of lines."""
    old = edit.old.decode()
    plain = text.removeprefix(BOM).replace("\r\n", "\n")
    plain = plain.rstrip("\n") + ("\n" if edit.text.endswith("\n") or not old else "")
    if not edit.text.startswith("\n"):
        plain = plain.lstrip("\n") or plain
    ended = plain.replace("\n", "\r\n") if edit.is_dos else plain
    return ((BOM if old.startswith(BOM) else "") + ended).encode("utf-8", "replace")


def _show_difference(edit: FileEdit, new: bytes, options: Options) -> None:
    old, answer = edit.old.decode(), new.decode()
    if edit.is_dos:
        old, answer = old.replace("\r\n", "\n"), answer.replace("\r\n", "\n")
    write_err(format_diff(old, answer, edit.name, color=wants_color(2, options.color or "auto", os.environ)))


def _see_that_it_is_unchanged(edit: FileEdit, kept: _PendingFile, new: bytes) -> None:
    """Raise OutputFailed where somebody else has written the file meanwhile: their work is not to be lost."""
    try:
        if edit.path.read_bytes() == edit.old:
            return
    except OSError:
        pass
    kept.beside(new.decode())
    raise OutputFailed(f"{edit.name} has changed since it was sent, and is not replaced")


def _say(options: Options, text: str) -> None:
    if not options.quiet:
        print_err(f"aiml: {text}")


def format_diff(old: str, new: str, name: str, *, color: bool) -> str:
    """Give the lines that change, with those around them."""
    # Lines end at newlines only: splitlines knows a dozen other ends, which a file's lines may hold.
    before, after = (list(StringIO(text, newline="\n")) for text in (old, new))
    lines = list(unified_diff(before, after, name, f"{name} (the answer)"))
    return "".join(_line(line, is_head=place < 2, color=color) for place, line in enumerate(lines))  # noqa: PLR2004


def _line(line: str, *, is_head: bool, color: bool) -> str:
    end = "\n" if line.endswith("\n") else "\n\\ No newline at end of file\n"
    shown = sanitize(line.removesuffix("\n"))
    tone = BOLD if is_head else COLOURS.get(line[:1], "")
    return f"{tone}{shown}{PLAIN}{end}" if color and tone else shown + end
