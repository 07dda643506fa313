"""Which rows are retried, and how their results and the summary of the run show it."""

import re
import signal
import threading
from typing import Any

import pytest
from support.catalogs import PRICES, store_catalog
from support.loopback import (
    END,
    HELLO,
    HELLO_RESPONSE,
    RESET,
    SILENCE,
    STREAM,
    USAGE,
    Loopback,
    chunk,
    delta,
    event,
    json_response,
    response_object,
    stream,
    text_events,
)
from support.row_runs import parse_results, set_when_sent, start_run, write_rows
from support.run_cli import Aiml

pytestmark = pytest.mark.in_process

RETRY_NOW = ("Retry-After: 0",)
BUSY = json_response({"error": {"message": "busy"}}, "503 Service Unavailable", *RETRY_NOW)
LIMITED = json_response({"error": {"message": "slow down"}}, "429 Too Many Requests", *RETRY_NOW)
USAGE_EVENT = event({"choices": [], "usage": USAGE})
HALF_CHAT_ANSWER = STREAM + chunk(delta("Half"))
HALF_RESPONSES_ANSWER = STREAM + b"".join(map(chunk, text_events("Half")))


def build_failed_event(**error: Any) -> bytes:
    """Return the event of a response that failed."""
    return event({"type": "response.failed", "response": response_object("", "failed", output=[], error=error)})


