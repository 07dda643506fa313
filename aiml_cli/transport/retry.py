"""Decide whether a request that failed is sent again, and after how many seconds; pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiml_cli.api.lenient_json import as_amount
from aiml_cli.errors import AimlError, ConnectionFailed, RateLimited

FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_OBEYED_S = 0.5, 8.0, 120.0
NEVER = frozenset({400, 401, 402, 403, 404, 413, 422})
WORTH_IT = frozenset({408, 409, 429})


def retry_delay(error: AimlError, headers: Mapping[str, str], tried: int, now: datetime, luck: float) -> float | None:
    """Give the seconds to wait before the next try, or None for no further try.

    `headers` are those of the failed reply, `tried` counts from 1, `luck` is from 0 to 1. The server's own
    words (`x-should-retry`, `retry-after-ms`, `Retry-After`) count more than ours, up to two minutes.
    """
    if not _worth_it(error, headers):
        return None
    if any(name in headers for name in ("retry-after-ms", "retry-after")):
        asked = requested_delay(headers, now)
        return asked if asked is not None and asked <= LONGEST_OBEYED_S else None
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (tried - 1)) * (0.75 + luck / 4)


def requested_delay(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read how long the server wants us to wait, in seconds; None when it is garbage or not there."""
    milliseconds = as_amount(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = as_amount(text)
    return seconds if seconds is not None else _until(text, now)


def _worth_it(error: AimlError, headers: Mapping[str, str]) -> bool:
    if isinstance(error, ConnectionFailed):
        return bool(error.details.get("again"))
    status = error.details.get("status")
    if not isinstance(status, int) or error.exit_code == 3:  # noqa: PLR2004 - no credit, whatever the status
        return False
    if status in NEVER:
        return False
    wish = headers.get("x-should-retry", "")
    return wish == "true" or (wish != "false" and (status in WORTH_IT or status >= 500))  # noqa: PLR2004


def _until(text: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def add_retry_hint(error: AimlError, headers: Mapping[str, str], now: datetime) -> AimlError:
    """Add to a rate limit how long it lasts."""
    asked = requested_delay(headers, now)
    if isinstance(error, RateLimited) and asked is not None:
        error.hint = f"ask again in {asked:.0f} s"
    return error
