"""--cache: the same request is answered again from a private store, byte for byte and at no cost."""

import errno
import json
import os
import signal
import stat
import subprocess
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_answer_with_cost, build_json_error, stream_text
from support.console import Console
from support.forked_process import CliProcess
from support.history_file import history_path
from support.loopback import RESET, SILENCE, STREAM, Loopback, chunk, delta, event, json_response, stream
from support.run_cli import IGNORES_PERMISSIONS, Aiml, build_command, build_permission_prefix

from aiml_cli.__main__ import main
from aiml_cli.store import answer_cache

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
ON_BOTH_ENDPOINTS = pytest.mark.parametrize("endpoint", ["chat", "respond"])
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
FOLDER_VARIABLES = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
GOOD, BAD = '{"name": "Ada"}', '{"name": 3}'


@pytest.fixture(autouse=True)
def forget_notices() -> None:
    """Forget the notices that were shown, as a new process would."""
    answer_cache.forget_problems()


@pytest.fixture
def run(server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the program in this process, against the loopback server."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    monkeypatch.setenv("AIML_RETRIES", "0")

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        code, shown = main(arguments), capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, shown.out.encode(), shown.err.encode())

    return run


def list_entries() -> list[Path]:
    """Return the stored answers."""
    folder = answer_cache.answer_cache_dir()
    return sorted(path for path in folder.glob("*") if path.name != "growth") if folder.exists() else []


def age_entries(seconds: float) -> None:
    """Make all stored answers older."""
    for path in list_entries():
        head, _, data = zlib.decompress(path.read_bytes()).partition(b"\n")
        path.write_bytes(zlib.compress(b"%.3f\n%b" % (float(head) - seconds, data)))


@ON_BOTH_ENDPOINTS
@pytest.mark.promise("cache")
@pytest.mark.parametrize(
    "flags", [[], ["-S"], ["--format", "raw"], ["--format", "raw", "-S"], ["--format", "jsonl"], ["--json"], ["-x"]]
)
def test_the_second_answer_equals_the_first_byte_for_byte(
    endpoint: str, flags: list[str], server: Loopback, run: Run
) -> None:
    server.answer_with(stream_text(endpoint, "Some “text”\n\n```sh\nls\n```\nand more"))
    first, second = (run(endpoint, "--cache", "hi", *flags) for _ in range(2))
    assert (first.returncode, second.returncode, len(server.requests)) == (0, 0, 1)
    assert remove_call_facts(second.stdout) == remove_call_facts(first.stdout) != b""
    assert (first.stderr, second.stderr) == (b"", b"aiml: from the cache, 0 s old\n")


def remove_call_facts(output: bytes) -> Any:
    """Return the output; of JSON, without what differs from call to call."""
    try:
        lines = [json.loads(output)]
    except ValueError:
        if not output.startswith(b'{"type"'):
            return output
        lines = [json.loads(line) for line in output.splitlines()]
    names = ("cached", "cost_usd", "cost_source", "timing")
    return [{name: value for name, value in line.items() if name not in names} for line in lines]


def test_stream_options_do_not_matter_for_text_but_they_do_for_raw_output(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    outputs = [run("chat", "--cache", "hi", *flags).stdout for flags in ([], ["-S"], ["--no-include-usage"])]
    assert (outputs, len(server.requests)) == ([b"Hello\n"] * 3, 2)
    for flags in ([], ["-S"], [], ["-S"]):
        run("chat", "--cache", "hi", "--format", "raw", *flags)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ([], ["--temperature", "1"], False),
        (["--temperature", "1"], ["--temperature", "1.0"], True),
        (["-O", "a.b=1", "-O", "a.c=2"], ["-O", "a.c=2", "-O", "a.b=1"], True),
        ([], ["-m", "other"], False),
        ([], ["-s", "Be short."], False),
        ([], ["--header", "X-Team: blue"], False),
        (["--header", "X-Team: blue"], ["--header", "x-team: blue"], True),
        ([], ["-q"], True),
        ([], ["--format", "text", "-u", "--timeout", "7", "--retries", "1"], True),
    ],
)
def test_only_requests_with_the_same_effect_share_an_answer(
    first: list[str], second: list[str], is_same: bool, server: Loopback, run: Run
) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    for flags in (first, second):
        assert run("chat", "--cache", "hi", *flags).returncode == 0
    assert len(server.requests) == (1 if is_same else 2)


