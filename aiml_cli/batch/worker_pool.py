"""Run tasks in threads, each over a connection that it keeps open: the one pool for rows, models and chunks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from queue import Empty, Queue
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Generic, TypeVar

from aiml_cli.errors import AimlError
from aiml_cli.system.signals import Stopped, defer_signals

if TYPE_CHECKING:
    from aiml_cli.transport.choose_transport import Client

# How often it is looked whether an aborted task has noticed it.
LOOK_S = 0.01
Task = TypeVar("Task")
Result = TypeVar("Result")
Connect = Callable[[], AbstractContextManager["Client"]]


class Worker:
    """The connection of one thread, and its waits before a retry; safe to abort from another thread."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._open = ExitStack()
        self._client: Client | None = None
        self._is_aborted, self._signal = Event(), 0

    @property
    def client(self) -> "Client":
        """Return the client, opened at its first use; raise UsageError if there can be none."""
        if self._client is None:
            self._client = self._open.enter_context(self._connect())
            if self._is_aborted.is_set():
                self._client.connection.abort(Stopped(self._signal))
        return self._client

    @property
    def is_connected(self) -> bool:
        """True if a connection to the server is open."""
        return self._client is not None and self._client.connection.stream is not None

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    def abort(self, signal_number: int) -> None:
        """Close the connection at once and end waits; the thread sees Stopped with this signal."""
        self._signal = signal_number
        self._is_aborted.set()
        if self._client:
            self._client.connection.abort(Stopped(signal_number))

    # As the pacer of its own retries, a worker waits alone.
    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Leave the other workers alone."""

    def wait(self, seconds: float) -> None:
        """Wait before a retry, until the worker is aborted."""
        self._is_aborted.wait(seconds)


class WorkerPool(Generic[Task, Result]):
    """Run tasks until they end or the pool is stopped; `fault` is the exception that broke it, if one did.

    `run` is called in the workers; results other than None are handed to `results`.
    """

    def __init__(
        self, tasks: Iterable[Task], run: Callable[[Task, Worker], Result | None], *, size: int, connect: Connect
    ) -> None:
        self._tasks, self._run, self._size, self._connect = iter(tasks), run, size, connect
        self._reading, self._guard = Lock(), Lock()
        # Not a SimpleQueue: in CPython 3.11 its get waits without end if a signal arrives at the time-out.
        self._ended: Queue[tuple[Result] | None] = Queue()
        self._running: dict[Worker, Task] = {}
        self._left = size
        self._is_stopped = self._is_broken = self._is_aborted = False
        self.fault: BaseException | None = None

    @property
    def running(self) -> int:
        """Return how many tasks are running."""
        return len(self._running)

    @property
    def is_stopped(self) -> bool:
        """True if no further task begins."""
        return self._is_stopped

    @property
    def is_aborted(self) -> bool:
        """True if running tasks were aborted."""
        return self._is_aborted

    @property
    def is_broken(self) -> bool:
        """True if a task raised."""
        return self._is_broken

    def start(self) -> None:
        """Start the threads."""
        with defer_signals():  # a start that is interrupted leaves a thread that nobody can wait for
            for _ in range(self._size):
                Thread(target=self._work, daemon=True).start()

    def results(
        self, *, tick: Callable[[], None] | None = None, every_s: float | None = None, until: float | None = None
    ) -> Iterator[Result]:
        """Yield results as they come; end when all is done, at the time `until`, or when the pool broke.

        `tick` is called every so many seconds. A task source that blocks is not waited for once the pool is stopped.
        """
        while self._left and not self._is_broken and (self._running or not self._is_stopped):
            if until is not None:
                every_s = max(0.0, until - monotonic())
            try:
                ended = self._ended.get(timeout=every_s)
            except Empty:
                if until is not None:
                    return
                if tick:
                    tick()
                continue
            if ended is None:
                self._left -= 1
            else:
                yield ended[0]
        while not self._ended.empty():
            if (ended := self._ended.get()) is not None:
                yield ended[0]

    def stop(self) -> None:
        """Begin no further task; running ones are not touched."""
        with self._guard:
            self._is_stopped = True

    def connected(self) -> list[Task]:
        """Return the running tasks with an open connection."""
        return [task for worker, task in tuple(self._running.items()) if worker.is_connected]

    def abort(self, signal_number: int, *, seconds: float = 0.0, keep: Task | None = None) -> None:
        """Stop, and close the connections of running tasks but one; wait up to some seconds for them to notice."""
        self.stop()
        self._is_aborted = True
        until = monotonic() + seconds
        while True:
            for worker, task in tuple(self._running.items()):
                if task is not keep:
                    worker.abort(signal_number)
            if not self._running or monotonic() >= until:
                return
            sleep(LOOK_S)

    def _work(self) -> None:
        worker = Worker(self._connect)
        try:
            while self._begin_next(worker):
                try:
                    result = self._run(self._running[worker], worker)
                    if result is not None:
                        self._ended.put((result,))
                finally:
                    del self._running[worker]
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            self.fault = self.fault or fault
            self._is_broken = True
        finally:
            try:
                worker.close()
            finally:
                self._ended.put(None)

    def _begin_next(self, worker: Worker) -> bool:
        """Take the next task, if there is one and the pool is not stopped."""
        with self._reading:
            try:
                found = [] if self._is_stopped else [task for _, task in zip((0,), self._tasks, strict=False)]
            except AimlError as fault:  # results of earlier tasks stay good
                self.fault, found = self.fault or fault, []
                self.stop()
            with self._guard:
                if not found or self._is_stopped:
                    return False
                self._running[worker] = found[0]
                return True
