"""The workers of a run share one rate limit, one order of results and one key."""

import signal
import threading
from pathlib import Path

import pytest
from support.loopback import HELLO, SILENCE, Loopback
from support.row_runs import parse_results, set_when_sent, start_run, write_rows
from support.run_cli import Aiml

from aiml_cli.batch.rate_limit import RateLimiter
from aiml_cli.batch.results import MAX_ROWS_AHEAD, ResultWriter
from aiml_cli.errors import RateLimited


@pytest.mark.promise("stored-while-arriving")
def test_finished_rows_after_a_stalled_row_are_written_when_the_run_stops(server: Loopback) -> None:
    third_sent = threading.Event()
    server.answer_with(SILENCE)
    server.answer_with(HELLO)
    server.answer_with(set_when_sent(third_sent), SILENCE)
    with start_run(server, "chat", "--each", "line", "-j", "2") as process:
        write_rows(process, b"a\n")
        assert server.request_arrived.wait(30)
        write_rows(process, b"b\nc\n")
        assert third_sent.wait(30)  # who asks for c has handed over the answer for b
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate()
    assert (process.returncode, [found["input"] for found in parse_results(rest)]) == (130, ["b"])
    assert b"1 succeeded, 0 failed, 0 skipped, 2 interrupted" in stderr


def test_the_key_command_runs_once(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    server.answer_with(HELLO)
    (empty_home / "key.sh").write_text(f"echo x >> {empty_home}/asked; echo a-key-of-many-letters")
    (empty_home / "xdg_config_home/aiml").mkdir(mode=0o700)
    (empty_home / "xdg_config_home/aiml/config.toml").write_text(
        f'key_command = "sh {empty_home}/key.sh"\nbase_url = "{server.url}"'
    )
    assert aiml("chat", "--each", "line", stdin=b"a\nb\nc\n", AIML_BASE_URL="").returncode == 0
    assert (empty_home / "asked").read_text() == "x\n"


def test_rows_with_equal_requests_have_different_hashes(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "csv", "{a}", stdin=b"a,b\n1,x\n1,y\n")
    assert len({found["hash"] for found in parse_results(ended.stdout)}) == 2


def test_each_success_after_a_rate_limit_allows_one_more_parallel_request() -> None:
    pace = RateLimiter(4, lambda _: None)
    pace.report_failure(RateLimited("slow down"), 0)
    entered = [pace.acquire() for _ in range(2)]
    for _ in range(2):
        pace.release(is_success=True)
    workers = threading.Thread(target=lambda: entered.extend(pace.acquire() for _ in range(3)), daemon=True)
    workers.start()
    workers.join(30)
    assert entered == [True] * 5


def test_no_worker_runs_further_ahead_than_results_can_be_held() -> None:
    written, has_room = list[bytes](), threading.Event()
    results = ResultWriter(written.append, 1, ordered=True)
    thread = threading.Thread(target=lambda: (results.wait_for_room(MAX_ROWS_AHEAD), has_room.set()), daemon=True)
    thread.start()
    assert not has_room.is_set()
    results.write(0, b"x")
    assert (has_room.wait(30), written) == (True, [b"x"])
