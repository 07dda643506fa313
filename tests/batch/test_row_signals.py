"""How a run over rows ends after SIGTERM: rows in progress may finish, and nothing else is waited for."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.history_file import wait_until_equal
from support.loopback import HELLO, SILENCE, Loopback, json_response
from support.row_runs import parse_results, set_when_sent, start_run, write_rows

LIMITED = json_response({"error": {"message": "slow down"}}, "429 Too Many Requests", "Retry-After: 100")
EXHAUSTED = ["x-ratelimit-limit-requests: 9", "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 1m40s"]


@pytest.mark.promise("graceful-end")
@pytest.mark.parametrize("flags", [(), ("--unordered",), ("--resume-from", "out.jsonl"), ("-o", "out.jsonl")])
def test_after_sigterm_rows_in_progress_finish_and_no_other_starts(server: Loopback, flags: tuple[str, ...]) -> None:
    continue_answer = threading.Event()
    server.answer_with(continue_answer, HELLO)
    with start_run(server, "chat", "--each", "line", "-j", "2", *flags) as process:
        write_rows(process, b"a\nb\nc\nd\n")
        assert wait_until_equal(lambda: len(server.requests), 2)
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        assert b"waiting up to 20 s for 2 rows" in process.stderr.readline()
        continue_answer.set()
        stdout, stderr = process.communicate(timeout=30)
    files = [path.read_bytes() for path in (Path("out.jsonl"), Path("out.jsonl.part")) if path.exists()]
    results = parse_results(stdout or files[0])
    assert sorted((each["input"], each["text"]) for each in results) == [("a", "Hello"), ("b", "Hello")]
    assert (process.returncode, len(server.requests)) == (143, 2)
    assert b"2 succeeded, 0 failed, 0 skipped; " in stderr
    assert b"--resume-from" in stderr


@pytest.mark.promise("graceful-end")
@pytest.mark.parametrize("second_signal", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_stops_the_run_at_once(server: Loopback, second_signal: int) -> None:
    server.answer_with(HELLO)
    server.answer_with(SILENCE)
    with start_run(server, "chat", "--each", "line", "-j", "1", "--grace", "1000") as process:
        write_rows(process, b"a\nb\nc\n")
        assert wait_until_equal(lambda: len(server.requests), 2)
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        assert b"waiting up to 1000 s for 1 row" in process.stderr.readline()
        process.send_signal(second_signal)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, [each["input"] for each in parse_results(stdout)]) == (143, ["a"])
    assert b"1 succeeded, 0 failed, 0 skipped, 1 interrupted" in stderr


@pytest.mark.promise("graceful-end")
def test_rows_that_exceed_the_grace_period_are_interrupted(server: Loopback) -> None:
    server.answer_with(SILENCE)
    with start_run(server, "chat", "--each", "line", "-j", "2", "--grace", "0.1") as process:
        write_rows(process, b"a\nb\nc\n")
        assert wait_until_equal(lambda: len(server.requests), 2)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, b"2 interrupted" in stderr) == (143, b"", True)


@pytest.mark.promise("signals")
@pytest.mark.parametrize(
    ("signal_number", "flags", "code"),
    [
        (signal.SIGINT, (), 130),
        (signal.SIGHUP, (), 129),
        (signal.SIGTERM, ("--grace", "0"), 143),
        (signal.SIGTERM, ("--grace", "0.0"), 143),
    ],
)
def test_other_signals_or_a_grace_of_zero_stop_the_run_at_once(
    server: Loopback, signal_number: int, flags: tuple[str, ...], code: int
) -> None:
    server.answer_with(SILENCE)
    with start_run(server, "chat", "--each", "line", "-j", "1", *flags) as process:
        write_rows(process, b"a\nb\n")
        assert server.request_arrived.wait(30)
        process.send_signal(signal_number)
        stderr = process.communicate(timeout=30)[1]
    assert (process.returncode, b"waiting" in stderr) == (code, False)


def limit_by_retry_after(server: Loopback) -> tuple[str, ...]:
    server.answer_with(LIMITED)
    return ("--retries", "3")


def limit_by_headers(server: Loopback) -> tuple[str, ...]:
    server.answer_with(HELLO.replace(b"\r\n\r\n", "\r\n".join(["", *EXHAUSTED, "", ""]).encode(), 1))
    return ()


def limit_by_requests(server: Loopback) -> tuple[str, ...]:
    server.answer_with(HELLO)
    return ("--requests-per-minute", "1")


def limit_by_tokens(server: Loopback) -> tuple[str, ...]:
    server.answer_with(HELLO)
    return ("--tokens-per-minute", "1")


def wait_for_retry(server: Loopback) -> tuple[str, ...]:
    server.answer_with(json_response({"error": {"message": "busy"}}, "503 Busy", "Retry-After: 100"))
    return ("--retries", "3")


@pytest.mark.promise("graceful-end", "rate-limits")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("jobs", ["1", "3"])
@pytest.mark.parametrize(
    "cause_wait", [limit_by_retry_after, limit_by_headers, limit_by_requests, limit_by_tokens, wait_for_retry]
)
def test_a_run_that_waits_for_a_rate_limit_stops_at_once(
    server: Loopback, cause_wait: Callable[[Loopback], tuple[str, ...]], jobs: str, signal_number: int
) -> None:
    flags = cause_wait(server)
    response_sent = threading.Event()
    server.scripts[0] = [*server.scripts[0], set_when_sent(response_sent)]
    with start_run(server, "chat", "--each", "line", "-j", jobs, *flags) as process:
        write_rows(process, b"a\nb\n" if jobs == "1" else b"a\n")
        assert response_sent.wait(30)
        write_rows(process, b"c\nd\ne\n")
        process.send_signal(signal_number)
        process.communicate(timeout=30)
    assert process.returncode == (143 if signal_number == signal.SIGTERM else 130)
    if cause_wait in (limit_by_requests, limit_by_tokens):  # the others are known when the first answer has arrived
        assert len(server.requests) == 1
