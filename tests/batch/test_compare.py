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

BYE = stream(delta("B"), delta("ye"), delta(finish="stop"), event("[DONE]"))
DOWN = json_response({"error": "down"}, "503 Service Unavailable")
REFUSED = json_response({"error": "no"}, "400 Bad Request")
BOTH = ("-m", "a", "-m", "b")
BEGUN = STREAM + chunk(delta("Hel"))


def when(*events: threading.Event) -> Iterator[bytes]:
    """Set the events when the script reaches this step; nothing is sent."""
    for each in events:
        each.set()
    yield b""


def together(barrier: threading.Barrier, reply: bytes) -> Iterator[bytes]:
    """Answer once all parties of the barrier have sent their requests."""
    barrier.wait(20)
    yield reply


@contextmanager
def running(server: Loopback, *arguments: str, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program; make sure that it has ended after the block."""
    process = CliProcess(
        build_command("chat", *BOTH, "hi", *arguments),
        env={**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", **environ},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        yield process
        process.kill()


def test_models_run_in_parallel_and_answers_are_shown_in_the_order_given(server: Loopback, aiml: Aiml) -> None:
    barrier = threading.Barrier(2)
    server.scripts_by_model = {"a": [together(barrier, HELLO)], "b": [together(barrier, BYE)]}
    done = aiml("chat", *BOTH, "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"## a\n\nHello\n\n## b\n\nBye\n", b"")


def test_the_first_unfinished_section_is_streamed(server: Loopback) -> None:
    seen = threading.Event()
    server.scripts_by_model = {"a": [BEGUN, seen, chunk(delta("lo", "stop")), b"0\r\n\r\n"], "b": [BYE]}
    with running(server) as process:
        assert process.stdout
        assert process.stdout.read(9) == b"## a\n\nHel"
        seen.set()
        assert process.stdout.read() == b"lo\n\n## b\n\nBye\n"


def test_no_hint_to_continue_is_given_for_one_of_several_answers(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [stream(delta("Hel"), end=b"")], "b": [BYE]}
    done = aiml("chat", *BOTH, "hi")
    assert (done.returncode, done.stdout) == (8, b"## a\n\nHel\n\n## b\n\nBye\n")
    assert b"hint: try again" in done.stderr
    assert b"-c asks" not in done.stderr


def test_standard_input_and_files_are_read_once_and_sent_to_all(server: Loopback, aiml: Aiml, clean: Path) -> None:
    os.mkfifo(clean / "pipe")
    threading.Thread(target=(clean / "pipe").write_text, args=("a rule",), daemon=True).start()
    server.scripts_by_model = {"a": [HELLO], "b": [HELLO], "c": [HELLO]}
    assert aiml("chat", *BOTH, "-m", "c", "-s", "@pipe", "sum up", stdin=b"the notes").returncode == 0
    bodies = [request.json for request in server.requests]
    assert sorted(body.pop("model") for body in bodies) == ["a", "b", "c"]
    assert bodies[0] == bodies[1] == bodies[2]
    assert [message["role"] for message in bodies[0]["messages"]] == ["system", "user"]
    assert "the notes" in bodies[0]["messages"][1]["content"]


def test_the_key_command_runs_once(server: Loopback, aiml: Aiml, clean: Path) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [HELLO]}
    (clean / "key.sh").write_text(f"echo x >> {clean}/asked; echo a-key-of-many-letters")
    (clean / "xdg_config_home/aiml").mkdir(mode=0o700)
    (clean / "xdg_config_home/aiml/config.toml").write_text(
        f'key_command = "sh {clean}/key.sh"\nbase_url = "{server.url}"'
    )
    assert aiml("chat", *BOTH, "hi", AIML_BASE_URL="").returncode == 0
    assert (clean / "asked").read_text() == "x\n"
    assert {request.get_header("authorization") for request in server.requests} == {"Bearer a-key-of-many-letters"}


@pytest.mark.promise("kept")
def test_each_answer_is_its_own_conversation_in_the_history(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [BYE]}
    assert aiml("chat", *BOTH, "hi").returncode == 0
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
    server.scripts_by_model = {name: [together(barrier, HELLO)] for name in names}
    done = aiml("chat", *(word for name in names for word in ("-m", name)), "hi")
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(row["model"] for row in read_answers()) == sorted(names)


def test_no_log_keeps_nothing(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [BYE]}
    assert aiml("chat", *BOTH, "hi", "--no-log").returncode == 0
    assert read_messages() == []


@pytest.mark.promise("whole-or-told")
def test_one_failure_does_not_affect_the_others_and_the_first_sets_the_exit_code(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [DOWN], "c": [REFUSED], "d": [BYE]}
    done = aiml("chat", *BOTH, "-m", "c", "-m", "d", "hi")
    assert done.stdout == b"## a\n\nHello\n\n## b\n\n\n## c\n\n\n## d\n\nBye\n"
    assert done.returncode == 6
    assert b"aiml: b: the server answered 503: down\n" in done.stderr
    assert b"aiml: c: the server answered 400: no\n" in done.stderr


def test_lines_on_standard_error_begin_with_the_model(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [json_response({"error": "down"}, "503 Down", "Retry-After: 0")]}
    done = aiml("chat", *BOTH, "hi", "-u", "-v", AIML_RETRIES="1")
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
    server.scripts_by_model = {"a": [HELLO], "b": [DOWN]}
    done = aiml("chat", "-m", "b", "-m", "a", "hi", "--json")
    down, hello = json.loads(done.stdout)
    assert (done.returncode, down["error"]["exit_code"], down["complete"], down["text"]) == (6, 6, False, "")
    assert (hello["error"], hello["complete"], hello["text"]) == (None, True, "Hello")
    assert done.stderr.splitlines()[0] == b"aiml: b: the server answered 503: down"


@pytest.mark.parametrize(("more", "count"), [([], 2), (["--first"], None)])
def test_an_error_before_the_request_is_json_too(
    more: list[str], count: int | None, server: Loopback, aiml: Aiml
) -> None:
    done = aiml("chat", *BOTH, "--json", *more, "-f", "nowhere.txt", "hi")
    found = json.loads(done.stdout)
    assert (done.returncode, server.connections) == (2, 0)
    assert [each["error"]["exit_code"] for each in (found if count else [found])] == [2] * (count or 1)


def test_the_responses_endpoint_can_be_compared_too(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [HELLO_RESPONSE], "b": [HELLO_RESPONSE]}
    assert aiml("respond", *BOTH, "hi").stdout == b"## a\n\nHello\n\n## b\n\nHello\n"


@pytest.mark.promise("whole-or-told")
def test_a_file_is_replaced_only_if_all_answers_are_complete(server: Loopback, aiml: Aiml, clean: Path) -> None:
    (clean / "out.md").write_text("old")
    server.scripts_by_model = {"a": [HELLO], "b": [DOWN], "c": [BYE]}
    assert aiml("chat", *BOTH, "hi", "-o", "out.md").returncode == 6
    assert ((clean / "out.md").read_text(), (clean / "out.md.part").read_text()) == ("old", "## a\n\nHello\n\n## b\n\n")
    done = aiml("chat", "-m", "a", "-m", "c", "hi", "-o", "out.md")
    assert (done.stdout, (clean / "out.md").read_text()) == (b"", "## a\n\nHello\n\n## c\n\nBye\n")


def test_the_meta_file_holds_an_array(server: Loopback, aiml: Aiml, clean: Path) -> None:
    server.scripts_by_model = {"a": [HELLO], "b": [DOWN]}
    aiml("chat", *BOTH, "hi", "--meta", "meta.json")
    whole, down = json.loads((clean / "meta.json").read_text())
    assert (whole["complete"], whole["usage"]["total_tokens"], down["error"]["exit_code"]) == (True, 8, 6)


@pytest.mark.parametrize(
    "more",
    [
        ["--format", "raw"], ["--format", "jsonl"], ["--items"], ["-c"], ["-r", "x"], ["--audio-out", "x.mp3"],
        ["-o", "nowhere/out.md"], ["--meta", "nowhere/meta.json"],
    ],
)  # fmt: skip
def test_options_for_a_single_answer_are_refused(more: list[str], server: Loopback, aiml: Aiml, clean: Path) -> None:
    done = aiml("chat", *BOTH, "hi", *more)
    assert (done.returncode, done.stdout, server.connections) == (2, b"", 0)
    assert list(clean.glob("*.part")) == []


def test_a_dry_run_shows_the_request_to_the_first_model(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", *BOTH, "--dry-run", "hi")
    assert (json.loads(done.stdout)["body"]["model"], server.connections) == ("a", 0)
    assert b"this is the request to a; those to b differ only in the model" in done.stderr


def test_each_model_can_have_fallbacks(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [DOWN], "b": [HELLO], "c": [BYE]}
    done = aiml("chat", "-m", "a,b", "-m", "c", "hi")
    assert (done.returncode, done.stdout) == (0, b"## a,b\n\nHello\n\n## c\n\nBye\n")
    assert b"aiml: a,b: a: the server answered 503: down; falling back to b" in done.stderr


@pytest.mark.promise("signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_all_connections_and_keeps_the_text_so_far(number: int, server: Loopback) -> None:
    begun, gone = threading.Event(), [threading.Event(), threading.Event()]
    server.scripts_by_model = {
        "a": [BEGUN, SILENCE, when(gone[0])],
        "b": [STREAM + chunk(delta("By")), when(begun), SILENCE, when(gone[1])],
    }
    with running(server) as process:
        assert process.stdout
        assert process.stdout.read(9) == b"## a\n\nHel"
        assert begun.wait(20)
        process.send_signal(number)
        out, words = process.communicate(timeout=30)
    assert (process.returncode, out, b"Traceback" in words) == (128 + number, b"\n", False)
    assert all(each.wait(20) for each in gone)
    assert {state for state, _ in read_answer_states()} == {"interrupted"}
    assert len(read_answer_states()) == 2


def test_a_signal_ends_the_pause_before_a_retry(server: Loopback) -> None:
    server.scripts_by_model = {"a": [json_response({"error": "x"}, "503 Busy", "Retry-After: 100")], "b": [HELLO]}
    with running(server, AIML_RETRIES="1") as process:
        assert process.stderr
        assert b"trying again in 100.0 s" in process.stderr.readline()
        assert wait_until_equal(lambda: ("complete", "Hello") in read_answer_states(), True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (process.returncode, len(server.requests)) == (130, 2)
    assert sorted(read_answer_states()) == [("complete", "Hello"), ("interrupted", "")]


def test_json_of_an_interrupted_call_holds_the_text_so_far(server: Loopback) -> None:
    server.scripts_by_model = {"a": [BEGUN, SILENCE], "b": [BYE]}
    with running(server, "--json") as process:
        assert wait_until_equal(lambda: ("complete", "Bye") in read_answer_states(), True)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    cut, whole = json.loads(out)
    assert (process.returncode, cut["error"]["exit_code"], cut["complete"], whole["text"]) == (130, 130, False, "Bye")


@pytest.mark.promise("reader-gone")
def test_all_requests_end_if_the_reader_closes_the_pipe(server: Loopback) -> None:
    gone = [threading.Event(), threading.Event()]
    more, both = threading.Event(), threading.Event()
    server.scripts_by_model = {
        "a": [BEGUN, more, chunk(delta("lo")), SILENCE, when(gone[0])],
        "b": [BEGUN, when(both), SILENCE, when(gone[1])],
    }
    with running(server) as process:
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
    server.scripts_by_model = {"a": [HELLO], "b": [DOWN]}
    with Console("chat", *BOTH, "hi", AIML_BASE_URL=server.url) as console:
        assert console.wait_for_exit() == 6
        lines = console.read_lines()
    assert [line for line in lines if line][:4] == ["## a", "Hello", "## b", "aiml: b: the server answered 503: down"]
    assert [line.split()[0] for line in lines[-3:]] == ["MODEL", "a", "b"]
    assert (lines[-3].split(), lines[-2].split()[-1]) == (["MODEL", "FIRST", "TOTAL", "TOKENS", "RESULT"], "complete")


def test_a_fallback_notice_does_not_disturb_the_live_output(server: Loopback) -> None:
    seen, failed = threading.Event(), threading.Event()
    server.scripts_by_model = {
        "a": [STREAM + chunk(delta("# One\n\ntwo **thr")), seen, chunk(delta("ee** four", "stop")), b"0\r\n\r\n"],
        "b": [failed, DOWN],
        "c": [BYE],
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


@pytest.mark.parametrize(("limit", "code", "sent"), [("0.15", 2, 0), ("0.25", 0, 2)])
def test_max_cost_applies_to_all_models_together(
    limit: str, code: int, sent: int, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    done = aiml("chat", "-m", "m", "-m", "m", "--max-cost", limit, "--max-tokens", "1000", "hi")
    assert (done.returncode, server.connections) == (code, sent)
    assert b"is spent" not in done.stderr
    assert (b"the 2 models may cost $" in done.stderr) == bool(code)


def test_several_models_and_first_are_refused_in_a_conversation(server: Loopback) -> None:
    for more in (BOTH, ("--first",)):
        with Console("chat", "-i", *more, AIML_BASE_URL=server.url) as console:
            assert (console.wait_for_exit(), server.connections) == (2, 0)


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "raw"])
def test_first_prints_exactly_what_the_fastest_model_alone_would_print(form: str, server: Loopback, aiml: Aiml) -> None:
    gone = threading.Event()
    asked = threading.Event()
    server.scripts_by_model = {"a": [BEGUN, when(asked), SILENCE, when(gone)], "b": [BYE]}
    alone = aiml("chat", "-m", "b", "hi", "--format", form)
    server.scripts_by_model["b"] = [asked, BYE]
    done = aiml("chat", *BOTH, "--first", "hi", "--format", form)
    assert (done.returncode, timeless(done.stdout, form)) == (0, timeless(alone.stdout, form))
    assert done.stderr.startswith(b"aiml: b completed first, after ")
    assert gone.wait(20)


def timeless(shown: bytes, form: str) -> Any:
    """Return the output without its durations."""
    if not form.startswith("json"):
        return shown
    objects = [json.loads(line) for line in shown.splitlines()] if form == "jsonl" else [json.loads(shown)]
    return [{**each, "timing": None} for each in objects]


@pytest.mark.promise("kept")
def test_slower_models_are_in_the_history_as_interrupted(server: Loopback, aiml: Aiml) -> None:
    asked = threading.Event()
    server.scripts_by_model = {"a": [BEGUN, when(asked), SILENCE], "b": [asked, BYE]}
    assert aiml("chat", *BOTH, "--first", "hi").returncode == 0
    assert min(read_answer_states()) == ("complete", "Bye")
    assert [state for state, _ in sorted(read_answer_states())] == ["complete", "interrupted"]


@pytest.mark.promise("sent-once")
def test_slower_models_get_no_further_requests(server: Loopback, aiml: Aiml) -> None:
    asked = [threading.Event(), threading.Event()]
    server.scripts_by_model = {
        "a": [when(asked[0]), BEGUN, SILENCE],
        "b": [when(asked[1]), SILENCE],
        "c": [*asked, BYE],
    }
    done = aiml("chat", *BOTH, "-m", "c", "--first", "--auto-continue", "5", "hi", AIML_RETRIES="5")
    assert (done.stdout, len(server.requests)) == (b"Bye\n", 3)


def test_the_race_continues_if_a_model_fails(server: Loopback, aiml: Aiml) -> None:
    failed = threading.Event()
    server.scripts_by_model = {
        "a": [DOWN, when(failed)],
        "b": [failed, BYE],
        "c": [stream(delta("x"), end=b"0\r\n\r\n")],
    }
    done = aiml("chat", *BOTH, "-m", "c", "--first", "hi")
    assert (done.returncode, done.stdout) == (0, b"Bye\n")


def test_if_all_models_fail_the_failure_of_the_first_one_counts(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [DOWN], "b": [REFUSED]}
    done = aiml("chat", *BOTH, "--first", "hi")
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"\naiml: the server answered 503: down\n" in done.stderr
    assert b"aiml: b: the server answered 400: no\n" in done.stderr


def test_first_requires_several_models(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "-m", "a", "--first", "hi")
    assert (done.returncode, done.stdout, server.connections) == (2, b"", 0)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_signal_ends_the_race(more: list[str], server: Loopback) -> None:
    gone, asked = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    server.scripts_by_model = {name: [when(asked[at]), SILENCE, when(gone[at])] for at, name in enumerate("ab")}
    with running(server, "--first", *more) as process:
        assert all(each.wait(20) for each in asked)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (json.loads(out)["error"]["exit_code"] if more else out) == (130 if more else b"")
    assert all(each.wait(20) for each in gone)


def test_an_attachment_is_checked_against_each_model(server: Loopback, aiml: Aiml, clean: Path) -> None:
    (clean / "photo").write_bytes(b"\x89PNG\r\n\x1a\n")
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
    server.scripts_by_model = {"a": [HELLO], "b": [BEGUN, SILENCE]}
    for _ in range(3):
        assert aiml("chat", "-m", "b", "-m", "a", "--first", "hi").returncode == 0
        assert aiml("chat", "-c", "more").returncode == 0
        assert [each["content"] for each in server.requests[-1].json["messages"]] == ["hi", "Hello", "more"]


def test_continue_uses_the_last_complete_answer(server: Loopback, aiml: Aiml) -> None:
    later = threading.Event()
    server.scripts_by_model = {"a": [later, HELLO], "b": [BYE, when(later)], "c": [REFUSED]}
    assert aiml("chat", *BOTH, "-m", "c", "hi").returncode == 4
    aiml("chat", "-c", "more")
    assert [each["content"] for each in server.requests[-1].json["messages"]] == ["hi", "Bye", "more"]
