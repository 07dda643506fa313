"""Ask the user on the terminal, even if standard input and output are not the terminal."""

import os
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from threading import RLock, current_thread, main_thread
from typing import NamedTuple, TextIO

from aiml_cli.errors import UsageError
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import TICK_S, Stopped, is_stopping
from aiml_cli.system.stdio import suspend_output, write_err, write_err_raw
from aiml_cli.system.terminal import (
    LINE_MODE,
    SECRET_MODE,
    SINGLE_KEYS,
    TERMINAL,
    Mode,
    get_terminal_size,
    is_terminal,
    modes,
)
from aiml_cli.system.text_width import count_fitting

# Precedes each line of a text that aiml did not write, so that the text cannot look like output of aiml.
BAR = "│ "
MAX_REPEATS = 2  # of the same line; further ones are counted
_RESET = "\x1b[0m"
_MIN_WIDTH, _MIN_PAGE, _LINE_BYTES = 8, 3, 4096
# Invisible characters: whitespace, and the blank Braille pattern.
_BLANKS = " \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\u2800"
_PAGE_KEYS = {" ": "", "\n": "", "n": "no", "q": "quit", "\x04": "no", "": "no"}
_one_question = RLock()


class Note(NamedTuple):
    """A note below the text of a question, in a terminal style ("" for none).

    A note from outside aiml is indented, so that it cannot look like output of aiml.
    """

    text: str
    style: str = ""
    is_foreign: bool = True


def open_terminal() -> TextIO:
    """Open the terminal for reading; raise UsageError if the program has no terminal."""
    try:
        return open(TERMINAL, encoding="utf-8", errors="replace")  # noqa: PTH123 - it stays open to the end
    except OSError as error:
        hint = "without --interactive, aiml answers once and exits"
        raise UsageError(f"the terminal cannot be read: {error.strerror}", hint) from None


def can_ask() -> bool:
    """True if there is a terminal on which a question can be shown and answered."""
    return can_read_terminal() and is_terminal(2)


def can_read_terminal() -> bool:
    """True if the program can read from a terminal, which need not be standard input."""
    try:
        open_terminal().close()
    except UsageError:
        return False
    return True


def confirm(question: str, *, default: bool = False) -> bool:
    """Ask a yes-or-no question; return the default for an empty answer, and False without a terminal or at Ctrl-D."""
    try:
        terminal = open_terminal()
    except UsageError:
        return False

    def show() -> None:
        write_err(f"{question} {'[Y/n]' if default else '[y/N]'} ")

    with closing(terminal), modes.use(LINE_MODE, show):
        try:
            show()
            answer = terminal.readline()
        except Stopped:
            write_err("\n")
            raise
        except OSError:
            answer = ""
    if not answer.endswith("\n"):
        write_err("\n")
        return False
    return answer.strip().lower() in (("", "y", "yes") if default else ("y", "yes"))


def ask_secret(question: str) -> str:
    """Return a line that is typed without echo; raise UsageError if there is none."""

    def show() -> None:
        write_err(question)

    with closing(open_terminal()) as terminal, modes.use(SECRET_MODE, show):
        try:
            show()
            answer = terminal.readline()
        finally:
            write_err("\n")
    if not answer.endswith("\n"):
        raise UsageError("no line was typed")
    return answer.rstrip("\n")


def make_replace_prompt(assume_yes: bool) -> Callable[[Path], bool]:
    """Return a function that asks whether a file may be replaced; it returns False without a terminal."""
    return lambda path: assume_yes or (is_terminal(2) and confirm(f"replace {path}?"))


def ask_choice(title: str, text: str, choices: Sequence[str], explanation: str) -> str:
    """Show an untrusted text completely, page by page, and return the word that the user chose.

    The first letter of a word is enough; only "no" and "quit" can be chosen before the last page. After any other
    answer, the explanation is shown and the question is asked again. An empty answer, Ctrl-D and no terminal mean "no".
    Only one thread asks at a time; keys that were typed before a question do not answer it.
    """
    prompt = f"{' '.join(f'[{word[0]}]{word[1:]}' for word in choices)}: "
    answers = {answer: word for word in choices for answer in (word, word[0])}
    return ask_answer(title, text, prompt, answers, explanation=explanation)


def ask_answer(
    title: str, text: str, prompt: str, answers: Mapping[str, str], *, explanation: str, notes: Sequence[Note] = ()
) -> str:
    """Ask as `ask_choice` does, with this prompt; the notes are shown below the text.

    `answers` maps the words that can be typed, in lower case, to the result.
    """
    with _one_question, suspend_output():
        try:
            terminal = open_terminal()
        except UsageError:
            return "no"
        with closing(terminal):
            return _Question(terminal, title, text, notes).ask(prompt, answers, explanation)


