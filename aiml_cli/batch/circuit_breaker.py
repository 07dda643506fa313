"""Notice failures that will meet every row, so that thousands are not asked in vain."""

from aiml_cli.errors import AimlError, AuthError, ConnectionFailed, RateLimited, RequestRejected

FEWEST, MANY = 3, 10
NOT_FOUND = 404


class CircuitBreaker:
    """Look at one outcome after the other; `error` is what ends the run, once that is known."""

    def __init__(self, jobs: int) -> None:
        self._first, self._later = max(FEWEST, jobs), max(2 * MANY, MANY * jobs)
        self._last: tuple[object, ...] = ()
        self._count = 0
        self._is_well = False
        self.error: AimlError | None = None

    def record(self, error: AimlError | None, *, is_sent: bool) -> bool:
        """Take an outcome; say whether it ends the run."""
        if not is_sent:
            return False
        if error is None:
            self._is_well, self._last, self._count = True, (), 0
            return False
        kind = (error.exit_code, error.details.get("status"), isinstance(error, RequestRejected) and error.message)
        self._count = self._count + 1 if kind == self._last else 1
        self._last = kind
        if isinstance(error, AuthError) or self._count >= self._enough(error):
            self.error = self.error or error
        return self.error is not None

    def _enough(self, error: AimlError) -> int:
        """Say how many alike in a row are enough: at first few, where it is not the row's fault."""
        is_common = isinstance(error, ConnectionFailed | RateLimited) or error.details.get("status") == NOT_FOUND
        return self._first if is_common and not self._is_well else self._later

    def final_error(self) -> AimlError | None:
        """Give what met all rows, where these were too few to be sure on the way."""
        is_place = bool(self._last) and self._last[0] == ConnectionFailed.exit_code
        return (
            ConnectionFailed("no row could be sent", "each result says why") if is_place and not self._is_well else None
        )
