"""Compute when the next request of a run may be sent: at an even pace, and within what the server still allows."""

import json
from collections.abc import Iterable

from aiml_cli.api.rate_limit_headers import REQUESTS, TOKENS, Allowance
from aiml_cli.api.stream_events import Usage

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
