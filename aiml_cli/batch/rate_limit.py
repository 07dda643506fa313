"""Slow a run down where the server asks for it, and end it at failures that every row would meet."""

from collections.abc import Callable
from threading import Condition
from time import monotonic

from aiml_cli.errors import AimlError, AuthError, ConnectionFailed, RateLimited, RequestRejected

FEW_FAILURES, MANY_FAILURES = 3, 10
NOT_FOUND = 404


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


class RateLimiter:
    """The number of requests that may run at once: halved by each rate limit, one more after some successes."""

    def __init__(self, jobs: int, notify: Callable[[str], None]) -> None:
        self._jobs = self._allowed = jobs
        self._notify = notify
        self._change = Condition()
        self._paused_until = 0.0
        self._running = self._successes = 0
        self._reported = 0
        self._is_closed = False

    def acquire(self) -> bool:
        """Wait until one more request may be sent; return False if the run has ended."""
        with self._change:
            while not self._is_closed:
                pause = self._paused_until - monotonic()
                if pause <= 0 and self._running < self._allowed:
                    self._running += 1
                    return True
                self._change.wait(pause if pause > 0 else None)
            return False

    def release(self, *, is_success: bool) -> None:
        """Report that a request has ended."""
        with self._change:
            self._running -= 1
            self._successes += is_success
            if self._successes >= self._allowed:
                self._successes, self._allowed = 0, min(self._jobs, self._allowed + 1)
            self._change.notify_all()

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Pause all workers for some seconds if the error is a rate limit."""
        if not isinstance(error, RateLimited):
            return
        with self._change:
            now = monotonic()
            is_new = self._paused_until <= now
            self._paused_until = max(self._paused_until, now + seconds)
            if is_new:
                self._successes, self._allowed = 0, max(1, self._allowed // 2)
        if is_new and self._reported != self._allowed:
            self._reported = self._allowed
            self._notify(f"{error.message}; all wait {seconds:.1f} s, then {self._allowed} are asked at a time")

    def wait(self, seconds: float) -> None:
        """Wait before a retry, and until one more request may be sent; raise AimlError if the run has ended."""
        until = monotonic() + seconds
        with self._change:
            self._running -= 1
            self._change.notify_all()
            while not self._is_closed and (left := max(until, self._paused_until) - monotonic()) > 0:
                self._change.wait(left)
        if not self.acquire():
            with self._change:
                self._running += 1  # the caller will release it
            raise AimlError("the run was stopped")

    def close(self) -> None:
        """End all waits; no request may be sent any more."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