def test_each_key_has_its_own_answers_and_no_key_is_stored(
    server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["sk-first-key-0123456789", "sk-other-key-0123456789"]
    server.answer_with(stream_text("chat", f"Your key is {keys[0]}, and the word is orange"))
    for key in (*keys, *keys):
        monkeypatch.setenv("AIMLAPI_API_KEY", key)
        run("chat", "--cache", "a secret question")
    assert len(server.requests) == len(list_entries()) == 2
    stored = b"".join(zlib.decompress(path.read_bytes()) for path in list_entries())
    assert (keys[0].encode() in stored, b"sk-other" in stored, b"secret question" in stored) == (False, False, False)
    assert b"0123456789" not in stored


@pytest.mark.parametrize(("age", "is_found"), [("10s", False), ("59m", False), ("2h", True), ("1d", True), ("", True)])
def test_only_an_answer_younger_than_the_limit_is_used(age: str, is_found: bool, server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "old"))
    server.answer_with(stream_text("chat", "new"))
    run("chat", "--cache", "hi")
    age_entries(3700)
    done = run("chat", *([f"--cache={age}"] if age else ["--cache"]), "hi")
    assert (done.stdout, done.stderr) == (
        (b"old\n", b"aiml: from the cache, 1 h old\n") if is_found else (b"new\n", b"")
    )
    assert run("chat", "--cache", "1m", "hi").stdout == (b"new\n")


def test_an_answer_from_the_future_is_not_used(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "old"))
    run("chat", "--cache", "hi")
    age_entries(-4000)
    run("chat", "--cache", "hi")
    assert len(server.requests) == 2


@pytest.mark.parametrize("age", ["30", "0", "0h", "-5m", "1.5h", "h", "1y", "1 h", "9999999d", "9" * 5000 + "d", "1dd"])
@pytest.mark.parametrize("source", ["flag", "environment"])
def test_an_invalid_age_is_refused(age: str, source: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if source == "environment":
        monkeypatch.setenv("AIML_CACHE", age)
    done = run("chat", *([f"--cache={age}"] if source == "flag" else []), "hi")
    assert (done.returncode, done.stdout, b"an age with its unit" in done.stderr) == (2, b"", True)
    assert len(done.stderr) < 500


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        (["--cache", "why", "so"], "why so"),
        (["--cache", "12h", "why", "so"], "why so"),
        (["why", "so", "--cache"], "why so"),
        (["--cache", "-q", "why", "so"], "why so"),
        (["--cache", "--", "12h"], "12h"),
    ],
)
def test_a_word_after_cache_that_is_not_an_age_belongs_to_the_prompt(
    words: list[str], prompt: str, server: Loopback, run: Run
) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    assert run("chat", *words).returncode == 0
    assert (server.requests[0].json["messages"][-1]["content"], len(list_entries())) == (prompt, 1)


