"""Show the answers of several models, one below the other or as a JSON array."""

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.api.answer import Answer
from aiml_cli.compare.asked import Asked, end_all, show_on, waits
from aiml_cli.errors import AimlError, OutputFailed, ReaderGone
from aiml_cli.screen.choose import Screen, form, onto, wants_color
from aiml_cli.screen.file import OutputFile
from aiml_cli.screen.json import Silent, as_object, line
from aiml_cli.screen.output import about, check_stdout, is_terminal, say, tell, write
from aiml_cli.screen.safe import visible
from aiml_cli.settings.options import Options
from aiml_cli.signals import Stopped

if TYPE_CHECKING:
    from aiml_cli.screen.meta import MetaFile


class Sections:
    """Show the answers in the order of the models: the first that has not ended as it comes, the others when it has.

    Opens the files at once: raises Misuse or OutputFailed before anything is sent.
    """

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._options, self._environ = options, environ
        self._file = OutputFile(options.output) if options.output else None
        if self._file is None:
            check_stdout()
        self._meta = self._opened_meta(options.meta) if options.meta else None
        self._screen: Screen | None = None
        self._place = 0
        self._is_closed = False

    def show(self, asked: Sequence[Asked]) -> int:
        """Ask all, and show all; give the exit code of the first in order that is not whole."""
        try:
            for each in asked:
                each.start()
            for self._place, each in enumerate(asked):
                self._section(each)
            for each in asked:
                each.wait()
            _choose_who_is_gone_on_with(asked)
        except (AimlError, Stopped) as fault:
            self._break_off(asked, fault)
            raise
        answers = [each.answer for each in asked if each.answer]
        self.close(answers)
        if self._is_text and is_terminal(2) and not self._options.quiet:
            from aiml_cli.compare import table  # for a terminal only

            tell(table.drawn(asked))
        return next((answer.error.exit_code for answer in answers if answer.error), 0)

    def close(self, answers: Sequence[Answer]) -> None:
        """Write what is written at the end, once: the array, the file's name, and what --meta asks for."""
        if self._is_closed:
            return
        self._is_closed = True
        is_whole = all(answer.error is None for answer in answers)
        try:
            if not self._is_text and not any(isinstance(each.error, ReaderGone | OutputFailed) for each in answers):
                self._put(line([as_object(answer) for answer in answers], indent=2))
        except AimlError:
            is_whole = False
            raise
        finally:
            if self._file and (part := self._file.close(complete=is_whole)):
                say(f"aiml: what came is in {part}")
            if self._meta:
                self._meta.close_all(answers)

    @property
    def _is_text(self) -> bool:
        return form(self._options) != "json"

    def _put(self, data: bytes) -> None:
        self._file.write(data) if self._file else write(data)

    def _opened_meta(self, name: str) -> "MetaFile":
        from aiml_cli.screen.meta import opened  # few want such a file

        return opened(name, self._file)

    def _section(self, asked: Asked) -> None:
        """Show an answer under the name of its model."""
        if self._is_text:
            self._put(self._heading(asked.name))
        self._screen = onto(self._file, self._options, self._environ)
        if not self._is_text:
            self._screen.main = Silent()
        with about(asked.name), waits(self._options, self._environ, wanted=asked.is_silent()):
            for post in asked.posts():
                show_on(self._screen, post)
            _tell_the_end(asked)

    def _heading(self, name: str) -> bytes:
        """Write the model's name as Markdown has a heading; on a terminal that is bold."""
        is_seen = self._file.is_terminal if self._file else is_terminal(1)
        text = f"## {visible(name) if is_seen else name}"
        if is_seen and wants_color(1, self._options.color or "auto", self._environ):
            text = f"\x1b[1m{text}\x1b[0m"
        return ("\n" * bool(self._place) + f"{text}\n\n").encode("utf-8", "replace")

    def _break_off(self, asked: Sequence[Asked], fault: AimlError | Stopped) -> None:
        """Hang up on all; show what came of the answer whose turn it is, where that can be."""
        error = fault.error if isinstance(fault, Stopped) else fault
        end_all(asked, fault.args[0] if isinstance(fault, Stopped) else signal.SIGINT)
        if isinstance(fault, Stopped):
            with suppress(AimlError):
                self._show_what_is_left(asked[self._place], error)
        answers = [each.ended_by(error) for each in asked]
        is_lost = isinstance(fault, AimlError)
        self.close([replace(answer, error=answer.error or error) if is_lost else answer for answer in answers])

    def _show_what_is_left(self, asked: Asked, error: AimlError) -> None:
        if self._screen is None:
            return
        with about(asked.name):
            while not asked.is_silent():
                show_on(self._screen, next(asked.posts()))
            if asked.answer is None:  # it could not be waited for
                self._screen.close(asked.ended_by(error))


def _choose_who_is_gone_on_with(asked: Sequence[Asked]) -> None:
    """Have -c go on with the last answer that is whole, as it stands last on the screen."""
    whole = [each for each in asked if each.answer and not each.answer.error]
    if whole:
        whole[-1].is_gone_on_with()


def _tell_the_end(asked: Asked) -> None:
    """Tell how an answer ended, where it did not end well."""
    answer = asked.answer
    if answer and answer.error:
        say(f"aiml: {answer.error.message}")
        if answer.error.hint:
            say(f"hint: {answer.error.hint}")
    elif answer and answer.completion.capped:
        say(f"aiml: {answer.completion.lacks}")
