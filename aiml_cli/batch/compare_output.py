"""Show the answers of several models, one below the other or as a JSON array."""

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from aiml_cli.api.answer import Answer
from aiml_cli.batch.compare_workers import ModelRun, ModelRuns, render_message, show_waiting
from aiml_cli.catalog import pricing
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed
from aiml_cli.output import table
from aiml_cli.output.choose_renderer import AnswerOutput, build_output, choose_output, output_format, wants_color
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.output.json_output import NullRenderer, answer_to_dict, json_line
from aiml_cli.output.output_file import OutputFile
from aiml_cli.output.table import Column
from aiml_cli.settings.options import Options
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import check_stdout, prefix_lines, print_err, write_err, write_out
from aiml_cli.system.terminal import is_terminal, terminal_size

if TYPE_CHECKING:
    from aiml_cli.output.output_file import MetaFile

COLUMNS = (
    Column("MODEL", 0, least=12),
    Column("FIRST", 3, right=True),
    Column("TOTAL", 1, right=True),
    Column("TOKENS", 4, right=True),
    Column("COST", 2, right=True),
    Column("ENDED", 5, least=10),
)
WHOLE = "whole"


class SideBySide:
    """Show the answers in the order of the models: the first that has not ended as it comes, the others when it has.

    Opens the files at once: raises UsageError or OutputFailed before anything is sent.
    """

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._options, self._environ = options, environ
        self._file = OutputFile(options.output) if options.output else None
        if self._file is None:
            check_stdout()
        self._meta = self._opened_meta(options.meta) if options.meta else None
        self._screen: AnswerOutput | None = None
        self._place = 0
        self._is_closed = False

    def show(self, asked: ModelRuns) -> int:
        """Ask all, and show all; give the exit code of the first in order that is not whole."""
        try:
            asked.start()
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
            write_err(comparison_table(asked))
        return next((answer.error.exit_code for answer in answers if answer.error), 0)

    def close(self, answers: Sequence[Answer]) -> None:
        """Write what is written at the end, once: the array, the file's name, and what --meta asks for."""
        if self._is_closed:
            return
        self._is_closed = True
        is_whole = all(answer.error is None for answer in answers)
        try:
            if not self._is_text and not any(isinstance(each.error, ReaderClosed | OutputFailed) for each in answers):
                self._put(json_line([answer_to_dict(answer) for answer in answers], indent=2))
        except AimlError:
            is_whole = False
            raise
        finally:
            if self._file and (part := self._file.close(complete=is_whole)):
                print_err(f"aiml: what came is in {part}")
            if self._meta:
                self._meta.close_all(answers)

    @property
    def _is_text(self) -> bool:
        return output_format(self._options) != "json"

    def _put(self, data: bytes) -> None:
        self._file.write(data) if self._file else write_out(data)

    def _opened_meta(self, name: str) -> "MetaFile":
        from aiml_cli.output.output_file import open_meta_file  # few want such a file

        return open_meta_file(name, self._file)

    def _section(self, asked: ModelRun) -> None:
        """Show an answer under the name of its model."""
        if self._is_text:
            self._put(self._heading(asked.name))
        output = build_output(self._file, self._options, self._environ)
        self._screen = output if self._is_text else replace(output, stdout=NullRenderer())
        with prefix_lines(asked.name), show_waiting(self._options, self._environ, wanted=asked.is_silent()):
            for post in asked.messages():
                render_message(self._screen, post)
            _tell_the_end(asked)

    def _heading(self, name: str) -> bytes:
        """Write the model's name as Markdown has a heading; on a terminal that is bold."""
        is_seen = self._file.is_terminal if self._file else is_terminal(1)
        text = f"## {sanitize(name) if is_seen else name}"
        if is_seen and wants_color(1, self._options.color or "auto", self._environ):
            text = f"\x1b[1m{text}\x1b[0m"
        return ("\n" * bool(self._place) + f"{text}\n\n").encode("utf-8", "replace")

    def _break_off(self, asked: ModelRuns, fault: AimlError | Stopped) -> None:
        """Hang up on all; show what came of the answer whose turn it is, where that can be."""
        error = fault.error if isinstance(fault, Stopped) else fault
        asked.abort(fault.args[0] if isinstance(fault, Stopped) else signal.SIGINT)
        asked.wait_briefly()
        if isinstance(fault, Stopped):
            with suppress(AimlError):
                self._show_what_is_left(asked[self._place], error)
        answers = [each.final_answer(error) for each in asked]
        is_lost = isinstance(fault, AimlError)
        self.close([replace(answer, error=answer.error or error) if is_lost else answer for answer in answers])

    def _show_what_is_left(self, asked: ModelRun, error: AimlError) -> None:
        if self._screen is None:
            return
        with prefix_lines(asked.name):
            while not asked.is_silent():
                render_message(self._screen, next(asked.messages()))
            if asked.answer is None:  # it could not be waited for
                self._screen.close(asked.final_answer(error))