@ON_BOTH_ENDPOINTS
def test_the_cache_is_off_by_default(
    endpoint: str, server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer_with(stream_text(endpoint, "Hello"))
    run(endpoint, "hi")
    assert list_entries() == []
    monkeypatch.setenv("AIML_CACHE", "2h")
    run(endpoint, "hi")
    run(endpoint, "hi")
    run(endpoint, "hi", "--cache", "off")
    assert (len(list_entries()), len(server.requests)) == (1, 3)
    monkeypatch.delenv("AIML_CACHE")
    assert (run("config", "set", "cache", "7d").returncode, run("config", "get", "cache").stdout) == (0, b"7d\n")
    run(endpoint, "hi")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "flags", [["-T", "weather"], ["--no-log"], ["--record", "r.jsonl"], ["--replay", "r.jsonl"], ["--background"]]
)
@pytest.mark.parametrize("source", ["flag", "environment"])
def test_requests_that_must_be_new_or_private_are_not_cached(
    flags: list[str], source: str, server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the flag this is an error; a setting from the environment is ignored."""
    server.answer_with(stream_text("respond", "Hello"))
    if source == "environment":
        monkeypatch.setenv("AIML_CACHE", "1d")
        run("respond", "hi", *flags)
    else:
        done = run("respond", "hi", "--cache", *flags)
        assert (done.returncode, b"--cache cannot be used with" in done.stderr) == (2, True)
        assert server.requests == []
    assert list_entries() == []


@pytest.mark.parametrize("source", ["flag", "environment"])
def test_rows_with_no_log_are_not_cached(
    source: str, server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    (tmp_path / "rows").write_text("a\nb\n")
    monkeypatch.setenv("AIML_CACHE", "1d")
    flags = ["--no-log"] if source == "flag" else []
    if not flags:
        monkeypatch.setenv("AIML_NO_LOG", "1")
    assert run("chat", "--each", "line", "-f", "rows", *flags).returncode == 0
    assert list_entries() == []


FILTERED_ANSWER = stream(delta("no"), delta(finish="content_filter"), event("[DONE]"))
REFUSED_ANSWER = json_response(
    {"choices": [{"index": 0, "finish_reason": "stop", "message": {"refusal": "No.", "content": None}}]}
)
TRUNCATED_ANSWER = stream(delta("half"))
EMPTY_ANSWER = stream(delta(finish="stop"), event("[DONE]"))
LATE_ERROR = stream(delta("half"), event({"error": {"message": "broken"}}))


@pytest.mark.promise("cache")
@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        (stream_text("chat", "half", "length"), []),
        (stream_text("chat", "half", "length"), ["--allow-cut"]),
        (FILTERED_ANSWER, []),
        (REFUSED_ANSWER, []),
        (TRUNCATED_ANSWER, []),
        (EMPTY_ANSWER, []),
        (LATE_ERROR, []),
        (build_json_error("bad"), []),
        (build_json_error("down", "500 Internal Server Error"), []),
        (stream_text("chat", "prose"), ["-x"]),
        (stream_text("chat", "prose"), ["--items"]),
        (stream_text("chat", BAD), ["--schema", "name"]),
    ],
)
def test_an_incomplete_answer_is_never_stored(answer: bytes, flags: list[str], server: Loopback, run: Run) -> None:
    server.answer_with(answer)
    run("chat", "--cache", "hi", *flags)
    run("chat", "--cache", "hi", *flags)
    assert (list_entries(), len(server.requests)) == ([], 2)


def test_a_stored_answer_that_fails_a_check_is_deleted(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "prose"))
    run("chat", "--cache", "hi")
    assert run("chat", "--cache", "hi", "-x").returncode == 9
    assert (list_entries(), run("chat", "--cache", "hi").returncode, len(server.requests)) == ([], 0, 2)


def test_a_corrected_answer_is_stored_for_the_question(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", BAD))
    server.answer_with(stream_text("chat", GOOD))
    flags = ["--schema", "name", "--schema-retries", "2"]
    outputs = [run("chat", "--cache", "hi", *flags).stdout for _ in range(2)]
    assert (outputs, len(server.requests)) == ([GOOD.encode() + b"\n"] * 2, 2)
    assert run("chat", "--cache", "hi", "--schema", "name").stdout == GOOD.encode() + b"\n"


def test_an_answer_in_several_parts_is_stored_as_a_whole(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "one ", "length"))
    server.answer_with(stream_text("chat", "two"))
    outputs = [run("chat", "--cache", "hi", "--auto-continue", "3").stdout for _ in range(2)]
    assert (outputs, len(server.requests)) == ([b"one two\n"] * 2, 2)


@pytest.mark.parametrize("is_reset", [True, False])
def test_parts_are_stored_if_each_of_them_ended(is_reset: bool, server: Loopback, run: Run) -> None:
    """A part whose connection broke may lack what was still on its way."""
    server.answer_with(*((STREAM, chunk(delta("half")), RESET) if is_reset else (TRUNCATED_ANSWER,)))
    server.answer_with(stream_text("chat", " and half"))
    outputs = [run("chat", "--cache", "hi", "--auto-continue", "3").stdout for _ in range(2)]
    assert (outputs[0], len(server.requests)) == (b"half and half\n", 3 if is_reset else 2)
    assert is_reset or outputs[1] == outputs[0]


def test_an_answer_of_a_fallback_model_is_stored_for_that_model(server: Loopback, run: Run) -> None:
    server.scripts_by_model = {"a": [build_json_error("down", "503 Down")], "b": [stream_text("chat", "Hello")]}
    for _ in range(2):
        assert run("chat", "--cache", "-m", "a,b", "hi").stdout == b"Hello\n"
    assert [request.json["model"] for request in server.requests] == ["a", "b", "a"]
    assert run("chat", "--cache", "-m", "a", "hi").returncode == 6
    assert run("chat", "--cache", "-m", "b", "hi").stdout == b"Hello\n"


def test_each_of_several_models_has_its_own_answer(server: Loopback, run: Run) -> None:
    server.scripts_by_model = {name: [stream_text("chat", f"I am {name}")] for name in "ab"}
    first, second = (run("chat", "--cache", "-m", "a", "-m", "b", "hi") for _ in range(2))
    assert (second.stdout, len(server.requests)) == (first.stdout, 2)
    assert second.stderr.count(b"from the cache") == 2


def test_an_answer_written_to_a_file_is_cached_and_can_be_written_again(
    server: Loopback, run: Run, tmp_path: Path
) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    for _ in range(2):
        (tmp_path / "out").unlink(missing_ok=True)
        assert run("chat", "--cache", "hi", "-o", "out").returncode == 0
        assert (tmp_path / "out").read_text() == "Hello\n"
    assert len(server.requests) == 1


def test_a_stored_answer_is_kept_if_the_reader_closes_the_pipe(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "line\n" * 50_000))
    aiml("chat", "--cache", "hi")
    assert len(list_entries()) == 1
    head = subprocess.run(
        ["sh", "-c", "python -m aiml_cli chat --cache hi | head -1"],
        env={**os.environ, "AIML_BASE_URL": server.url},
        capture_output=True,
        check=False,
    )
    assert (head.stdout, len(list_entries()), len(server.requests)) == (b"line\n", 1, 1)


def test_a_cached_answer_has_no_cost_in_any_output(server: Loopback, run: Run, tmp_path: Path) -> None:
    server.answer_with(build_answer_with_cost("Hello", "stop", 0.5))
    run("chat", "--cache", "hi")
    usage = run("usage", "--by", "day").stdout
    done = run("chat", "--cache", "hi", "-u", "--json", "--meta", "meta.json")
    for facts in (json.loads(done.stdout), json.loads((tmp_path / "meta.json").read_text())):
        assert (facts["cost_usd"], facts["cost_source"], facts["cached"], facts["usage"]["input_tokens"]) == (
            0.0, "cache", True, 3,
        )  # fmt: skip
    assert b" $0\n" in done.stderr
    assert run("usage", "--by", "day").stdout == usage
    exported = json.loads(run("history", "export", "--format", "json").stdout)
    costs = [message["cost_usd"] for each in exported for message in each["messages"] if message["role"] != "user"]
    assert sorted(costs) == [0.0, 0.5]


def test_max_cost_does_not_prevent_a_cached_answer(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--demo", "--cache", "hi")
    assert run("chat", "--demo", "--max-cost", "0.0000001", "hi").returncode == 2
    assert run("chat", "--demo", "--cache", "--max-cost", "0.0000001", "hi").returncode == 0


@ON_BOTH_ENDPOINTS
def test_answers_of_the_demo_server_are_cached_across_calls(endpoint: str, run: Run) -> None:
    first, second = (run(endpoint, "--demo", "--cache", "hi", "--json") for _ in range(2))
    assert (json.loads(first.stdout)["id"], b"from the cache" in second.stderr) == (
        json.loads(second.stdout)["id"],
        True,
    )


def test_a_conversation_can_be_continued_after_a_cached_answer(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    server.answer_with(stream_text("chat", "More"))
    run("chat", "--cache", "hi")
    run("chat", "--cache", "hi")
    assert run("chat", "-c", "--cache", "go on").stdout == b"More\n"
    assert [message["content"] for message in server.requests[1].json["messages"]] == ["hi", "Hello", "go on"]


@pytest.mark.promise("cache")
def test_concurrent_workers_and_processes_store_every_answer(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    (tmp_path / "rows").write_text("".join(f"row {number}\n" for number in range(40)))

    def ask(_: int) -> "subprocess.CompletedProcess[bytes]":
        return aiml("chat", "--cache", "--each", "line", "-j", "8", "-f", "rows")

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(ask, range(4)))
    assert [done.returncode for done in runs] == [0] * 4
    assert (len(list_entries()), all(len(path.name) == 64 for path in list_entries())) == (40, True)
    count = len(server.requests)
    last = ask(0)
    rows = [json.loads(line) for line in last.stdout.splitlines()]
    assert (len(server.requests), [row["cached"] for row in rows]) == (count, [True] * 40)
    assert b"40 from the cache" in last.stderr
    assert {row["text"] for row in rows} == {"Hello"}


@ON_BOTH_ENDPOINTS
def test_equal_rows_are_sent_once(endpoint: str, server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(stream_text(endpoint, "Hello"))
    (tmp_path / "rows").write_text("same\n" * 20 + "other\n" + "same\n" * 20)
    done = aiml(endpoint, "--cache", "--each", "line", "-j", "16", "-f", "rows")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(server.requests)) == (0, 2)
    assert [row["cached"] for row in rows].count(False) == 2
    assert {row["text"] for row in rows} == {"Hello"}


def test_a_row_is_sent_itself_if_an_equal_row_fails(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(build_json_error("no"))
    server.answer_with(stream_text("chat", "Hello"))
    (tmp_path / "rows").write_text("same\n" * 12)
    done = aiml("chat", "--cache", "--each", "line", "-j", "8", "-f", "rows")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(server.requests)) == (10, 2)
    assert sorted(row["text"] for row in rows)[1:] == ["Hello"] * 11


def test_a_signal_ends_rows_that_wait_for_an_equal_row(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(SILENCE)
    (tmp_path / "rows").write_text("same\n" * 8)
    child = CliProcess(
        build_command("chat", "--cache", "--each", "line", "-j", "4", "-f", "rows"),
        env={**os.environ, "AIML_BASE_URL": server.url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert server.request_arrived.wait(30)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert (child.returncode, len(server.requests)) == (130, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-3],
        lambda data: b"\0" * len(data),
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda _: zlib.compress(b"nan\n{}"),
        lambda _: zlib.compress(b"%d\n{}\n" % time.time()),
        lambda _: zlib.compress(b"%d\n[]\n" % time.time()),
        lambda _: zlib.compress(b"%d\n" % time.time()),
        lambda _: zlib.compress(b"\xff\xfe"),
    ],
)
def test_a_damaged_answer_is_replaced(damage: Callable[[bytes], bytes], server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--cache", "hi")
    (entry,) = list_entries()
    entry.write_bytes(damage(entry.read_bytes()))
    assert [run("chat", "--cache", "hi").stdout for _ in range(2)] == [b"Hello\n"] * 2
    assert (len(server.requests), len(list_entries())) == (2, 1)


@pytest.mark.promise("cache")
def test_the_cache_is_private(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    umask = os.umask(0)
    try:
        run("chat", "--cache", "hi")
    finally:
        os.umask(umask)
    folder = answer_cache.answer_cache_dir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_can_change_is_not_used(mode: int, server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--cache", "hi")
    answer_cache.answer_cache_dir().chmod(mode)
    done = run("chat", "--cache", "hi")
    assert (done.returncode, done.stdout, len(server.requests)) == (0, b"Hello\n", 2)
    assert (b"others can change it" in done.stderr, done.stderr.count(b"\n")) == (True, 1)


def test_a_file_or_folder_that_is_a_link_is_not_used(server: Loopback, run: Run, tmp_path: Path) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--cache", "hi")
    (entry,) = list_entries()
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert run("chat", "--cache", "hi").returncode == 0
    assert (len(server.requests), entry.is_symlink()) == (2, False)
    folder = answer_cache.answer_cache_dir()
    folder.rename(tmp_path / "folder")
    folder.symlink_to(tmp_path / "folder")
    assert (run("chat", "--cache", "hi").stdout, len(server.requests)) == (b"Hello\n", 3)
    run("history", "rm", "--all", "-y")
    assert (tmp_path / "folder" / entry.name).exists()


def test_a_file_that_others_can_read_is_replaced(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--cache", "hi")
    (entry,) = list_entries()
    entry.chmod(0o644)
    run("chat", "--cache", "hi")
    assert (len(server.requests), stat.S_IMODE(entry.stat().st_mode)) == (2, 0o600)


@pytest.mark.promise("answer-before-storage")
def test_without_a_home_directory_the_answer_is_shown_with_a_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    done = aiml("chat", "--cache", "hi", **dict.fromkeys(FOLDER_VARIABLES, ""), HOME="/dev/null/home")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert done.stderr.count(b"not cached") == 1


@pytest.mark.promise("answer-before-storage")
@pytest.mark.skipif(IGNORES_PERMISSIONS, reason="root may write everywhere, and there is no setpriv")
def test_a_read_only_folder_gives_one_notice(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    (tmp_path / "rows").write_text("a\nb\nc\n")
    answer_cache.answer_cache_dir().mkdir(mode=0o500, parents=True)
    for flags in (["hi"], ["--each", "line", "-f", "rows"]):
        done = aiml("chat", "--cache", *flags, before=build_permission_prefix())
        assert (done.returncode, done.stderr.count(b"not cached")) == (0, 1)


@pytest.mark.promise("answer-before-storage")
def test_a_full_disk_gives_one_notice_and_leaves_no_partial_file(
    server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.answer_with(stream_text("chat", "Hello"))
    monkeypatch.setattr(answer_cache, "write_all", write_half)
    done = run("chat", "--cache", "hi")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert done.stderr == b"aiml: this answer was not cached: No space left on device\n"
    assert list_entries() == []


@pytest.mark.promise("cache")
def test_the_oldest_answers_are_removed_first(server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_cache, "MAX_BYTES", 10 * answer_cache.BLOCK_BYTES)
    monkeypatch.setattr(answer_cache, "GROWTH_BYTES", 2 * answer_cache.BLOCK_BYTES)
    server.answer_with(stream_text("chat", "Hello"))
    for number in range(30):
        run("chat", "--cache", f"question {number}")
        assert len(list_entries()) <= 10
    count = len(server.requests)
    run("chat", "--cache", "question 29")
    run("chat", "--cache", "question 0")
    assert len(server.requests) == count + 1


def test_an_answer_that_is_too_large_is_not_stored(server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_cache, "MAX_ENTRY_BYTES", 1000)
    server.answer_with(stream_text("chat", os.urandom(4000).hex()))
    assert b"not cached: it is larger than" in run("chat", "--cache", "hi").stderr
    assert list_entries() == []


@pytest.mark.parametrize("has_history", [True, False])
def test_deleting_the_whole_history_deletes_the_cached_answers(has_history: bool, server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--cache", "hi")
    run("chat", "--cache", "ho")
    if not has_history:
        history_path().unlink()
    assert run("history", "rm", "--all").returncode == 2
    assert len(list_entries()) == 2
    done = run("history", "rm", "--all", "-y")
    assert (done.returncode, list_entries(), answer_cache.answer_cache_dir().exists()) == (0, [], False)
    assert b"2 cached answers" in done.stderr


def test_deleting_some_conversations_leaves_the_answers(server: Loopback, run: Run) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    run("chat", "--cache", "hi")
    assert run("history", "rm", "last", "-y").returncode == 0
    assert len(list_entries()) == 1


def type_and_wait(console: Console, line: str, expected: str = "") -> None:
    """Type a line, and wait until its effect and the next prompt are on the screen."""
    console.type_line(line)
    console.wait_until(lambda: f"> {line}" in console.read_text() and expected in console.read_text())
    console.wait_for_prompt()


def type_questions(server: Loopback, *lines: tuple[str, str]) -> None:
    """Type lines into a conversation in turns with a cache, each with what it shows."""
    console = Console("chat", AIML_BASE_URL=server.url, columns=100)
    console.wait_for_prompt()
    for line, shown in (("/set cache 1h", ""), *lines):
        type_and_wait(console, line, shown)
    console.type_line("/exit")
    console.wait_until(lambda: not console.read_output())


def test_the_repl_uses_the_cache_except_for_retry(server: Loopback) -> None:
    server.answer_with(stream_text("chat", "first"))
    server.answer_with(stream_text("chat", "second"))
    type_questions(server, ("/set cache 30", "an age with its unit"), ("hi", "first"), ("/retry", "second"))
    type_questions(server, ("hi", "from the cache, "))
    assert len(server.requests) == 2
