"""The recording file: concurrent writers, masked secrets, privacy, and how requests are matched."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.forked_process import CliProcess
from support.loopback import (
    HELLO,
    SILENCE,
    STREAM,
    Loopback,
    chunk,
    delta,
    http_response,
    json_response,
    response_object,
    stream,
)
from support.run_cli import Aiml, build_command

KEY = "k-canary-77a0c3f1"
RECORDING = "tape.jsonl"


def read_recording() -> list[Any]:
    return [json.loads(line) for line in Path(RECORDING).read_bytes().splitlines()]


def test_a_request_that_was_not_recorded_is_an_error_with_the_difference(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "something else altogether", "--record", RECORDING)
    aiml("chat", "hello", "--temperature", "0.5", "--record", RECORDING)
    done = aiml("chat", "helo", "--replay", RECORDING, "-O", "seed=3")
    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr.decode().splitlines() == [
        f"aiml: {RECORDING} does not contain this request; the closest one differs:",
        '  messages[0].content: "hello" was recorded, "helo" is requested',
        "  seed: 3 is requested but was not recorded",
        "  temperature: 0.5 was recorded but is not requested",
        "hint: add it with the same command and --record instead of --replay",
    ]


def test_a_long_difference_is_short_and_harmless(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "x" * 9000 + "end", "--record", RECORDING)
    more = [word for number in range(20) for word in ("-O", f"p{number}={number}")]
    done = aiml("chat", "x" * 9000 + f"\x1b]0;{KEY}", *more, "--replay", RECORDING, AIMLAPI_API_KEY=KEY)
    told = done.stderr.decode()
    assert len(told.splitlines()) <= 11
    assert max(map(len, told.splitlines())) < 240
    assert '…xxxxxxxxxxxxxxxxxxxxxxxxend"' in told
    assert "\x1b" not in told
    assert KEY not in told


def test_a_request_to_another_path_is_an_error_that_names_both_paths(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    done = aiml("respond", "hi", "--replay", RECORDING)
    assert done.returncode == 4
    assert b"tape.jsonl has no POST /responses, only POST /chat/completions" in done.stderr


def test_json_is_compared_as_values(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--temperature", "1", "--record", RECORDING)
    found = read_recording()[0]
    found["request"]["json"] = dict(reversed(found["request"]["json"].items())) | {"temperature": 1}
    Path(RECORDING).write_text(json.dumps(found, separators=(",", ":")))  # an editor took the last line break away
    done = aiml("chat", "hi", "--temperature", "1.0", "--replay", RECORDING, AIML_BASE_URL="https://nowhere.invalid")
    assert done.returncode == 0
    done = aiml("chat", "hi", "-O", "temperature=true", "--replay", RECORDING)
    assert done.returncode == 4
    assert b"temperature: 1 was recorded, true is requested" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "tape.jsonl: No such file or directory"),
        ("", "tape.jsonl contains no exchange"),
        ('{"aiml": 1}\n', "tape.jsonl:1: the exchange is incomplete"),
        ("LINE\n\nnot json\nLINE\n", "tape.jsonl:3: this is not JSON"),
        ('LINE\n["a"]\n', "tape.jsonl:2: this is not a line of a recording"),
        ('LINE\n{"aiml": 2}\n', "tape.jsonl:2: this was recorded by another version of aiml"),
        ('LINE\n{"aiml": 1, "request": {"method": "GET", "path": "/", "json": 1}}\n', "tape.jsonl:2: "),
    ],
)
def test_an_unusable_recording_is_an_error(content: str | None, words: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", "good.jsonl")
    if content is not None:
        Path(RECORDING).write_text(content.replace("LINE", Path("good.jsonl").read_text().strip()))
    done = aiml("chat", "hi", "--replay", RECORDING)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr.decode()


def test_record_and_replay_cannot_be_used_together(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "--record", "a", "--replay", "b")
    assert (done.returncode, server.requests, Path("a").exists()) == (2, [], False)


@pytest.mark.parametrize("place", ["folder", "missing/tape", "fifo", "notes.txt"])
def test_an_invalid_path_for_a_recording_is_refused_before_anything_is_sent(
    place: str, server: Loopback, aiml: Aiml
) -> None:
    Path("folder").mkdir()
    os.mkfifo("fifo")
    Path("notes.txt").write_text("my notes")
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "--record", place)
    assert (done.returncode, server.requests) == (2, [])
    assert Path("notes.txt").read_text() == "my notes"


@pytest.mark.parametrize("flags", [["-o"], ["--meta"], ["--each", "line", "--resume-from"]])
def test_a_recording_is_not_overwritten(flags: list[str], server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    before = Path(RECORDING).read_bytes()
    for flag in ("--record", "--replay"):
        done = aiml("chat", *flags, f"./{RECORDING}", flag, RECORDING, stdin=b"hi\n")
        assert (done.returncode, Path(RECORDING).read_bytes(), len(server.requests)) == (2, before, 1)
        assert b"cannot be the same file" in done.stderr


@pytest.mark.promise("private-files")
def test_a_recording_is_private_from_the_start(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    assert stat.S_IMODE(Path(RECORDING).stat().st_mode) == 0o600


def test_many_processes_record_into_one_file(server: Loopback) -> None:
    server.answer_with(HELLO)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    calls = [build_command("chat", f"hi {number}", "x" * 70_000, "--record", RECORDING, "-q") for number in range(8)]
    running = [
        subprocess.Popen(call, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for call in calls
    ]
    assert [each.wait(60) for each in running] == [0] * 8
    asked = [found["request"]["json"]["messages"][0]["content"] for found in read_recording()]
    assert sorted(text.split()[1] for text in asked) == list(map(str, range(8)))


def test_an_incomplete_last_line_is_ignored_and_removed_by_the_next_recording(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "--record", RECORDING)
    whole = Path(RECORDING).read_bytes()
    Path(RECORDING).write_bytes(whole + whole[:-30])
    done = aiml("chat", "hi", "--replay", RECORDING)
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert b"tape.jsonl:2: the last line is incomplete and is skipped" in done.stderr
    aiml("chat", "again", "--record", RECORDING)
    assert [found["request"]["json"]["messages"][0]["content"] for found in read_recording()] == ["hi", "again"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_call_that_was_stopped_leaves_no_line(number: int, code: int, server: Loopback) -> None:
    server.answer_with(STREAM + chunk(delta("Hel")), SILENCE)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    running = CliProcess(build_command("chat", "hi", "--record", RECORDING), env=environ, stdout=subprocess.PIPE)
    assert running.stdout
    assert running.stdout.read(3) == b"Hel"
    running.send_signal(number)
    running.stdout.close()
    assert running.wait(60) == code
    assert Path(RECORDING).read_bytes() == b""


@pytest.mark.promise("answer-before-storage")
def test_a_full_disk_gives_a_notice_and_the_answer(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(HELLO)
    limited = [
        "bash",
        "-c",
        'ulimit -f 1; trap "" XFSZ; exec "$@"',
        "bash",
        *build_command("chat", "x" * 3000, "--no-log", "--record", RECORDING),
    ]
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(limited, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert b"aiml: the exchange could not be recorded: tape.jsonl: there is not enough space" in done.stderr
    assert Path(RECORDING).read_bytes() == b""


ESCAPED_KEY = "".join(f"\\u{ord(char):04x}" for char in KEY)


@pytest.mark.parametrize(
    "answer",
    [
        stream(delta(f"your key is {KEY}, yes"), delta(finish="stop")),
        STREAM + b"".join(chunk(delta(KEY)[place : place + 1]) for place in range(len(delta(KEY)))) + b"0\r\n\r\n",
        stream(delta("KEY").replace(b"KEY", ESCAPED_KEY.encode()), delta(finish="stop")),
        json_response({"error": {"message": f"{KEY} is wrong"}}, "401 No", f"X-Echo: {KEY}", f"Set-Cookie: {KEY}"),
        http_response(KEY.encode(), "302 Found", "text/plain", f"Location: /{KEY}"),
    ],
    ids=["stream", "bytes", "escaped", "refused", "moved"],
)
@pytest.mark.promise("key-masked")
def test_the_key_is_in_no_recording(answer: bytes, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(answer)
    aiml("chat", f"my key is {KEY}", "--record", RECORDING, "--allow-secrets", AIMLAPI_API_KEY=KEY)
    written = Path(RECORDING).read_text()
    assert server.requests[0].get_header("authorization") == f"Bearer {KEY}"
    assert len(read_recording()) == 1
    assert KEY not in written
    assert KEY not in "".join(read_recording()[0]["reply"]["chunks"]).encode().decode("unicode_escape")
    assert "authorization" not in written.lower()


def test_credentials_of_tools_are_not_recorded_and_do_not_prevent_a_replay(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(json.dumps(response_object(tools=[{"headers": {"X-Token": KEY}}])).encode()))
    tool = {"type": "mcp", "server_label": "d", "server_url": "https://d.example", "headers": {"X-Token": KEY}}
    for flag in ("--record", "--replay"):
        assert aiml("respond", "hi", "-S", "-O", f"tools={json.dumps([tool])}", flag, RECORDING).returncode == 0
    assert KEY not in Path(RECORDING).read_text()


@pytest.mark.promise("private-files")
@pytest.mark.parametrize("mode", [None, 0o644, 0o666, 0o640, 0o604, 0o755, 0o600])
@pytest.mark.parametrize("content", ["", "recorded"])
def test_a_recording_can_be_read_only_by_its_owner(
    mode: int | None, content: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(HELLO)
    server.answer_with(HELLO)
    if content:
        aiml("chat", "hi", "--record", RECORDING)
    if mode is not None:
        Path(RECORDING).touch()
        Path(RECORDING).chmod(mode)
    old = os.umask(0)
    try:
        assert aiml("chat", "hi", "--record", RECORDING).returncode == 0
    finally:
        os.umask(old)
    assert Path(RECORDING).stat().st_mode & 0o777 == 0o600
    assert len(Path(RECORDING).read_bytes().splitlines()) == (2 if content else 1)


@pytest.mark.promise("private-files")
@pytest.mark.parametrize("is_answered", [True, False])
def test_a_recording_is_private_before_anything_is_sent(is_answered: bool, server: Loopback, aiml: Aiml) -> None:
    Path(RECORDING).touch(mode=0o644)
    if not is_answered:
        done = aiml("chat", "hi", "--record", RECORDING, AIML_BASE_URL="http://127.0.0.1:9/v1")
        assert done.returncode == 7
    else:
        server.answer_with(HELLO)
        aiml("chat", "hi", "--record", RECORDING)
    assert Path(RECORDING).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_recording_file_of_another_user_is_refused(server: Loopback, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = Path("open")  # the current directory is entered before root is left
    path.touch()
    path.chmod(0o666)
    code = "import os, sys; from aiml_cli.transport.recorder import check_recording_path; os.setuid(54321); check_recording_path(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "the recording cannot be written: Operation not permitted" in done.stderr
    assert path.stat().st_mode & 0o777 == 0o666


def test_the_mode_of_an_existing_file_is_unchanged(aiml: Aiml) -> None:
    Path("notes.txt").write_text("my notes")
    Path("notes.txt").chmod(0o644)
    assert aiml("chat", "hi", "--record", "notes.txt").returncode == 2
    assert Path("notes.txt").stat().st_mode & 0o777 == 0o644
