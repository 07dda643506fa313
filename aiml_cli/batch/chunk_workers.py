"""Ask several questions with a few workers, and hand the answers over in the order of the questions."""

import signal
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from aiml_cli.api.answer import Answer
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import null_output
from aiml_cli.settings.options import Options
from aiml_cli.system.signals import Stopped, defer_signals
from aiml_cli.system.stdio import prefix_lines
from aiml_cli.transport import choose_transport

if TYPE_CHECKING:
    from aiml_cli.transport.client import Client

# For the history of answers that were stopped.
HURRY_S = 5.0


class AnswerConsumer(Protocol):
    """Take the answers in order; `None` is one that was not asked for."""

    def begin(self, questions: Sequence[ChatRequest]) -> None:
        """Hear what is asked; raise what keeps it from being asked."""

    def refusal(self, question: ChatRequest) -> AimlError | None:
        """Say why one must not be asked, if so; called in the workers."""

    def settle(self, question: ChatRequest, answer: Answer) -> None:
        """Hear what one cost, before its worker asks another; called in the workers."""

    def add(self, place: int, answer: Answer | None) -> None:
        """Show the next answer."""

    def close(self, why: AimlError | None) -> None:
        """Show what is left; called once, whatever happened."""


Some = TypeVar("Some", bound=AnswerConsumer)


class _ChunkResult(NamedTuple):
    place: int
    answer: Answer | None
    fault: BaseException | None = None


def ask_in_order(questions: Sequence[ChatRequest], options: Options, show: Some) -> Some:
    """Ask with as many workers as --jobs says; none begins a new question once an answer has failed."""
    why: AimlError | None = None
    try:
        show.begin(questions)
        crew = _ChunkWorkers(questions, options, show)
        try:
            _hand_over(crew, show)
        except (AimlError, Stopped) as fault:
            crew.abort(fault.args[0] if isinstance(fault, Stopped) else signal.SIGINT)
            if isinstance(fault, Stopped):
                _hand_over(crew, show)
            raise
    except (AimlError, Stopped) as fault:
        why = fault.error if isinstance(fault, Stopped) else fault
        raise
    finally:
        show.close(why)
    return show


def _hand_over(crew: "_ChunkWorkers", show: AnswerConsumer) -> None:
    """Give each answer when all before it have come."""
    for come in crew.results():
        crew.waiting[come.place] = come.answer
        while crew.next in crew.waiting:
            place, crew.next = crew.next, crew.next + 1
            show.add(place, crew.waiting.pop(place))


class _ChunkWorkers:
    """Hold the workers, and what came of them that could not be shown yet."""

    def __init__(self, questions: Sequence[ChatRequest], options: Options, show: AnswerConsumer) -> None:
        self._questions, self._options, self._show = questions, options, show
        self._todo: SimpleQueue[int] = SimpleQueue()
        for place in range(len(questions)):
            self._todo.put(place)
        self._come: SimpleQueue[_ChunkResult] = SimpleQueue()
        self._left = len(questions)
        self._over, self._hurry = Event(), 0.0
        self._clients: list[Client] = []
        self.waiting: dict[int, Answer | None] = {}
        self.next = 0
        with defer_signals():  # a start that is broken off leaves a thread that nobody can wait for
            for _ in range(min(options.jobs or 1, len(questions))):
                Thread(target=self._work, daemon=True).start()

    def results(self) -> Iterator[_ChunkResult]:
        """Give what comes until all has; raise what was a fault of ours. Who was told to hurry is not waited for."""
        while self._left:
            try:
                come = self._come.get(timeout=max(0.0, self._hurry - monotonic()) if self._hurry else None)
            except Empty:
                return
            self._left -= 1
            if come.fault:
                raise come.fault
            yield come

    def abort(self, number: int) -> None:
        """Hang up, and ask nothing more; the signal of this number is what the history gives as the reason."""
        self._over.set()
        self._hurry = monotonic() + HURRY_S
        for client in tuple(self._clients):
            client.connection.abort(Stopped(number))

    # What a worker says of its own waiting: that of one is not that of the others.
    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Leave the others alone."""

    def wait(self, seconds: float) -> None:
        """Wait before another try, until somebody ends it."""
        self._over.wait(seconds)

    def _work(self) -> None:
        place = -1
        try:
            with choose_transport.open_client(self._options, self._questions[0].url) as client:
                self._clients.append(client)
                while True:
                    place = self._todo.get_nowait()
                    self._come.put(_ChunkResult(place, None if self._over.is_set() else self._answer(place, client)))
        except Empty:
            return
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread that shows the answers
            self._come.put(_ChunkResult(place, None, fault))

    def _answer(self, place: int, client: "Client") -> Answer:
        question = self._questions[place]
        if fault := self._show.refusal(question):
            answer = Answer(question.endpoint.name, error=fault)
        else:
            with prefix_lines(f"piece {place + 1} of {len(self._questions)}"):
                answer = turn.run_turn(question, null_output(), client, self).answer
            self._show.settle(question, answer)
        if answer.error and not isinstance(answer.error, Stopped):
            self._stop()
        return answer

    def _stop(self) -> None:
        """Begin nothing new; what was begun is paid for, and is waited for."""
        while True:
            try:
                self._come.put(_ChunkResult(self._todo.get_nowait(), None))
            except Empty:
                return
