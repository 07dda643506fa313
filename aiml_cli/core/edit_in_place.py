"""Replace a file with an answer, after the user has seen the diff."""

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import unified_diff
from io import StringIO
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AnswerMismatch, OutputFailed, UsageError
from aiml_cli.output.choose_renderer import AnswerOutput, choose_output, has_color
from aiml_cli.output.code_blocks import extract_code, find_blocks, select_complete_blocks
from aiml_cli.output.output_file import OutputFile
from aiml_cli.output.plain_text import NullRenderer
from aiml_cli.prompt.file_sources import FileContent, read_input_file
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.questions import can_ask, confirm
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, write_err
from aiml_cli.system.terminal import GREEN, MAGENTA, RED

INSTRUCTION = "Answer with the whole new text of {name} and nothing else: no explanation, no code fence around it."
BOM = "\ufeff"
COLORS = {"+": f"\x1b[{GREEN}m", "-": f"\x1b[{RED}m", "@": f"\x1b[{MAGENTA}m"}
BOLD, RESET = "\x1b[1m", "\x1b[0m"


class FileEdit(NamedTuple):
    """A file to edit: its name as typed, its real path, and its content when it was sent."""

    name: str
    path: Path
    old: bytes

    @property
    def text(self) -> str:
        """Return the text that is sent, with newlines as line endings."""
        return self.old.decode().removeprefix(BOM).replace("\r\n", "\n")

    @property
    def has_crlf(self) -> bool:
        """True if every line ends with a carriage return and a newline."""
        return b"\n" in self.old and self.old.count(b"\r\n") == self.old.count(b"\n")


def edit_file(name: str, words: Sequence[str], settings: Settings) -> int:
    """Ask for a file's new text, show the diff, replace the file, and return the exit code.

    Raises UsageError before anything is sent if this is impossible, and AnswerMismatch if the user says no.
    """
    # --fit and --allow-cut could replace the file by a part of it.
    settings = replace(settings, options=replace(settings.options, fit=None, allow_cut=None))
    options = settings.options
    _check_words(settings, words)
    edit = _read_file(options.in_place or "")
    words = [*words, "\n\n" + INSTRUCTION.format(name=edit.path.name)]
    files = (FileContent(edit.name, edit.text.encode()),)
    if options.dry_run or options.as_:
        from aiml_cli.core import dry_run  # for few calls only

        settings = dry_run.use_placeholder_server(settings)
        return dry_run.print_snippet(ChatRequest(get_endpoint(name), words, settings, extra_files=files))
    if not options.yes and not can_ask():
        raise UsageError(
            "--in-place asks before it replaces a file, and there is no terminal", "add -y to replace it without asking"
        )
    with start_demo_if_asked(settings) as settings:
        request = ChatRequest(get_endpoint(name), words, settings, extra_files=files)
        pending = _PendingEdit(OutputFile(str(edit.path)))
        try:
            answer = turn.run_turn(request, _make_output(options)).answer
            return _apply_answer(edit, answer, options, pending)
        finally:
            pending.close()


class _PendingEdit:
    """The new text in a file next to the original; it replaces the original, or is kept next to it."""

    def __init__(self, file: OutputFile) -> None:
        self._file, self._is_open = file, True

    def replace(self, data: bytes) -> None:
        self._file.write(data)
        self._is_open = False
        self._file.close(complete=True)

    def save_beside(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "replace"))
        self.close()

    def close(self) -> None:
        """Close the file once, and print its name; an empty file is removed."""
        if self._is_open:
            self._is_open = False
            self._file.close_and_report(complete=False)


def _check_words(settings: Settings, words: Sequence[str]) -> None:
    if (settings.options.n or 1) > 1:
        raise UsageError("-n cannot be used with --in-place")
    if not any(word.strip() for word in words):
        raise UsageError(
            f"the prompt is empty: what should be done with {settings.options.in_place}?", "write it after the command"
        )


def _read_file(name: str) -> FileEdit:
    if name == "-":
        raise UsageError("--in-place needs a file; - is standard input", "write ./- for a file named -")
    path = Path(os.path.realpath(name))
    try:
        is_file = S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if not is_file:
        raise UsageError(f"{name} is not a regular file and cannot be replaced")
    edit = FileEdit(name, path, read_input_file(str(path)))
    try:
        is_text = "\0" not in edit.text
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise UsageError(f"{name} is not UTF-8 text")
    return edit


