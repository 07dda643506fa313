"""Pace the requests of a run by the limits of the user and the server, and end the run if all requests fail."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from threading import Condition, Lock
from time import monotonic
from typing import NamedTuple

from aiml_cli.api.rate_limit_headers import REQUESTS, TOKENS, Allowance, parse_allowances
from aiml_cli.api.stream_events import Usage
from aiml_cli.errors import AimlError, AuthError, ConnectionFailed, RateLimited, RequestRejected

FEW_FAILURES, MANY_FAILURES = 3, 10
NOT_FOUND, FIRST_FAILURE = 404, 400
# No request uses more: a server that reports more is wrong.
MAX_TOKENS_OF_REQUEST = 10_000_000
# Longer waits for the server's limit are reported: otherwise the run would seem to hang.
LONG_WAIT_S = 10.0
# How far a pace may catch up if threads wake up late; more would be a burst.
SLACK_S = 0.1
# A limit that is reset later, such as a daily one, is ignored until the server rejects a request.
MAX_RESET_S = 120.0
# How many limits of a server are tracked; no honest server has more.
MAX_WINDOWS = 16
FIRST_PAUSE_S, MAX_PAUSE_S, MIN_PAUSE_S = 0.1, 2.0, 0.001
SPEED_UP = 0.95
# The expected output tokens before the first answer, if its length is not limited; the weight of the newest answer.
FIRST_OUTPUT_TOKENS, NEWEST_SHARE = 1000, 0.2


class CircuitBreaker:
    """Counts consecutive equal failures; `error` is the failure that ends the run, or None."""

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
    """Raised in workers that wait when the run ends: their rows are not sent and have no result."""


class SentRequest(NamedTuple):
    """When a request was sent, its estimated input tokens, and the tokens that were expected in total."""

    sent_at: float
    input_estimate: float
    tokens: float


class RateLimiter:
    """Limits how many requests of a run are in progress, and when the next one may be sent.

    Each rate limit error halves the number of requests in progress; successes raise it again one by one. The pace is
    limited by the user's settings, the server's headers, and the pace that the server accepted before an error.
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
        # Only the first worker in line waits for its time: waking all of them each time would take too much CPU.
        self._line, self._change = Lock(), Condition()
        self._paused_until = self._slowed_at = 0.0
        self._running = self._successes = 0
        self._reported = 0
        self._has_reported_limit = self._is_closed = False

    def acquire(self) -> bool:
        """Wait until one more row may be sent; return False if the run has ended."""
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
                self._report_server_limit(tokens, now)
                self._change.wait(pause)
            self._pace.take(tokens, now)
            return SentRequest(now, estimate, tokens)

    def _report_server_limit(self, tokens: float, now: float) -> None:
        """Print once that all workers have to wait long because of the server's limit, and how to change that."""
        until, unit = self._pace.find_server_limit(tokens)
        if not self._has_reported_limit and until > max(now + LONG_WAIT_S, self._paused_until):
            self._has_reported_limit = True
            seconds, flag = round(until - now), f"--{unit}-per-minute"
            self._notify(
                f"the server's limit on {unit} is reached: all workers wait {seconds} s; {flag} sets another rate"
            )

    def end_request(self, request: SentRequest, usage: Usage | None) -> None:
        """Replace the expected tokens of a request with those that it used, if they are known."""
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
        """Update the limits from the status and the headers of a response."""
        allowances = parse_allowances(headers, datetime.now(UTC))
        with self._change:
            if is_accepted := status < FIRST_FAILURE:
                self._pace.note_accepted()
            if allowances:
                self._pace.learn(allowances, monotonic())
            if allowances or not is_accepted:
                self._change.notify_all()  # the next request may have to be sent earlier or later

    def report_failure(self, error: AimlError, seconds: float, sent_at: float = float("inf")) -> None:
        """Pause all workers for this many seconds if the error is a rate limit.

        The error of a request that was sent before the last rate limit does not slow the run down further.
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
            self._notify(
                f"{error.message}; all workers wait {seconds:.1f} s, then at most {self._allowed} work at a time"
            )

    def wait(self, seconds: float) -> None:
        """Wait before a retry, and until one more row may be sent; raise RunStopped if the run has ended."""
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
        """End all waits: no row is started or retried, and no request that has to wait is sent."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()


class TokenBucket:
    """A token bucket without bursts: after an amount is taken, the next one waits until the rate allows it.

    So the first request is sent immediately, and no minute exceeds the limit. Times are seconds of one clock; a rate of
    None means no limit.
    """

    def __init__(self, rate_per_s: float | None) -> None:
        self._rate = rate_per_s
        self._free_at: float | None = None

    def next_time(self) -> float:
        """Return when the next amount may be taken; a time in the past means now."""
        return self._free_at or 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount of any size; the next one has to wait for it."""
        if self._rate:
            free_at = now if self._free_at is None else max(self._free_at, now - SLACK_S)
            self._free_at = free_at + amount / self._rate

    def correct(self, amount: float) -> None:
        """Take an additional amount; a negative amount is given back."""
        if self._rate and self._free_at is not None:
            self._free_at += amount / self._rate


class ServerWindow:
    """One limit from the server's headers; its second half is spread evenly over the time until it is reset.

    If the server refills the limit continuously, about half of it stays available to other programs.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._limit: float | None = None
        self._remaining = self._reset_at = self._free_at = self._longest_s = 0.0

    def update(self, allowance: Allowance, now: float) -> None:
        """Update the limit from a response."""
        self._limit, self._remaining = allowance.limit, allowance.remaining
        self._reset_at = now + allowance.reset_s
        self._longest_s = max(self._longest_s, allowance.reset_s)

    def next_time(self, amount: float) -> float:
        """Return when a request of this amount may be sent."""
        return self._free_at if amount <= self._remaining else max(self._free_at, self._reset_at)

    def take(self, amount: float, now: float) -> None:
        """Count a request; once half of the limit is used, and after a reset, the next ones are spaced evenly."""
        seconds = self._reset_at - now
        if seconds <= 0:
            self._remaining, seconds = self._limit or float("inf"), self._longest_s
        elif self._limit and self._remaining > self._limit / 2:
            seconds = 0.0
        self._free_at = now + seconds * amount / max(amount, self._remaining)
        self._remaining = max(0.0, self._remaining - amount)


