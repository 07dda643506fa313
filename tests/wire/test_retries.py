"""Temporary errors are retried at the pace of the server, with a notice; permanent ones are not."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.endings import Ask
from support.loopback import HELLO, RESET, Loopback, Step, delta, http_response, json_response, stream

BUSY_RESPONSE = json_response({"error": {"message": "Not now."}}, "503 Busy", "Retry-After: 0")


def build_refusal(status: int, *headers: str, words: str = "Not now.") -> bytes:
    """Make a failing reply."""
    return json_response({"error": {"message": words}}, f"{status} No", *headers)


@pytest.mark.promise("retries")
@pytest.mark.parametrize("command", ["chat", "respond --no-stream", "chat --no-stream"])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 501, 502, 503, 504, 520, 529, 599])
def test_a_temporary_error_is_retried_with_a_notice(status: int, command: str, server: Loopback, ask: Ask) -> None:
    for _ in range(2):
        server.answer_with(build_refusal(status, "Retry-After: 0"))
    server.answer_with(json_response(ANSWER))
    ending = ask(*command.split(), "hi", retries=2)
    assert (ending.code, ending.stdout, len(server.requests)) == (0, "Hello\n", 3)
    assert [line.partition("; ")[2] for line in ending.stderr.splitlines()] == [
        "trying again in 0.0 s (1 of 2)",
        "trying again in 0.0 s (2 of 2)",
    ]


# An object that both endpoints read.
TEXT_PART = {"type": "output_text", "text": "Hello", "annotations": []}
ANSWER = {
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "object": "response", "id": "r", "status": "completed",
    "output": [{"type": "message", "role": "assistant", "content": [TEXT_PART]}],
}  # fmt: skip


@pytest.mark.promise("retries")
def test_each_attempt_has_its_own_request_id(server: Loopback, ask: Ask) -> None:
    server.answer_with(BUSY_RESPONSE)
    ask("chat", "hi", retries=2)
    names = [request.get_header("x-client-request-id") for request in server.requests]
    assert (len(names), len(set(names)), None in names) == (3, 3, False)
    assert len({request.body for request in server.requests}) == 1


@pytest.mark.promise("retries")
@pytest.mark.parametrize("header", ["", "Retry-After: 0", "x-should-retry: true"])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_permanent_error_is_not_retried(status: int, header: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_refusal(status, *filter(None, [header])))
    ending = ask("chat", "hi", retries=2)
    assert (ending.code in (3, 4), ending.stdout, len(server.requests)) == (True, "", 1)


@pytest.mark.promise("retries")
@pytest.mark.parametrize(
    "words", ["insufficient_quota", "budget_exceeded", "You ran out of credits", "billing hard limit", "Top up, please"]
)
def test_a_rate_limit_for_missing_credit_is_not_retried(words: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_refusal(429, words=words))
    ending = ask("chat", "hi", retries=2)
    assert (ending.code, len(server.requests), "billing" in ending.stderr) == (3, 1, True)


@pytest.mark.promise("retries")
@pytest.mark.parametrize("header", ["Retry-After: 0", "retry-after-ms: 1", "x-should-retry: true\r\nRetry-After: 0"])
@pytest.mark.parametrize(
    ("words", "code", "requests"),
    [
        ("You ran out of credits", 5, 3),
        ("rate limit reached, see https://example.com/billing/quota-exceeded", 5, 3),
        ("insufficient_quota", 3, 1),
    ],
)
def test_a_retry_header_takes_precedence_over_the_message(
    header: str, words: str, code: int, requests: int, server: Loopback, ask: Ask
) -> None:
    server.answer_with(build_refusal(429, header, words=words))
    ending = ask("chat", "hi", retries=2)
    assert (ending.code, len(server.requests)) == (code, requests)


def format_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.promise("retries")
@pytest.mark.parametrize(
    "header",
    [
        "Retry-After: 0", "Retry-After: 0.01", "Retry-After:0", "retry-after: 0", "Retry-After-Ms: 5",
        "Retry-After-Ms: 5\r\nRetry-After: 100", "Retry-After-Ms: soon\r\nRetry-After: 0",
        "x-should-retry: true\r\nRetry-After: 0",
    ],
)  # fmt: skip
def test_the_pause_that_the_server_asks_for_is_kept(header: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_refusal(429, header))
    server.answer_with(HELLO)
    ending = ask("chat", "hi", retries=1)
    assert (ending.code, ending.stdout, len(server.requests)) == (0, "Hello\n", 2)
    assert "trying again in 0.0 s (1 of 1)" in ending.stderr


@pytest.mark.promise("retries")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
@pytest.mark.parametrize(
    ("pause", "hint"),
    [("121", "try again in 121 s"), ("86400", "try again in 86400 s"), ("LATER", "try again in ")],
)
def test_a_requested_pause_that_is_too_long_is_an_error_at_once(
    pause: str, hint: str, status: int, server: Loopback, ask: Ask
) -> None:
    server.answer_with(build_refusal(status, f"Retry-After: {pause.replace('LATER', format_date(4000))}"))
    ending = ask("chat", "hi", retries=2)
    assert (ending.code in (4, 5, 6), ending.stdout, len(server.requests)) == (True, "", 1)
    assert hint in ending.stderr


@pytest.mark.promise("retries")
@pytest.mark.parametrize("pause", ["1e400", "-5", "nan", "soon", "", "9" * 5000, "½", "Tue, 99 Sep 2026 12:00:00 GMT",
                                  "PAST"])  # fmt: skip
def test_an_invalid_pause_or_a_time_in_the_past_is_ignored(pause: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_refusal(429, f"Retry-After: {pause.replace('PAST', format_date(-60))}"))
    server.answer_with(HELLO)
    ending = ask("chat", "hi", retries=1)
    assert (ending.code, ending.stdout, len(server.requests)) == (0, "Hello\n", 2)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_can_forbid_a_retry(status: int, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_refusal(status, "x-should-retry: false"))
    ask("chat", "hi", retries=2)
    assert len(server.requests) == 1


@pytest.mark.promise("retries")
@pytest.mark.parametrize("steps", [(), (RESET,), (b"HTTP/1.1 2",)], ids=repr)
def test_a_connection_that_ends_without_a_response_is_retried(
    steps: tuple[Step, ...], server: Loopback, ask: Ask
) -> None:
    server.answer_with(*steps)
    server.answer_with(HELLO)
    ending = ask("chat", "hi", retries=1)
    assert (ending.code, ending.stdout, len(server.requests)) == (0, "Hello\n", 2)
    assert "the connection was closed without an answer; trying again in " in ending.stderr


@pytest.mark.promise("sent-once")
@pytest.mark.parametrize("flags", [[], ["--format", "json"], ["--format", "jsonl"], ["--format", "raw"]])
def test_nothing_is_retried_after_the_first_text(flags: list[str], server: Loopback, ask: Ask) -> None:
    server.answer_with(stream(delta("Hel"), end=b""))
    server.answer_with(HELLO)
    ending = ask("chat", "hi", *flags, retries=5)
    assert (ending.code, len(server.requests), "trying again" in ending.stderr) == (8, 1, False)


@pytest.mark.promise("retries")
def test_with_zero_retries_the_request_is_sent_once(server: Loopback, ask: Ask) -> None:
    server.answer_with(BUSY_RESPONSE)
    assert ask("chat", "hi", retries=0).code == 6
    assert len(server.requests) == 1


@pytest.mark.promise("retries")
def test_quiet_hides_the_notices_of_retries(server: Loopback, ask: Ask) -> None:
    server.answer_with(http_response(b"", "503 Busy", "text/plain", "Retry-After: 0"))
    ending = ask("chat", "hi", "-q", retries=2)
    assert (len(server.requests), "trying again" in ending.stderr, ending.code) == (3, False, 6)