def _make_output(options: Options) -> AnswerOutput:
    """Return an output that shows everything except the text of the answer."""
    return replace(choose_output(replace(options, extract=None, format="text"), os.environ), stdout=NullRenderer())


def _apply_answer(edit: FileEdit, answer: Answer, options: Options, pending: _PendingEdit) -> int:
    """Replace the file if the answer differs and the user agrees; raise the answer's error, or AnswerMismatch."""
    if answer.error:
        pending.save_beside(answer.completion.first.output_text)
        raise answer.error
    new = _encode_text(edit, _extract_text(answer, options.extract, edit.text))
    if new == edit.old:
        _notify(options, f"{edit.name} was not changed: the answer is identical")
        return 0
    if not (options.quiet and options.yes):
        _print_diff(edit, new, options)
    try:
        is_agreed = options.yes or confirm(f"replace {sanitize(edit.name)}?")
    except Stopped:
        pending.save_beside(new.decode())
        raise
    if not is_agreed:
        raise AnswerMismatch(
            f"{edit.name} was not changed", "" if options.no_log else "aiml history show prints the answer"
        )
    _check_unchanged(edit, pending, new)
    pending.replace(new)
    _notify(options, f"replaced {edit.name}")
    return 0


def _extract_text(answer: Answer, selector: str | None, old: str) -> str:
    """Return the new text: the block that --extract selects, the only block if there is nothing else, or the answer."""
    text = answer.completion.first.text
    blocks = select_complete_blocks(text, selector or "all", answer.completion.is_complete)
    if selector or (len(blocks) == 1 and blocks[0].is_alone and not _is_one_block(old)):
        return extract_code(blocks[0])
    if not text.strip():
        raise AnswerMismatch("the answer has no text", "try again; the file was not changed")
    return text


def _is_one_block(old: str) -> bool:
    """True if the file itself is Markdown with a single code block and nothing else."""
    blocks = find_blocks(old)
    return len(blocks) == 1 and blocks[0].is_alone and old.startswith(("```", "~~~"))


def _encode_text(edit: FileEdit, text: str) -> bytes:
    """Encode the new text with the byte order mark, the outer newlines and the line endings of the old one."""
    old = edit.old.decode()
    text = text.removeprefix(BOM).replace("\r\n", "\n")
    text = text.rstrip("\n") + ("\n" if edit.text.endswith("\n") or not old else "")
    if not edit.text.startswith("\n"):
        text = text.lstrip("\n") or text
    text = text.replace("\n", "\r\n") if edit.has_crlf else text
    return ((BOM if old.startswith(BOM) else "") + text).encode("utf-8", "replace")


def _print_diff(edit: FileEdit, new: bytes, options: Options) -> None:
    old, answer = edit.old.decode(), new.decode()
    if edit.has_crlf:
        old, answer = old.replace("\r\n", "\n"), answer.replace("\r\n", "\n")
    write_err(format_diff(old, answer, edit.name, color=has_color(2, options.color or "auto", os.environ)))


def _check_unchanged(edit: FileEdit, pending: _PendingEdit, new: bytes) -> None:
    """Raise OutputFailed if another program has changed the file in the meantime: those changes must not be lost."""
    try:
        if edit.path.read_bytes() == edit.old:
            return
    except OSError:
        pass
    pending.save_beside(new.decode())
    raise OutputFailed(f"{edit.name} changed after it was sent and was not replaced")


def _notify(options: Options, text: str) -> None:
    if not options.quiet:
        print_err(f"aiml: {text}")


def format_diff(old: str, new: str, name: str, *, color: bool) -> str:
    """Return a unified diff."""
    # Lines end at newlines only: splitlines would also split at characters within a line.
    before, after = (list(StringIO(text, newline="\n")) for text in (old, new))
    lines = list(unified_diff(before, after, name, f"{name} (the answer)"))
    return "".join(_format_line(line, is_head=index < 2, color=color) for index, line in enumerate(lines))  # noqa: PLR2004


def _format_line(line: str, *, is_head: bool, color: bool) -> str:
    end = "\n" if line.endswith("\n") else "\n\\ No newline at end of file\n"
    text = sanitize(line.removesuffix("\n"))
    style = BOLD if is_head else COLORS.get(line[:1], "")
    return f"{style}{text}{RESET}{end}" if color and style else text + end
