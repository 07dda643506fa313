"""A run over rows: the order of results, rate limits, exit codes and interruptions."""

import json
import os
import re
import shlex
import signal
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from support.history_file import wait_until_equal
from support.loopback import HELLO, SILENCE, Loopback, delta, event, json_response, stream
from support.row_runs import parse_results, set_when_sent, start_run, write_rows
from support.run_cli import Aiml, build_command

from aiml_cli.store.history import database

LIMITED = json_response({"error": {"message": "slow down"}}, "429 Too Many Requests", "Retry-After: 0")
REJECTED_REQUEST = json_response({"error": {"message": "bad words"}}, "400 Bad Request")
TRUNCATED_ANSWER = stream(delta("Hel"), delta(finish="length"), event("[DONE]"))


def test_each_result_has_every_key_whether_it_failed_or_not(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    server.answer_with(REJECTED_REQUEST)
    good, bad = parse_results(aiml("chat", "--each", "line", "-j", "1", stdin=b"a\nb\n").stdout)
    assert list(good) == list(bad)
    assert (good["text"], good["complete"], good["usage"]["output_tokens"], good["error"]) == ("Hello", True, 5, None)
    assert (bad["complete"], bad["status"], bad["error"]["exit_code"]) == (False, 400, 4)
    assert re.fullmatch("[0-9a-f]{24}", good["hash"])


def test_results_are_in_the_order_of_the_rows(aiml: Aiml, server: Loopback) -> None:
    second = threading.Event()
    server.answer_with(second, HELLO)
    server.answer_with(set_when_sent(second), HELLO)
    ended = aiml("chat", "--each", "line", "-j", "2", stdin=b"a\nb\n")
    assert [result["row"] for result in parse_results(ended.stdout)] == [1, 2]


def test_unordered_results_are_printed_as_they_arrive(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(SILENCE)
    server.answer_with(HELLO)
    with start_run(server, "chat", "--each", "line", "-j", "2", "--unordered") as process:
        write_rows(process, b"a\n")
        assert server.request_arrived.wait(30)
        write_rows(process, b"b\n")
        assert process.stdout
        assert json.loads(process.stdout.readline())["input"] == "b"


def test_a_rate_limit_is_reported_once_and_the_row_is_sent_again(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(LIMITED)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "-j", "4", stdin=b"a\nb\nc\nd\n", AIML_RETRIES="1")
    assert (ended.returncode, len(server.requests)) == (0, 5)
    assert ended.stderr.count(b"slow down; all workers wait 0.0 s, then at most 2 work at a time") == 1


def test_the_same_rate_limit_is_not_reported_twice(aiml: Aiml, server: Loopback) -> None:
    for answer in (LIMITED, LIMITED, HELLO):
        server.answer_with(answer)
    ended = aiml("chat", "--each", "line", "-j", "1", stdin=b"a\n", AIML_RETRIES="2")
    assert (ended.returncode, ended.stderr.count(b"slow down")) == (0, 1)


@pytest.mark.promise("incomplete-answers")
def test_failed_rows_exit_with_10_and_a_rejected_key_with_3(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(REJECTED_REQUEST)
    server.answer_with(HELLO)
    assert aiml("chat", "--each", "line", stdin=b"a\nb\n").returncode == 10
    server.answer_with(json_response({"error": {"message": "no"}}, "401 Unauthorized"))
    ended = aiml("chat", "--each", "line", "-j", "1", stdin=b"a\n" * 50)
    assert (ended.returncode, len(parse_results(ended.stdout))) == (3, 1)


def test_an_unreachable_server_ends_the_run_with_exit_code_7(aiml: Aiml) -> None:
    ended = aiml("chat", "--each", "line", "-j", "2", stdin=b"a\n" * 500, AIML_BASE_URL="http://127.0.0.1:9/v1")
    assert ended.returncode == 7
    assert len(parse_results(ended.stdout)) < 10
    one = aiml("chat", "--each", "line", stdin=b"a\n", AIML_BASE_URL="http://127.0.0.1:9/v1")
    assert one.returncode == 7


def test_an_unknown_model_ends_the_run(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(json_response({"error": {"message": "no model"}}, "404 Not Found"))
    ended = aiml("chat", "--each", "line", stdin=b"a\n" * 500)
    assert (ended.returncode, len(parse_results(ended.stdout)) < 10) == (4, True)


@pytest.mark.promise("incomplete-answers")
def test_a_truncated_answer_is_a_failed_row_unless_allow_cut_is_given(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(TRUNCATED_ANSWER)
    ended = aiml("chat", "--each", "line", stdin=b"a\n")
    assert (ended.returncode, parse_results(ended.stdout)[0]["text"]) == (10, "Hel")
    assert aiml("chat", "--each", "line", "--allow-cut", stdin=b"a\n").returncode == 0


def test_each_row_is_checked_against_the_schema_and_asked_again(aiml: Aiml, server: Loopback) -> None:
    for text in ("no JSON", '{"a": "x"}'):
        server.answer_with(stream(delta(text), delta(finish="stop"), event("[DONE]")))
    ended = aiml("chat", "--each", "line", "--schema", "a", "--schema-retries", "1", stdin=b"x\n")
    assert (ended.returncode, len(server.requests)) == (0, 2)
    assert parse_results(ended.stdout)[0]["data"] == {"a": "x"}


def test_the_summary_is_one_line_and_quiet_hides_it(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    summary = aiml("chat", "--each", "line", stdin=b"a\nb\n").stderr.decode()
    assert re.fullmatch(
        r"aiml: 2 rows: 2 succeeded, 0 failed, 0 skipped; 6 tokens in, 10 out, cost unknown; [\d.]+ s\n", summary
    )
    assert aiml("chat", "--each", "line", "-q", stdin=b"a\nb\n").stderr == b""


@pytest.mark.promise("signals")
@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_the_connections_and_keeps_finished_rows(
    server: Loopback, signal_number: int, code: int
) -> None:
    server.answer_with(HELLO)
    server.answer_with(SILENCE)
    with start_run(server, "chat", "--each", "line", "-j", "1", "--grace", "0") as process:
        assert process.stdout
        write_rows(process, b"a\n")
        assert json.loads(process.stdout.readline())["complete"]
        server.request_arrived.clear()
        write_rows(process, b"b\nc\n")
        assert server.request_arrived.wait(30)
        process.send_signal(signal_number)
        rest, stderr = process.communicate()
        assert (process.returncode, rest) == (code, b"")
        assert b"1 row: 1 succeeded" in stderr


def test_rows_are_sent_while_the_input_is_still_open(server: Loopback) -> None:
    server.answer_with(HELLO)
    with start_run(server, "chat", "--each", "line") as process:
        write_rows(process, b"a\n")
        assert process.stdout
        assert json.loads(process.stdout.readline())["input"] == "a"


@pytest.mark.promise("closed-pipe")
def test_a_reader_that_closes_the_pipe_ends_the_run_without_a_message(server: Loopback) -> None:
    server.answer_with(HELLO)
    with start_run(server, "chat", "--each", "line", "-j", "1") as process:
        assert process.stdout
        assert process.stderr
        write_rows(process, b"a\n")
        process.stdout.readline()
        process.stdout.close()
        write_rows(process, b"b\nc\nd\n")
        assert (process.wait(30), process.stderr.read()) == (141, b"")


def test_the_output_file_is_written_even_if_a_row_failed(aiml: Aiml, server: Loopback, tmp_path: Path) -> None:
    server.answer_with(REJECTED_REQUEST)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "-o", "out.jsonl", stdin=b"a\nb\n")
    assert (ended.returncode, ended.stdout) == (10, b"")
    assert len(parse_results((tmp_path / "out.jsonl").read_bytes())) == 2


@pytest.mark.promise("stopped-runs")
@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("-o", "out.jsonl"), "out.jsonl.part"),
        (("-o", "./my results.jsonl"), "'./my results.jsonl.part'"),
        (("--resume-from", "out.jsonl"), "out.jsonl"),
        ((), "FILE"),
        (("-o", "-"), "FILE"),
    ],
)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_continue(
    aiml: Aiml, server: Loopback, flags: tuple[str, ...], name: str, signal_number: int
) -> None:
    server.answer_with(HELLO)
    server.answer_with(SILENCE)
    Path("rows").write_text("a\nb\nc\n")
    command = ["chat", "--each", "line", "-f", "rows", "-j", "1", "{row}"]
    with start_run(server, *command, *flags, "--grace", "0") as process:
        assert server.request_arrived.wait(30)
        assert wait_until_equal(lambda: len(server.requests), 2)
        process.send_signal(signal_number)
        stdout, stderr = process.communicate()
    assert f"hint: --resume-from {name} sends" in stderr.decode() or f"--resume-from {name} sends" in stderr.decode()
    file = Path(shlex.split(name)[0])
    if name == "FILE":
        file.write_bytes(stdout)
    assert [result["input"] for result in parse_results(file.read_bytes())] == ["a"]
    server.answer_with(HELLO)
    assert aiml(*command, "--resume-from", str(file)).returncode == 0
    assert [result["input"] for result in parse_results(file.read_bytes())] == ["a", "b", "c"]


@pytest.mark.promise("stopped-runs")
def test_a_redirected_run_names_the_output_file_in_its_hint(server: Loopback) -> None:
    server.answer_with(HELLO)
    server.answer_with(SILENCE)
    Path("rows").write_text("a\nb\n")
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    command = build_command("chat", "--each", "line", "-f", "rows", "-j", "1", "{row}")
    with Path("out.jsonl").open("wb") as out, subprocess.Popen(
        command, env=environ, stdout=out, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:  # fmt: skip
        assert wait_until_equal(lambda: len(server.requests), 2)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
    assert b"hint: --resume-from out.jsonl sends" in stderr


@pytest.mark.promise("stopped-runs")
def test_a_killed_run_leaves_its_results_in_the_partial_file(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    server.answer_with(SILENCE)
    Path("rows").write_text("a\nb\n")
    Path("out.jsonl").write_text("old")
    command = ["chat", "--each", "line", "-f", "rows", "-j", "1", "{row}"]
    with start_run(server, *command, "-o", "out.jsonl") as process:
        assert wait_until_equal(lambda: len(server.requests), 2)
        running = aiml(*command, "--resume-from", "out.jsonl.part")
        process.kill()
    assert (running.returncode, b"another run is writing" in running.stderr) == (2, True)
    results = Path("out.jsonl.part").read_bytes()
    assert [result["input"] for result in parse_results(results)] == ["a"]
    again = aiml(*command, "-o", "out.jsonl")
    assert (again.returncode, len(server.requests)) == (2, 2)
    assert b"--resume-from out.jsonl.part" in again.stderr
    assert (Path("out.jsonl.part").read_bytes(), Path("out.jsonl").read_text()) == (results, "old")
    server.answer_with(HELLO)
    assert aiml(*command, "--resume-from", "out.jsonl.part").returncode == 0
    assert [result["input"] for result in parse_results(Path("out.jsonl.part").read_bytes())] == ["a", "b"]


@pytest.mark.promise("stopped-runs")
@pytest.mark.parametrize("existing", ["empty", "results", "link", "folder"])
def test_an_existing_partial_file_is_never_overwritten(aiml: Aiml, server: Loopback, existing: str) -> None:
    part, target = Path("out.jsonl.part"), Path("target")
    target.write_text("keep")
    {
        "empty": part.touch,
        "results": lambda: part.write_text("keep"),
        "link": lambda: part.symlink_to(target),
        "folder": part.mkdir,
    }[existing]()
    ended = aiml("chat", "--each", "line", "-o", "out.jsonl", stdin=b"a\n")
    assert (ended.returncode, server.requests, target.read_text()) == (2, [], "keep")
    assert b"--resume-from out.jsonl.part" in ended.stderr
    assert not Path("out.jsonl").exists()


def test_failed_rows_can_be_sent_again_with_the_suggested_command(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(REJECTED_REQUEST)
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "-j", "1", "-o", "out.jsonl", stdin=b"a\nb\n")
    assert (ended.returncode, b"hint: --resume-from out.jsonl sends" in ended.stderr) == (10, True)
    assert aiml("chat", "--each", "line", "--resume-from", "out.jsonl", stdin=b"a\nb\n").returncode == 0


def test_rows_are_not_stored_as_conversations_but_their_cost_is_counted(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "line", stdin=b"a\nb\n")
    assert aiml("history", "list").stdout == b""
    with closing(database.open_history()) as kept:
        sums = kept.connection.execute("SELECT endpoint, requests, input_tokens, output_tokens FROM spent").fetchall()
    assert [tuple(each) for each in sums] == [("chat", 2, 6, 10)]


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize(
    ("unusable_path", "words"),
    [("aiml", b"aiml usage will not include"), ("aiml/history.db", b"was damaged; it was moved to")],
)
def test_one_notice_is_given_if_usage_cannot_be_stored(
    aiml: Aiml, server: Loopback, empty_home: Path, unusable_path: str, words: bytes
) -> None:
    server.answer_with(HELLO)
    place = empty_home / "xdg_data_home" / unusable_path
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"something else" * 999)
    ended = aiml("chat", "--each", "line", "-j", "1", stdin=b"a\nb\n")
    assert (ended.returncode, [result["text"] for result in parse_results(ended.stdout)]) == (0, ["Hello", "Hello"])
    assert (ended.stderr.count(b"\n"), words in ended.stderr) == (2, True)
    assert b"2 rows: 2 succeeded" in ended.stderr


@pytest.mark.promise("memory")
@pytest.mark.parametrize("rows", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_rows(rows: int) -> None:
    assert measure_peak(3 * rows) < measure_peak(rows) * 1.1


def measure_peak(count: int) -> int:
    """Return the most memory that a run over this number of rows takes."""
    script = "import resource,sys; from aiml_cli.__main__ import main; main(sys.argv[1:])\n"
    script = (
        f"import gc; gc.disable()\n{script}print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    rows = b"".join(b"row %d\n" % number for number in range(count))
    arguments = ["chat", "--demo", "--each", "line", "-q", "-S", "-j", "4", "{row}"]
    ended = subprocess.run(
        [*build_command()[:1], "-c", script, *arguments], input=rows, capture_output=True, check=True, timeout=110
    )
    assert ended.stdout.count(b"\n") == count
    return int(ended.stderr)
