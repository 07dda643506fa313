"""How the process ends: signals, readers that close the pipe, and closed or full outputs."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.forked_process import CliProcess, install_program, run_process
from support.loopback import HELLO, STREAM, Loopback, chunk, delta, stream
from support.run_cli import Aiml, build_command
from support.streaming import read_bytes, start_streaming


@pytest.mark.promise("signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_keeps_the_text_so_far_and_ends_the_line(number: int, code: int, server: Loopback) -> None:
    with start_streaming(server) as process:
        assert read_bytes(process.stdout, 5) == b"Hello"
        process.send_signal(number)
        rest, words = process.communicate(timeout=30)
        assert (process.returncode, rest) == (code, b"\n")
        assert words.startswith(b"aiml: ")
        assert b"Traceback" not in words


@pytest.mark.promise("signals")
def test_a_signal_before_the_first_word_ends_the_program_at_once(server: Loopback) -> None:
    never = threading.Event()
    server.answer_with(never)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(
        build_command("chat", "hi"),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert server.request_arrived.wait(30)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, b"")
    never.set()


@pytest.mark.promise("signals")
def test_a_second_signal_changes_nothing(server: Loopback) -> None:
    with start_streaming(server) as process:
        assert read_bytes(process.stdout, 5) == b"Hello"
        for _ in range(5):
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert (process.returncode, rest) == (130, b"\n")


def test_the_json_of_an_interrupted_answer_holds_the_text_so_far(server: Loopback) -> None:
    with start_streaming(server, "--format", "jsonl") as process:
        first = read_bytes(process.stdout, 20)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        last = (first + rest).splitlines()[-1]
        assert process.returncode == 130
        assert b'"text": "Hel' in last
        assert b'"exit_code": 130' in last


@pytest.mark.promise("signals")
def test_an_ignored_signal_stays_ignored(server: Loopback) -> None:
    """A job started with nohup outlives its terminal."""

    def ignore_sighup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with start_streaming(server, preexec_fn=ignore_sighup) as process:
        assert read_bytes(process.stdout, 5) == b"Hello"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.returncode == 143


@pytest.mark.promise("closed-pipe")
def test_the_program_ends_quietly_if_the_reader_closes_the_pipe(server: Loopback) -> None:
    go_on = threading.Event()
    pieces = [chunk(delta(f"line {number}\n")) for number in range(2000)]
    server.answer_with(STREAM + pieces[0], go_on, b"".join(pieces[1:]))
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(
        build_command("chat", "hi"),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        go_on.set()
        words = process.stderr.read()
        assert (process.wait(30), words) == (141, b"")


@pytest.mark.promise("failed-stdout")
def test_a_full_disk_at_standard_output_is_an_error(server: Loopback) -> None:
    server.answer_with(HELLO)
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = run_process(
            build_command("chat", "hi"), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def run_in_shell(server: Loopback, line: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a shell command; $AIML is the program for tests in which the start of its interpreter matters."""
    environ = {
        **os.environ, "PATH": install_program(Path("bin")), "AIML": f"{sys.executable} -m aiml_cli",
        "AIML_BASE_URL": server.url, "AIML_RETRIES": "0",
    }  # fmt: skip
    return subprocess.run(["/bin/sh", "-c", line], env=environ, capture_output=True, timeout=60, check=False)


