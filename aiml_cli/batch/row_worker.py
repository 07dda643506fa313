"""Send the requests of a run's rows within the budget and the rate limit, and write the results."""

import errno
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.messages import Conversation
from aiml_cli.api.stream_events import Usage
from aiml_cli.batch.rate_limit import FIRST_FAILURE, CircuitBreaker, RateLimiter, RunStopped, SentRequest
from aiml_cli.batch.results import ResultWriter
from aiml_cli.batch.rows import Row
from aiml_cli.batch.run_summary import CostTracker, RunStats, cost_at_most
from aiml_cli.batch.worker_pool import ClientContext, Worker, WorkerPool
from aiml_cli.core import turn
from aiml_cli.core.budget import Budget
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, ConnectionFailed
from aiml_cli.output.choose_renderer import null_output
from aiml_cli.settings.resolve import Source
from aiml_cli.system.signals import Stopped, allow_second_signal
from aiml_cli.transport.choose_transport import open_client

# How long to wait for aborted answers to end.
ABORT_S = 1.0
# More than for a single call: nobody waits for one row, and the rate limit of many requests lasts longer.
ROW_RETRIES = 8
# A row and its position among the started rows, counted from 0.
PlacedRow = tuple[int, Row]


class RunContext(NamedTuple):
    """What all rows of a run share: the request, and how results are written.

    `is_done` takes the number and hash of a row, and returns whether an earlier run has done it; it is None if there
    are no earlier results.
    """

    request: ChatRequest
    make_conversation: Callable[[Row], Conversation]
    hash_row: Callable[[Row], str]
    hash_body: Callable[[Row, dict[str, Any]], str]
    is_done: Callable[[int, str], bool] | None
    format_result: Callable[[Row, str | None, Answer], bytes]
    costs: CostTracker
    results: ResultWriter
    stats: RunStats
    rate_limiter: RateLimiter
    budget: Budget


class _RowAnswer(NamedTuple):
    """An answer, and the model that gave it."""

    answer: Answer
    model: str = ""


