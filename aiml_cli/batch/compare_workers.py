"""Ask several models, each in a thread of its own, and hand what comes to the thread that shows it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.batch.worker_pool import Worker, WorkerPool
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import AnswerOutput, output_format
from aiml_cli.output.stderr_renderer import NullStderrRenderer
from aiml_cli.settings.options import Options
from aiml_cli.system.stdio import prefix_lines
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport import choose_transport

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from aiml_cli.store.history.writer import AnswerId
    from aiml_cli.transport.choose_transport import Client

# How long a stopped answer may take to be written into the history, and one that is not even connected.
ABORT_S, NOT_CONNECTED_S = 5.0, 0.2
MAIN, ASIDE, RAW, CLOSE, FAULT = "main", "aside", "raw", "close", "fault"


class RenderMessage(NamedTuple):
    """Hold what is to be shown, and where."""

    where: str
    what: Any


Put = Callable[[RenderMessage], None]


class ModelRun:
    """The request to one of the models, and what came of it; `name` tells it from the others."""

    def __init__(self, name: str, request: ChatRequest) -> None:
        self.name, self.request = name, request
        self.answer: Answer | None = None
        self._answer_id: AnswerId | None = None
        self._messages: SimpleQueue[RenderMessage] = SimpleQueue()
        self._is_done = Event()

    def run(self, worker: Worker, put: Put) -> None:
        """Send the request; `put` gets what is to be shown."""
        try:
            with prefix_lines(self.name):
                output = _RemoteOutput(put, wants_raw=output_format(self.request.options) == "raw")
                done = turn.run_turn(self.request, output, worker.client, worker)
                self.request, self.answer, self._answer_id = done.request, done.answer, done.row
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread that shows the answers
            put(RenderMessage(FAULT, fault))
        finally:
            self._is_done.set()

    def add(self, message: RenderMessage) -> None:
        """Keep what is to be shown until its turn comes."""
        if message.where == CLOSE:
            self.answer = message.what
        self._messages.put(message)

    def messages(self) -> Iterator[RenderMessage]:
        """Yield what comes, up to the end of the answer; raise an exception of the worker."""
        while True:
            message = self._messages.get()
            if message.where == FAULT:
                raise message.what
            yield message
            if message.where == CLOSE:
                return

    def is_silent(self) -> bool:
        """True if nothing waits to be shown."""
        return self._messages.empty()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the answer is in the history, or the time is over."""
        self._is_done.wait(seconds)

    def final_answer(self, stop: AimlError) -> Answer:
        """Return the answer, also of a request that could not be waited for."""
        return self.answer or Answer(self.request.endpoint.name, error=stop)

    def mark_as_current(self) -> None:
        """Make -c continue this conversation; failures are ignored."""
        if self._answer_id is None:
            return
        import sqlite3  # the journal has loaded it

        from aiml_cli.store.history import database, writer

        with suppress(AimlError, sqlite3.Error), closing(database.open_history()) as history:
            writer.mark_current(history, self._answer_id.conversation)


class ModelRuns:
    """All models of a call, each asked by a worker of its own; `ended` gets each as soon as its answer has ended."""

    def __init__(self, requests: Mapping[str, ChatRequest]) -> None:
        self._runs = [ModelRun(name, request) for name, request in requests.items()]
        self._pool: WorkerPool[ModelRun, None] = WorkerPool(
            self._runs, self._run, size=len(self._runs), connect=self._connect
        )
        self.ended: SimpleQueue[ModelRun] = SimpleQueue()

    def __iter__(self) -> Iterator[ModelRun]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, place: int) -> ModelRun:
        return self._runs[place]

    def start(self) -> None:
        """Send all requests."""
        self._pool.start()

    def abort(self, number: int, *, keep: ModelRun | None = None) -> None:
        """Close all connections but that of one model; the history gives this signal as the reason."""
        self._pool.abort(number, keep=keep)

    def wait_briefly(self, *, keep: ModelRun | None = None) -> None:
        """Wait some seconds until all is in the history, and as long as it takes for one model."""
        until = monotonic() + ABORT_S
        connected = self._pool.connected()
        for run in self._runs:
            left = max(0.0, until - monotonic()) if run in connected else NOT_CONNECTED_S
            run.wait(None if run is keep else left)

    def _connect(self) -> "AbstractContextManager[Client]":
        request = self._runs[0].request
        return choose_transport.open_client(request.options, request.url)

    def _run(self, run: ModelRun, worker: Worker) -> None:
        def put(message: RenderMessage) -> None:
            run.add(message)
            if message.where in (CLOSE, FAULT):
                self.ended.put(run)

        run.run(worker, put)


@contextmanager
def show_waiting(options: Options, environ: Mapping[str, str], *, wanted: bool = True) -> Iterator[None]:
    """Show that somebody is waited for, where somebody looks."""
    if options.quiet or not wanted or not is_terminal(2):
        yield
        return
    from aiml_cli.output import spinner  # a pipe needs none

    with spinner.show_spinner(environ) as sign:
        if sign:
            sign.start()
        yield


class _Main:
    def __init__(self, put: Put) -> None:
        self._put = put

    def show(self, batch: EventBatch) -> None:
        self._put(RenderMessage(MAIN, batch))

    def close(self, answer: Answer) -> None:
        """Leave the end to the screen as a whole."""


class _Aside(NullStderrRenderer):
    def __init__(self, put: Put) -> None:
        self._put = put

    def show(self, batch: EventBatch) -> None:
        self._put(RenderMessage(ASIDE, batch))


class _RemoteOutput(AnswerOutput):
    """Show everything in another thread."""

    def __init__(self, put: Put, *, wants_raw: bool) -> None:
        super().__init__(
            _Main(put), _Aside(put), (lambda data: put(RenderMessage(RAW, data))) if wants_raw else None, None
        )
        self._put = put

    def close(self, answer: Answer) -> None:
        """Hand over the whole answer; -c would go on with another one."""
        if answer.error:
            answer.error.hint = answer.error.hint.removeprefix(turn.FOR_THE_REST)
        self._put(RenderMessage(CLOSE, answer))


def render_message(screen: AnswerOutput, post: RenderMessage) -> None:
    """Show what came, in the thread of the screen."""
    match post.where:
        case "main":
            screen.stdout.show(post.what)
        case "aside":
            screen.stderr.show(post.what)
        case "raw" if screen.raw:
            screen.raw(post.what)
        case "close":
            screen.close(post.what)