BROKEN_CHAT_ANSWERS = {
    "closed": [HALF_CHAT_ANSWER],
    "reset": [HALF_CHAT_ANSWER, RESET],
    "ended without a reason": [HALF_CHAT_ANSWER + END],
    "nothing": [STREAM + END],
    "closed at once": [STREAM],
    "reasoning": [STREAM + chunk(delta(reasoning_content="Let me")) + END],
    "half a call": [STREAM + chunk(delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f"}}])) + END],
    "overloaded": [HALF_CHAT_ANSWER + chunk(event({"error": {"type": "overloaded_error", "message": "busy"}})) + END],
    "503": [HALF_CHAT_ANSWER + chunk(event({"type": "error", "status": 503, "error": {"message": "busy"}})) + END],
    "429": [HALF_CHAT_ANSWER + chunk(event({"error": {"code": 429, "message": "too many requests"}})) + END],
    "in the choice": [
        HALF_CHAT_ANSWER + chunk(event({"choices": [{"delta": {}, "error": {"code": 502, "message": "m"}}]})) + END
    ],
}
BROKEN_RESPONSES_ANSWERS = {
    "closed": [HALF_RESPONSES_ANSWER],
    "reset": [HALF_RESPONSES_ANSWER, RESET],
    "ended without an event": [HALF_RESPONSES_ANSWER + END],
    "rate limit": [HALF_RESPONSES_ANSWER + chunk(build_failed_event(code="rate_limit_exceeded", message="slow")) + END],
    "server error": [HALF_RESPONSES_ANSWER + chunk(build_failed_event(code="server_error", message="oh")) + END],
}
BROKEN_ANSWERS = [
    *(pytest.param("chat", steps, HELLO, id=f"chat {name}") for name, steps in BROKEN_CHAT_ANSWERS.items()),
    *(
        pytest.param("respond", steps, HELLO_RESPONSE, id=f"respond {name}")
        for name, steps in BROKEN_RESPONSES_ANSWERS.items()
    ),
]


@pytest.mark.promise("row-retries")
@pytest.mark.parametrize(("command", "steps", "answer"), BROKEN_ANSWERS)
def test_a_broken_answer_is_requested_again(
    aiml: Aiml, server: Loopback, command: str, steps: list[Any], answer: bytes
) -> None:
    server.answer_with(*steps)
    server.answer_with(answer)
    ended = aiml(command, "--each", "line", "-j", "1", stdin=b"a\n", AIML_RETRIES="")
    (result,) = parse_results(ended.stdout)
    assert (ended.returncode, result["text"], result["attempts"], result["error"]) == (0, "Hello", 2, None)
    assert (result["reasoning"], result["tool_calls"], len(server.requests)) == (None, [], 2)


@pytest.mark.promise("row-retries")
def test_a_stalled_stream_is_requested_again(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER, SILENCE)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "--timeout", "0.5", stdin=b"a\n", AIML_RETRIES="")
    assert [(each["text"], each["attempts"]) for each in parse_results(ended.stdout)] == [("Hello", 2)]


@pytest.mark.promise("row-retries")
def test_the_result_of_a_row_that_always_breaks_is_its_last_attempt(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER)
    server.answer_with(STREAM + chunk(delta("Part")))
    ended = aiml("chat", "--each", "line", "--retries", "1", stdin=b"a\n")
    (result,) = parse_results(ended.stdout)
    assert (ended.returncode, result["text"], result["complete"], result["attempts"]) == (10, "Part", False, 2)
    assert (result["error"]["type"], result["error"]["exit_code"]) == ("CutShort", 8)


@pytest.mark.promise("row-retries")
def test_a_row_has_more_retries_than_a_single_call(aiml: Aiml, server: Loopback) -> None:
    for answer in (BUSY, LIMITED, BUSY, HELLO):
        server.answer_with(answer)
    ended = aiml("chat", "--each", "line", stdin=b"a\n", AIML_RETRIES="")
    assert [(each["text"], each["attempts"]) for each in parse_results(ended.stdout)] == [("Hello", 4)]


@pytest.mark.promise("row-retries")
@pytest.mark.parametrize(
    ("flags", "variable", "attempts"),
    [((), "1", 2), ((), "0", 1), (("--retries", "0"), "5", 1), (("--retries", "2"), "", 3)],
)
@pytest.mark.parametrize("steps", [[BUSY], [HALF_CHAT_ANSWER]], ids=["busy", "broken"])
def test_the_user_sets_the_number_of_retries(
    aiml: Aiml, server: Loopback, flags: tuple[str, ...], variable: str, attempts: int, steps: list[Any]
) -> None:
    server.answer_with(*steps)
    ended = aiml("chat", "--each", "line", "-j", "1", *flags, stdin=b"a\n", AIML_RETRIES=variable)
    assert (ended.returncode, parse_results(ended.stdout)[0]["attempts"], len(server.requests)) == (
        10,
        attempts,
        attempts,
    )


PERMANENT_STATUSES = [
    (json_response({"error": {"message": "no"}}, "401 Unauthorized"), 3),
    (json_response({"error": {"message": "pay"}}, "402 Payment Required"), 3),
    (json_response({"error": {"code": "insufficient_quota", "message": "m"}}, "429 Too Many Requests"), 3),
    (json_response({"error": {"message": "bad"}}, "400 Bad Request"), 10),
]
PERMANENT_ERRORS = [
    (event({"type": "error", "status": 401, "error": {"message": "no"}}), 3),
    (event({"error": {"code": 402, "message": "pay"}}), 3),
    (event({"error": {"code": "insufficient_quota", "message": "m"}}), 3),
    (event({"error": {"code": 400, "message": "bad"}}), 10),
]
PERMANENT_FAILURES = [
    *(("chat", answer, code) for answer, code in PERMANENT_STATUSES),
    *(("chat", stream(error), code) for error, code in PERMANENT_ERRORS),
    *(("chat", HALF_CHAT_ANSWER + chunk(error) + END, code) for error, code in PERMANENT_ERRORS),
    ("respond", stream(build_failed_event(code="insufficient_quota", message="m")), 3),
    ("respond", HALF_RESPONSES_ANSWER + chunk(build_failed_event(code="insufficient_quota", message="m")) + END, 3),
    ("respond", HALF_RESPONSES_ANSWER + chunk(build_failed_event(code="invalid_prompt", message="m")) + END, 10),
]


@pytest.mark.promise("row-retries")
@pytest.mark.parametrize(("command", "answer", "code"), PERMANENT_FAILURES, ids=range(len(PERMANENT_FAILURES)))
def test_a_permanent_error_is_not_retried_and_a_refused_key_ends_the_run(
    aiml: Aiml, server: Loopback, command: str, answer: bytes, code: int
) -> None:
    server.answer_with(answer)
    rows = 1 if code == 10 else 60
    ended = aiml(command, "--each", "line", "-j", "4", stdin=b"a\n" * rows, AIML_RETRIES="")
    results = parse_results(ended.stdout)
    assert (ended.returncode, {each["attempts"] for each in results}) == (code, {1})
    assert len(server.requests) == len(results) <= 8


@pytest.mark.promise("row-retries")
@pytest.mark.parametrize(
    "limit",
    [
        LIMITED,
        stream(event({"type": "error", "status": 429, "error": {"message": "slow down"}})),
        HALF_CHAT_ANSWER + chunk(event({"error": {"code": "rate_limit_exceeded", "message": "slow down"}})) + END,
    ],
)
def test_a_rate_limit_pauses_all_rows_wherever_the_server_reports_it(
    aiml: Aiml, server: Loopback, limit: bytes
) -> None:
    server.answer_with(limit)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "-j", "4", stdin=b"a\nb\nc\nd\n", AIML_RETRIES="")
    assert (ended.returncode, len(server.requests)) == (0, 5)
    assert re.search(rb"slow down; all workers wait [\d.]+ s, then at most 2 work at a time", ended.stderr)