class RowWorkers:
    """The workers of a run; `is_over_budget` is True once a row did not fit into the budget."""

    def __init__(self, context: RunContext, rows: Iterator[Row], jobs: int) -> None:
        self._context, self._lock = context, Lock()
        self._request = _with_row_retries(context.request)
        self._breaker = CircuitBreaker(jobs)
        self._in_flight = 0
        self._error: AimlError | None = None
        self.is_over_budget = False
        self.pool: WorkerPool[PlacedRow, None] = WorkerPool(
            _place_rows(self._skip_done(rows), context.results), self._run_row, size=jobs, connect=self._connect
        )

    @property
    def error(self) -> BaseException | None:
        """Return the error that stopped the run, or None."""
        return self._error or self.pool.error

    @property
    def common_error(self) -> AimlError | None:
        """Return the failure of many rows that stopped the run, or None."""
        return self._breaker.error

    def final_error(self) -> AimlError | None:
        """Return the failure of all rows, if there were too few to stop the run."""
        return self._breaker.final_error()

    def run(self, tick: Callable[[], None], every_s: float) -> None:
        """Work until all rows are done, and call `tick` every `every_s` seconds; raise Stopped after a signal."""
        self.pool.start()
        for _ in self.pool.results(tick=tick, every_s=every_s):
            pass

    def stop(self) -> None:
        """Start no more rows; running ones continue."""
        self.pool.stop()
        self._context.budget.close()
        self._context.results.release_waiters()

    def finish(self) -> None:
        """Start and retry no more rows: only requests in progress continue."""
        self.stop()
        self._context.rate_limiter.close()

    def finish_within(
        self, seconds: float, notify: Callable[[str], None], tick: Callable[[], None], every_s: float
    ) -> None:
        """Wait up to `seconds` for the rows in progress; a signal ends the wait."""
        with suppress(Stopped), allow_second_signal():
            self.finish()
            if count := self._in_flight:
                rows = "1 row that is" if count == 1 else f"{count} rows that are"
                notify(
                    f"no more rows are sent; waiting up to {seconds:g} s for {rows} in progress; "
                    "another signal stops them"
                )
            for _ in self.pool.results(tick=tick, every_s=every_s, until=monotonic() + seconds):
                pass

    def abort(self) -> None:
        """Close the connections of all running rows."""
        self.finish()
        if tools := self._context.request.tools:
            tools.cancel_calls()
        self._context.stats.set_aborted(self._in_flight)
        self.pool.abort(signal.SIGINT, seconds=ABORT_S)  # so a recording says that we closed them

    def _connect(self) -> ClientContext:
        return open_client(self._context.request.options, self._context.request.url)

    def _run_row(self, placed: PlacedRow, worker: Worker) -> None:
        """Send the request of a row and write its result, unless the row is done or the run ends."""
        (position, row), context = placed, self._context
        row_hash = context.hash_row(row)
        try:
            conversation = context.make_conversation(row)
            body = context.request.build_body(conversation)
        except AimlError as error:
            self._write(placed, None, _RowAnswer(Answer(context.request.endpoint.name, error=error)))
            return
        if context.is_done and self._is_done(row, context.hash_body(row, body)):
            context.stats.add_skipped()
            context.results.write(position, b"")
        elif answer := self._ask_within_budget(conversation, body, worker):
            self._write(placed, row_hash, answer)

    def _skip_done(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows that no earlier run has done: looking them up here is faster than in the workers."""
        for row in rows:
            if self._context.is_done and not row.error and self._is_done(row, self._context.hash_row(row)):
                self._context.stats.add_skipped()
            else:
                yield row

    def _is_done(self, row: Row, row_hash: str) -> bool:
        with self._lock:
            return self._context.is_done is not None and self._context.is_done(row.number, row_hash)

    def _ask_within_budget(self, conversation: Conversation, body: dict[str, Any], worker: Worker) -> _RowAnswer | None:
        """Send the request; stop the run if it does not fit into the budget, or its cost is unknown."""
        budget = self._context.budget
        try:
            usd = self._context.costs.max_cost_of(body)
        except AimlError as error:
            self._error = self._error or error
            self.stop()
            return None
        if not budget.wait_for(usd):
            self.is_over_budget |= not self.pool.is_stopped
            self.stop()
            return None
        pacer = _RowPacer(self._context.rate_limiter, budget, usd, self._count_in_flight)
        result = self._ask(conversation, worker, pacer)
        pacer.settle(cost_at_most(result.answer) if result else 0.0)
        if pacer.is_over_budget:
            self.is_over_budget |= not self.pool.is_stopped
            self.stop()
        return result

    def _ask(self, conversation: Conversation, worker: Worker, pacer: "_RowPacer") -> _RowAnswer | None:
        """Send the request; return None if the run ended before that."""
        context, result = self._context, None
        if not context.rate_limiter.acquire():
            return None
        try:
            request = replace(self._request, repeated=conversation)
            finished = turn.run_turn(request, null_output(), worker.client, pacer)
            model = finished.request.options.model or ""
            result = _RowAnswer(context.costs.add_estimate(finished.answer, model), model)
        except (OSError, RuntimeError) as error:
            result = _RowAnswer(Answer(context.request.endpoint.name, error=_describe_shortage(error)))
        finally:
            context.rate_limiter.release(is_success=result is not None and result.answer.error is None)
        return result

    def _count_in_flight(self, change: int) -> None:
        with self._lock:
            self._in_flight += change

    def _write(self, placed: PlacedRow, row_hash: str | None, result: _RowAnswer) -> None:
        """Write a result; a row that we aborted, or that waited when the run was stopped, has none."""
        (position, row), (answer, model), context = placed, result, self._context
        if isinstance(answer.error, RunStopped) and answer.completion.usage:
            context.stats.add_cost(answer, model)  # the cost of an interrupted attempt
        if answer.error and (self.pool.is_aborted or isinstance(answer.error, RunStopped)):
            return
        context.stats.add(answer, model)
        context.results.write(position, context.format_result(row, row_hash, answer))
        with self._lock:
            is_hopeless = self._breaker.record(answer.error, is_sent=row_hash is not None)
        if is_hopeless:
            self.finish()


class _RowPacer:
    """Paces the requests of one row together with those of all rows, and tracks what the row may cost.

    An interrupted attempt may still be billed, so a retry needs the same amount again.
    """

    retries_broken = True

    def __init__(
        self, limiter: RateLimiter, budget: Budget, usd: float, count_in_flight: Callable[[int], None]
    ) -> None:
        self._limiter, self._budget, self._usd = limiter, budget, usd
        self._count_in_flight = count_in_flight
        self._spent_usd, self._reserved_usd = 0.0, usd
        self._request: SentRequest | None = None
        self._is_rejected = self.is_over_budget = False

    def start_request(self, body: bytes | None) -> None:
        """Wait until a request may be sent; raise RunStopped if the run ends before that."""
        self._request, self._is_rejected = self._limiter.start_request(body), False
        self._count_in_flight(1)

    def report_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Update the limits of the server."""
        self._is_rejected = status >= FIRST_FAILURE
        self._limiter.report_response(status, headers)

    def end_request(self, usage: Usage | None) -> None:
        """Count the tokens of a request."""
        self._count_in_flight(-1)
        if self._request:
            self._limiter.end_request(self._request, Usage(0, 0) if self._is_rejected else usage)

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Pause all rows if the error is a rate limit."""
        self._limiter.report_failure(error, seconds, self._request.sent_at if self._request else 0.0)

    def wait(self, seconds: float, *, is_paid: bool = False) -> None:
        """Wait before a retry; raise RunStopped if the run has ended, or the retry could cost too much."""
        if is_paid:
            self._budget.settle(self._reserved_usd, None)
            self._spent_usd, self._reserved_usd = self._spent_usd + self._usd, 0.0
            if not self._budget.wait_for(self._usd):
                self.is_over_budget = True
                raise RunStopped("another retry could exceed --max-cost")
            self._reserved_usd = self._usd
        self._limiter.wait(seconds)

    def settle(self, cost_usd: float | None) -> None:
        """Replace the reservation with the cost of the row; an interrupted attempt counts with its maximum cost."""
        rest = None if cost_usd is None else max(0.0, cost_usd - self._spent_usd)
        self._budget.settle(self._reserved_usd, rest)


def _with_row_retries(request: ChatRequest) -> ChatRequest:
    """Return the request with more retries than a single call has, unless the user has set them."""
    settings = request.settings
    if settings.sources.get("retries", Source.DEFAULT) is not Source.DEFAULT:
        return request
    return replace(request, settings=replace(settings, options=replace(settings.options, retries=ROW_RETRIES)))


def _describe_shortage(error: OSError | RuntimeError) -> AimlError:
    """Return the error of a row for which the system has no open file or thread left; raise any other error."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
        return ConnectionFailed(f"the limit of open files is reached: {error.strerror}", "lower -j")
    if "start new thread" in str(error):
        return ConnectionFailed("the limit of threads is reached", "lower -j")
    raise error


def _place_rows(rows: Iterator[Row], results: ResultWriter) -> Iterator[PlacedRow]:
    """Yield each row with its position, once there is room for its result."""
    for position in count():
        results.wait_for_room(position)
        row = next(rows, None)
        if row is None:
            return
        yield position, row
