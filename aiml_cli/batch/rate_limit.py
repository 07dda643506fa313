"""Let all workers slow down together when the server says that it is too much."""

from collections.abc import Callable
from threading import Condition
from time import monotonic

from aiml_cli.errors import AimlError, RateLimited


class RateLimiter:
    """Bound how many are asked at the same time: half as many after each rate limit, one more as it goes well."""

    def __init__(self, jobs: int, tell: Callable[[str], None]) -> None:
        self._jobs = self._allowed = jobs
        self._tell = tell
        self._change = Condition()
        self._until = 0.0
        self._flying = self._well = 0
        self._told = 0
        self.is_over = False

    def acquire(self) -> bool:
        """Wait until one more may be asked; say False when none will be any more."""
        with self._change:
            while not self.is_over:
                pause = self._until - monotonic()
                if pause <= 0 and self._flying < self._allowed:
                    self._flying += 1
                    return True
                self._change.wait(pause if pause > 0 else None)
            return False

    def release(self, *, well: bool) -> None:
        """Make room for the next."""
        with self._change:
            self._flying -= 1
            self._well += well
            if self._well >= self._allowed:
                self._well, self._allowed = 0, min(self._jobs, self._allowed + 1)
            self._change.notify_all()

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Hear of a failure; a rate limit holds for all."""
        if not isinstance(error, RateLimited):
            return
        with self._change:
            now = monotonic()
            is_news = self._until <= now
            self._until = max(self._until, now + seconds)
            if is_news:
                self._well, self._allowed = 0, max(1, self._allowed // 2)
        if is_news and self._told != self._allowed:
            self._told = self._allowed
            self._tell(f"{error.message}; all wait {seconds:.1f} s, then {self._allowed} are asked at a time")

    def wait(self, seconds: float) -> None:
        """Wait before a row is tried again, as long as all others, and for its turn; an end of the run ends that."""
        until = monotonic() + seconds
        with self._change:
            self._flying -= 1
            self._change.notify_all()
            while not self.is_over and (left := max(until, self._until) - monotonic()) > 0:
                self._change.wait(left)
        if not self.acquire():
            with self._change:
                self._flying += 1  # whoever rests will leave
            raise AimlError("the run was stopped")

    def close(self) -> None:
        """Let nobody wait or begin any more."""
        with self._change:
            self.is_over = True
            self._change.notify_all()
