"""Requests are retried only if that is safe, after the pause that the server asks for."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiml_cli.api.error_kinds import MAX_RETRY_AFTER_S, add_retry_hint, parse_retry_after, retry_delay
from aiml_cli.api.error_response import error_from_status
from aiml_cli.errors import AimlError, ConnectionFailed, IncompleteAnswer, RateLimited, ServerError

NOW = datetime(2026, 9, 1, 12, 0, 0, tzinfo=UTC)
NO_HEADERS: dict[str, str] = {}


def make_status_error(status: int, words: str = "no") -> AimlError:
    return error_from_status(status, {}, words.encode())


def get_delay(
    error: AimlError, headers: dict[str, str] | None = None, attempt: int = 1, jitter: float = 1.0
) -> float | None:
    return retry_delay(error, headers or {}, attempt, NOW, jitter)


@pytest.mark.promise("retries")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_temporary_error_is_retried(status: int) -> None:
    assert get_delay(make_status_error(status)) == 0.5


@pytest.mark.promise("retries")
@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 405, 413, 422])
def test_a_permanent_error_is_not_retried(status: int) -> None:
    assert get_delay(make_status_error(status)) is None
    assert get_delay(make_status_error(status), {"retry-after": "1"}) is None


@pytest.mark.promise("retries")
@pytest.mark.parametrize("words", ["insufficient_quota", "budget_exceeded", "you have run out of credits", "free tier"])
@pytest.mark.parametrize("headers", [{}, {"retry-after": "1"}, {"x-should-retry": "true"}], ids=repr)
def test_missing_credit_is_never_retried(words: str, headers: dict[str, str]) -> None:
    report = f'{{"error":{{"message":"no","code":"{words}"}}}}'
    assert get_delay(make_status_error(429, report), headers) is None


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (ConnectionFailed("refused", again=1), True),
        (ConnectionFailed("no answer in time"), False),
        (ConnectionFailed("the certificate is not trusted", again=0), False),
        (IncompleteAnswer("the stream was cut"), False),
        (ServerError("an error under 200", status=200), False),
        (ServerError("no status is known"), False),
    ],
)
def test_without_a_response_only_a_failed_connection_is_retried(error: AimlError, *, is_retried: bool) -> None:
    assert (get_delay(error) is not None) == is_retried


@pytest.mark.promise("retries")
def test_the_pause_doubles_up_to_eight_seconds() -> None:
    assert [get_delay(make_status_error(500), attempt=attempt) for attempt in range(1, 8)] == [
        0.5,
        1.0,
        2.0,
        4.0,
        8.0,
        8.0,
        8.0,
    ]


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(0, 1))
def test_random_jitter_shortens_the_pause_only_slightly(attempt: int, jitter: float) -> None:
    shortened, whole = (
        get_delay(make_status_error(500), attempt=attempt, jitter=jitter),
        get_delay(make_status_error(500), attempt=attempt),
    )
    assert shortened is not None
    assert whole is not None
    assert whole * 0.5 <= shortened <= whole <= 8


@pytest.mark.promise("retries")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "60"}, 60.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "60"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60.0),
        ({"retry-after": "Tue, 01 Sep 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tuesday, 01-Sep-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 01 Sep 2026 14:00:30 +0200"}, 30.0),
        ({"retry-after": "Tue Sep  1 12:00:30 2026"}, 30.0),
        ({"retry-after": "Tue, 01 Sep 2026 12:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "-1", "retry-after": "60"}, 60.0),
        ({"x-should-retry": "true", "retry-after": "60"}, 60.0),
    ],
)
def test_the_pause_that_the_server_asks_for_is_kept(headers: dict[str, str], seconds: float) -> None:
    assert get_delay(make_status_error(429), headers) == seconds
    assert get_delay(make_status_error(503), headers, attempt=3, jitter=0) == seconds


@pytest.mark.promise("retries")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "121"}, 121),
        ({"retry-after": "86400"}, 86400),
        ({"retry-after-ms": "120001"}, 120),
        ({"retry-after-ms": "150000", "retry-after": "1"}, 150),
        ({"retry-after": "Tue, 01 Sep 2026 12:05:00 GMT"}, 300),
        ({"retry-after": "300", "x-should-retry": "true"}, 300),
    ],
    ids=repr,
)
def test_a_requested_wait_of_more_than_two_minutes_is_an_error_at_once(
    headers: dict[str, str], seconds: int, status: int
) -> None:
    assert get_delay(make_status_error(status), headers) is None
    assert f"try again in {seconds} s" in add_retry_hint(make_status_error(status), headers, NOW).hint


GARBAGE = [
    "", " ", "-5", "-0.1", "nan", "NaN", "inf", "Infinity", "-inf", "1e400", "soon", "½", "0x10", "1_0", "1; 2", "5s",
    "+5", "1,5", "9" * 5000, "None", "null", "true", "Tue, 99 Sep 2026 12:00:00 GMT", "Tue, 01 Sep 2026 11:59:59 GMT",
    "Tue, 01 Sep 99999999999999999999 12:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359",
    "2026-09-01T12:00:30Z",
]  # fmt: skip


@pytest.mark.promise("retries")
@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("names", [("retry-after",), ("retry-after-ms",), ("retry-after-ms", "retry-after")], ids=repr)
def test_an_invalid_pause_or_a_time_in_the_past_is_ignored(names: tuple[str, ...], garbage: str) -> None:
    headers = dict.fromkeys(names, garbage)
    assert [get_delay(make_status_error(status), headers) for status in (408, 409, 429, 500, 503)] == [0.5] * 5
    assert add_retry_hint(make_status_error(429), headers, NOW).hint == make_status_error(429).hint


@pytest.mark.parametrize("should_retry", ["", "maybe", "1", "yes", "truefalse", "null", "0"])
def test_a_retry_header_that_is_neither_true_nor_false_is_ignored(should_retry: str) -> None:
    assert get_delay(make_status_error(503), {"x-should-retry": should_retry}) == 0.5
    assert get_delay(make_status_error(425), {"x-should-retry": should_retry}) is None


@pytest.mark.parametrize(
    ("status", "should_retry", "is_retried"),
    [
        (500, "false", False),
        (429, " False ", False),
        (425, "true", True),
        (425, "TRUE", True),
        (500, "true", True),
    ],
)
def test_the_server_can_say_whether_to_retry(status: int, should_retry: str, *, is_retried: bool) -> None:
    assert (get_delay(make_status_error(status), {"x-should-retry": should_retry}) is not None) == is_retried


@pytest.mark.promise("retries")
@settings(deadline=None)
@given(st.text() | st.dates().map(lambda day: f"{day:%a, %d %b} {day.year} 12:00:00 GMT"))
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("0 0 0 0 0 0")
def test_any_header_is_read_or_ignored(text: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        requested = parse_retry_after({name: text}, NOW)
        assert requested is None or requested >= 0
        delay = get_delay(make_status_error(429), {name: text})
        assert delay is None or 0 <= delay <= MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"retry-after": "300"}, "try again in 300 s"),
        ({"retry-after-ms": "1500"}, "try again in 2 s"),
        ({"retry-after": "Tue, 01 Sep 2026 12:05:00 GMT"}, "try again in 300 s"),
    ],
)
def test_an_error_of_a_rate_limit_says_how_long_it_lasts(headers: dict[str, str], hint: str) -> None:
    assert add_retry_hint(make_status_error(429), headers, NOW).hint == hint


@pytest.mark.parametrize("headers", [NO_HEADERS, {"retry-after": "1e400"}], ids=repr)
def test_a_rate_limit_of_unknown_duration_keeps_its_hint(headers: dict[str, Any]) -> None:
    assert add_retry_hint(RateLimited("slow down", "wait"), headers, NOW).hint == "wait"
    assert add_retry_hint(ServerError("down", "again"), {"retry-after": "5"}, NOW).hint == "again"
