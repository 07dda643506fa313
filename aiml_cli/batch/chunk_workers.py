"""Send several requests with a few workers, and hand the answers over in the order of the requests."""

import signal
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import NamedTuple, Protocol, TypeVar

from aiml_cli.api.answer import Answer
from aiml_cli.batch.worker_pool import ClientContext, Worker, WorkerPool, fit_to_file_limit
from aiml_cli.core import turn
from aiml_cli.core.budget import Reservation
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import null_output
from aiml_cli.settings.options import Options
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import make_notifier, prefix_lines
from aiml_cli.transport import choose_transport

# How long aborted answers may take to be written into the history.
ABORT_S = 5.0


class AnswerConsumer(Protocol):
    """What receives the answers in order; None stands for a request that was not sent."""

    def begin(self, requests: Sequence[ChatRequest]) -> None:
        """Receive all requests; raise what keeps them from being sent."""

    def reserve(self, request: ChatRequest) -> Reservation | None:
        """Set aside what a request may cost; raise what keeps it from being sent. Called in the workers."""

    def settle(self, reservation: Reservation | None, answer: Answer) -> None:
        """Count what an answer cost, before its worker sends another request. Called in the workers."""

    def add(self, position: int, answer: Answer | None) -> None:
        """Show the next answer."""

    def close(self, error: AimlError | None) -> None:
        """Show what is left; called once, whatever happened."""


Consumer = TypeVar("Consumer", bound=AnswerConsumer)


class _PlacedAnswer(NamedTuple):
    """An answer, and the position of its request."""

    position: int
    answer: Answer


def ask_in_order(requests: Sequence[ChatRequest], options: Options, consumer: Consumer) -> Consumer:
    """Send with as many workers as --jobs says; no new request is sent once an answer has failed."""
    error: AimlError | None = None
    try:
        consumer.begin(requests)
        _consume_answers(_ChunkWorkers(requests, options, consumer), consumer, len(requests))
    except (AimlError, Stopped) as cause:
        error = cause.error if isinstance(cause, Stopped) else cause
        raise
    finally:
        consumer.close(error)
    return consumer


def _consume_answers(workers: "_ChunkWorkers", consumer: AnswerConsumer, count: int) -> None:
    """Add each answer once all before it are there; after a signal, those that arrive within some seconds."""
    in_order = _InOrder(consumer)
    try:
        for answer in workers.results():
            in_order.add(answer)
    except (AimlError, Stopped) as cause:
        workers.abort(cause.args[0] if isinstance(cause, Stopped) else signal.SIGINT)
        if isinstance(cause, Stopped):
            for answer in workers.results(monotonic() + ABORT_S):
                in_order.add(answer)
        raise
    in_order.finish(count)


class _InOrder:
    """The answers that wait for an earlier one before the consumer gets them."""

    def __init__(self, consumer: AnswerConsumer) -> None:
        self._consumer, self._next = consumer, 0
        self._waiting: dict[int, Answer] = {}

    def add(self, placed: _PlacedAnswer) -> None:
        self._waiting[placed.position] = placed.answer
        while self._next in self._waiting:
            position, self._next = self._next, self._next + 1
            self._consumer.add(position, self._waiting.pop(position))

    def finish(self, count: int) -> None:
        """Hand over what is left, None for requests that were not sent."""
        for position in range(self._next, count):
            self._consumer.add(position, self._waiting.get(position))


class _ChunkWorkers:
    """The workers for a fixed number of requests."""

    def __init__(self, requests: Sequence[ChatRequest], options: Options, consumer: AnswerConsumer) -> None:
        self._requests, self._options, self._consumer = requests, options, consumer
        notify = make_notifier(options.quiet) or (lambda _: None)
        size = fit_to_file_limit(min(options.jobs or 1, len(requests)), notify)
        self._pool = WorkerPool(range(len(requests)), self._send, size=size, connect=self._connect)
        self._pool.start()

    def results(self, until: float | None = None) -> Iterator[_PlacedAnswer]:
        """Yield the answers as they come; raise an exception of a worker."""
        yield from self._pool.results(until=until)
        if self._pool.error:
            raise self._pool.error

    def abort(self, signal_number: int) -> None:
        """Close all connections, and send nothing more."""
        self._pool.abort(signal_number)

    def _connect(self) -> ClientContext:
        return choose_transport.open_client(self._options, self._requests[0].url)

    def _send(self, position: int, worker: Worker) -> _PlacedAnswer:
        request = self._requests[position]
        try:
            reservation = self._consumer.reserve(request)
        except AimlError as error:
            answer = Answer(request.endpoint.name, error=error)
        else:
            with prefix_lines(f"piece {position + 1} of {len(self._requests)}"):
                answer = turn.run_turn(request, null_output(), worker.client, worker).answer
            self._consumer.settle(reservation, answer)
        if answer.error:
            self._pool.stop()  # running requests are paid for, so their answers are waited for
        return _PlacedAnswer(position, answer)
