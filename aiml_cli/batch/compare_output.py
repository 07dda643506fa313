"""Print the answers of several models one below the other, as a JSON array, or only the first complete one."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from signal import SIGINT
from time import monotonic

from aiml_cli.api.answer import Answer
from aiml_cli.batch.compare_workers import ModelRun, ModelRuns, render_message, show_waiting
from aiml_cli.catalog import pricing
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed
from aiml_cli.output.choose_renderer import AnswerOutput, build_output, choose_output, has_color, output_format
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.output.output_file import open_meta_file, open_output
from aiml_cli.output.plain_text import NullRenderer
from aiml_cli.output.table import Column, format_table
from aiml_cli.settings.options import Options
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import make_notifier, prefix_lines, print_err, write_err, write_out
from aiml_cli.system.terminal import get_terminal_size, is_terminal

COLUMNS = (
    Column("MODEL", 0, min_width=12),
    Column("FIRST", 3, right=True),
    Column("TOTAL", 1, right=True),
    Column("TOKENS", 4, right=True),
    Column("COST", 2, right=True),
    Column("RESULT", 5, min_width=10),
)
COMPLETE = "complete"


class SideBySide:
    """Prints all answers in the order of the models: one is streamed while the next ones are buffered.

    The constructor opens the files: it raises UsageError or OutputFailed before anything is sent.
    """

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._options, self._environ = options, environ
        self._file = open_output(options.output)
        self._meta = open_meta_file(options.meta, self._file) if options.meta else None
        self._output: AnswerOutput | None = None
        self._position = 0
        self._is_closed = False

    def show(self, runs: ModelRuns) -> int:
        """Send all requests and print all answers; return the exit code of the first model that failed, or 0."""
        try:
            runs.start()
            for self._position, run in enumerate(runs):
                self._show_section(run)
            for run in runs:
                run.wait()
            _mark_last_complete(runs)
        except (AimlError, Stopped) as cause:
            self._abort(runs, cause)
            raise
        answers = [run.answer for run in runs if run.answer]
        self.close(answers)
        if self._is_text and is_terminal(2) and not self._options.quiet:
            write_err(format_comparison(runs))
        return next((answer.error.exit_code for answer in answers if answer.error), 0)

    def close(self, answers: Sequence[Answer]) -> None:
        """Write the JSON array and the --meta file, and report an incomplete output file; later calls do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        errors = [answer.error for answer in answers if answer.error]
        is_complete = not errors
        try:
            if not self._is_text and not any(isinstance(error, ReaderClosed | OutputFailed) for error in errors):
                self._write(json_line([answer_to_dict(answer) for answer in answers], indent=2))
        except AimlError:
            is_complete = False
            raise
        finally:
            if self._file:
                self._file.close_and_report(complete=is_complete)
            if self._meta:
                self._meta.close_all(answers)

    @property
    def _is_text(self) -> bool:
        return output_format(self._options) != "json"

    def _write(self, data: bytes) -> None:
        self._file.write(data) if self._file else write_out(data)

    def _show_section(self, run: ModelRun) -> None:
        """Print an answer under the name of its model."""
        if self._is_text:
            self._write(self._format_heading(run.name))
        output = build_output(self._file, self._options, self._environ)
        self._output = output if self._is_text else replace(output, stdout=NullRenderer())
        with prefix_lines(run.name), show_waiting(self._options, self._environ, is_needed=run.is_silent()):
            for message in run.messages():
                render_message(self._output, message)
            _print_problem(run.answer)

    def _format_heading(self, name: str) -> bytes:
        """Return the model's name as a Markdown heading, bold on a terminal."""
        on_terminal = self._file.is_terminal if self._file else is_terminal(1)
        text = f"## {sanitize(name) if on_terminal else name}"
        if on_terminal and has_color(1, self._options.color or "auto", self._environ):
            text = f"\x1b[1m{text}\x1b[0m"
        return ("\n" * bool(self._position) + f"{text}\n\n").encode("utf-8", "replace")

    def _abort(self, runs: ModelRuns, cause: AimlError | Stopped) -> None:
        """Stop all requests; after a signal, print the part of the current answer that has arrived."""
        error = runs.abort_for(cause)
        if isinstance(cause, Stopped):
            with suppress(AimlError):
                self._show_rest(runs[self._position], error)
        answers = [run.final_answer(error) for run in runs]
        is_lost = isinstance(cause, AimlError)
        self.close([replace(answer, error=answer.error or error) if is_lost else answer for answer in answers])

    def _show_rest(self, run: ModelRun, error: AimlError) -> None:
        if self._output is None:
            return
        with prefix_lines(run.name):
            while not run.is_silent():
                render_message(self._output, next(run.messages()))
            if run.answer is None:  # it did not end in time
                self._output.close(run.final_answer(error))


