"""Print the answers for the chunks of an input, or collect them for one combined answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import TextDelta
from aiml_cli.core.budget import Budget, Reservation, check_total_cost
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.turn import CONTINUE_HINT
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed
from aiml_cli.output.choose_renderer import build_output, choose_output, output_format
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.output.output_file import OutputFile
from aiml_cli.output.plain_text import NullRenderer
from aiml_cli.output.stderr_renderer import format_usage
from aiml_cli.settings.options import Options
from aiml_cli.system.stdio import prefix_lines, print_err, write_out


class ChunkAnswers:
    """The answers in the order of the chunks, and their cost; `answers` contains None for chunks that were not sent."""

    def __init__(self, options: Options) -> None:
        self._options, self._budget = options, Budget(None if options.replay else options.max_cost)
        self._requests: Sequence[ChatRequest] = ()
        self.answers: list[Answer | None] = []

    @property
    def spent(self) -> float:
        """Return the cost of the chunks in US dollars."""
        return self._budget.spent

    def begin(self, requests: Sequence[ChatRequest]) -> None:
        """Store the requests; raise UsageError if together they could exceed --max-cost."""
        self._requests = requests
        if self._options.max_cost is not None:
            check_total_cost([(request.settings, _build_body(request)) for request in requests], "chunks")

    def reserve(self, request: ChatRequest) -> Reservation | None:
        """Reserve the most that a request could cost, if --max-cost is set; raise UsageError if it does not fit."""
        if self._options.max_cost is None:
            return None
        return self._budget.reserve(request.settings, _build_body(request))

    def settle(self, reservation: Reservation | None, answer: Answer) -> None:
        """Replace a reservation with the cost of the answer."""
        if reservation:
            self._budget.settle(reservation.usd, reservation.cost_of(answer) if answer.attempts else 0.0)

    def add(self, position: int, answer: Answer | None) -> None:
        """Add the next answer and show it."""
        self.answers.append(answer)
        if answer is None:
            return
        with prefix_lines(self._name(position)):
            self.show(answer)
            if answer.error is None and answer.completion.hit_length_limit:
                print_err(f"aiml: {answer.completion.incomplete_reason}")

    def show(self, answer: Answer) -> None:
        """Print the usage line of the answer if --usage is set."""
        if self._options.usage and (usage := format_usage(answer)):
            print_err(f"aiml: {usage}")

    def close(self, error: AimlError | None) -> None:
        """Write the end of the output; `error` is the error that ended the run early."""

    def finish(self) -> int:
        """Raise the error of the first chunk that failed; print the other errors and the chunks that were not sent."""
        failed = [(position, answer.error) for position, answer in enumerate(self.answers) if answer and answer.error]
        missing = [str(position + 1) for position, answer in enumerate(self.answers) if answer is None]
        for position, error in failed[1:]:
            print_err(f"aiml: {self._name(position)}: {error.message}")
        if missing:
            numbers = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else missing[0]
            print_err(f"aiml: not sent: chunk{'s' if len(missing) > 1 else ''} {numbers} of {len(self.answers)}")
        for position, error in failed[:1]:
            error.message = f"{self._name(position)}: {error.message}"
            # The hint is removed because -c continues the last conversation, which may belong to another chunk.
            error.hint = error.hint.removeprefix(CONTINUE_HINT)
            raise error
        return 0

    def _name(self, position: int) -> str:
        return f"chunk {position + 1} of {len(self._requests)}"


class ChunkCollector(ChunkAnswers):
    """Collects the answers for the request that combines them."""

    @property
    def texts(self) -> list[str]:
        """Return the texts of the answers."""
        return [answer.completion.first.output_text for answer in self.answers if answer]

    def save(self, file: OutputFile | None) -> None:
        """Write the texts to the file or stderr if there is no combined answer, or print that the history has them."""
        text = "\n".join(text.rstrip("\n") + "\n" for text in self.texts if text)
        if text and file and output_format(self._options) in ("md", "text"):
            file.write(text.encode("utf-8", "replace"))
        elif text and self._options.no_log:
            print_err(f"aiml: the answers for the chunks, which are not in the history:\n{text.rstrip()}")
        elif text and not self._options.quiet:
            print_err("aiml: the answers for the chunks are in the history: aiml history list")


class ChunkPrinter(ChunkAnswers):
    """Prints the answers to one output; raises UsageError or OutputFailed if it cannot be opened."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        super().__init__(options)
        self._environ = environ
        self._output = choose_output(options, environ)
        self._is_first = True

    def show(self, answer: Answer) -> None:
        """Print an answer, separated from the previous one by an empty line."""
        output = build_output(self._output.file, self._options, self._environ)
        text = answer.completion.first.output_text
        if output_format(self._options) == "json":
            output = replace(output, stdout=NullRenderer())
        elif text:
            if not self._is_first and output_format(self._options) != "items":
                self._write(b"\n")
            self._is_first = False
            output.show([TextDelta(text)])
        output.close(answer)

    def close(self, error: AimlError | None) -> None:
        """Write the JSON array and the file of --meta, and print the name of an incomplete output file."""
        answers = [answer for answer in self.answers if answer]
        is_complete = not error and len(answers) == len(self._requests) and not any(answer.error for answer in answers)
        try:
            if output_format(self._options) == "json" and not isinstance(error, ReaderClosed | OutputFailed):
                results = answers or [Answer(request.endpoint.name, error=error) for request in self._requests[:1]]
                self._write(json_line([answer_to_dict(answer) for answer in results], indent=2))
        finally:
            if self._output.file:
                self._output.file.close_and_report(complete=is_complete)
            if self._output.meta:
                self._output.meta.close_all(answers)

    def _write(self, data: bytes) -> None:
        self._output.file.write(data) if self._output.file else write_out(data)


def _build_body(request: ChatRequest) -> dict[str, Any]:
    return request.build_body(request.read_conversation())
