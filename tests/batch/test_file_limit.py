"""A run over rows with few open files: it raises the limit, uses fewer workers, or tries again."""

import os
import resource
import subprocess
import sys
import threading

import pytest
from support.loopback import HELLO, Loopback
from support.row_runs import parse_results, set_when_sent, start_run, write_rows
from support.run_cli import Aiml

LIMIT_HARD, LIMIT_SOFT = 'ulimit -n {}; exec "$@"', 'ulimit -S -n {}; exec "$@"'
LIMIT_THREADS = """
import sys, threading
start, left = threading._start_new_thread, [{}]
def start_if_allowed(*arguments):
    if not left[0]: raise RuntimeError("can't start new thread")
    left[0] -= 1
    return start(*arguments)
threading._start_new_thread = start_if_allowed
"""
ROWS = b"".join(b"%d\n" % number for number in range(40))


@pytest.mark.promise("open-file-limit")
@pytest.mark.parametrize(
    ("script", "open_files", "jobs", "notice_count"),
    [
        (LIMIT_SOFT, 40, "30", 0),
        (LIMIT_HARD, 4096, "256", 0),
        (LIMIT_HARD, 40, "2", 0),
        (LIMIT_HARD, 40, "30", 1),
        (LIMIT_HARD, 16, "256", 1),
    ],
)
def test_a_low_limit_on_open_files_reduces_the_workers(
    aiml: Aiml, server: Loopback, script: str, open_files: int, jobs: str, notice_count: int
) -> None:
    server.answer_with(HELLO)
    before = ["sh", "-c", script.format(open_files), "sh"]
    ended = aiml("chat", "--each", "line", "-j", jobs, stdin=ROWS, before=before)
    assert (ended.returncode, len(parse_results(ended.stdout))) == (0, 40)
    assert ended.stderr.count(b"too low for -j " + jobs.encode()) == notice_count
    assert ended.stderr.count(b"\n") == notice_count + 1


@pytest.mark.promise("open-file-limit")
@pytest.mark.parametrize("retries", ["0", "10"])
def test_a_limit_reached_during_a_run_loses_no_row_that_was_paid_for(server: Loopback, retries: str) -> None:
    sent, go_on = threading.Event(), threading.Event()
    server.answer_with(set_when_sent(sent), go_on, HELLO)
    server.answer_with(HELLO)
    with start_run(server, "chat", "--each", "line", "-j", "1", "--retries", retries) as process:
        assert process.stdin
        write_rows(process, b"a\nb\n")
        assert sent.wait(30)
        old = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, old[1]))
        go_on.set()
        assert process.stdout
        first = process.stdout.readline()
        second = process.stdout.readline() if retries == "0" else b""
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, old)
        process.stdin.close()
        results = parse_results(first + second + process.stdout.read())
        assert process.stderr
        assert (process.wait(30), b"internal error" in process.stderr.read()) == (0 if retries == "10" else 10, False)
    assert [each["input"] for each in results] == ["a", "b"]
    assert results[0]["error"] is None
    assert (results[1]["error"] is None) == (retries == "10")


@pytest.mark.promise("open-file-limit")
@pytest.mark.parametrize(("threads", "code"), [(3, 0), (0, 1)])
def test_a_limit_on_threads_reduces_the_workers(server: Loopback, threads: int, code: int) -> None:
    server.answer_with(HELLO)
    command = ["chat", "--each", "line", "-j", "8", "{row}"]
    script = LIMIT_THREADS.format(threads) + f"from aiml_cli.__main__ import main; sys.exit(main({command}))"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "AIML_BASE_URL": server.url},
        input=ROWS,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, len(parse_results(ended.stdout))) == (code, 0 if code else 40)
    assert b"internal error" not in ended.stderr
