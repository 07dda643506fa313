"""Ask one of several models in a thread of its own, and hand what comes to the thread that shows it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.output.stderr_renderer import NullStderrRenderer
from aiml_cli.settings.options import Options
from aiml_cli.system.signals import Stopped, defer_signals
from aiml_cli.system.stdio import is_terminal, prefix_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiml_cli.store.history.writer import AnswerId
    from aiml_cli.transport.client import Client

# For the history of one that was stopped, and for one that is not even connected.
HURRY_S, NO_TIME_S = 5.0, 0.2
MAIN, ASIDE, RAW, CLOSE, FAULT = "main", "aside", "raw", "close", "fault"


class RenderMessage(NamedTuple):
    """Hold what is to be shown, and where."""

    where: str
    what: Any


Put = Callable[[RenderMessage], None]


class ModelRun:
    """Hold a model that is asked; its `name` tells it from the others."""

    def __init__(
        self, name: str, question: ChatRequest, client: "Client | None", open_client: ExitStack, *, wants_raw: bool
    ) -> None:
        self.name, self.question = name, question
        self.answer: Answer | None = None
        self._row: AnswerId | None = None
        self._client, self._open = client, open_client
        self._wants_raw = wants_raw
        self._posts: SimpleQueue[RenderMessage] = SimpleQueue()
        self._pauses = _RetryWaits()
        self._thread = Thread(target=self._run, daemon=True)
        self._ended: SimpleQueue[ModelRun] | None = None

    def start(self, ended: "SimpleQueue[ModelRun] | None" = None) -> None:
        """Ask; `ended` gets this as soon as the answer has ended."""
        self._ended = ended
        with defer_signals():  # a start that is broken off leaves a thread that nobody can wait for
            self._thread.start()

    def messages(self) -> Iterator[RenderMessage]:
        """Give what comes, up to the answer's end; raise what was a fault of ours."""
        while True:
            post = self._posts.get()
            if post.where == FAULT:
                raise post.what
            yield post
            if post.where == CLOSE:
                return

    def is_silent(self) -> bool:
        """Say whether nothing waits to be shown."""
        return self._posts.empty()

    def abort(self, number: int) -> None:
        """Hang up, and ask nothing more; the signal of this number is what the history gives as the reason."""
        self._pauses.end()
        if self._client:
            self._client.connection.abort(Stopped(number))

    def wait(self) -> None:
        """Wait until all is written down."""
        self._thread.join()

    def wait_briefly(self, until: float) -> None:
        """Wait until all is written down, or it takes too long; who is not connected has nothing to write."""
        connected = self._client is None or self._client.connection.stream is not None
        self._thread.join(max(0.0, until - monotonic()) if connected else NO_TIME_S)

    def final_answer(self, stop: AimlError) -> Answer:
        """Give the answer, also of one that could not be waited for."""
        return self.answer or Answer(self.question.endpoint.name, error=stop)

    def mark_as_current(self) -> None:
        """Have -c go on with this one, whoever was written down last; that it cannot be costs nothing else."""
        if self._row is None:
            return
        import sqlite3  # the journal has loaded it

        from aiml_cli.store.history import database, writer

        with suppress(AimlError, sqlite3.Error), closing(database.open_history()) as kept:
            writer.mark_current(kept, self._row.conversation)

    def _run(self) -> None:
        try:
            with self._open, prefix_lines(self.name):
                screen = _Remote(self._put, wants_raw=self._wants_raw)
                done = turn.run_turn(self.question, screen, self._client, self._pauses)
                self.question, self.answer, self._row = done.request, done.answer, done.row
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread that shows the answers
            self._put(RenderMessage(FAULT, fault))

    def _put(self, post: RenderMessage) -> None:
        if post.where == CLOSE:
            self.answer = post.what
        self._posts.put(post)
        if self._ended and post.where in (CLOSE, FAULT):
            self._ended.put(self)


def abort_all(asked: "Iterable[ModelRun]", number: int) -> None:
    """Hang up on all at once, then wait a little for their histories."""
    asked = list(asked)
    for each in asked:
        each.abort(number)
    until = monotonic() + HURRY_S
    for each in asked:
        each.wait_briefly(until)


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


class _RetryWaits:
    """Wait before another try, until somebody ends it."""

    def __init__(self) -> None:
        self._over = Event()

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Leave the others alone: they ask other models."""

    def wait(self, seconds: float) -> None:
        """Wait."""
        self._over.wait(seconds)

    def end(self) -> None:
        """Wait no longer, now and later."""
        self._over.set()


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


class _Remote(AnswerOutput):
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
