"""Run tasks in threads with a connection each: the pool for rows, models and chunks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Generic, TypeVar

from aiml_cli.api.stream_events import Usage
from aiml_cli.errors import AimlError
from aiml_cli.system.signals import Stopped, defer_signals

if TYPE_CHECKING:
    from aiml_cli.transport.choose_transport import Client

# How often to check whether aborted tasks have ended.
POLL_S = 0.01
# A connection, and a file or, with the demo server, the other end of the connection.
FILES_PER_WORKER, OTHER_FILES = 2, 16
Task = TypeVar("Task")
Result = TypeVar("Result")
ClientContext = AbstractContextManager["Client"]
Connect = Callable[[], ClientContext]


def fit_to_file_limit(jobs: int, notify: Callable[[str], None]) -> int:
    """Return how many workers fit into the limit of open files, after raising it as far as needed and allowed."""
    import resource  # only runs need it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = OTHER_FILES + len(list(Path("/dev/fd").iterdir()))
    wanted = others + FILES_PER_WORKER * jobs
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return jobs
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):  # some systems have another, lower limit
        limit = soft
    fitting = min(jobs, max(1, (limit - others) // FILES_PER_WORKER))
    if fitting < jobs:
        notify(f"the limit of open files is {limit}, too low for -j {jobs}: {fitting} at a time")
    return fitting


class Worker:
    """The connection of one thread, and its waits before a retry; safe to abort from another thread."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._resources = ExitStack()
        self._client: Client | None = None
        self._aborted, self._signal = Event(), 0

    @property
    def client(self) -> "Client":
        """Return the client, opened at its first use; raise UsageError if it cannot be opened."""
        if self._client is None:
            self._client = self._resources.enter_context(self._connect())
            if self._aborted.is_set():
                self._client.connection.abort(Stopped(self._signal))
        return self._client

    @property
    def is_connected(self) -> bool:
        """True if a connection to the server is open."""
        return self._client is not None and self._client.connection.stream is not None

    def close(self) -> None:
        """Close the connection."""
        self._resources.close()

    def abort(self, signal_number: int) -> None:
        """Close the connection immediately and end waits; in the thread, Stopped is raised with this signal."""
        self._signal = signal_number
        self._aborted.set()
        if self._client:
            self._client.connection.abort(Stopped(signal_number))

    # A worker is also the RetryPacer of its own requests: it does not wait for the other workers.
    retries_broken = False

    def start_request(self, body: bytes | None) -> None:
        """Return immediately: no request has to wait."""

    def report_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Do nothing: no limit is tracked."""

    def end_request(self, usage: Usage | None) -> None:
        """Do nothing: no tokens are counted."""

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Do nothing: the other workers are not paused."""

    def wait(self, seconds: float, *, is_paid: bool = False) -> None:  # noqa: ARG002 - a worker has no budget
        """Wait before a retry, until the worker is aborted."""
        self._aborted.wait(seconds)


class WorkerPool(Generic[Task, Result]):
    """Threads that run tasks until there are no more or the pool is stopped.

    `run` is called in the workers; `results` yields what it returns, except None. `error` is the exception of a task,
    which breaks the pool, or of the iterable of tasks, which stops it.
    """

    def __init__(
        self, tasks: Iterable[Task], run: Callable[[Task, Worker], Result | None], *, size: int, connect: Connect
    ) -> None:
        self._tasks, self._run, self._size, self._connect = iter(tasks), run, size, connect
        self._task_lock, self._state_lock = Lock(), Lock()
        # Not a SimpleQueue: in CPython 3.11 its get never returns if a signal arrives at the timeout.
        self._results: Queue[tuple[Result] | None] = Queue()
        self._running: dict[Worker, Task] = {}
        self._live_threads = size
        self.is_stopped = self.is_broken = self.is_aborted = False
        self.error: BaseException | None = None

    @property
    def running(self) -> int:
        """Return how many tasks are running."""
        return len(self._running)

    def start(self) -> None:
        """Start the threads, fewer if the system allows no more; raise AimlError if it allows none."""
        with defer_signals():  # an interrupted start would leave a thread that cannot be joined
            for count in range(self._size):
                try:
                    Thread(target=self._work, daemon=True).start()
                except (RuntimeError, MemoryError):
                    self._live_threads -= self._size - count
                    break
        if not self._live_threads:
            raise AimlError("threads cannot be started")

    def results(
        self, *, tick: Callable[[], None] | None = None, every_s: float | None = None, until: float | None = None
    ) -> Iterator[Result]:
        """Yield results as they arrive; end when all tasks are done, at the time `until`, or when the pool breaks.

        `tick` is called every `every_s` seconds. Once the pool is stopped, an iterable that blocks is not waited for.
        """
        while self._live_threads and not self.is_broken and (self._running or not self.is_stopped):
            timeout = every_s
            if until is not None:
                left = max(0.0, until - monotonic())
                timeout = left if every_s is None else min(left, every_s)
            try:
                result = self._results.get(timeout=timeout)
            except Empty:
                if until is not None and monotonic() >= until:
                    return
                if tick:
                    tick()
                continue
            if result is None:
                self._live_threads -= 1
            else:
                yield result[0]
        while not self._results.empty():
            if (result := self._results.get()) is not None:
                yield result[0]

    def stop(self) -> None:
        """Start no more tasks; running ones continue."""
        with self._state_lock:
            self.is_stopped = True

    def find_connected(self) -> list[Task]:
        """Return the running tasks with an open connection."""
        return [task for worker, task in tuple(self._running.items()) if worker.is_connected]

    def abort(self, signal_number: int, *, seconds: float = 0.0, keep: Task | None = None) -> None:
        """Stop, and close the connections of all running tasks except `keep`; wait up to `seconds` until they end."""
        self.stop()
        self.is_aborted = True
        until = monotonic() + seconds
        while True:
            for worker, task in tuple(self._running.items()):
                if task is not keep:
                    worker.abort(signal_number)
            if not self._running or monotonic() >= until:
                return
            sleep(POLL_S)

    def _work(self) -> None:
        worker = Worker(self._connect)
        try:
            while self._begin_next(worker):
                try:
                    result = self._run(self._running[worker], worker)
                    if result is not None:
                        self._results.put((result,))
                finally:
                    del self._running[worker]
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self.error = self.error or error
            self.is_broken = True
        finally:
            try:
                worker.close()
            finally:
                self._results.put(None)

    def _begin_next(self, worker: Worker) -> bool:
        """Start the next task; return False if there is none, or the pool is stopped."""
        with self._task_lock:
            try:
                tasks = [] if self.is_stopped else list(islice(self._tasks, 1))
            except AimlError as error:  # the results of earlier tasks stay valid
                self.error, tasks = self.error or error, []
                self.stop()
            with self._state_lock:
                if not tasks or self.is_stopped:
                    return False
                self._running[worker] = tasks[0]
                return True
