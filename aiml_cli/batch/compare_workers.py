"""Send a request to several models, each in its own thread, and pass the events to the thread that prints them."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer, ToolRound
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.batch.worker_pool import ClientContext, Worker, WorkerPool
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import AnswerOutput, output_format
from aiml_cli.output.stderr_renderer import NullStderrRenderer
from aiml_cli.settings.options import Options
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import prefix_lines
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport import choose_transport

if TYPE_CHECKING:
    from aiml_cli.store.history.writer import AnswerId

# How long to wait until an aborted answer is in the history: with a connection, and without one.
ABORT_S, NOT_CONNECTED_S = 5.0, 0.2
STDOUT, STDERR, RAW, ROUND, RESULTS, CLOSE, ERROR = "stdout", "stderr", "raw", "round", "results", "close", "error"


class RenderMessage(NamedTuple):
    """A message to the printing thread: what to print, and which part of the output prints it."""

    target: str
    content: Any


Put = Callable[[RenderMessage], None]


class ModelRun:
    """The request to one of the models, and its result; `name` is unique among the models."""

    def __init__(self, name: str, request: ChatRequest) -> None:
        self.name, self.request = name, request
        self.answer: Answer | None = None
        self._answer_id: AnswerId | None = None
        self._messages: SimpleQueue[RenderMessage] = SimpleQueue()
        self._is_done = Event()

    def run(self, worker: Worker, put: Put) -> None:
        """Send the request; `put` receives everything to print."""
        try:
            with prefix_lines(self.name):
                output = _RemoteOutput(put, wants_raw=output_format(self.request.options) == "raw")
                result = turn.run_turn(self.request, output, worker.client, worker)
                self.request, self.answer, self._answer_id = result.request, result.answer, result.row
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that prints the answers
            put(RenderMessage(ERROR, error))
        finally:
            self._is_done.set()

    def add(self, message: RenderMessage) -> None:
        """Queue a message until it is this model's turn."""
        if message.target == CLOSE:
            self.answer = message.content
        self._messages.put(message)

    def messages(self) -> Iterator[RenderMessage]:
        """Yield the messages up to the end of the answer; raise the exception of the worker."""
        while True:
            message = self._messages.get()
            if message.target == ERROR:
                raise message.content
            yield message
            if message.target == CLOSE:
                return

    def is_silent(self) -> bool:
        """True if no message is queued."""
        return self._messages.empty()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the answer is in the history, for at most `seconds` if that is set."""
        self._is_done.wait(seconds)

    def final_answer(self, error: AimlError) -> Answer:
        """Return the answer, or one with this error if the request did not end in time."""
        return self.answer or Answer(self.request.endpoint.name, error=error)

    def mark_as_current(self) -> None:
        """Make -c continue this conversation; failures are ignored."""
        if self._answer_id is None:
            return
        import sqlite3  # already loaded by the journal

        from aiml_cli.store.history import database, writer

        with suppress(AimlError, sqlite3.Error), closing(database.open_history()) as history:
            writer.mark_current(history, self._answer_id.conversation)


class ModelRuns:
    """The runs of all models, with a worker each; `ended` receives each run when its answer has ended."""

    def __init__(self, requests: Mapping[str, ChatRequest]) -> None:
        self._runs = [ModelRun(name, request) for name, request in requests.items()]
        self._pool: WorkerPool[ModelRun, None] = WorkerPool(
            self._runs, self._run, size=len(self._runs), connect=self._connect
        )
        self.ended: SimpleQueue[ModelRun] = SimpleQueue()

    def __iter__(self) -> Iterator[ModelRun]:
        return iter(self._runs)

    def __getitem__(self, position: int) -> ModelRun:
        return self._runs[position]

    def start(self) -> None:
        """Send all requests."""
        self._pool.start()

    def abort(self, signal_number: int, *, keep: ModelRun | None = None) -> None:
        """Close all connections except that of `keep`; the history records this signal as the reason."""
        for run in self._runs:
            if run.request.tools and run is not keep:
                run.request.tools.cancel_calls()
        self._pool.abort(signal_number, keep=keep)

    def abort_for(self, cause: AimlError | Stopped) -> AimlError:
        """Close all connections and wait briefly; return the error."""
        self.abort(cause.args[0] if isinstance(cause, Stopped) else signal.SIGINT)
        self.wait_briefly()
        return cause.error if isinstance(cause, Stopped) else cause

    def wait_briefly(self, *, keep: ModelRun | None = None) -> None:
        """Wait up to `ABORT_S` until all answers are in the history, and without a limit for `keep`."""
        until = monotonic() + ABORT_S
        connected = self._pool.find_connected()
        for run in self._runs:
            left = max(0.0, until - monotonic()) if run in connected else NOT_CONNECTED_S
            run.wait(None if run is keep else left)

    def _connect(self) -> ClientContext:
        request = self._runs[0].request
        return choose_transport.open_client(request.options, request.url)

    def _run(self, run: ModelRun, worker: Worker) -> None:
        def put(message: RenderMessage) -> None:
            run.add(message)
            if message.target in (CLOSE, ERROR):
                self.ended.put(run)

        run.run(worker, put)


@contextmanager
def show_waiting(options: Options, environ: Mapping[str, str], *, is_needed: bool = True) -> Iterator[None]:
    """Show the spinner if stderr is a terminal."""
    if options.quiet or not is_needed or not is_terminal(2):
        yield
        return
    from aiml_cli.output import spinner  # a pipe needs no spinner

    with spinner.show_spinner(environ) as sign:
        if sign:
            sign.start()
        yield


class _RemoteStdout:
    def __init__(self, put: Put) -> None:
        self._put = put

    def show(self, batch: EventBatch) -> None:
        self._put(RenderMessage(STDOUT, batch))

    def close(self, answer: Answer) -> None:
        """Do nothing: `_RemoteOutput.close` passes on the answer."""


class _RemoteStderr(NullStderrRenderer):
    def __init__(self, put: Put) -> None:
        self._put = put

    def show(self, batch: EventBatch) -> None:
        self._put(RenderMessage(STDERR, batch))


class _RemoteOutput(AnswerOutput):
    """An output that prints in another thread."""

    def __init__(self, put: Put, *, wants_raw: bool) -> None:
        raw = (lambda data: put(RenderMessage(RAW, data))) if wants_raw else None
        super().__init__(_RemoteStdout(put), _RemoteStderr(put), raw, None)
        self._put = put

    def end_round(self, answer: Answer) -> None:
        """Pass on an answer that calls tools."""
        self._put(RenderMessage(ROUND, answer))

    def show_results(self, tool_round: ToolRound) -> None:
        """Pass on what the tools returned."""
        self._put(RenderMessage(RESULTS, tool_round))

    def close(self, answer: Answer) -> None:
        """Pass on the answer without the hint to use -c, which may continue the conversation of another model."""
        if answer.error:
            answer.error.hint = answer.error.hint.removeprefix(turn.CONTINUE_HINT)
        self._put(RenderMessage(CLOSE, answer))


def render_message(output: AnswerOutput, message: RenderMessage) -> None:
    """Print a message, in the thread of the output."""
    match message.target:
        case "stdout":
            output.stdout.show(message.content)
        case "stderr":
            output.stderr.show(message.content)
        case "round":
            output.end_round(message.content)
        case "results":
            output.show_results(message.content)
        case "raw" if output.raw:
            output.raw(message.content)
        case "close":
            output.close(message.content)
