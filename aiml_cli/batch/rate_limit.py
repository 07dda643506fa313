"""Pace the requests of a run: an even rate, what the server allows, slower when it asks, and an end if all fail."""

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
# No model takes more for one request: a server that says so is wrong.
MAX_TOKENS_OF_REQUEST = 10_000_000
# A wait for the server's limit that looks like a run that hangs, unless something is said of it.
LONG_WAIT_S = 10.0
# How far a pace may catch up if threads wake up late; more would be a burst.
SLACK_S = 0.1
# A limit that is reset later, such as that of a day, is not waited for: the server says so when it is reached.
MAX_RESET_S = 120.0
# Of how many limits of a server the state is kept; no honest server has more.
MAX_WINDOWS = 16
FIRST_PAUSE_S, MAX_PAUSE_S, MIN_PAUSE_S = 0.1, 2.0, 0.001
SPEED_UP = 0.95
# What an answer is expected to take before the first one has ended, if its length is not limited.
FIRST_OUTPUT_TOKENS, NEWEST_SHARE = 1000, 0.2


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


class TokenBucket:
    """A bucket without a reserve: what is taken is paid back at an even rate before more can be taken.

    So the first request is sent at once, and no minute has more than its share. Times are those of one clock, in
    seconds; a `rate` of None is no limit.
    """

    def __init__(self, rate_per_s: float | None) -> None:
        self._rate = rate_per_s
        self._free_at: float | None = None

    def next_time(self) -> float:
        """Return when something may be taken; a time in the past is now."""
        return self._free_at or 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount, however large it is; the next one has to wait for that."""
        if self._rate:
            free_at = now if self._free_at is None else max(self._free_at, now - SLACK_S)
            self._free_at = free_at + amount / self._rate

    def correct(self, amount: float) -> None:
        """Take some more, or give back a negative amount."""
        if self._rate and self._free_at is not None:
            self._free_at += amount / self._rate


class ServerWindow:
    """What the server's headers say of one limit: its second half is spread evenly over the time to its reset.

    Where the server refills it all the time, about half of it stays, so that other programs have some, too.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._limit: float | None = None
        self._remaining = self._reset_at = self._free_at = self._longest_s = 0.0

    def update(self, allowance: Allowance, now: float) -> None:
        """Learn from a response."""
        self._limit, self._remaining = allowance.limit, allowance.remaining
        self._reset_at = now + allowance.reset_s
        self._longest_s = max(self._longest_s, allowance.reset_s)

    def next_time(self, amount: float) -> float:
        """Return when a request of this amount may be sent."""
        return self._free_at if amount <= self._remaining else max(self._free_at, self._reset_at)

    def take(self, amount: float, now: float) -> None:
        """Count a request; the next ones keep a distance once half of the limit is used up, and after a reset."""
        seconds = self._reset_at - now
        if seconds <= 0:
            self._remaining, seconds = self._limit or float("inf"), self._longest_s
        elif self._limit and self._remaining > self._limit / 2:
            seconds = 0.0
        self._free_at = now + seconds * amount / max(amount, self._remaining)
        self._remaining = max(0.0, self._remaining - amount)


class AdaptivePace:
    """The pace at which the server took requests before it refused one, a little faster with each that it takes."""

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
        """Count a request that the server took."""
        self._accepted += 1
        self._pause_s = self._pause_s * SPEED_UP if self._pause_s > MIN_PAUSE_S else 0.0

    def slow_down(self, now: float, resume_at: float) -> None:
        """Take the pace at which requests were taken since the last refusal; the pause after it does not count."""
        if self._accepted and now > self._since:
            self._pause_s = (now - self._since) / self._accepted
        else:
            self._pause_s = max(2 * self._pause_s, FIRST_PAUSE_S)
        self._pause_s = min(self._pause_s, MAX_PAUSE_S)
        self._accepted, self._since = 0, resume_at


class TokenForecast:
    """What requests will probably take, by what earlier ones took; not safe for threads."""

    def __init__(self) -> None:
        self._output_tokens: float | None = None
        self._input_share = 1.0  # of the estimate, which is higher than the truth for most texts

    def estimate(self, body: bytes) -> tuple[float, float]:
        """Return the estimated input tokens of a request, and the expected tokens of input and output together."""
        from aiml_cli.catalog.pricing import bound_tokens  # few runs count tokens

        bound = bound_tokens(json.loads(body))
        limit = bound.output_tokens
        output = (limit or FIRST_OUTPUT_TOKENS) if self._output_tokens is None else self._output_tokens
        expected = bound.input_tokens * self._input_share + min(output, limit or output)
        return float(bound.input_tokens), expected

    def learn(self, input_estimate: float, usage: Usage) -> None:
        """Learn from what a request took."""
        if usage.input_tokens and input_estimate:
            self._input_share += NEWEST_SHARE * (usage.input_tokens / input_estimate - self._input_share)
        if usage.output_tokens is not None:
            old = usage.output_tokens if self._output_tokens is None else self._output_tokens
            self._output_tokens = old + NEWEST_SHARE * (usage.output_tokens - old)


class Pace:
    """All limits of a run together; not safe for threads."""

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
        """True if the tokens of a request matter."""
        return self._limits_tokens

    def next_time(self, tokens: float) -> float:
        """Return when a request of so many tokens may be sent."""
        times = [self._requests.next_time(), self._tokens.next_time(), self._adaptive.next_time()]
        return max(*times, self.find_server_limit(tokens)[0])

    def find_server_limit(self, tokens: float) -> tuple[float, str]:
        """Return when the headers of the server allow a request of so many tokens, and the unit of that limit."""
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
        """Count more tokens than were expected, or a negative amount of fewer."""
        self._tokens.correct(amount)

    def learn(self, allowances: Iterable[Allowance], now: float) -> None:
        """Learn from the headers of a response; the limits that the user sets count instead of the server's."""
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
        """Count a request that the server took."""
        self._adaptive.note_accepted()

    def slow_down(self, now: float, resume_at: float) -> None:
        """Go on at the pace that the server took, after it has refused a request."""
        self._adaptive.slow_down(now, resume_at)


def _amount_of(window: ServerWindow, tokens: float) -> float:
    return tokens if window.unit == TOKENS else 1.0
