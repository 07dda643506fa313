"""Rows that are recorded and replayed."""

import json
import os
import signal
import subprocess
from pathlib import Path

from support import certificates
from support.answers import build_answer_with_cost
from support.history_file import select
from support.loopback import HELLO, SILENCE, STREAM, Loopback, chunk, delta, event, stream
from support.run_cli import Aiml, build_command

LINE_ARGUMENTS = ["chat", "--each", "line"]
ROWS = b"a\nb\nc\n"


def test_interrupted_rows_are_not_recorded_and_their_cost_is_unknown(server: Loopback) -> None:
    server.answer_with(HELLO)
    server.answer_with(STREAM + chunk(delta("Hel")), SILENCE)
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", "AIML_RECORD": "tape"}
    pipe = subprocess.PIPE
    ask = build_command(*LINE_ARGUMENTS, "-j", "1")
    with subprocess.Popen(ask, env=environ, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"a\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["complete"]
        server.request_arrived.clear()
        process.stdin.write(b"b\n")
        process.stdin.flush()
        assert server.request_arrived.wait(30)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert Path("tape").read_bytes().count(b"\n") == 1
    assert b"1 row: 1 succeeded, 0 failed, 0 skipped, 1 interrupted" in told
    assert b"cost unknown" in told


def test_a_replay_costs_nothing(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    assert aiml(*LINE_ARGUMENTS, "--record", "tape", "--no-log", stdin=ROWS).returncode == 0
    ended = aiml(*LINE_ARGUMENTS, "--replay", "tape", "--max-cost", "0.1", "-j", "1", stdin=ROWS)
    assert (ended.returncode, ended.stdout.count(b"\n")) == (0, 3)
    assert select("SELECT * FROM spent") == []


def test_schema_retries_are_replayed_with_many_workers(server: Loopback, aiml: Aiml) -> None:
    for text in ("no JSON", '{"a": "x"}', "nor this", '{"a": "y"}'):
        server.answer_with(stream(delta(text), delta(finish="stop"), event("[DONE]")))
    asks = [*LINE_ARGUMENTS, "--schema", "a", "--schema-retries", "1"]
    assert aiml(*asks, "--record", "tape", "-j", "1", stdin=b"1\n2\n").returncode == 0
    ended = aiml(*asks, "--replay", "tape", "-j", "256", stdin=b"1\n2\n")
    assert [json.loads(line)["data"] for line in ended.stdout.splitlines()] == [{"a": "x"}, {"a": "y"}]
    assert len(server.requests) == 4


def test_many_workers_record_over_tls_and_the_key_is_not_recorded(aiml: Aiml, tmp_path: Path) -> None:
    environ = {"AIML_CA_BUNDLE": certificates.write_bundle(tmp_path), "AIMLAPI_API_KEY": "sk-secret-0123456789abcdef"}
    rows = b"".join(b"row %d\n" % number for number in range(100))
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        ask = [*LINE_ARGUMENTS, "-j", "64", "--record", "tape"]
        assert aiml(*ask, stdin=rows, **{**environ, "AIML_BASE_URL": server.url}).returncode == 0
    tape = Path("tape").read_bytes()
    assert (tape.count(b"\n"), b"0123456789abcdef" in tape) == (100, False)
    ended = aiml(*LINE_ARGUMENTS, "-j", "64", "--replay", "tape", stdin=rows)
    assert [json.loads(line)["row"] for line in ended.stdout.splitlines()] == list(range(1, 101))
