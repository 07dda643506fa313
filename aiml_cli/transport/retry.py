"""Decide whether a failed request is sent again, and after how many seconds; pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiml_cli.api.json_values import as_amount
from aiml_cli.errors import AimlError, AuthError, ConnectionFailed, RateLimited

FIRST_PAUSE_S, MAX_PAUSE_S, MAX_RETRY_AFTER_S = 0.5, 8.0, 120.0
FINAL_STATUSES = frozenset({400, 401, 402, 403, 404, 413, 422})
RETRY_STATUSES = frozenset({408, 409, 429})


def retry_delay(
    error: AimlError, headers: Mapping[str, str], attempt: int, now: datetime, jitter: float
) -> float | None:
    """Return the seconds to wait before the next attempt, or None if there is to be none.

    `headers` are those of the failed response, `attempt` counts from 1, `jitter` is from 0 to 1. The server's
    headers (`x-should-retry`, `retry-after-ms`, `Retry-After`) win over our own rules, up to two minutes.
    """
    if not _is_retryable(error, headers):
        return None
    if any(name in headers for name in ("retry-after-ms", "retry-after")):
        seconds = parse_retry_after(headers, now)
        return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER_S else None
    return min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1)) * (0.75 + jitter / 4)


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds the server asks us to wait, or None if it does not say or sends garbage."""
    milliseconds = as_amount(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = as_amount(text)
    return seconds if seconds is not None else _count_seconds_until(text, now)


def _is_retryable(error: AimlError, headers: Mapping[str, str]) -> bool:
    if isinstance(error, ConnectionFailed):
        return bool(error.details.get("again"))
    status = error.details.get("status")
    # Exit code 3 means no credit, whatever the status.
    if not isinstance(status, int) or status in FINAL_STATUSES or error.exit_code == AuthError.exit_code:
        return False
    wish = headers.get("x-should-retry", "")
    return wish == "true" or (wish != "false" and (status in RETRY_STATUSES or status >= 500))  # noqa: PLR2004


def _count_seconds_until(text: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def add_retry_hint(error: AimlError, headers: Mapping[str, str], now: datetime) -> AimlError:
    """Add the seconds to wait to the hint of a rate limit."""
    seconds = parse_retry_after(headers, now)
    if isinstance(error, RateLimited) and seconds is not None:
        error.hint = f"ask again in {seconds:.0f} s"
    return error