class AdaptivePace:
    """The pace at which the server accepted requests before it rejected one; each accepted request speeds it up."""

    def __init__(self) -> None:
        self._pause_s = self._free_at = 0.0
        self._accepted, self._since = 0, 0.0

    def next_time(self) -> float:
        """Return when the next request may be sent."""
        return self._free_at

    def take(self, now: float) -> None:
        """Count a request that is sent."""
        self._since = self._since or now
        if self._pause_s:
            self._free_at = max(self._free_at, now - min(SLACK_S, self._pause_s)) + self._pause_s

    def note_accepted(self) -> None:
        """Count a request that the server accepted."""
        self._accepted += 1
        self._pause_s = self._pause_s * SPEED_UP if self._pause_s > MIN_PAUSE_S else 0.0

    def slow_down(self, now: float, resume_at: float) -> None:
        """Slow down to the pace of the requests accepted since the last rejection, not counting the pause after it."""
        if self._accepted and now > self._since:
            self._pause_s = (now - self._since) / self._accepted
        else:
            self._pause_s = max(2 * self._pause_s, FIRST_PAUSE_S)
        self._pause_s = min(self._pause_s, MAX_PAUSE_S)
        self._accepted, self._since = 0, resume_at


class TokenForecast:
    """Predicts the tokens of a request from the usage of earlier ones; not thread-safe."""

    def __init__(self) -> None:
        self._output_tokens: float | None = None
        self._input_share = 1.0  # actual input tokens divided by the estimate, which is usually too high

    def estimate(self, body: bytes) -> tuple[float, float]:
        """Return the estimated input tokens of a request, and the expected tokens of input and output together."""
        from aiml_cli.catalog.pricing import bound_tokens  # few runs count tokens

        bound = bound_tokens(json.loads(body))
        limit = bound.output_tokens
        output = (limit or FIRST_OUTPUT_TOKENS) if self._output_tokens is None else self._output_tokens
        expected = bound.input_tokens * self._input_share + min(output, limit or output)
        return float(bound.input_tokens), expected

    def learn(self, input_estimate: float, usage: Usage) -> None:
        """Update the forecast from the usage of a request."""
        if usage.input_tokens and input_estimate:
            self._input_share += NEWEST_SHARE * (usage.input_tokens / input_estimate - self._input_share)
        if usage.output_tokens is not None:
            old = usage.output_tokens if self._output_tokens is None else self._output_tokens
            self._output_tokens = old + NEWEST_SHARE * (usage.output_tokens - old)


class Pace:
    """All limits of a run together; not thread-safe."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._requests = TokenBucket(requests_per_minute and requests_per_minute / 60)
        self._tokens = TokenBucket(tokens_per_minute and tokens_per_minute / 60)
        self._adaptive = AdaptivePace()
        self._windows: dict[str, ServerWindow] = {}
        limits = {REQUESTS: requests_per_minute, TOKENS: tokens_per_minute}
        self._user_units = {unit for unit, limit in limits.items() if limit}
        self._limits_tokens = bool(tokens_per_minute)

    @property
    def counts_tokens(self) -> bool:
        """True if a limit counts tokens."""
        return self._limits_tokens

    def next_time(self, tokens: float) -> float:
        """Return when a request of this many tokens may be sent."""
        times = [self._requests.next_time(), self._tokens.next_time(), self._adaptive.next_time()]
        return max(*times, self.find_server_limit(tokens)[0])

    def find_server_limit(self, tokens: float) -> tuple[float, str]:
        """Return when the headers of the server allow a request of this many tokens, and the unit of that limit."""
        limits = ((each.next_time(_amount_of(each, tokens)), each.unit) for each in self._windows.values())
        return max(limits, default=(0.0, ""))

    def take(self, tokens: float, now: float) -> None:
        """Count a request that is sent now."""
        self._requests.take(1, now)
        self._tokens.take(tokens, now)
        self._adaptive.take(now)
        for window in self._windows.values():
            window.take(_amount_of(window, tokens), now)

    def correct_tokens(self, amount: float) -> None:
        """Count tokens that were not expected; a negative amount means that fewer were used than expected."""
        self._tokens.correct(amount)

    def learn(self, allowances: Iterable[Allowance], now: float) -> None:
        """Update the limits from the headers of a response; limits that the user sets replace the server's."""
        for allowance in allowances:
            is_new = allowance.name not in self._windows
            if allowance.unit in self._user_units or (is_new and len(self._windows) >= MAX_WINDOWS):
                continue
            if allowance.reset_s <= MAX_RESET_S:
                window = self._windows.setdefault(allowance.name, ServerWindow(allowance.unit))
                window.update(allowance, now)
                self._limits_tokens |= allowance.unit == TOKENS
            else:
                self._windows.pop(allowance.name, None)

    def note_accepted(self) -> None:
        """Count a request that the server accepted."""
        self._adaptive.note_accepted()

    def slow_down(self, now: float, resume_at: float) -> None:
        """Continue at the pace that the server accepted before it rejected a request."""
        self._adaptive.slow_down(now, resume_at)


def _amount_of(window: ServerWindow, tokens: float) -> float:
    return tokens if window.unit == TOKENS else 1.0
