"""Ask one of several models in a thread of its own, and hand what comes to the thread that shows it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import Batch
from aiml_cli.core import turn
from aiml_cli.core.chat_request import Question
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import Screen
from aiml_cli.output.stderr_renderer import Nobody
from aiml_cli.settings.options import Options
from aiml_cli.system.signals import Stopped, held
from aiml_cli.system.stdio import is_terminal, log_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiml_cli.store.history.writer import Row
    from aiml_cli.transport.client import Client

# For the history of one that was stopped, and for one that is not even connected.
HURRY_S, NO_TIME_S = 5.0, 0.2
MAIN, ASIDE, RAW, CLOSE, FAULT = "main", "aside", "raw", "close", "fault"


class Post(NamedTuple):
    """Hold what is to be shown, and where."""

    where: str
    what: Any


Put = Callable[[Post], None]


class Asked:
    """Hold a model that is asked; its `name` tells it from the others."""

    def __init__(
        self, name: str, question: Question, client: "Client | None", open_client: ExitStack, *, wants_raw: bool
    ) -> None:
        self.name, self.question = name, question
        self.answer: Answer | None = None
        self._row: Row | None = None
        self._client, self._open = client, open_client
        self._wants_raw = wants_raw
        self._posts: SimpleQueue[Post] = SimpleQueue()
        self._pauses = _Pauses()
        self._thread = Thread(target=self._run, daemon=True)
        self._ended: SimpleQueue[Asked] | None = None

    def start(self, ended: "SimpleQueue[Asked] | None" = None) -> None:
        """Ask; `ended` gets this as soon as the answer has ended."""
        self._ended = ended
        with held():  # a start that is broken off leaves a thread that nobody can wait for
            self._thread.start()

    def posts(self) -> Iterator[Post]:
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

    def end(self, number: int) -> None:
        """Hang up, and ask nothing more; the signal of this number is what the history gives as the reason."""
        self._pauses.end()
        if self._client:
            self._client.wire.end(Stopped(number))

    def wait(self) -> None:
        """Wait until all is written down."""
        self._thread.join()

    def wait_a_little(self, until: float) -> None:
        """Wait until all is written down, or it takes too long; who is not connected has nothing to write."""
        connected = self._client is None or self._client.wire.stream is not None
        self._thread.join(max(0.0, until - monotonic()) if connected else NO_TIME_S)

    def ended_by(self, stop: AimlError) -> Answer:
        """Give the answer, also of one that could not be waited for."""
        return self.answer or Answer(self.question.endpoint.name, error=stop)

    def is_gone_on_with(self) -> None:
        """Have -c go on with this one, whoever was written down last; that it cannot be costs nothing else."""
        if self._row is None:
            return
        import sqlite3  # the journal has loaded it

        from aiml_cli.store.history import database, writer

        with suppress(AimlError, sqlite3.Error), closing(database.opened()) as kept:
            writer.touch(kept, self._row.conversation)

    def _run(self) -> None:
        try:
            with self._open, log_prefix(self.name):
                screen = _Remote(self._put, wants_raw=self._wants_raw)
                done = turn.hold(self.question, screen, self._client, self._pauses)
                self.question, self.answer, self._row = done.question, done.answer, done.row
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread that shows the answers
            self._put(Post(FAULT, fault))

    def _put(self, post: Post) -> None:
        if post.where == CLOSE:
            self.answer = post.what
        self._posts.put(post)
        if self._ended and post.where in (CLOSE, FAULT):
            self._ended.put(self)


def end_all(asked: "Iterable[Asked]", number: int) -> None:
    """Hang up on all at once, then wait a little for their histories."""
    asked = list(asked)
    for each in asked:
        each.end(number)
    until = monotonic() + HURRY_S
    for each in asked:
        each.wait_a_little(until)


@contextmanager
def waits(options: Options, environ: Mapping[str, str], *, wanted: bool = True) -> Iterator[None]:
    """Show that somebody is waited for, where somebody looks."""
    if options.quiet or not wanted or not is_terminal(2):
        yield
        return
    from aiml_cli.output import spinner  # a pipe needs none

    with spinner.sign(environ) as sign:
        if sign:
            sign.begin()
        yield


class _Pauses:
    """Wait before another try, until somebody ends it."""

    def __init__(self) -> None:
        self._over = Event()

    def slow(self, error: AimlError, seconds: float) -> None:
        """Leave the others alone: they ask other models."""

    def rest(self, seconds: float) -> None:
        """Wait."""
        self._over.wait(seconds)

    def end(self) -> None:
        """Wait no longer, now and later."""
        self._over.set()


class _Main:
    def __init__(self, put: Put) -> None:
        self._put = put

    def show(self, batch: Batch) -> None:
        self._put(Post(MAIN, batch))

    def close(self, answer: Answer) -> None:
        """Leave the end to the screen as a whole."""


class _Aside(Nobody):
    def __init__(self, put: Put) -> None:
        self._put = put

    def show(self, batch: Batch) -> None:
        self._put(Post(ASIDE, batch))


class _Remote(Screen):
    """Show everything in another thread."""

    def __init__(self, put: Put, *, wants_raw: bool) -> None:
        super().__init__(_Main(put), _Aside(put), (lambda data: put(Post(RAW, data))) if wants_raw else None, None)
        self._put = put

    def close(self, answer: Answer) -> None:
        """Hand over the whole answer; -c would go on with another one."""
        if answer.error:
            answer.error.hint = answer.error.hint.removeprefix(turn.FOR_THE_REST)
        self._put(Post(CLOSE, answer))


def show_on(screen: Screen, post: Post) -> None:
    """Show what came, in the thread of the screen."""
    match post.where:
        case "main":
            screen.main.show(post.what)
        case "aside":
            screen.aside.show(post.what)
        case "raw" if screen.raw:
            screen.raw(post.what)
        case "close":
            screen.close(post.what)
