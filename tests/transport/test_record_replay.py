"""Exchanges are recorded and replayed without a network."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.console import Console
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    SILENCE,
    STREAM,
    Loopback,
    chunk,
    delta,
    event,
    http_response,
    json_response,
    response_object,
    stream,
    text_events,
)
from support.paths import ROOT, SHARED
from support.run_cli import Aiml

from aiml_cli.__main__ import main

KEY = "k-canary-77a0c3f1"
RECORDING = "tape.jsonl"
GATEWAY_RECORDINGS = sorted((SHARED / "recordings").glob("*.json"))
Captured = pytest.CaptureFixture[bytes]
# No name in this domain is ever found, and there is no key for it.
UNREACHABLE_SERVER = {"AIML_BASE_URL": "https://nowhere.invalid/other/v7"}
# Ends with 99 where a socket was made or a network asked, and with 98 where the HTTP library was loaded.
PROGRAM_WITHOUT_NETWORK = """
import sys
sys.argv[0] = "aiml"
seen = []
sys.addaudithook(lambda name, facts: seen.append(name) if name.startswith("socket.") else None)
from aiml_cli.__main__ import main
code = main()
sys.exit(99 if seen else 98 if "httpx" in sys.modules else code)
"""


def read_recording(path: str = RECORDING) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def parse_without_timing(found: bytes) -> Any:
    return {**json.loads(found), "timing": None}


def record_and_replay(aiml: Aiml, *arguments: str, code: int = 0, **environ: str) -> tuple[Any, Any]:
    """Record a call and replay it at a server that is not there."""
    first = aiml(*arguments, "--record", RECORDING, **environ)
    second = aiml(*arguments, "--replay", RECORDING, **{**environ, **UNREACHABLE_SERVER})
    assert (first.returncode, second.returncode) == (code, code), (first.stderr, second.stderr)
    return first, second


CUT_STREAM = stream(delta("Hel"), delta("lo"), end=b"")
SERVER_ERROR = json_response({"error": {"message": "out of order"}}, "500 Broken", "X-Request-Id: req-5")
RATE_LIMIT_ERROR = json_response({"error": {"message": "too fast"}}, "429 Slow", "Retry-After: 3600")
STREAM_WITH_ODD_BYTES = (
    STREAM
    + chunk(b"data: \xff\xfe\n")
    + chunk(delta("caf\u00e9")[:-20])
    + chunk(delta("caf\u00e9")[-20:] + delta(finish="stop"))
)


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize("output_format", ["text", "json", "jsonl", "raw"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HELLO, 0),
        (CUT_STREAM, 8),
        (SERVER_ERROR, 6),
        (RATE_LIMIT_ERROR, 5),
        (stream(delta("Hi"), event({"error": {"message": "no"}})), 6),
    ],
    ids=["whole", "cut", "failed", "limited", "mid-stream"],
)
def test_a_replay_has_the_output_and_exit_code_of_the_recorded_call(
    output_format: str, answer: bytes, code: int, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(answer)
    first, second = record_and_replay(aiml, "chat", "hi", "--format", output_format, code=code)
    assert len(server.requests) == 1
    if output_format in ("text", "raw"):
        assert second.stdout == first.stdout
    elif output_format == "json":
        assert parse_without_timing(second.stdout) == parse_without_timing(first.stdout)
    assert second.stderr == first.stderr


def test_the_bytes_of_a_stream_are_the_same(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(STREAM_WITH_ODD_BYTES + b"0\r\n\r\n")
    first, second = record_and_replay(aiml, "chat", "hi", "--format", "raw", code=6)
    assert second.stdout == first.stdout
    assert b"\xff\xfe" in second.stdout


def test_ids_and_price_are_kept(server: Loopback, aiml: Aiml) -> None:
    facts = ("X-Inference-Id: inf-1", "X-AIMLAPI-USD-Spent: 5e-7", "Set-Cookie: a=b")
    said = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    server.answer_with(json_response(said, "200 OK", *facts))
    _, second = record_and_replay(aiml, "chat", "hi", "--json", "-S")
    told = json.loads(second.stdout)
    assert (told["request_id"], told["cost_usd"]) == ("inf-1", 5e-7)
    assert "set-cookie" not in read_recording()[0]["reply"]["headers"]


def test_a_replay_opens_no_socket_needs_no_key_and_loads_no_http_library(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_WITHOUT_NETWORK, "chat", "hi", "--replay", RECORDING],
        env={**os.environ, **UNREACHABLE_SERVER}, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"Hello\n"), done.stderr


def test_the_key_command_is_not_run_for_a_replay(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    done = aiml("chat", "hi", AIML_REPLAY=RECORDING, AIML_KEY_COMMAND="/bin/false")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")


def test_a_rate_limit_and_the_retry_are_replayed_without_the_pause(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": {"message": "slow"}}, "429 Slow", "Retry-After: 0"))
    server.answer_with(HELLO)
    aiml("chat", "hi", "--retries", "1", "--record", RECORDING)
    Path(RECORDING).write_text(Path(RECORDING).read_text().replace('"retry-after": "0"', '"retry-after": "100"'))
    done = aiml("chat", "hi", "--retries", "1", "--replay", RECORDING)
    assert done.stdout == b"Hello\n"
    assert b"trying again in 0.0 s (1 of 1)" in done.stderr


def test_replies_to_the_same_request_come_in_order_and_the_last_one_again(server: Loopback, aiml: Aiml) -> None:
    for message in ("first", "second"):
        server.answer_with(json_response({"error": {"message": message}}, "500 Broken", "Retry-After: 0"))
        aiml("chat", "hi", "--record", RECORDING)
    done = aiml("chat", "hi", "--retries", "2", "--replay", RECORDING)
    assert done.returncode == 6
    assert [line.split(";")[0].split(": ")[2] for line in done.stderr.decode().splitlines()[:3]] == [
        "first",
        "second",
        "second",
    ]


def test_every_process_begins_with_the_first_reply(server: Loopback, aiml: Aiml) -> None:
    for text in ("one", "two"):
        server.answer_with(stream(delta(text), delta(finish="stop")))
        aiml("chat", "hi", "--record", RECORDING)
    assert [aiml("chat", "hi", "--replay", RECORDING).stdout for _ in range(2)] == [b"one\n"] * 2


def test_refused_connections_and_timeouts_are_replayed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(SILENCE)
    late = record_and_replay(aiml, "chat", "hi", "--timeout", "0.3", code=7)
    assert late[0].stderr == late[1].stderr
    first = aiml("chat", "ho", "--record", RECORDING, AIML_BASE_URL="http://127.0.0.1:9/v1")
    second = aiml("chat", "ho", "--replay", RECORDING)
    assert (first.returncode, second.returncode, first.stderr) == (7, 7, second.stderr)


def test_a_conversation_continues_from_replays(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    for flag in ("--record", "--replay"):
        session = {"AIML_SESSION": flag.strip("-")}
        assert aiml("chat", "hi", flag, RECORDING, **session).returncode == 0
        assert aiml("chat", "-c", "and", "then", flag, RECORDING, **session).stdout == b"Hello\n"
    assert len(server.requests) == 2


def test_repeated_requests_for_a_schema_are_replayed_in_order(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("no"), delta(finish="stop")))
    server.answer_with(stream(delta('{"a": "b"}'), delta(finish="stop")))
    first, second = record_and_replay(aiml, "chat", "hi", "--schema", "a", "--schema-retries", "2")
    assert first.stdout == second.stdout == b'{"a": "b"}\n'
    assert len(read_recording()) == 2


def test_the_rest_of_a_cut_answer_is_replayed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("Hel"), delta(finish="length")))
    server.answer_with(stream(delta("lo"), delta(finish="stop")))
    first, second = record_and_replay(aiml, "chat", "hi", "--auto-continue", "3")
    assert first.stdout == second.stdout == b"Hello\n"


def test_a_background_response_is_polled_in_a_replay(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(response_object("", "queued", output=[])))
    record_and_replay(aiml, "respond", "hi", "--background")
    server.answer_with(json_response(response_object("", "in_progress", output=[])))
    server.answer_with(json_response(response_object()))
    first, second = record_and_replay(aiml, "respond", "--wait", "resp_1")
    assert first.stdout == second.stdout == b"Hello\n"


def test_tool_calls_and_spoken_answers_are_replayed(server: Loopback, aiml: Aiml) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    server.answer_with(stream(delta(tool_calls=[call]), delta(finish="tool_calls")))
    sound = {
        "message": {"content": "Hi", "audio": {"id": "a", "data": "AAEC", "transcript": "Hi"}},
        "finish_reason": "stop",
    }
    server.answer_with(json_response({"choices": [sound]}))
    calls = record_and_replay(aiml, "chat", "hi", "--json")
    assert parse_without_timing(calls[0].stdout) == parse_without_timing(calls[1].stdout)
    aiml("chat", "say", "-S", "--audio-out", "one.wav", "--record", RECORDING)
    aiml("chat", "say", "-S", "--audio-out", "two.wav", "--replay", RECORDING)
    assert Path("one.wav").read_bytes() == Path("two.wav").read_bytes() == b"\x00\x01\x02"


def test_responses_stream_from_a_recording(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO_RESPONSE)
    first, second = record_and_replay(aiml, "respond", "hi")
    assert first.stdout == second.stdout == b"Hello\n"
    server.answer_with(stream(*text_events("Hel"), end=b""))
    record_and_replay(aiml, "respond", "ho", code=8)


def test_a_file_from_an_address_is_matched_by_the_whole_address(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(b"the words", "200 OK", "text/plain"))
    server.answer_with(HELLO)
    address = server.url.replace("/v1", "/a.txt")
    record_and_replay(aiml, "chat", "hi", "-f", address)
    other = aiml("chat", "hi", "-f", address.replace("127.0.0.1", "localhost"), "--replay", RECORDING)
    assert other.returncode == 4
    assert f"has no GET {address.replace('127.0.0.1', 'localhost')}" in other.stderr.decode()


def test_models_and_usage_are_replayed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"data": [{"id": "some/model"}]}))
    first, second = record_and_replay(aiml, "models")
    assert first.stdout == second.stdout != b""
    server.answer_with(json_response({"current_balance": 3.5, "currency": "USD"}))
    server.answer_with(json_response({"spend": 1.25, "requests": 3, "models": []}))
    first, second = record_and_replay(aiml, "usage")
    assert first.stdout == second.stdout
    assert b"3.5" in second.stdout


@pytest.mark.parametrize("model", ["demo/echo", "demo/markdown", "demo/reasoning", "demo/cut", "demo/tools"])
def test_the_demo_server_is_recorded_and_not_started_for_a_replay(model: str, aiml: Aiml) -> None:
    first = aiml("chat", "--demo", "-m", model, "hello there", "--record", RECORDING, "-q")
    second = aiml("chat", "--demo", "-m", model, "hello there", "--replay", RECORDING, "-q")
    assert (second.returncode, second.stdout, second.stderr) == (first.returncode, first.stdout, first.stderr)
    assert read_recording()[0]["request"]["path"] == "/chat/completions"


def test_debug_shows_what_a_recording_answers(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    _, second = record_and_replay(aiml, "chat", "hi", "--debug")
    shown = second.stderr.decode().splitlines()
    assert shown[0] == "> POST /other/v7/chat/completions HTTP/1.1"
    assert "< data: [DONE]" in shown


def test_config_check_looks_at_the_recording_and_at_no_server(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    assert b"tape.jsonl is replayed" in aiml("config", "check", AIML_REPLAY=RECORDING).stdout
    done = aiml("config", "check", AIML_REPLAY="gone.jsonl")
    assert (done.returncode, len(server.requests)) == (2, 1)


def test_rows_are_replayed_by_several_workers_at_once(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    rows, each = b"a\nb\nc\nd\ne\nf\n", ("chat", "--each", "line", "-j", "4", "say {row}")
    aiml(*each, "--record", RECORDING, stdin=rows)
    assert len(read_recording()) == 6
    done = aiml(*each, "--replay", RECORDING, stdin=rows + b"g\n", **UNREACHABLE_SERVER)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [row["text"] for row in found]) == (10, ["Hello"] * 6 + [""])
    assert '"say' in found[6]["error"]["message"]


def test_several_models_are_replayed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    first, second = record_and_replay(aiml, "chat", "hi", "-m", "a/one", "-m", "b/two")
    assert first.stdout == second.stdout != b""
    assert {found["request"]["json"]["model"] for found in read_recording()} == {"a/one", "b/two"}


def test_models_that_lost_the_race_are_not_recorded(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    server.answer_with(STREAM + chunk(delta("Hel")), SILENCE)
    done = aiml("chat", "hi", "-m", "a/one", "-m", "b/two", "--first", "--record", RECORDING)
    assert (done.stdout, len(read_recording())) == (b"Hello\n", 1)
    replayed = aiml("chat", "hi", "-m", "a/one", "-m", "b/two", "--first", "--replay", RECORDING)
    assert (replayed.returncode, replayed.stdout) == (0, b"Hello\n")


def test_a_replay_falls_back_to_the_next_model_too(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": {"message": "no such model"}}, "404 Not Found"))
    server.answer_with(HELLO)
    first, second = record_and_replay(aiml, "chat", "hi", "-m", "a/one,b/two")
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)


def test_a_conversation_in_the_repl_is_replayed_line_by_line(server: Loopback) -> None:
    server.answer_with(HELLO)
    for flag, address in (("--record", server.url), ("--replay", UNREACHABLE_SERVER["AIML_BASE_URL"])):
        with Console("chat", "--interactive", flag, RECORDING, AIML_BASE_URL=address) as console:
            for count, text in enumerate(("hi", "and then"), 1):
                console.wait_for_prompt()
                console.type_line(text)
                console.wait_until(lambda count=count: console.read_text().count("Hello") == count)
            console.wait_for_prompt()
            console.type_line("/exit")
            assert console.wait_for_exit() == 0
    assert len(server.requests) == 2


@pytest.mark.skipif(not GATEWAY_RECORDINGS, reason="the recordings are no part of the repository")
@pytest.mark.parametrize("path", GATEWAY_RECORDINGS, ids=lambda path: path.stem[:60])
def test_recorded_answers_of_real_gateways_are_replayed(path: Path, server: Loopback, capfdbinary: Captured) -> None:
    found = json.loads(path.read_text())
    body = base64.b64decode(found["body_base64"]) if "body_base64" in found else found["body"].encode()
    server.answer_with(http_response(body, f"{found['status']} Word", found.get("content_type") or ""))
    call = ["respond" if found["endpoint"] == "responses" else "chat", "hi", "--format", "raw", "--retries", "0"]
    first = main([*call, "--record", RECORDING, "--base-url", server.url]), capfdbinary.readouterr()
    second = main([*call, "--replay", RECORDING]), capfdbinary.readouterr()
    assert first == second


def read_code_blocks(page: str) -> list[str]:
    return [part.split("\n", 1)[1] for part in Path(page).read_text().split("```")[1::2]]


def test_the_script_in_the_documentation_works(server: Loopback, tmp_path: Path) -> None:
    _, script, test, told = read_code_blocks(str(ROOT / "docs/replay.md"))
    Path("color.sh").write_text(script)
    Path("test-color.sh").write_text(test)
    Path("bin").mkdir()
    Path("bin/aiml").write_text(f'#!/bin/sh\nexec {sys.executable} -m aiml_cli "$@"\n')
    Path("bin/aiml").chmod(0o755)
    server.answer_with(stream(delta("blue"), delta(finish="stop")))
    environ = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "AIML_BASE_URL": server.url}

    def run(**more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", "test-color.sh"], env={**environ, **more}, capture_output=True, text=True, timeout=60, check=False
        )

    assert run(RECORD="1").stdout == run(**UNREACHABLE_SERVER).stdout == "ok: the sky is BLUE\n"
    assert len(server.requests) == 1
    Path("color.sh").write_text(script.replace(" One word.", ""))
    failed = run(**UNREACHABLE_SERVER)
    assert failed.stderr == told
    assert failed.returncode
