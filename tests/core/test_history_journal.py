"""What is stored of an exchange, while it happens and however it ends."""

import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.forked_process import CliProcess, run_process
from support.history_file import (
    history_path,
    read_answer_states,
    read_answers,
    read_messages,
    read_streaming_text,
    select,
    wait_until_equal,
)
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
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
from support.run_cli import Aiml, build_command
from support.streaming import read_bytes, start_streaming

from aiml_cli.__main__ import main
from aiml_cli.store.history import database

CALL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}
QUEUED_RESPONSE = response_object("", "queued", output=[])
KEY = "aiml-canary-0123456789abcdef"


@pytest.mark.promise("stored-while-arriving")
def test_text_is_saved_while_the_answer_arrives_and_survives_a_kill(server: Loopback, aiml: Aiml) -> None:
    with start_streaming(server) as process:
        assert read_bytes(process.stdout, 5) == b"Hello"
        assert wait_until_equal(read_streaming_text, "Hello")
        process.kill()
        process.wait(30)
    assert b"interrupted" in aiml("history", "show").stdout
    server.scripts = [[HELLO]]
    told = aiml("chat", "-c", "and").stderr
    assert b"continuing" in told
    assert read_answer_states()[0] == ("interrupted", "Hello")
    assert read_streaming_text() == ""


