"""Signals while the program waits for an answer or a retry, or saves a file; and the terminal afterwards."""

import os
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest
from support.forked_process import CliProcess
from support.loopback import HELLO, HELLO_RESPONSE, STREAM, Loopback, chunk, delta, json_response, text_events
from support.run_cli import build_command

pytestmark = pytest.mark.promise("signals")
ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
# The system's own call is where the file is saved: the signal comes just before it is made.
SIGNAL_DURING_CALL_SCRIPT = """
import os, signal
real = os.{call}
def call(*arguments, **more):
    os.kill(os.getpid(), signal.{name})
    return real(*arguments, **more)
os.{call} = call
from aiml_cli.__main__ import run
run()
"""
# Where Python lets no exception out: a finaliser, and (until 3.12) the making of a class.
SIGNALS_IN_CODE = {
    "finaliser": "type('Dying', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGINT)})()",
    "class": "type('Made', (), {'x': type('Part', (), {'__set_name__': stop})()})",
}
SIGNAL_IN_CODE_SCRIPT = """
import os, signal
real = os.urandom
def stop(*_):
    os.kill(os.getpid(), signal.SIGINT)
def urandom(count):
    CORNER
    return real(count)
os.urandom = urandom
from aiml_cli.__main__ import run
run()
"""

SIGNAL_DURING_IMPORT_SCRIPT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "aiml_cli.system.signals":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from aiml_cli.__main__ import run
run()
"""


def start_aiml(server: Loopback, *arguments: str, **environ: str) -> "subprocess.Popen[bytes]":
    return CliProcess(
        build_command(*arguments), env={**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "2", **environ},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_a_signal_before_the_first_byte_ends_the_program_at_once(number: int, code: int, server: Loopback) -> None:
    never = threading.Event()
    server.answer_with(never)
    with start_aiml(server, "respond", "hi") as process:
        assert server.request_arrived.wait(30)
        process.send_signal(number)
        out, words = process.communicate(timeout=30)
    assert (process.returncode, out, words.count(b"\n")) == (code, b"", 1)
    assert words.startswith(b"aiml: ")
    never.set()


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_a_signal_ends_the_pause_before_a_retry(number: int, code: int, server: Loopback) -> None:
    server.answer_with(json_response({"error": "busy"}, "503 Busy", "Retry-After: 100"))
    with start_aiml(server, "chat", "hi") as process:
        assert process.stderr
        assert b"trying again in 100.0 s" in process.stderr.readline()
        process.send_signal(number)
        out, words = process.communicate(timeout=30)
    assert (process.returncode, out, len(server.requests)) == (code, b"", 1)
    assert b"Traceback" not in words


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_the_text_before_a_signal_is_in_the_partial_file(number: int, code: int, server: Loopback) -> None:
    Path("out.txt").write_text("old")
    never = threading.Event()
    server.answer_with(STREAM + b"".join(map(chunk, text_events("Hel", "lo"))), never)
    with start_aiml(server, "respond", "hi", "-o", "out.txt") as process:
        wait_for_part()
        process.send_signal(number)
        _, words = process.communicate(timeout=30)
    assert (process.returncode, Path("out.txt").read_text()) == (code, "old")
    assert Path("out.txt.part").read_text() == "Hello\n"
    assert b"out.txt.part" in words
    never.set()


def wait_for_part() -> None:
    """Wait until the text is in the partial file."""
    while not any(part.read_text() == "Hello" for part in Path().glob("*.part")):
        os.sched_yield()


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_a_signal_while_the_file_is_saved_does_not_damage_it(
    number: int, code: int, call: str, server: Loopback
) -> None:
    Path("out.txt").write_text("old")
    server.answer_with(HELLO)
    script = SIGNAL_DURING_CALL_SCRIPT.format(call=call, name=signal.Signals(number).name)
    line = [sys.executable, "-c", script, "chat", "hi", "-o", "out.txt"]
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == code
    assert Path("out.txt").read_text() == "Hello\n"
    assert list(Path().glob("*.part")) + list(Path().glob(".*.part")) == []
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("kind", SIGNALS_IN_CODE)
def test_a_signal_during_code_that_swallows_exceptions_is_not_lost(kind: str, server: Loopback) -> None:
    never = threading.Event()
    server.answer_with(never)
    line = [sys.executable, "-c", SIGNAL_IN_CODE_SCRIPT.replace("CORNER", SIGNALS_IN_CODE[kind]), "chat", "hi"]
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.splitlines()[0] == b"aiml: interrupted"
    never.set()


def test_ctrl_c_during_startup_ends_the_program_quietly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_DURING_IMPORT_SCRIPT, "--help"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


TEXT_BEGINNING = STREAM + chunk(delta("Hel"))
REASONING_BEGINNING = STREAM + chunk(delta(reasoning_content="Hm"))


@pytest.mark.parametrize(
    ("arguments", "reply", "expected"),
    [
        (["chat", "hi"], TEXT_BEGINNING, "Hel"),
        (["chat", "hi"], REASONING_BEGINNING, "Hm"),
        (["respond", "hi"], STREAM + b"".join(map(chunk, text_events("Hel"))), "Hel"),
        (["chat", "hi", "-v"], b"", "POST"),
        (["config", "key"], b"", "(?i)key"),
    ],
)
def test_the_terminal_is_restored_after_ctrl_c(
    arguments: list[str], reply: bytes, expected: str, server: Loopback
) -> None:
    never = threading.Event()
    server.answer_with(reply, never)
    settings: Any = {**os.environ, "AIML_BASE_URL": server.url, "TERM": "xterm"}
    # A shell stands between, as it does for a user: the terminal outlives the program.
    line = [
        "-c",
        'trap : INT; echo begun; read x; "$@"; echo "ended with $?"; read x',
        "sh",
        *build_command(*arguments),
    ]
    child = pexpect.spawn("/bin/sh", line, env=settings, dimensions=(24, 200), timeout=60)
    child.expect("begun")
    before = termios.tcgetattr(child.child_fd)
    child.sendline()
    child.expect(expected)
    child.sendintr()
    child.expect("ended with 130")
    assert termios.tcgetattr(child.child_fd) == before
    shown = child.before
    child.sendline()
    child.expect(pexpect.EOF)
    assert is_plain(shown)
    never.set()


def is_plain(output: bytes) -> bool:
    """True if the cursor is visible and the next character has no color."""
    screen = pyte.Screen(200, 24)
    pyte.ByteStream(screen).feed(output)
    now, fresh = screen.cursor.attrs, pyte.Screen(1, 1).cursor.attrs
    return not screen.cursor.hidden and now == fresh


def test_a_signal_ends_the_wait_for_an_answer_without_a_stream(server: Loopback) -> None:
    never = threading.Event()
    server.answer_with(HELLO_RESPONSE[:40], never)
    with start_aiml(server, "respond", "hi", "-S", "--json") as process:
        assert server.request_arrived.wait(30)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b'"exit_code": 130' in out
    never.set()