def _mark_last_complete(runs: ModelRuns) -> None:
    """Make -c continue the last complete answer, which is the last one on the screen."""
    complete = [run for run in runs if run.answer and not run.answer.error]
    if complete:
        complete[-1].mark_as_current()


def _print_problem(answer: Answer | None) -> None:
    """Print why an answer failed or is incomplete."""
    if answer and answer.error:
        print_err(f"aiml: {answer.error.message}")
        if answer.error.hint:
            print_err(f"hint: {answer.error.hint}")
    elif answer and answer.completion.hit_length_limit:
        print_err(f"aiml: {answer.completion.incomplete_reason}")


class FirstComplete:
    """Prints the first complete answer as if only its model had been asked; raises the errors of `choose_output`."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._output = choose_output(options, environ)
        self._options, self._environ = options, environ
        self._notify = make_notifier(options.quiet) or (lambda _: None)
        self._is_closed = False

    def close(self, answers: Sequence[Answer]) -> None:
        """Close the output with the first answer; later calls do nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._output.close(answers[0])

    def show(self, runs: ModelRuns) -> int:
        """Send all requests and print one answer; return 0, or raise the error of the first model if all failed."""
        try:
            with show_waiting(self._options, self._environ):
                chosen = self._wait_for_complete(runs) or runs[0]
            self._show_answer(chosen)
            runs.wait_briefly(keep=chosen)
            chosen.mark_as_current()
        except (AimlError, Stopped) as cause:
            self.close([Answer(runs[0].request.endpoint.name, error=runs.abort_for(cause))])
            raise
        if chosen.answer and chosen.answer.error:
            raise chosen.answer.error
        return 0

    def _show_answer(self, run: ModelRun) -> None:
        for message in run.messages():
            if isinstance(message.content, Answer):
                self.close([message.content])
            else:
                render_message(self._output, message)

    def _wait_for_complete(self, runs: ModelRuns) -> ModelRun | None:
        """Wait for a complete answer and cancel all other requests; return None if all failed."""
        began = monotonic()
        runs.start()
        for _ in runs:
            run = runs.ended.get()
            error = run.answer.error if run.answer else None
            if error is None:
                runs.abort(SIGINT, keep=run)
                self._notify(f"{run.name} completed first, after {monotonic() - began:.2f} s")
                return run
            self._notify(f"{run.name}: {error.message}")
        return None


def format_comparison(runs: ModelRuns) -> str:
    """Return a table with time, tokens and cost of each model."""
    return "\n" + format_table(COLUMNS, [_build_row(run) for run in runs if run.answer], get_terminal_size(2)[0])


def _build_row(run: ModelRun) -> list[str]:
    """Return the table cells of a run; after a fallback, the name is that of the model that answered."""
    settings = run.request.settings
    with_usage = replace(settings, options=replace(settings.options, usage=True))
    answer = pricing.add_estimated_cost(run.answer or Answer(run.request.endpoint.name), with_usage)
    usage, timing = answer.completion.usage, answer.timing
    return [
        run.name if run.name.partition(" (")[0] == settings.options.model else settings.options.model or "",
        _format_seconds(timing.first_token_s),
        _format_seconds(timing.total_s),
        "" if usage is None or usage.total_tokens is None else str(usage.total_tokens),
        _format_cost(answer),
        answer.error.message if answer.error else COMPLETE,
    ]


def _format_seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _format_cost(answer: Answer) -> str:
    if answer.cost_usd is None:
        return ""
    is_exact = answer.cost_source != "estimate"
    return f"${format_dollars(answer.cost_usd)}" if is_exact else f"≈ ${round_dollars(answer.cost_usd)}"