SHELL_LINES = [
    ("$AIML chat hi >&-", "", 1, "standard output is closed"),
    ("$AIML models --demo >&-", "", 1, "Bad file descriptor"),
    ("$AIML chat --demo --as curl hi >&-", "", 1, "Bad file descriptor"),
    ("$AIML --help >&-", "", 1, "Bad file descriptor"),
    ("$AIML --help >/dev/full", "", 1, "No space left"),
    ("$AIML --version >/dev/full", "", 1, "No space left"),
    ("AIML_MODEL=demo/length aiml chat --demo hi 2>/dev/null | wc -l", "1\n", 0, ""),
    ("$AIML chat hi <&-", "Hello\n", 0, ""),
    ("$AIML chat hi 2>&-", "Hello\n", 0, ""),
    ("$AIML chat hi <&- 2>&-", "Hello\n", 0, ""),
    ("aiml chat hi </dev/null", "Hello\n", 0, ""),
    ("aiml chat </dev/null", "", 2, "the prompt is empty"),
    ("echo hi | aiml chat", "Hello\n", 0, ""),
    ("echo hi | aiml chat -", "Hello\n", 0, ""),
    ("LANG=C LC_ALL=C PYTHONIOENCODING=ascii $AIML chat hi", "Hello\n", 0, ""),
    ("COLUMNS=0 aiml chat hi", "Hello\n", 0, ""),
    ("COLUMNS=x TERM= aiml chat hi", "Hello\n", 0, ""),
    ("unset HOME XDG_CONFIG_HOME; aiml chat hi", "Hello\n", 0, ""),
    ("umask 0777; aiml chat hi", "Hello\n", 0, ""),
    ("printf 'a\\nb\\n' | while read x; do aiml chat hi --no-stdin; done", "Hello\nHello\n", 0, ""),
    ("printf 'a\\nb\\n' | while read x; do AIML_NO_STDIN=1 aiml chat hi; done", "Hello\nHello\n", 0, ""),
]


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize(("line", "stdout", "code", "stderr"), SHELL_LINES)
def test_output_and_exit_code_are_usable_in_a_shell_script(
    line: str, stdout: str, code: int, stderr: str, server: Loopback
) -> None:
    server.answer_with(HELLO)
    done = run_in_shell(server, line)
    assert (done.stdout.decode(), done.returncode) == (stdout, code)
    assert stderr in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("incomplete-answers")
def test_a_shell_script_with_set_e_stops_at_an_incomplete_answer(server: Loopback) -> None:
    server.answer_with(stream(delta("Hi"), delta(finish="length")))
    done = run_in_shell(server, "set -e; answer=$(aiml chat hi); echo not reached")
    assert (done.returncode, done.stdout) == (8, b"")


def test_piped_text_comes_first_and_the_instruction_last(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "summarize", "this", stdin=b"one\ntwo\n")
    assert server.requests[0].json["messages"][0]["content"] == "<stdin>\none\ntwo\n</stdin>\n\nsummarize this"


INPUTS = [
    ([], b"\xef\xbb\xbfh\xc3\xa9", "hé"),
    ([], "hé".encode("utf-16"), "hé"),
    ([], b"caf\xe9 \x80", "café €"),
    (["say {stdin} twice"], b"it", "say it twice"),
    (["-f", "-", "sum up"], b"it\n", '<file name="standard input">\nit\n</file>\n\nsum up'),
    (["x"], b"", "x"),
    (["x"], b"a</stdin>b", "<stdin_>\na</stdin>b\n</stdin_>\n\nx"),
]


@pytest.mark.promise("stdin")
@pytest.mark.parametrize(("words", "stdin", "prompt"), INPUTS)
def test_piped_input_becomes_the_prompt(
    words: list[str], stdin: bytes, prompt: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(HELLO)
    assert aiml("respond", *words, stdin=stdin).returncode in (0, 8)
    assert server.requests[0].json["input"] == prompt


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("data", [b"PK\x03\x04\x14\0", b"\x7fELF\2", b"\0\1\2"])
def test_binary_input_is_refused_before_anything_is_sent(data: bytes, server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "x", stdin=data)
    assert (done.returncode, server.requests) == (2, [])
    assert b"standard input is" in done.stderr


@pytest.mark.promise("stdin")
def test_a_notice_says_that_an_open_pipe_is_awaited(server: Loopback) -> None:
    server.answer_with(HELLO)
    reading, writing = os.pipe()
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(
        build_command("chat", "x"), env=environ, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(reading)
        assert process.stderr
        assert b"--no-stdin" in process.stderr.readline()
        os.write(writing, b"late")
        os.close(writing)
        out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == (b"Hello\n", 0)
    assert "late" in server.requests[0].json["messages"][0]["content"]


def test_the_connection_is_closed_if_the_program_is_interrupted(server: Loopback) -> None:
    """The connection ends with the program, so that no text is generated and paid for that nobody reads."""
    with start_streaming(server) as process:
        assert read_bytes(process.stdout, 5) == b"Hello"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
