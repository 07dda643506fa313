"""Slow all workers down together when the server reports a rate limit."""

from collections.abc import Callable
from threading import Condition
from time import monotonic

from aiml_cli.errors import AimlError, RateLimited


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
