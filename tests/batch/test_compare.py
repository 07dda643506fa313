"""Several models in parallel: all their answers, or with --first the first complete one."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import PRICES, store_catalog
from support.console import Console
from support.forked_process import CliProcess
from support.history_file import read_answer_states, read_answers, read_messages, wait_until_equal
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    SILENCE,
    STREAM,
    Loopback,
    chunk,
    delta,
    event,
    json_response,
    stream,
)
from support.run_cli import Aiml, build_command

pytestmark = pytest.mark.in_process

BYE_ANSWER = stream(delta("B"), delta("ye"), delta(finish="stop"), event("[DONE]"))
SERVER_ERROR = json_response({"error": "down"}, "503 Service Unavailable")
REJECTED_REQUEST = json_response({"error": "no"}, "400 Bad Request")
TWO_MODELS = ("-m", "a", "-m", "b")
BEGUN_STREAM = STREAM + chunk(delta("Hel"))


def set_events(*events: threading.Event) -> Iterator[bytes]:
    """Set the events when the script reaches this step; nothing is sent."""
    for each in events:
        each.set()
    yield b""


def answer_together(barrier: threading.Barrier, reply: bytes) -> Iterator[bytes]:
    """Answer once all parties of the barrier have sent their requests."""
    barrier.wait(20)
    yield reply


@contextmanager
def start_program(server: Loopback, *arguments: str, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program; make sure that it has ended after the block."""
    process = CliProcess(
        build_command("chat", *TWO_MODELS, "hi", *arguments),
        env={**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", **environ},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        yield process
        process.kill()


def test_models_run_in_parallel_and_answers_are_shown_in_the_order_given(server: Loopback, aiml: Aiml) -> None:
    barrier = threading.Barrier(2)
    server.scripts_by_model = {"a": [answer_together(barrier, HELLO)], "b": [answer_together(barrier, BYE_ANSWER)]}
    done = aiml("chat", *TWO_MODELS, "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"## a\n\nHello\n\n## b\n\nBye\n", b"")


def test_the_first_unfinished_section_is_streamed(server: Loopback) -> None:
    seen = threading.Event()
    server.scripts_by_model = {"a": [BEGUN_STREAM, seen, chunk(delta("lo", "stop")), b"0\r\n\r\n"], "b": [BYE_ANSWER]}
    with start_program(server) as process:
        assert process.stdout
        assert process.stdout.read(9) == b"## a\n\nHel"
        seen.set()
        assert process.stdout.read() == b"lo\n\n## b\n\nBye\n"


def test_no_hint_to_continue_is_given_for_one_of_several_answers(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [stream(delta("Hel"), end=b"")], "b": [BYE_ANSWER]}
    done = aiml("chat", *TWO_MODELS, "hi")
    assert (done.returncode, done.stdout) == (8, b"## a\n\nHel\n\n## b\n\nBye\n")
    assert b"hint: try again" in done.stderr
    assert b"-c asks" not in done.stderr


def test_standard_input_and_files_are_read_once_and_sent_to_all(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    os.mkfifo(empty_home / "pipe")
    threading.Thread(target=(empty_home / "pipe").write_text, args=("a rule",), daemon=True).start()
    server.scripts_by_model = {"a": [HELLO], "b": [HELLO], "c": [HELLO]}
    assert aiml("chat", *TWO_MODELS, "-m", "c", "-s", "@pipe", "sum up", stdin=b"the notes").returncode == 0
    bodies = [request.json for request in server.requests]
    assert sorted(body.pop("model") for body in bodies) == ["a", "b", "c"]
    assert bodies[0] == bodies[1] == bodies[2]
    assert [message["role"] for message in bodies[0]["messages"]] == ["system", "user"]
    assert "the notes" in bodies[0]["messages"][1]["content"]


def test_the_key_command_runs_once(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [HELLO]}
    (empty_home / "key.sh").write_text(f"echo x >> {empty_home}/asked; echo a-key-of-many-letters")
    (empty_home / "xdg_config_home/aiml").mkdir(mode=0o700)
    (empty_home / "xdg_config_home/aiml/config.toml").write_text(
        f'key_command = "sh {empty_home}/key.sh"\nbase_url = "{server.url}"'
    )
    assert aiml("chat", *TWO_MODELS, "hi", AIML_BASE_URL="").returncode == 0
    assert (empty_home / "asked").read_text() == "x\n"
    assert {request.get_header("authorization") for request in server.requests} == {"Bearer a-key-of-many-letters"}


@pytest.mark.promise("stored-while-arriving")
def test_each_answer_is_its_own_conversation_in_the_history(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [BYE_ANSWER]}
    assert aiml("chat", *TWO_MODELS, "hi").returncode == 0
    assert sorted((row["model"], row["text"], row["state"]) for row in read_answers()) == [
        ("a", "Hello", "complete"),
        ("b", "Bye", "complete"),
    ]
    assert len({row["conversation"] for row in read_messages()}) == 2
    assert [row["text"] for row in read_messages() if row["role"] == "user"] == ["hi", "hi"]


@pytest.mark.promise("history-rows")
def test_parallel_models_lose_no_row_of_a_new_history(server: Loopback, aiml: Aiml) -> None:
    barrier = threading.Barrier(12)
    names = [f"m{number}" for number in range(12)]
    server.scripts_by_model = {name: [answer_together(barrier, HELLO)] for name in names}
    done = aiml("chat", *(word for name in names for word in ("-m", name)), "hi")
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(row["model"] for row in read_answers()) == sorted(names)


def test_no_log_keeps_nothing(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [BYE_ANSWER]}
    assert aiml("chat", *TWO_MODELS, "hi", "--no-log").returncode == 0
    assert read_messages() == []


@pytest.mark.promise("incomplete-answers")
def test_one_failure_does_not_affect_the_others_and_the_first_sets_the_exit_code(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [SERVER_ERROR], "c": [REJECTED_REQUEST], "d": [BYE_ANSWER]}
    done = aiml("chat", *TWO_MODELS, "-m", "c", "-m", "d", "hi")
    assert done.stdout == b"## a\n\nHello\n\n## b\n\n\n## c\n\n\n## d\n\nBye\n"
    assert done.returncode == 6
    assert b"aiml: b: the server answered 503: down\n" in done.stderr
    assert b"aiml: c: the server answered 400: no\n" in done.stderr


def test_lines_on_standard_error_begin_with_the_model(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [json_response({"error": "down"}, "503 Down", "Retry-After: 0")]}
    done = aiml("chat", *TWO_MODELS, "hi", "-u", "-v", AIML_RETRIES="1")
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith(("aiml: a: ", "aiml: b: ")) for line in lines)
    assert any(line.startswith("aiml: a: 3 in ") for line in lines)
    assert any(line.startswith("aiml: b: the server answered 503: down; trying again") for line in lines)


def test_the_same_model_can_be_asked_twice(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO]}
    done = aiml("chat", "-m", "a", "-m", "a", "hi")
    assert done.stdout == b"## a (1)\n\nHello\n\n## a (2)\n\nHello\n"
    assert [request.json["model"] for request in server.requests] == ["a", "a"]


def test_json_is_an_array_in_the_order_given_and_includes_errors(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [SERVER_ERROR]}
    done = aiml("chat", "-m", "b", "-m", "a", "hi", "--json")
    down, hello = json.loads(done.stdout)
    assert (done.returncode, down["error"]["exit_code"], down["complete"], down["text"]) == (6, 6, False, "")
    assert (hello["error"], hello["complete"], hello["text"]) == (None, True, "Hello")
    assert done.stderr.splitlines()[0] == b"aiml: b: the server answered 503: down"


@pytest.mark.parametrize(("more", "count"), [([], 2), (["--first"], None)])
def test_an_error_before_the_request_is_json_too(
    more: list[str], count: int | None, server: Loopback, aiml: Aiml
) -> None:
    done = aiml("chat", *TWO_MODELS, "--json", *more, "-f", "nowhere.txt", "hi")
    found = json.loads(done.stdout)
    assert (done.returncode, server.connections) == (2, 0)
    assert [each["error"]["exit_code"] for each in (found if count else [found])] == [2] * (count or 1)


def test_the_responses_endpoint_can_be_compared_too(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO_RESPONSE], "b": [HELLO_RESPONSE]}
    assert aiml("respond", *TWO_MODELS, "hi").stdout == b"## a\n\nHello\n\n## b\n\nHello\n"


@pytest.mark.promise("incomplete-answers")
def test_a_file_is_replaced_only_if_all_answers_are_complete(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    (empty_home / "out.md").write_text("old")
    server.scripts_by_model = {"a": [HELLO], "b": [SERVER_ERROR], "c": [BYE_ANSWER]}
    assert aiml("chat", *TWO_MODELS, "hi", "-o", "out.md").returncode == 6
    assert ((empty_home / "out.md").read_text(), (empty_home / "out.md.part").read_text()) == (
        "old",
        "## a\n\nHello\n\n## b\n\n",
    )
    done = aiml("chat", "-m", "a", "-m", "c", "hi", "-o", "out.md")
    assert (done.stdout, (empty_home / "out.md").read_text()) == (b"", "## a\n\nHello\n\n## c\n\nBye\n")


def test_the_meta_file_holds_an_array(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [SERVER_ERROR]}
    aiml("chat", *TWO_MODELS, "hi", "--meta", "meta.json")
    whole, down = json.loads((empty_home / "meta.json").read_text())
    assert (whole["complete"], whole["usage"]["total_tokens"], down["error"]["exit_code"]) == (True, 8, 6)


@pytest.mark.parametrize(
    "more",
    [
        ["--format", "raw"], ["--format", "jsonl"], ["--items"], ["-c"], ["-r", "x"], ["--audio-out", "x.mp3"],
        ["-o", "nowhere/out.md"], ["--meta", "nowhere/meta.json"],
    ],
)  # fmt: skip
def test_options_for_a_single_answer_are_refused(
    more: list[str], server: Loopback, aiml: Aiml, empty_home: Path
) -> None:
    done = aiml("chat", *TWO_MODELS, "hi", *more)
    assert (done.returncode, done.stdout, server.connections) == (2, b"", 0)
    assert list(empty_home.glob("*.part")) == []


def test_a_dry_run_shows_the_request_to_the_first_model(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", *TWO_MODELS, "--dry-run", "hi")
    assert (json.loads(done.stdout)["body"]["model"], server.connections) == ("a", 0)
    assert b"this is the request to a; those to b differ only in the model" in done.stderr


def test_each_model_can_have_fallbacks(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [SERVER_ERROR], "b": [HELLO], "c": [BYE_ANSWER]}
    done = aiml("chat", "-m", "a,b", "-m", "c", "hi")
    assert (done.returncode, done.stdout) == (0, b"## a,b\n\nHello\n\n## c\n\nBye\n")
    assert b"aiml: a,b: a: the server answered 503: down; falling back to b" in done.stderr


@pytest.mark.promise("signals")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_all_connections_and_keeps_the_text_so_far(signal_number: int, server: Loopback) -> None:
    begun, gone = threading.Event(), [threading.Event(), threading.Event()]
    server.scripts_by_model = {
        "a": [BEGUN_STREAM, SILENCE, set_events(gone[0])],
        "b": [STREAM + chunk(delta("By")), set_events(begun), SILENCE, set_events(gone[1])],
    }
    with start_program(server) as process:
        assert process.stdout
        assert process.stdout.read(9) == b"## a\n\nHel"
        assert begun.wait(20)
        process.send_signal(signal_number)
        out, words = process.communicate(timeout=30)
    assert (process.returncode, out, b"Traceback" in words) == (128 + signal_number, b"\n", False)
    assert all(each.wait(20) for each in gone)
    assert {state for state, _ in read_answer_states()} == {"interrupted"}
    assert len(read_answer_states()) == 2


def test_a_signal_ends_the_pause_before_a_retry(server: Loopback) -> None:
    server.scripts_by_model = {"a": [json_response({"error": "x"}, "503 Busy", "Retry-After: 100")], "b": [HELLO]}
    with start_program(server, AIML_RETRIES="1") as process:
        assert process.stderr
        assert b"trying again in 100.0 s" in process.stderr.readline()
        assert wait_until_equal(lambda: ("complete", "Hello") in read_answer_states(), True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (process.returncode, len(server.requests)) == (130, 2)
    assert sorted(read_answer_states()) == [("complete", "Hello"), ("interrupted", "")]


def test_json_of_an_interrupted_call_holds_the_text_so_far(server: Loopback) -> None:
    server.scripts_by_model = {"a": [BEGUN_STREAM, SILENCE], "b": [BYE_ANSWER]}
    with start_program(server, "--json") as process:
        assert wait_until_equal(lambda: ("complete", "Bye") in read_answer_states(), True)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    cut, whole = json.loads(out)
    assert (process.returncode, cut["error"]["exit_code"], cut["complete"], whole["text"]) == (130, 130, False, "Bye")


@pytest.mark.promise("closed-pipe")
def test_all_requests_end_if_the_reader_closes_the_pipe(server: Loopback) -> None:
    gone = [threading.Event(), threading.Event()]
    more, both = threading.Event(), threading.Event()
    server.scripts_by_model = {
        "a": [BEGUN_STREAM, more, chunk(delta("lo")), SILENCE, set_events(gone[0])],
        "b": [BEGUN_STREAM, set_events(both), SILENCE, set_events(gone[1])],
    }
    with start_program(server) as process:
        assert process.stdout
        assert process.stdout.read(9) == b"## a\n\nHel"
        assert both.wait(20)
        process.stdout.close()
        more.set()
        assert process.wait(30) == 141
        assert process.stderr
        assert process.stderr.read() == b""
    assert all(each.wait(20) for each in gone)


def test_a_terminal_shows_sections_and_then_a_table(server: Loopback) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [SERVER_ERROR]}
    with Console("chat", *TWO_MODELS, "hi", AIML_BASE_URL=server.url) as console:
        assert console.wait_for_exit() == 6
        lines = console.read_lines()
    assert [line for line in lines if line][:4] == ["## a", "Hello", "## b", "aiml: b: the server answered 503: down"]
    assert [line.split()[0] for line in lines[-3:]] == ["MODEL", "a", "b"]
    assert (lines[-3].split(), lines[-2].split()[-1]) == (["MODEL", "FIRST", "TOTAL", "TOKENS", "RESULT"], "complete")


def test_a_fallback_notice_does_not_disturb_the_live_output(server: Loopback) -> None:
    seen, failed = threading.Event(), threading.Event()
    server.scripts_by_model = {
        "a": [STREAM + chunk(delta("# One\n\ntwo **thr")), seen, chunk(delta("ee** four", "stop")), b"0\r\n\r\n"],
        "b": [failed, SERVER_ERROR],
        "c": [BYE_ANSWER],
    }
    with Console("chat", "-m", "a", "-m", "b,c", "hi", AIML_BASE_URL=server.url) as console:
        console.wait_until("two")
        failed.set()
        console.wait_until("falling back to c")
        seen.set()
        assert console.wait_for_exit() == 0
        lines = [line for line in console.read_lines() if line]
    assert lines[:2] == ["## a", "One"]
    assert [lines.count(line) for line in ("two three four", "## b,c", "Bye")] == [1, 1, 1]
    assert lines[-1].split()[0] == "c"


@pytest.mark.parametrize(("limit", "code", "connection_count"), [("0.15", 2, 0), ("0.25", 0, 2)])
def test_max_cost_applies_to_all_models_together(
    limit: str, code: int, connection_count: int, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    done = aiml("chat", "-m", "m", "-m", "m", "--max-cost", limit, "--max-tokens", "1000", "hi")
    assert (done.returncode, server.connections) == (code, connection_count)
    assert b"is spent" not in done.stderr
    assert (b"the 2 models may cost $" in done.stderr) == bool(code)


def test_several_models_and_first_are_refused_in_a_conversation(server: Loopback) -> None:
    for more in (TWO_MODELS, ("--first",)):
        with Console("chat", "-i", *more, AIML_BASE_URL=server.url) as console:
            assert (console.wait_for_exit(), server.connections) == (2, 0)


@pytest.mark.parametrize("output_format", ["text", "json", "jsonl", "raw"])
def test_first_prints_exactly_what_the_fastest_model_alone_would_print(
    output_format: str, server: Loopback, aiml: Aiml
) -> None:
    gone = threading.Event()
    asked = threading.Event()
    server.scripts_by_model = {"a": [BEGUN_STREAM, set_events(asked), SILENCE, set_events(gone)], "b": [BYE_ANSWER]}
    alone = aiml("chat", "-m", "b", "hi", "--format", output_format)
    server.scripts_by_model["b"] = [asked, BYE_ANSWER]
    done = aiml("chat", *TWO_MODELS, "--first", "hi", "--format", output_format)
    assert (done.returncode, drop_timing(done.stdout, output_format)) == (0, drop_timing(alone.stdout, output_format))
    assert done.stderr.startswith(b"aiml: b completed first, after ")
    assert gone.wait(20)


def drop_timing(shown: bytes, output_format: str) -> Any:
    """Return the output without its durations."""
    if not output_format.startswith("json"):
        return shown
    objects = [json.loads(line) for line in shown.splitlines()] if output_format == "jsonl" else [json.loads(shown)]
    return [{**each, "timing": None} for each in objects]


@pytest.mark.promise("stored-while-arriving")
def test_slower_models_are_in_the_history_as_interrupted(server: Loopback, aiml: Aiml) -> None:
    asked = threading.Event()
    server.scripts_by_model = {"a": [BEGUN_STREAM, set_events(asked), SILENCE], "b": [asked, BYE_ANSWER]}
    assert aiml("chat", *TWO_MODELS, "--first", "hi").returncode == 0
    assert min(read_answer_states()) == ("complete", "Bye")
    assert [state for state, _ in sorted(read_answer_states())] == ["complete", "interrupted"]


@pytest.mark.promise("sent-once")
def test_slower_models_get_no_further_requests(server: Loopback, aiml: Aiml) -> None:
    asked = [threading.Event(), threading.Event()]
    server.scripts_by_model = {
        "a": [set_events(asked[0]), BEGUN_STREAM, SILENCE],
        "b": [set_events(asked[1]), SILENCE],
        "c": [*asked, BYE_ANSWER],
    }
    done = aiml("chat", *TWO_MODELS, "-m", "c", "--first", "--auto-continue", "5", "hi", AIML_RETRIES="5")
    assert (done.stdout, len(server.requests)) == (b"Bye\n", 3)


def test_the_race_continues_if_a_model_fails(server: Loopback, aiml: Aiml) -> None:
    failed = threading.Event()
    server.scripts_by_model = {
        "a": [SERVER_ERROR, set_events(failed)],
        "b": [failed, BYE_ANSWER],
        "c": [stream(delta("x"), end=b"0\r\n\r\n")],
    }
    done = aiml("chat", *TWO_MODELS, "-m", "c", "--first", "hi")
    assert (done.returncode, done.stdout) == (0, b"Bye\n")


def test_if_all_models_fail_the_failure_of_the_first_one_counts(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [SERVER_ERROR], "b": [REJECTED_REQUEST]}
    done = aiml("chat", *TWO_MODELS, "--first", "hi")
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"\naiml: the server answered 503: down\n" in done.stderr
    assert b"aiml: b: the server answered 400: no\n" in done.stderr


def test_first_requires_several_models(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "-m", "a", "--first", "hi")
    assert (done.returncode, done.stdout, server.connections) == (2, b"", 0)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_signal_ends_the_race(more: list[str], server: Loopback) -> None:
    gone, asked = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    server.scripts_by_model = {
        name: [set_events(asked[at]), SILENCE, set_events(gone[at])] for at, name in enumerate("ab")
    }
    with start_program(server, "--first", *more) as process:
        assert all(each.wait(20) for each in asked)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (json.loads(out)["error"]["exit_code"] if more else out) == (130 if more else b"")
    assert all(each.wait(20) for each in gone)


def test_an_attachment_is_checked_against_each_model(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    (empty_home / "photo").write_bytes(b"\x89PNG\r\n\x1a\n")
    store_catalog(server, modalities={"input": ["text"]})
    done = aiml("chat", "-m", "other", "-m", "m", "what is this", "-f", "photo")
    assert (done.returncode, server.connections) == (2, 0)
    assert b"m does not accept image input, and an attachment is image/png" in done.stderr


def test_a_property_is_checked_against_each_model_and_reported_once(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, parameters=["top_k"])
    server.answer_with(HELLO)
    done = aiml("chat", "-m", "other", "-m", "m", "-m", "m", "-O", "min_p=1", "hi")
    assert (done.returncode, done.stderr.count(b"the catalog does not list it for m")) == (0, 1)


def test_continue_after_first_uses_the_fastest_answer(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [BEGUN_STREAM, SILENCE]}
    for _ in range(3):
        assert aiml("chat", "-m", "b", "-m", "a", "--first", "hi").returncode == 0
        assert aiml("chat", "-c", "more").returncode == 0
        assert [each["content"] for each in server.requests[-1].json["messages"]] == ["hi", "Hello", "more"]


def test_continue_uses_the_last_complete_answer(server: Loopback, aiml: Aiml) -> None:
    later = threading.Event()
    server.scripts_by_model = {"a": [later, HELLO], "b": [BYE_ANSWER, set_events(later)], "c": [REJECTED_REQUEST]}
    assert aiml("chat", *TWO_MODELS, "-m", "c", "hi").returncode == 4
    aiml("chat", "-c", "more")
    assert [each["content"] for each in server.requests[-1].json["messages"]] == ["hi", "Bye", "more"]
