"""Show the answers for the pieces of an input, or keep them for the one answer of all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import TextDelta
from aiml_cli.core.budget import Budget, Reservation, check_total_cost
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.turn import FOR_THE_REST
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed
from aiml_cli.output.choose_renderer import build_output, choose_output, output_format
from aiml_cli.output.json_output import NullRenderer, answer_to_dict, json_line
from aiml_cli.output.output_file import OutputFile
from aiml_cli.output.stderr_renderer import format_usage
from aiml_cli.settings.options import Options
from aiml_cli.system.stdio import prefix_lines, print_err, write_out


class ChunkAnswers:
    """Keep the answers in order, and say which piece failed, and which were not asked for."""

    def __init__(self, options: Options) -> None:
        self._options, self._budget = options, Budget(None if options.replay else options.max_cost)
        self._questions: Sequence[ChatRequest] = ()
        self.answers: list[Answer | None] = []

    @property
    def spent(self) -> float:
        """Give what the pieces cost, as far as that counts."""
        return self._budget.spent

    def begin(self, questions: Sequence[ChatRequest]) -> None:
        """Hear what is asked; raise UsageError where that may cost too much."""
        self._questions = questions
        if self._options.max_cost is not None:
            check_total_cost([(each.settings, _body(each)) for each in questions], "pieces")

    def reserve(self, question: ChatRequest) -> Reservation | None:
        """Set aside what a piece may cost, where there is a bound; raise UsageError where that is too much."""
        if self._options.max_cost is None:
            return None
        return self._budget.reserve(question.settings, _body(question))

    def settle(self, reservation: Reservation | None, answer: Answer) -> None:
        """Take what an answer cost."""
        if reservation:
            self._budget.settle(reservation.usd, reservation.cost_of(answer) if answer.attempts else 0.0)

    def add(self, place: int, answer: Answer | None) -> None:
        """Keep the next answer, and tell how it ended where that was not well."""
        self.answers.append(answer)
        if answer is None:
            return
        with prefix_lines(self._name(place)):
            self.show(answer)
            if answer.error is None and answer.completion.hit_length_limit:
                print_err(f"aiml: {answer.completion.incomplete_reason}")

    def show(self, answer: Answer) -> None:
        """Show an answer."""
        if self._options.usage and (words := format_usage(answer)):
            print_err(f"aiml: {words}")

    def close(self, why: AimlError | None) -> None:
        """Show what is left."""

    def finish(self) -> int:
        """Raise what was wrong with the first piece that failed, and name those that are missing."""
        failed = [place for place, answer in enumerate(self.answers) if answer and answer.error]
        missing = [str(place + 1) for place, answer in enumerate(self.answers) if answer is None]
        for place in failed[1:]:
            if (answer := self.answers[place]) and answer.error:
                print_err(f"aiml: {self._name(place)}: {answer.error.message}")
        if missing:
            what = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else missing[0]
            print_err(f"aiml: not asked for: piece{'s' if len(missing) > 1 else ''} {what} of {len(self.answers)}")
        for place in failed:
            if (answer := self.answers[place]) and answer.error:
                answer.error.message = f"{self._name(place)}: {answer.error.message}"
                # The conversation that -c would go on with may be that of another piece.
                answer.error.hint = answer.error.hint.removeprefix(FOR_THE_REST)
                raise answer.error
        return 0

    def _name(self, place: int) -> str:
        return f"piece {place + 1} of {len(self._questions)}"


class ChunkCollector(ChunkAnswers):
    """Keep the answers for the one answer of all."""

    @property
    def texts(self) -> list[str]:
        """Give what the answers say."""
        return [answer.completion.first.output_text for answer in self.answers if answer]

    def save(self, file: OutputFile | None) -> None:
        """Leave them where they are not lost, when there is no answer of all: beside the file, or in the history."""
        text = "\n".join(words.rstrip("\n") + "\n" for words in self.texts if words)
        if text and file and output_format(self._options) in ("md", "text"):
            file.write(text.encode("utf-8", "replace"))
        elif text and self._options.no_log:
            print_err(f"aiml: what the pieces gave, for no history keeps it:\n{text.rstrip()}")
        elif text and not self._options.quiet:
            print_err("aiml: what the pieces gave is in the history: aiml history list")


class ChunkPrinter(ChunkAnswers):
    """Show the answers on one output; raises UsageError or OutputFailed when that cannot be opened."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        super().__init__(options)
        self._environ = environ
        self._screen = choose_output(options, environ)
        self._is_first = True

    def show(self, answer: Answer) -> None:
        """Show an answer, below an empty line where another one stands before it."""
        screen, is_text = (
            build_output(self._screen.file, self._options, self._environ),
            output_format(self._options) != "json",
        )
        if not is_text:
            screen = replace(screen, stdout=NullRenderer())
        text = answer.completion.first.output_text
        if is_text and text:
            if not self._is_first and output_format(self._options) != "items":
                self._put(b"\n")
            self._is_first = False
            screen.show([TextDelta(text)])
        screen.close(answer)

    def close(self, why: AimlError | None) -> None:
        """Write the array, the file's name, and what --meta asks for."""
        answers = [answer for answer in self.answers if answer]
        is_whole = why is None and len(answers) == len(self._questions) and not any(each.error for each in answers)
        try:
            if output_format(self._options) == "json" and not isinstance(why, ReaderClosed | OutputFailed):
                found = answers or [Answer(each.endpoint.name, error=why) for each in self._questions[:1]]
                self._put(json_line([answer_to_dict(answer) for answer in found], indent=2))
        finally:
            if self._screen.file and (part := self._screen.file.close(complete=is_whole)):
                print_err(f"aiml: what came is in {part}")
            if self._screen.meta:
                self._screen.meta.close_all(answers)

    def _put(self, data: bytes) -> None:
        self._screen.file.write(data) if self._screen.file else write_out(data)


def _body(question: ChatRequest) -> dict[str, Any]:
    return question.build_body(question.read_conversation())
