"""Detect failures that every row would meet, so that thousands of rows are not sent for nothing."""

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
