"""Ask for many rows at the same time, each worker over a connection that it keeps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from hashlib import blake2b
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import encode_body
from aiml_cli.batch.circuit_breaker import CircuitBreaker
from aiml_cli.batch.rate_limit import RateLimiter
from aiml_cli.batch.results import OrderedWriter
from aiml_cli.batch.rows import Row
from aiml_cli.batch.run_summary import Bill, RunStats, cost_at_most
from aiml_cli.core import turn
from aiml_cli.core.budget import RowsBudget
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import null_output
from aiml_cli.system.signals import Stopped
from aiml_cli.transport.choose_transport import open_client

if TYPE_CHECKING:
    from aiml_cli.transport.client import Client

# How long an answer that was hung up may take to notice it, and how often it is looked.
HURRY_S, LOOK_S = 1.0, 0.01
DIGEST = 12


class Tools(NamedTuple):
    """Hold what all workers share: what is said of a row, whether that is done, how its result is written."""

    question: ChatRequest
    said: Callable[[Row], Conversation]
    is_done: Callable[[int, str], bool]
    line: Callable[[Row, str | None, Answer], bytes]
    bill: Bill
    results: OrderedWriter
    tally: RunStats
    pace: RateLimiter
    purse: RowsBudget


class _Ready(NamedTuple):
    """Hold what is sent of a row, and under which hash its result is known."""

    said: Conversation
    body: dict[str, Any]
    digest: str


class _Got(NamedTuple):
    """Hold an answer, and which model was asked last for it."""

    answer: Answer
    model: str = ""


class Pool:
    """Run workers until the rows end, or something ends the run: `fault` says what, `is_too_dear` that it is money."""

    def __init__(self, rows: Iterator[Row], tools: Tools, jobs: int) -> None:
        self._rows, self._tools, self._jobs = rows, tools, jobs
        self._input, self._guard = Lock(), Lock()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._flying: set[Client] = set()
        self._place = self._busy = 0
        self._is_over = self._is_cut = self.is_too_dear = False
        self.alike = CircuitBreaker(jobs)
        self.fault: BaseException | None = None

    @property
    def is_drained(self) -> bool:
        """Say whether all that was begun came to its own end."""
        return not self._busy and not self._is_cut

    def run(self, tick: Callable[[], None], every_s: float) -> None:
        """Work until all is done, and call `tick` now and then; raises what a signal raises."""
        for _ in range(self._jobs):
            Thread(target=self._work, daemon=True).start()
        left = self._jobs
        # Who reads an input that has no end does so until the program ends: nobody waits for that one.
        while left and not self._is_cut and (self._busy or not self._is_over):
            try:
                self._ended.get(timeout=every_s)
                left -= 1
            except Empty:
                tick()

    def drain(self) -> None:
        """Begin no further row; what is asked is waited for."""
        with self._guard:
            self._is_over = True
        self._tools.purse.end()
        self._tools.results.release_waiters()

    def cut(self) -> None:
        """Hang up whatever is asked."""
        self._is_cut = True
        self.drain()
        self._tools.pace.close()
        self._tools.tally.lost = len(self._flying)
        until = monotonic() + HURRY_S
        while self._flying and monotonic() < until:
            for client in tuple(self._flying):
                client.connection.abort(Stopped(signal.SIGINT))  # who records must know that it was us
            sleep(LOOK_S)

    def _work(self) -> None:
        """Ask for one row after the other; what goes wrong here ends the run."""
        try:
            with ExitStack() as stack:
                client: Client | None = None
                while found := self._next():
                    client = client or stack.enter_context(self._connected())
                    self._take(*found, client)
                    self._busy_now(-1)
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            self.fault = self.fault or fault
            self._is_cut = True
        self._ended.put(None)

    def _connected(self) -> "AbstractContextManager[Client]":
        question, options = self._tools.question, self._tools.question.options
        return open_client(options, question.url)

    def _next(self) -> tuple[int, Row] | None:
        """Take the next row with its place in the order, if there is to be one."""
        with self._input:
            self._tools.results.wait_for_room(self._place)
            try:
                row = None if self._is_over else next(self._rows, None)
            except AimlError as fault:  # what came of the rows before stays good
                self.fault, row = fault, None
                self.drain()
            place, self._place = self._place, self._place + 1
            return (place, row) if row and self._busy_now(1) else None

    def _busy_now(self, change: int) -> bool:
        """Count who works on a row; say False when no further one may begin."""
        with self._guard:
            may = change < 0 or not self._is_over
            self._busy += change if may else 0
            return may

    def _take(self, place: int, row: Row, client: "Client") -> None:
        """Ask for a row, unless that is done or cannot be."""
        tools = self._tools
        try:
            ready = self._ready(row)
        except AimlError as error:
            self._close(place, row, None, _Got(Answer(tools.question.endpoint.name, error=error)))
            return
        with self._guard:
            is_done = tools.is_done(row.number, ready.digest)
        if is_done:
            tools.tally.skip()
            tools.results.put(place, b"")
        elif got := self._afforded(ready, client):
            self._close(place, row, ready.digest, got)

    def _afforded(self, ready: _Ready, client: "Client") -> _Got | None:
        """Ask where the money lasts for it; where it does not, or no price is known, the run ends."""
        purse = self._tools.purse
        try:
            worst = self._tools.bill.worst(ready.body)
        except AimlError as fault:
            self.fault = self.fault or fault
            self.drain()
            return None
        if not purse.reserve(worst):
            self.is_too_dear |= not self._is_over
            self.drain()
            return None
        got = self._answer(ready.said, client)
        purse.settle(worst, cost_at_most(got.answer) if got else 0.0)
        return got

    def _ready(self, row: Row) -> _Ready:
        """Make what is sent; raise UsageError for a row that cannot be asked."""
        tools = self._tools
        said = tools.said(row)
        body = tools.question.build_body(said)
        digest = blake2b(encode_body(body), digest_size=DIGEST, person=tools.question.endpoint.name.encode())
        digest.update(row.text.encode("utf-8", "replace"))
        return _Ready(said, body, digest.hexdigest())

    def _answer(self, said: Conversation, client: "Client") -> _Got | None:
        """Ask; None when the run ended before that."""
        tools, got = self._tools, None
        if not tools.pace.acquire():
            return None
        self._flying.add(client)
        try:
            turned = turn.run_turn(replace(tools.question, repeated=said), null_output(), client, tools.pace)
            model = turned.request.options.model or ""
            got = _Got(tools.bill.priced(turned.answer, model), model)
        finally:
            self._flying.discard(client)
            tools.pace.release(well=got is not None and got.answer.error is None)
        return got

    def _close(self, place: int, row: Row, digest: str | None, got: _Got) -> None:
        """Keep a result; one that was hung up is none."""
        answer, model = got
        if self._is_cut and answer.error:
            return
        self._tools.tally.add(answer, model)
        self._tools.results.put(place, self._tools.line(row, digest, answer))
        with self._guard:
            is_vain = self.alike.record(answer.error, is_sent=digest is not None)
        if is_vain:
            self.drain()