@pytest.mark.promise("row-retries")
def test_the_tokens_of_broken_attempts_are_counted(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(stream(delta("Half"), USAGE_EVENT))
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", stdin=b"a\n", AIML_RETRIES="")
    usage = parse_results(ended.stdout)[0]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (6, 10, 16)
    assert b"1 succeeded, 0 failed, 0 skipped; 6 tokens in, 10 out" in ended.stderr


@pytest.mark.promise("row-retries")
def test_the_tokens_of_a_broken_attempt_without_usage_are_estimated(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", stdin=b"a\n", AIML_RETRIES="")
    usage = parse_results(ended.stdout)[0]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"] > 5) == (6, True)


@pytest.mark.promise("row-retries")
@pytest.mark.parametrize("is_last_complete", [True, False])
def test_reported_costs_are_added_up(aiml: Aiml, server: Loopback, is_last_complete: bool) -> None:
    cost = b"\r\nX-AIMLAPI-USD-Spent: 0.25\r\nContent-Type"
    server.answer_with(HALF_CHAT_ANSWER.replace(b"\r\nContent-Type", cost))
    server.answer_with((HELLO if is_last_complete else HALF_CHAT_ANSWER).replace(b"\r\nContent-Type", cost))
    ended = aiml("chat", "--each", "line", stdin=b"a\n", AIML_RETRIES="1")
    (result,) = parse_results(ended.stdout)
    assert (result["cost_usd"], result["cost_source"], b"$0.5" in ended.stderr) == (0.5, "gateway", True)


@pytest.mark.promise("sent-once")
def test_a_single_call_is_not_retried_after_its_first_word(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER)
    assert (aiml("chat", "hi", AIML_RETRIES="5").returncode, len(server.requests)) == (8, 1)


def test_a_row_with_auto_continue_is_continued_and_not_retried(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "--auto-continue", "1", stdin=b"a\n", AIML_RETRIES="5")
    assert [each["text"] for each in parse_results(ended.stdout)] == ["HalfHello"]


@pytest.mark.promise("row-retries")
@pytest.mark.parametrize("flags", [("--schema", "a", "--schema-retries", "1"), ("--schema", "a"), ("--json-object",)])
def test_broken_json_is_requested_again(aiml: Aiml, server: Loopback, flags: tuple[str, ...]) -> None:
    server.answer_with(stream(delta('{"a": ')))
    server.answer_with(stream(delta('{"a": "x"}'), delta(finish="stop")))
    ended = aiml("chat", "--each", "line", *flags, stdin=b"r\n", AIML_RETRIES="")
    assert [(each["data"], each["attempts"]) for each in parse_results(ended.stdout)] == [({"a": "x"}, 2)]


@pytest.mark.promise("row-retries")
def test_a_broken_answer_without_a_stream_is_requested_again(aiml: Aiml, server: Loopback) -> None:
    whole = json_response({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})
    server.answer_with(whole[:-9])
    server.answer_with(whole)
    ended = aiml("chat", "--each", "line", "-S", stdin=b"r\n", AIML_RETRIES="")
    assert [(each["text"], each["attempts"]) for each in parse_results(ended.stdout)] == [("Hello", 2)]


def test_a_cached_answer_does_not_count_toward_the_rate_limit(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    flags = ["chat", "--each", "line", "--cache", "1d", "-j", "1", "{row}"]
    assert aiml(*flags, stdin=b"a\n").returncode == 0
    assert aiml(*flags, "--requests-per-minute", "1", stdin=b"a\na\na\na\n").returncode == 0
    assert len(server.requests) == 1


def test_a_broken_answer_is_not_cached_but_a_complete_one_is(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER)
    server.answer_with(HELLO)
    for _ in range(2):
        ended = aiml("chat", "--each", "line", "--cache", "1d", stdin=b"a\n", AIML_RETRIES="")
        assert [each["text"] for each in parse_results(ended.stdout)] == ["Hello"]
    assert len(server.requests) == 2


def test_a_broken_answer_is_requested_again_from_the_same_model(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HALF_CHAT_ANSWER)
    server.answer_with(HELLO)
    ended = aiml("chat", "-m", "a,b", "--each", "line", stdin=b"r\n", AIML_RETRIES="")
    assert (ended.returncode, [each.json["model"] for each in server.requests]) == (0, ["a", "a"])


@pytest.mark.promise("row-retries")
def test_a_broken_attempt_is_counted_even_if_the_run_stops_before_the_next(server: Loopback) -> None:
    sent = threading.Event()
    server.answer_with(stream(delta("Half"), USAGE_EVENT).replace(b"\r\n\r\n", b"\r\nRetry-After: 100\r\n\r\n", 1))
    server.scripts[0] = [*server.scripts[0], set_when_sent(sent)]
    with start_run(server, "chat", "--each", "line", "--retries", "2") as process:
        write_rows(process, b"a\n")
        assert sent.wait(30)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (143, b"")
    assert b"0 rows: 0 succeeded, 0 failed, 0 skipped; 3 tokens in, 5 out" in stderr


@pytest.mark.promise("row-retries")
def test_a_broken_attempt_counts_toward_max_cost(aiml: Aiml, server: Loopback) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HALF_CHAT_ANSWER)
    flags = ("-m", "m", "--max-tokens", "1000", "--max-cost", "0.15", "-j", "1")
    ended = aiml("chat", "--each", "line", *flags, stdin=b"a\nb\n", AIML_RETRIES="")
    assert (ended.returncode, len(server.requests), ended.stdout) == (10, 1, b"")
    assert b"stopped before --max-cost" in ended.stderr