@pytest.mark.promise("stored-while-arriving")
def test_reasoning_of_a_schema_retry_is_saved_while_it_arrives(server: Loopback) -> None:
    first, second = threading.Event(), threading.Event()
    began = STREAM + chunk(delta(reasoning_content="a long thought"))
    server.answer_with(began, first, chunk(delta(finish="stop")) + b"0\r\n\r\n")
    server.answer_with(STREAM + chunk(delta(reasoning_content="short")), second)
    asked = build_command("chat", "hi", "--schema", "name", "--schema-retries", "1", "-q")
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with subprocess.Popen(asked, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        assert wait_until_equal(read_streaming_text, "a long thought")
        first.set()
        assert wait_until_equal(read_streaming_text, "a long thoughtshort")
        process.kill()
    second.set()


@pytest.mark.promise("stored-while-arriving")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_answer_ended_by_a_signal_is_stored_as_interrupted(number: int, server: Loopback) -> None:
    with start_streaming(server) as process:
        read_bytes(process.stdout, 5)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert read_answer_states() == [("interrupted", "Hello")]


@pytest.mark.promise("stored-while-arriving")
def test_an_answer_whose_reader_closes_the_pipe_is_stored_as_interrupted(server: Loopback) -> None:
    more, gone = threading.Event(), threading.Event()
    server.answer_with(
        stream(delta("Hel"), end=b""), more, b"".join(stream(delta("lo"), end=b"").partition(b"\r\n\r\n")[2:]), gone
    )
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    process = CliProcess(
        build_command("chat", "hi"),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        read_bytes(process.stdout, 3)
        assert process.stdout
        process.stdout.close()
        more.set()
        assert process.wait(30) == 141
    gone.set()
    assert read_answer_states() == [("interrupted", "Hello")]


@pytest.mark.promise("stored-while-arriving")
def test_an_answer_to_a_full_disk_is_stored_as_interrupted(server: Loopback) -> None:
    with open("/dev/full", "wb") as full, start_streaming(server, stdout=full) as process:  # noqa: PTH123 - a device
        assert process.wait(30) == 1
    assert read_answer_states() == [("interrupted", "Hello")]


@pytest.mark.parametrize(
    ("reply", "state", "text"),
    [
        (HELLO, "complete", "Hello"),
        (stream(delta("Hel"), end=b""), "incomplete", "Hel"),
        (stream(delta("Hel")), "incomplete", "Hel"),
        (stream(delta("Hel"), delta(finish="length")), "incomplete", "Hel"),
        (stream(delta("Hel"), delta(finish="content_filter")), "incomplete", "Hel"),
        (stream(delta("Hel"), event({"error": {"message": "It broke."}})), "incomplete", "Hel"),
        (stream(delta(refusal="No."), delta(finish="stop")), "incomplete", ""),
        (stream(delta(tool_calls=[CALL])), "incomplete", ""),
        (json_response({"message": "wrong key"}, "401 Unauthorized"), "failed", ""),
        (json_response({"message": "slow down"}, "429 Too Many"), "failed", ""),
        (b"", "failed", ""),
    ],
)
def test_the_state_says_how_an_answer_ended(reply: bytes, state: str, text: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(reply)
    aiml("chat", "hi")
    assert read_answer_states() == [(state, text)]
    assert read_messages()[0]["text"] == "hi"


def test_a_question_that_could_not_be_sent_is_stored_as_failed(aiml: Aiml) -> None:
    assert aiml("chat", "hi", AIML_BASE_URL="http://127.0.0.1:9/v1").returncode == 7
    assert read_answer_states() == [("failed", "")]
    assert "no connection" in read_answers()[0]["facts"]["error"]["message"]


def test_all_metadata_of_an_answer_is_stored(server: Loopback, aiml: Aiml) -> None:
    found = response_object("Hello", usage={"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, "meta": {}})
    server.answer_with(json_response(found, "200 OK", "x-request-id: req-1", "x-aimlapi-usd-spent: 0.25"))
    aiml("respond", "hi", "-m", "asked/for", "--temperature", "0.5", "--store", "-s", "Be brief")
    (row,) = read_answers()
    assert (row["endpoint"], row["host"], row["model"]) == ("responses", f"127.0.0.1:{server.port}", "asked/for")
    assert row["options"] == {"temperature": 0.5, "store": True}
    assert (row["usage"]["input_tokens"], row["cost_usd"], row["cost_source"]) == (3, 0.25, "gateway")
    assert (row["request_id"], row["response_id"], row["stored"]) == ("req-1", "resp_1", 1)
    assert (row["facts"]["model"], row["items"]) == ("m", found["output"])
    assert select("SELECT system, title FROM conversations") == [{"system": "Be brief", "title": "hi"}]


def test_the_cost_in_the_body_is_kept(server: Loopback, aiml: Aiml) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    last = {"id": "chat-1", "model": "m", "choices": [], "usage": usage, "meta": {"usage": {"usd_spent": 0.5}}}
    server.answer_with(stream(delta("Hi"), delta(finish="stop"), event(last), event("[DONE]")))
    aiml("chat", "hi")
    assert read_answers()[0]["cost_usd"] == 0.5


def test_choices_reasoning_and_calls_are_stored(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(
        stream(delta("one", reasoning_content="Hm"), delta("two", index=1), delta(tool_calls=[CALL]),
               delta(finish="tool_calls"), delta(finish="stop", index=1)),
        )  # fmt: skip
    aiml("chat", "hi", "-n", "2")
    (row,) = read_answers()
    assert (row["text"], row["thought"], row["facts"]["others"]) == ("one", "Hm", [[1, "two"]])
    function = {"name": "f", "arguments": '{"a":1}'}
    calls = [{"id": "c1", "type": "function", "function": function}]
    assert row["items"] == [{"role": "assistant", "content": "one", "tool_calls": calls}]


def test_an_answer_that_fails_the_schema_is_a_row_of_its_own(server: Loopback, aiml: Aiml) -> None:
    for text in ("no", '{"a":1}'):
        server.answer_with(stream(delta(text), delta(finish="stop")))
    aiml("chat", "hi", "--schema", "a int", "--schema-retries", "1")
    assert read_answer_states() == [("complete", "no"), ("complete", '{"a":1}')]
    server.answer_with(HELLO)
    aiml("chat", "-c", "more")
    assert [turn["content"] for turn in server.requests[-1].json["messages"][-3:]] == ["hi", '{"a":1}', "more"]


def test_a_background_response_is_completed_in_its_own_row(server: Loopback, aiml: Aiml) -> None:
    for found in (QUEUED_RESPONSE, response_object("Hello")):
        server.answer_with(json_response(found))
    assert aiml("respond", "hi", "--background", "--store").returncode == 0
    assert aiml("respond", "--wait", "resp_1").returncode == 0
    assert read_answer_states() == [("complete", "Hello")]
    assert [row["text"] for row in read_messages()] == ["hi", "Hello"]


def test_a_failed_wait_can_be_repeated(server: Loopback, aiml: Aiml) -> None:
    for reply in (json_response(QUEUED_RESPONSE), b"", json_response(response_object("Hello"))):
        server.answer_with(reply)
    aiml("respond", "hi", "--background", "--store")
    assert aiml("respond", "--wait", "resp_1").returncode == 7
    assert aiml("respond", "--wait", "resp_1").returncode == 0
    assert read_answer_states() == [("complete", "Hello")]


def test_showing_a_stored_answer_again_changes_nothing(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(response_object("Hello"), "200 OK", "x-aimlapi-usd-spent: 0.25"))
    server.answer_with(json_response(response_object("Hello")))
    aiml("respond", "hi", "--store")
    before = read_messages()
    assert aiml("respond", "--show", "resp_1").returncode == 0
    assert read_messages() == before


@pytest.mark.parametrize("reply", [json_response({"message": "gone"}, "404 Not Found"), b""])
def test_a_failed_show_does_not_change_the_stored_answer(reply: bytes, server: Loopback, aiml: Aiml) -> None:
    for found in (json_response(response_object("Hello")), reply):
        server.answer_with(found)
    aiml("respond", "hi", "--store")
    before = read_messages()
    assert aiml("respond", "--show", "resp_1").returncode
    assert read_messages() == before


def test_an_unknown_response_makes_one_conversation(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(response_object("Hello", id="resp_9")))
    for _ in range(2):
        assert aiml("respond", "--show", "resp_9").returncode == 0
    assert read_answer_states() == [("complete", "Hello")]
    assert select("SELECT title FROM conversations") == [{"title": "response resp_9"}]


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--no-log"], {}),
        ([], {"AIML_NO_LOG": "1"}),
        (["--dry-run"], {}),
        (["--as", "curl"], {}),
    ],
)
def test_no_log_creates_no_file(arguments: list[str], environ: dict[str, str], server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "hi", *arguments, **environ).returncode == 0
    assert not history_path().parent.exists()


def test_no_log_can_be_set_in_the_config_file(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("config", "set", "no_log", "true")
    assert aiml("chat", "hi").stdout == b"Hello\n"
    assert not history_path().exists()


def test_files_and_images_are_stored_as_they_were_sent(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    picture, text = tmp_path / "a.png", tmp_path / "a.txt"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
    text.write_text("in the file")
    server.answer_with(HELLO)
    aiml("chat", "look", "-f", str(picture), "-f", str(text))
    asked = read_messages()[0]
    assert asked["items"] == server.requests[0].json["messages"]
    assert "in the file" in asked["text"]


def test_only_the_beginning_of_a_huge_question_is_stored(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", stdin=b"word " * (4 << 20)).returncode == 0
    asked = read_messages()[0]
    assert (len(asked["text"]), asked["items"], asked["facts"]) == (64 * 1024, [], {"cut": True})
    done = aiml("chat", "-c", "more")
    assert (done.returncode, len(server.requests)) == (2, 1)
    assert b"too large to be stored" in done.stderr


@pytest.mark.parametrize("name", ["arguments", "refusal"])
def test_only_the_beginning_of_a_huge_tool_call_or_refusal_is_stored(name: str, server: Loopback, aiml: Aiml) -> None:
    words = "word " * (1 << 20)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": words}}
    pieces = [delta(tool_calls=[call]) if name == "arguments" else delta(refusal=words)] * 4
    server.answer_with(stream(delta("Well"), *pieces, delta(finish="stop")))
    aiml("chat", "hi")
    answer = read_messages()[1]
    facts = answer["facts"]
    kept = facts["tool_calls"][0]["arguments"] if name == "arguments" else facts["refusal"]
    assert (answer["text"], kept, answer["items"], facts["cut"]) == ("Well", words[: 64 * 1024], [], True)


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize(
    "reply",
    [
        json_response({"message": f"wrong key {KEY}"}, "401 Unauthorized"),
        stream(delta("Hi"), event({"error": {"message": f"{KEY} was not taken"}})),
        json_response({"error": {"message": f"{KEY} was not taken"}}),
    ],
)
def test_a_key_that_the_server_repeats_is_not_kept(reply: bytes, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(reply)
    aiml("chat", "hi", AIMLAPI_API_KEY=KEY)
    assert read_answers()[0]["facts"]["error"]["message"]
    assert KEY not in json.dumps(read_messages())


def put_file_in_place_of_folder() -> None:
    history_path().parent.write_bytes(b"")


def put_link_in_place_of_file() -> None:
    history_path().parent.mkdir()
    history_path().symlink_to("elsewhere.db")


def put_folder_in_place_of_file() -> None:
    history_path().parent.mkdir()
    history_path().mkdir()


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize("spoil", [put_file_in_place_of_folder, put_link_in_place_of_file, put_folder_in_place_of_file])
def test_a_history_that_cannot_be_written_gives_one_notice(spoil: Any, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    spoil()
    done = aiml("chat", "hi")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert done.stderr.startswith(b"aiml: this answer was not stored in the history: ")
    assert done.stderr.count(b"\n") == 1
    assert aiml("chat", "hi", "-q").stderr == b""


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize("damage", ["noise", "truncated"])
def test_a_damaged_history_gives_one_notice_and_is_moved_aside(damage: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi")
    with closing(sqlite3.connect(history_path())) as locker:
        locker.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = history_path().read_bytes()
    history_path().write_bytes(os.urandom(9000) if damage == "noise" else data[: len(data) // 2])
    done = aiml("chat", "again")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (0, b"Hello\n", 1)
    assert b"damaged" in done.stderr
    assert [row["text"] for row in read_messages()] == ["again", "Hello"]


@pytest.mark.promise("answer-before-storage")
def test_a_full_disk_gives_one_notice(server: Loopback) -> None:
    server.answer_with(HELLO)
    done = run_process(
        build_command("chat", "hi"), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert done.stderr.startswith(b"aiml: this answer was not stored in the history: ")


@pytest.mark.promise("answer-before-storage")
def test_a_locked_history_gives_one_notice(
    server: Loopback, aiml: Aiml, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi")
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    with closing(sqlite3.connect(history_path(), isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        assert main(["chat", "again", "--no-stdin"]) == 0
        written = capfd.readouterr()
    assert written.out == "Hello\n"
    assert written.err == "aiml: this answer was not stored in the history: " + written.err.partition("history: ")[2]
    assert "locked" in written.err


@pytest.mark.promise("answer-before-storage")
def test_a_locked_history_does_not_delay_the_text(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi")
    server.scripts.clear()
    with closing(sqlite3.connect(history_path(), isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        with start_streaming(server) as process:
            assert read_bytes(process.stdout, 5) == b"Hello"
            locker.execute("ROLLBACK")
            assert wait_until_equal(read_streaming_text, "Hello")


IMPORT_PROBE = """
import os, sys
class Probe:
    def find_spec(self, name, path=None, target=None):
        if name == "sqlite3":
            open(os.environ["PROBE"], "w").close()
sys.meta_path.insert(0, Probe())
from aiml_cli.__main__ import run
run()
"""


@pytest.mark.promise("answer-before-storage")
def test_the_history_is_opened_only_after_the_request_is_sent(tmp_path: Path) -> None:
    """While the server does not read all of the request, nothing of the history is loaded."""
    probe, size = tmp_path / "probe", 16 << 20
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        environ = {**os.environ, "PROBE": str(probe), "AIML_BASE_URL": url, "AIML_RETRIES": "0"}
        places: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", IMPORT_PROBE, "chat"], env=environ, **places) as process:
            assert process.stdin
            process.stdin.write(b"x" * size)
            process.stdin.close()
            process.stdin = None
            connection, _ = server.accept()
            with connection:
                got = receive_bytes(connection, size // 4)
                assert not probe.exists()
                receive_bytes(connection, size - got)
                connection.sendall(HELLO)
                assert process.communicate(timeout=30)[0] == b"Hello\n"
    assert probe.exists()


def receive_bytes(connection: socket.socket, least: int) -> int:
    """Read at least this many bytes; return how many."""
    count = 0
    while count < least:
        count += len(connection.recv(1 << 16))
    return count


@pytest.mark.promise("history-rows")
def test_twenty_concurrent_processes_lose_no_row(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda number: aiml("chat", f"number {number}"), range(20)))
    assert [(each.returncode, each.stderr) for each in done] == [(0, b"")] * 20
    assert read_answer_states() == [("complete", "Hello")] * 20
    asked = [row["text"] for row in read_messages() if row["role"] == "user"]
    assert sorted(asked) == sorted(f"number {number}" for number in range(20))


@pytest.mark.promise("private-files")
def test_the_file_is_private_and_its_timestamps_are_correct(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO_RESPONSE)
    aiml("respond", "hi")
    assert {path.stat().st_mode & 0o777 for path in history_path().parent.iterdir()} == {0o600}
    now = history_path().stat().st_mtime
    assert all(abs(row["at"] - now) < 60 for row in read_messages())


def test_a_broken_stream_is_stored_with_its_items(server: Loopback, aiml: Aiml) -> None:
    item = response_object("Hello")["output"][0]
    server.answer_with(
        stream(*text_events("Hel", "lo"), event({"type": "response.output_item.done", "item": item}), end=b"")
    )
    aiml("respond", "hi")
    assert (read_answer_states(), read_answers()[0]["items"]) == ([("incomplete", "Hello")], [item])


def test_an_invalid_session_name_is_refused_before_the_request(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "hi", AIML_SESSION="../up")
    assert (done.returncode, server.requests) == (2, [])


def test_invalid_text_is_stored_as_well_as_possible(server: Loopback, aiml: Aiml) -> None:
    half = '{"id": "\\ud800", "choices": [{"index": 0, "message": {"content": "Hi \\ud800"}, "finish_reason": "stop"}]}'
    server.answer_with(http_response(half.encode()))
    done = aiml(
        "chat", os.fsdecode(b"h\xff"), "-s", os.fsdecode(b"s\xff"), "-m", os.fsdecode(b"m\xff"), stdin=b"piped \xff"
    )
    assert (done.returncode, b"history" in done.stderr) == (0, False), done.stderr
    assert [row["state"] for row in read_messages()] == ["complete", "complete"]