class _Question:
    """A question about an untrusted text; it is written to the terminal, even if standard error is a file."""

    def __init__(self, terminal: TextIO, title: str, text: str, notes: Sequence[Note] = ()) -> None:
        self._terminal = terminal
        self._columns, self._rows = get_terminal_size(terminal.fileno())
        self._lines = [*([title] if title else []), *(lay_out(text, self._columns) if text else ())]
        self._lines += [line for note in notes for line in _lay_out_note(note, self._columns)]

    def ask(self, prompt: str, answers: Mapping[str, str], explanation: str) -> str:
        """Ask, and return the result for the typed answer."""
        try:
            return self._show_pages() or self._read_choice(prompt, answers, explanation)
        except Stopped:
            self._write("\n")
            raise

    def read_line(self, question: str, is_stopped: Callable[[], bool]) -> str | None:
        """Show the text, and return the typed line, or None if there is none."""
        with self._prompt(LINE_MODE, self._lines, question):
            try:
                line = self._read(lambda: is_stopping() or is_stopped())
            except Stopped:
                self._write("\n")
                raise
            if not line.endswith("\n"):
                self._write("\n")
                return None
        return line.rstrip("\r\n")

    def _show_pages(self) -> str:
        """Show all pages but the last; return "no" or "quit" if the user chose it, else ""."""
        start, size = 0, max(_MIN_PAGE, self._rows // 2)
        while len(self._lines) - start > size:
            page = self._lines[start : start + size]
            start += size
            size = max(_MIN_PAGE, self._rows - 2)
            if word := self._read_key(page, len(self._lines) - start):
                return word
        self._lines = self._lines[start:]
        return ""

    def _read_key(self, page: Sequence[str], left: int) -> str:
        """Show a page, and wait for a key; return "no", "quit", or "" for the next page."""
        prompt = f"{left:,} more {'line' if left == 1 else 'lines'}: [space] shows more, [n]o [q]uit "
        with self._prompt(SINGLE_KEYS, page, prompt):
            while (key := _find_key(self._read())) is None:
                pass
            self._write("\r" + " " * len(prompt) + "\r" if len(prompt) < self._columns else "\n")
        return _PAGE_KEYS[key]

    def _read_choice(self, prompt: str, answers: Mapping[str, str], explanation: str) -> str:
        while True:
            with self._prompt(LINE_MODE, self._lines, prompt):
                answer = self._read()
                if not answer.endswith("\n"):
                    self._write("\n")
                    return "no"
            answer = answer.strip().lower()
            if answer in answers:
                return answers[answer]
            if not answer:
                return "no"
            self._lines = [explanation]

    @contextmanager
    def _prompt(self, mode: Mode, lines: Sequence[str], prompt: str) -> Iterator[None]:
        """Show lines and a prompt, again after Ctrl-Z, and discard keys that were typed before."""

        def show() -> None:
            self._write("".join(f"{line}\n" for line in lines) + prompt)

        modes.discard_typed()
        with modes.use(mode, show):
            modes.discard_typed()  # before the prompt is shown: keys typed from then on are an answer
            show()
            yield

    def _read(self, is_stopped: Callable[[], bool] = is_stopping) -> str:
        """Return a line, or a key in the mode SINGLE_KEYS; "" at the end and when the program stops."""
        fd = self._terminal.fileno()
        while current_thread() is not main_thread() and not select.select([fd], [], [], TICK_S)[0]:
            if is_stopped():  # the signal reached the main thread, and no exception reaches this one
                return ""
        try:
            return os.read(fd, _LINE_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def _write(self, text: str) -> None:
        if is_terminal(2):
            write_err_raw(text)
            return
        with suppress(OSError), open(TERMINAL, "wb", buffering=0) as output:  # noqa: PTH123
            output.write(text.encode("utf-8", "replace"))


def _find_key(typed: str) -> str | None:
    """Return the first key that is valid between two pages, None if there is none, or "" at the end of the input."""
    return next((key for key in typed.lower() if key in _PAGE_KEYS), None) if typed else ""


def lay_out(text: str, columns: int) -> list[str]:
    """Return the lines that show a complete untrusted text, sanitized, each with a bar on the left."""
    width = max(_MIN_WIDTH, columns - len(BAR) - 1)
    rows = (row for line in sanitize(text).split("\n") for row in _wrap(line.expandtabs(4), width))
    lines: list[str] = []
    for row, equal in groupby(rows):
        count = sum(1 for _ in equal)
        lines += [f"{BAR}{row}"] * min(count, MAX_REPEATS)
        if count > MAX_REPEATS:
            lines.append(f"  ({count - MAX_REPEATS:,} more lines like that)")
    return lines


def _lay_out_note(note: Note, columns: int) -> Iterator[str]:
    """Yield the lines of a note, with its line breaks replaced by spaces."""
    indent = "  " if note.is_foreign else ""
    width, rest = max(_MIN_WIDTH, columns - len(indent) - 1), " ".join(sanitize(note.text).split())
    while rest:
        count = count_fitting(rest[: 4 * width], width, minimum=1)
        if count < len(rest) and (end := rest.rfind(" ", 0, count + 1)) > 0:
            count = end
        yield f"{indent}{note.style}{rest[:count]}{_RESET if note.style else ''}"
        rest = rest[count:].lstrip(" ")


def _wrap(line: str, width: int) -> Iterator[str]:
    """Yield the rows of a line, without spaces at their ends."""
    start = 0
    while True:
        part = line[start : start + 4 * width]
        count = count_fitting(part, width, minimum=1)
        yield part[:count].rstrip(_BLANKS)
        start += count
        if start >= len(line):
            return


def ask_line(title: str, text: str, question: str, is_stopped: Callable[[], bool] = is_stopping) -> str | None:
    """Show an untrusted text (none if ""), and return the line that the user types.

    Returns None at Ctrl-D, without a terminal, and, outside the main thread, when `is_stopped` returns True; it is
    called a few times per second.
    """
    with _one_question, suspend_output():
        try:
            terminal = open_terminal()
        except UsageError:
            return None
        with closing(terminal):
            return None if is_stopped() else _Question(terminal, title, text).read_line(question, is_stopped)
