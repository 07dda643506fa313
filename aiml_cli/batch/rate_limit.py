"""Slow a run down where the server asks for it, and end it at failures that every row would meet."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Condition, Lock
from time import monotonic
from typing import NamedTuple

from aiml_cli.api.rate_limit_headers import parse_allowances
from aiml_cli.api.stream_events import Usage
from aiml_cli.batch.token_bucket import Pace, TokenForecast
from aiml_cli.errors import AimlError, AuthError, ConnectionFailed, RateLimited, RequestRejected

FEW_FAILURES, MANY_FAILURES = 3, 10
NOT_FOUND, FIRST_FAILURE = 404, 400
# No model takes more for one request: a server that says so is wrong.
MAX_TOKENS_OF_REQUEST = 10_000_000
# A wait for the server's limit that looks like a run that hangs, unless something is said of it.
LONG_WAIT_S = 10.0


class CircuitBreaker:
    """A count of equal failures in a row; `error` is the failure that ends the run, if there is one."""

    def __init__(self, jobs: int) -> None:
        self._limit_without_success = max(FEW_FAILURES, jobs)
        self._limit = max(2 * MANY_FAILURES, MANY_FAILURES * jobs)
        self._last_failure: tuple[object, ...] = ()
        self._count = 0
        self._has_succeeded = False
        self.error: AimlError | None = None

    def record(self, error: AimlError | None, *, is_sent: bool) -> bool:
        """Record the result of a row; return True if it ends the run."""
        if not is_sent:
            return False
        if error is None:
            self._has_succeeded, self._last_failure, self._count = True, (), 0
            return False
        failure = (error.exit_code, error.details.get("status"), isinstance(error, RequestRejected) and error.message)
        self._count = self._count + 1 if failure == self._last_failure else 1
        self._last_failure = failure
        if isinstance(error, AuthError) or self._count >= self._limit_of(error):
            self.error = self.error or error
        return self.error is not None

    def _limit_of(self, error: AimlError) -> int:
        """Return how many equal failures end the run: few if no row succeeded and the row is not the cause."""
        is_missing = error.details.get("status") == NOT_FOUND or "missing" in error.details
        is_common = isinstance(error, ConnectionFailed | RateLimited) or is_missing
        return self._limit_without_success if is_common and not self._has_succeeded else self._limit

    def final_error(self) -> AimlError | None:
        """Return an error if no row could be sent, even if there were too few rows to stop the run."""
        if self._has_succeeded or self._last_failure[:1] != (ConnectionFailed.exit_code,):
            return None
        return ConnectionFailed("no row could be sent", "each result says why")


class RunStopped(AimlError):
    """The run ends, and what waits is not sent; no result says so."""


class SentRequest(NamedTuple):
    """When a request was sent, what its input was estimated at, and how many tokens were expected in all."""

    sent_at: float
    input_estimate: float
    tokens: float


class RateLimiter:
    """When and how many requests may run at once, for all workers of a run.

    Their number is halved by each rate limit, with one more after some successes. They keep the pace that the user
    sets, that the headers of the server allow, and that it took before it refused one.
    """

    def __init__(
        self,
        jobs: int,
        notify: Callable[[str], None],
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._jobs = self._allowed = jobs
        self._notify = notify
        self._pace, self._forecast = Pace(requests_per_minute, tokens_per_minute), TokenForecast()
        # Only the next one in line waits for its time; to wake all of them each time would cost too much.
        self._line, self._change = Lock(), Condition()
        self._paused_until = self._slowed_at = 0.0
        self._running = self._successes = 0
        self._reported = 0
        self._has_told_limit = self._is_closed = False

    def acquire(self) -> bool:
        """Wait until one more row may be asked; return False if the run has ended."""
        with self._change:
            while not self._is_closed:
                pause = self._paused_until - monotonic()
                if pause <= 0 and self._running < self._allowed:
                    self._running += 1
                    return True
                self._change.wait(pause if pause > 0 else None)
            return False

    def release(self, *, is_success: bool) -> None:
        """Report that a row has ended."""
        with self._change:
            self._running -= 1
            self._successes += is_success
            if self._successes >= self._allowed:
                self._successes, self._allowed = 0, min(self._jobs, self._allowed + 1)
            self._change.notify_all()

    def start_request(self, body: bytes | None) -> SentRequest:
        """Wait until a request with this body may be sent; raise RunStopped if the run ends before that."""
        with self._line, self._change:
            estimate, tokens = self._forecast.estimate(body) if body and self._pace.counts_tokens else (0.0, 0.0)
            while (pause := max(self._paused_until, self._pace.next_time(tokens)) - (now := monotonic())) > 0:
                if self._is_closed:
                    raise RunStopped("the run was stopped")
                self._tell_server_limit(tokens, now)
                self._change.wait(pause)
            self._pace.take(tokens, now)
            return SentRequest(now, estimate, tokens)

    def _tell_server_limit(self, tokens: float, now: float) -> None:
        """Print once that the server's headers make all wait for long, and how to change that."""
        until, unit = self._pace.find_server_limit(tokens)
        if not self._has_told_limit and until > max(now + LONG_WAIT_S, self._paused_until):
            self._has_told_limit = True
            seconds, flag = round(until - now), f"--{unit}-per-minute"
            self._notify(
                f"the server limits the {unit} for {seconds} s; all workers wait; set another rate with {flag}"
            )

    def end_request(self, request: SentRequest, usage: Usage | None) -> None:
        """Count what a request took instead of what was expected, if that is known."""
        if not request.tokens or usage is None:
            return
        used = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        if used > MAX_TOKENS_OF_REQUEST:
            return
        with self._change:
            self._forecast.learn(request.input_estimate, usage)
            self._pace.correct_tokens(used - request.tokens)
            self._change.notify_all()  # the next one may be sent earlier

    def report_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from the head of a response."""
        allowances = parse_allowances(headers, datetime.now(UTC))
        with self._change:
            if is_accepted := status < FIRST_FAILURE:
                self._pace.note_accepted()
            if allowances:
                self._pace.learn(allowances, monotonic())
            if allowances or not is_accepted:
                self._change.notify_all()  # the time of the next one may be another

    def report_failure(self, error: AimlError, seconds: float, sent_at: float = float("inf")) -> None:
        """Pause all workers for some seconds if the error is a rate limit.

        That of a request which was sent before the last one was known changes nothing more.
        """
        if not isinstance(error, RateLimited):
            return
        with self._change:
            now = monotonic()
            self._paused_until = max(self._paused_until, now + seconds)
            if is_new := sent_at > self._slowed_at:
                self._slowed_at = now
                self._successes, self._allowed = 0, max(1, self._allowed // 2)
                self._pace.slow_down(now, self._paused_until)
        if is_new and self._reported != self._allowed:
            self._reported = self._allowed
            self._notify(f"{error.message}; all workers wait {seconds:.1f} s, then {self._allowed} at a time")

    def wait(self, seconds: float) -> None:
        """Wait before a retry, and until one more row may be asked; raise RunStopped if the run has ended."""
        until = monotonic() + seconds
        with self._change:
            self._running -= 1
            self._change.notify_all()
            while not self._is_closed and (left := max(until, self._paused_until) - monotonic()) > 0:
                self._change.wait(left)
        if not self.acquire():
            with self._change:
                self._running += 1  # the caller will release it
            raise RunStopped("the run was stopped")

    def close(self) -> None:
        """End all waits: no row may be begun or tried again, and no request that would have to wait is sent."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
