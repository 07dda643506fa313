"""The question whether a tool may run: what is shown, what answers it, and where nobody can be asked."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.console import Console

from aiml_cli.system.questions import BAR, lay_out
from aiml_cli.tools.approval import Approvals, CallRequest

# Decides the calls of its first argument, and prints each decision; waits for the file of the second one before.
ASKING_PROGRAM = """
import json, os, sys, time
from threading import Thread
from aiml_cli.errors import Interrupted
from aiml_cli.system.signals import Stopped, install_handlers
from aiml_cli.tools.approval import Approvals, CallRequest
install_handlers()
while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
approvals = Approvals(can_ask=True)
decisions = []
def decide(call):
    decisions.append(bool(approvals.decide(CallRequest(**call), ())))
try:
    calls = json.loads(sys.argv[1])
    if isinstance(calls, dict):
        threads = [Thread(target=decide, args=[call]) for call in calls["threads"]]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
    for call in calls if isinstance(calls, list) else ():
        decide(call)
    print("decided", *decisions, flush=True)
    os._exit(0)  # as the program ends: a timer of its signals runs, and the interpreter's shutdown removes the handler
except (Stopped, Interrupted) as stop:
    print("stopped", *decisions, *stop.args, flush=True)
    os._exit(130)
"""
TITLE, QUESTION = "aiml: the model wants to run a tool:", "[y]es [a]lways [n]o [q]uit:"
HOSTILE_TEXTS = {
    "escapes": "a\x1b[2J\x1b[H\x1b]0;title\x07\x9b31m",
    "carriage return": f"evil\r{QUESTION} y",
    "backspaces": "rm -rf /" + "\b" * 20 + "ls",
    "bidi": "ls \u202e/ fr- mr\u2066",
    "an imitated question": f"ls\n{QUESTION} n\n{TITLE}\n",
    "an imitated bar": f"x\n{BAR}y",
    "separators": "a\u2028b\u2029c\x0bd\x0ce\x85f",
    "combining marks": "a" + "\u0301" * 500,
    "wide characters": "\u4e2d" * 200,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 60,
    "tabs": "\t" * 100 + "x",
    "surrogates": "a\ud800b",
    "invisible": "a\u200b\u2800\u3164\U000e0041b",
    "a long line": "".join(map(str, range(500))),
}


def start_program(calls: object, *more: str, columns: int = 80, rows: int = 24) -> Console:
    console = Console.__new__(Console)
    console.start(sys.executable, ["-c", ASKING_PROGRAM, json.dumps(calls), *more], columns, rows, {})
    return console


def build_call(preview: str = "printf hello", fingerprint: str = "1", **more: object) -> dict[str, object]:
    return {"name": "weather", "preview": preview, "fingerprint": fingerprint, **more}


def build_call_with(place: str, text: str) -> dict[str, object]:
    return {**build_call(), place: [text] if place == "hints" else text}


def wait_for_question(console: Console) -> None:
    console.wait_until(lambda: console.read_cursor_line() == QUESTION)


@pytest.mark.promise("tool-approval")
@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("weather", "weather", True), ("weather", "*", True), ("weather", "w*", True), ("weather", "Weather", False),
        ("weather", "weath", False), ("weather2", "weather", False), ("fs.read_file", "fs.*", True),
        ("fs.read_file", "fs.read_*", True), ("fs.write_file", "fs.read_*", False), ("fsx.read", "fs.*", False),
        ("fs.read_file", "read_file", False), ("fs", "fs.*", False), ("a.fs.read", "fs.*", False),
        ("weather\n", "weather", False), ("weather", "", False), ("fs.read", "fs.[rw]*", True),
    ],
)  # fmt: skip
def test_a_pattern_matches_the_whole_name(name: str, pattern: str, expected: bool) -> None:
    allowed_by = Approvals(can_ask=False).decide(CallRequest(name, "x"), ["other", pattern])
    assert allowed_by == ("--allow" if expected else "")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("y\r", "decided True"), ("yes\r", "decided True"), ("YES\r", "decided True"), (" y \r", "decided True"),
        ("a\r", "decided True"), ("always\r", "decided True"), ("n\r", "decided False"), ("no\r", "decided False"),
        ("\r", "decided False"), ("\x04", "decided False"), ("y\x04\x04", "decided False"),
        ("q\r", "stopped stopped while asking whether weather may run"), ("quit\r", "stopped"), ("\x03", "stopped"),
    ],
)  # fmt: skip
def test_each_key_gives_its_answer(keys: str, expected: str) -> None:
    with start_program([build_call()]) as console:
        wait_for_question(console)
        console.press(keys)
        assert console.wait_for_exit() == (130 if "stopped" in expected else 0)
        assert expected in console.read_text()


@pytest.mark.parametrize("answer", ["x", "yes please", "yy", "1", "ya", "да", "all", "y n"])
def test_any_other_answer_asks_again(answer: str) -> None:
    with start_program([build_call()]) as console:
        wait_for_question(console)
        console.type_line(answer)
        console.wait_until("y: run it once.")
        wait_for_question(console)
        console.type_line("n")
        console.wait_until("decided False")


@pytest.mark.promise("tool-approval")
def test_always_applies_only_to_the_same_definition() -> None:
    with start_program(
        [build_call(), build_call("again"), build_call("changed", "2"), build_call("by another", name="other")]
    ) as console:
        wait_for_question(console)
        console.type_line("a")
        console.wait_until("changed")
        assert "again" not in console.read_text()
        wait_for_question(console)
        console.type_line("a")
        console.wait_until("by another")
        wait_for_question(console)
        console.type_line("n")
        console.wait_until("decided True True True False")


def test_keys_typed_before_the_question_do_not_answer_it(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with start_program([build_call(), build_call(fingerprint="2")], str(go)) as console:
        console.type_line("y")
        console.type_line("always")
        console.press("yes")
        console.wait_until("yes")
        go.touch()
        wait_for_question(console)
        console.type_line("n")
        console.wait_until(lambda: console.read_text().count(TITLE) == 2)
        wait_for_question(console)
        console.type_line("n")
        console.wait_until("decided False False")


@pytest.mark.parametrize("columns", [12, 40, 80])
@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_every_line_of_hostile_text_begins_with_the_bar(name: str, columns: int) -> None:
    lines = lay_out(HOSTILE_TEXTS[name], columns)
    assert lines
    assert all(line.startswith((BAR, "  (")) for line in lines)
    assert not any(char in "".join(lines) for char in "\x1b\r\b\n\t\x07\x9b\u202e\u2028")


@pytest.mark.promise("tool-approval")
@pytest.mark.parametrize("name", ["escapes", "carriage return", "an imitated question", "separators", "bidi"])
@pytest.mark.parametrize("place", ["preview", "name", "hints"])
def test_a_hostile_text_cannot_imitate_the_question(name: str, place: str) -> None:
    with start_program([build_call_with(place, HOSTILE_TEXTS[name])], rows=60) as console:
        wait_for_question(console)
        lines = console.read_lines()
        assert lines[0] == TITLE
        assert all(line.startswith(BAR.rstrip()) for line in lines[1:-1])
        console.type_line("n")
        console.wait_until("decided False")


def test_a_name_cannot_imitate_a_call() -> None:
    with start_program([{**build_call("rm -r notes"), "name": "weather\n  printf harmless"}]) as console:
        wait_for_question(console)
        assert console.read_lines()[1:3] == [f"{BAR}weather printf harmless", f"{BAR}  rm -r notes"]
        console.type_line("n")
        console.wait_until("decided False")


def test_the_question_comes_only_after_a_long_call_was_shown_completely() -> None:
    preview = "\n".join(f"line {number}" for number in range(100))
    with start_program([build_call(preview)]) as console:
        while "line 99" not in console.read_text():
            seen = console.read_text()
            console.wait_until(lambda: "shows more" in console.read_cursor_line())
            assert QUESTION not in console.read_text()
            console.press(" ")
            console.wait_until(lambda seen=seen: console.read_text() != seen)
        wait_for_question(console)
        text = console.read_text()
        assert [f"line {number}" in text for number in range(100)] == [True] * 100
        console.type_line("y")
        console.wait_until("decided True")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("n", "decided False"),
        ("q", "stopped"),
        ("\x04", "decided False"),
        ("\x03", "stopped"),
        ("yan", "decided False"),
    ],
)
def test_a_long_call_can_be_refused_but_not_allowed_before_its_end(keys: str, expected: str) -> None:
    with start_program([build_call("\n".join(map(str, range(500))))]) as console:
        console.wait_until("shows more")
        console.press(keys)
        console.wait_until(expected)


def test_many_equal_lines_are_collapsed_into_a_count() -> None:
    lines = lay_out("safe\n" + "\n" * 100_000 + "x" * 1_000_000 + " " * 100_000 + "rm -rf /", 80)
    assert len(lines) < 20
    assert lines[-1].endswith("rm -rf /")


def test_the_layout_of_a_text_takes_linear_time() -> None:
    def measure_seconds(size: int) -> float:
        started = time.process_time()
        lay_out("\u4e2d\u0301a".join(map(str, range(size))), 80)
        return time.process_time() - started

    measure_seconds(1000)
    # The garbage collector may run in one of the measurements.
    assert any(measure_seconds(100_000) < 30 * measure_seconds(10_000) for _ in range(3))


@pytest.mark.promise("tool-approval")
def test_the_question_appears_on_the_terminal_even_if_all_streams_are_redirected(tmp_path: Path) -> None:
    program = shlex.join([sys.executable, "-c", ASKING_PROGRAM, json.dumps([build_call()])])
    with Console.start_shell() as console:
        console.type_line(f"yes | {program} > {tmp_path}/out 2> {tmp_path}/err; echo code $?")
        wait_for_question(console)
        assert (tmp_path / "out").read_text() == ""
        console.type_line("y")
        console.wait_until("code 0")
    assert (tmp_path / "out").read_text() == "decided True\n"
    assert (tmp_path / "err").read_text() == ""


def test_without_a_terminal_the_answer_is_no() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKING_PROGRAM, json.dumps([build_call()])], input=b"y\ny\n", capture_output=True,
        start_new_session=True, timeout=60, check=True, env={**os.environ},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"decided False\n", b"")


@pytest.mark.parametrize("waits_for", [QUESTION, "shows more"])
def test_ctrl_z_and_fg_show_the_question_again(waits_for: str) -> None:
    preview = "hello" if waits_for == QUESTION else "\n".join(map(str, range(30)))
    with Console.start_shell() as console:
        console.type_line(shlex.join([sys.executable, "-c", ASKING_PROGRAM, json.dumps([build_call(preview)])]))
        console.wait_until(lambda: waits_for in console.read_cursor_line())
        console.press("\x1a")
        console.wait_until(lambda: console.read_cursor_line() == "$")
        console.type_line("clear; fg")
        console.wait_until(lambda: waits_for in console.read_cursor_line())
        assert TITLE in console.read_text()
        if waits_for != QUESTION:
            console.press(" ")
            wait_for_question(console)
        console.type_line("y")
        console.wait_until("decided True")


def test_concurrent_questions_are_asked_one_after_the_other() -> None:
    calls = [build_call(f"preview {number}", str(number), name=f"tool{number}") for number in range(3)]
    with start_program({"threads": calls}) as console:
        for number in range(1, 4):
            console.wait_until(lambda number=number: console.read_text().count(TITLE) == number)
            wait_for_question(console)
            console.type_line("y")
        console.wait_until("decided True True True")


def test_ctrl_c_ends_a_question_in_a_thread() -> None:
    with start_program({"threads": [build_call()]}) as console:
        wait_for_question(console)
        console.press("\x03")
        assert console.wait_for_exit() == 130


def test_always_answers_later_questions_of_waiting_threads() -> None:
    with start_program({"threads": [build_call(), build_call(), build_call()]}) as console:
        wait_for_question(console)
        console.type_line("a")
        console.wait_until("decided True True True")
        assert console.read_text().count(TITLE) == 1