def _choose_who_is_gone_on_with(asked: ModelRuns) -> None:
    """Have -c go on with the last answer that is whole, as it stands last on the screen."""
    whole = [each for each in asked if each.answer and not each.answer.error]
    if whole:
        whole[-1].mark_as_current()


def _tell_the_end(asked: ModelRun) -> None:
    """Tell how an answer ended, where it did not end well."""
    answer = asked.answer
    if answer and answer.error:
        print_err(f"aiml: {answer.error.message}")
        if answer.error.hint:
            print_err(f"hint: {answer.error.hint}")
    elif answer and answer.completion.hit_length_limit:
        print_err(f"aiml: {answer.completion.incomplete_reason}")


class FirstComplete:
    """Show one answer as if no other model had been asked; raises as `choose` does."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._screen = choose_output(options, environ)
        self._options, self._environ = options, environ
        self._is_closed = False

    def close(self, answers: Sequence[Answer]) -> None:
        """Tell the screen of the end, once."""
        if not self._is_closed:
            self._is_closed = True
            self._screen.close(answers[0])

    def show(self, asked: ModelRuns) -> int:
        """Ask all; give 0, or raise what went wrong with the first one where none is whole."""
        try:
            with show_waiting(self._options, self._environ):
                chosen = self._chosen(asked) or asked[0]
            self._show(chosen)
            asked.wait_briefly(keep=chosen)
            chosen.mark_as_current()
        except (AimlError, Stopped) as fault:
            error = fault.error if isinstance(fault, Stopped) else fault
            asked.abort(fault.args[0] if isinstance(fault, Stopped) else signal.SIGINT)
            asked.wait_briefly()
            self.close([replace(Answer(asked[0].request.endpoint.name), error=error)])
            raise
        if chosen.answer and chosen.answer.error:
            raise chosen.answer.error
        return 0

    def _show(self, chosen: ModelRun) -> None:
        for post in chosen.messages():
            if isinstance(post.what, Answer):
                self.close([post.what])
            else:
                render_message(self._screen, post)

    def _chosen(self, asked: ModelRuns) -> ModelRun | None:
        """Wait for an answer that is whole, and hang up on all others at once; None where there is none."""
        began = monotonic()
        asked.start()
        for _ in asked:
            one = asked.ended.get()
            error = one.answer.error if one.answer else None
            if error is None:
                asked.abort(signal.SIGINT, keep=one)
                self._tell(f"{one.name} was whole first, after {monotonic() - began:.2f} s")
                return one
            self._tell(f"{one.name}: {error.message}")
        return None

    def _tell(self, words: str) -> None:
        if not self._options.quiet:
            print_err(f"aiml: {words}")


def comparison_table(asked: ModelRuns) -> str:
    """Draw a row for each model."""
    return "\n" + table.format_table(COLUMNS, [_row(each) for each in asked if each.answer], terminal_size(2)[0])


def _row(asked: ModelRun) -> list[str]:
    """Give the figures of a model, of several that were asked in turn those of who answered."""
    settings = asked.request.settings
    seen = replace(settings, options=replace(settings.options, usage=True))
    answer = pricing.add_estimated_cost(asked.answer or Answer(asked.request.endpoint.name), seen)
    usage, timing = answer.completion.usage, answer.timing
    name = asked.name if asked.name.partition(" (")[0] == settings.options.model else settings.options.model or ""
    return [
        name,
        _seconds(timing.first_token_s),
        _seconds(timing.total_s),
        "" if usage is None or usage.total_tokens is None else str(usage.total_tokens),
        _cost(answer),
        answer.error.message if answer.error else WHOLE,
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _cost(answer: Answer) -> str:
    if answer.cost_usd is None:
        return ""
    return (
        f"${format_dollars(answer.cost_usd)}"
        if answer.cost_source == "gateway"
        else f"≈ ${round_dollars(answer.cost_usd)}"
    )
