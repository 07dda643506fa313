"""Markdown on a terminal, together with errors, usage and the waiting sign."""

import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from support.forked_process import CliProcess
from support.loopback import END, STREAM, Drip, Loopback, chunk, delta, http_response, stream
from support.pty_run import run_on_pty
from support.run_cli import Aiml, build_command

TEXT = "# One\n\n- **two** `three`\n\n```py\nx = 1\n```\n"
PIECES = [delta(piece) for piece in re.split("(?<=[ \n])", TEXT)]
STYLE_SEQUENCE = rb"\x1b\[[\d;]*m"


def read_rows(screen: object) -> list[str]:
    lines = [line.rstrip() for line in screen.display]  # type: ignore[attr-defined]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_markdown_is_drawn(server: Loopback) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    wrote, code, screen = run_on_pty(server, "chat", "hi")
    assert (code, read_rows(screen)) == (0, ["One", "", "• two three", "", "```py", "x = 1", "```"])
    assert b"\x1b[32mthree" in wrote


@pytest.mark.parametrize(("arguments", "environ"), [(["--format", "text"], {}), ([], {"TERM": "dumb"})])
def test_plain_text_is_shown_on_request(arguments: list[str], environ: dict[str, str], server: Loopback) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    wrote, _, _ = run_on_pty(server, "chat", "hi", *arguments, **environ)
    assert wrote == TEXT.replace("\n", "\r\n").encode()


def test_no_color_leaves_bold(server: Loopback) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    wrote, _, screen = run_on_pty(server, "chat", "hi", NO_COLOR="1")
    assert set(re.findall(STYLE_SEQUENCE, wrote)) <= {b"\x1b[m", b"\x1b[1m", b"\x1b[2m", b"\x1b[1;4m", b"\x1b[4m"}
    assert (b"\x1b[1m" in wrote, read_rows(screen)[2]) == (True, "• two three")


def test_color_never_leaves_no_style(server: Loopback) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    wrote, _, screen = run_on_pty(server, "chat", "hi", "--color", "never")
    assert (re.findall(STYLE_SEQUENCE, wrote), read_rows(screen)[2]) == ([], "• two three")


def test_a_file_gets_the_unchanged_text(server: Loopback, empty_home: Path) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    run_on_pty(server, "chat", "hi", "-o", "answer.md")
    assert (empty_home / "answer.md").read_text() == TEXT


def test_a_pipe_gets_the_text_without_loading_the_markdown_modules(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    ended = aiml("chat", "hi", PYTHONPROFILEIMPORTTIME="1")
    assert ended.stdout.decode() == TEXT
    assert not re.findall(rb"aiml_cli\.screen\.(?:markdown|waiting)|markdown_it", ended.stderr)


def test_reasoning_between_texts_is_above_the_open_block(server: Loopback) -> None:
    deltas = [delta("one "), delta(reasoning_content="Hm, "), delta(reasoning_content="well"), delta("two")]
    server.answer_with(STREAM, *(Drip(chunk(each), 10_000, 0.2) for each in [*deltas, delta(finish="stop")]), END)
    wrote, _, screen = run_on_pty(server, "chat", "hi")
    assert wrote.startswith(b"one")
    assert read_rows(screen) == ["Hm, well", "", "one two"]


def test_an_error_is_below_the_text(server: Loopback) -> None:
    server.answer_with(STREAM, chunk(delta("one\ntwo **thr")))
    _, code, screen = run_on_pty(server, "chat", "hi")
    assert (code, read_rows(screen)[:2]) == (8, ["one", "two **thr"])
    assert read_rows(screen)[2].startswith("aiml: ")


def test_usage_is_on_a_line_of_its_own(server: Loopback) -> None:
    server.answer_with(stream(*PIECES, delta(finish="stop")))
    _, _, screen = run_on_pty(server, "chat", "hi", "-u")
    assert [line[:6] for line in read_rows(screen)[6:8]] == ["```", "aiml: "]
    assert screen.cursor.x == 0


def run_with_late_answer(server: Loopback, *arguments: str, **environ: str) -> tuple[bytes, list[str]]:
    """Answer a second after the question; return what was written, and the rows of the screen."""
    late = threading.Event()
    server.answer_with(STREAM, late, chunk(delta("Hi")), *([chunk(delta(finish="stop")), b"0\r\n\r\n"]))
    timer = threading.Timer(1.0, late.set)
    timer.start()
    wrote, _, screen = run_on_pty(server, "chat", "hi", *arguments, **environ)
    timer.cancel()
    return wrote, read_rows(screen)


def test_a_waiting_sign_is_shown_until_the_answer_begins(server: Loopback) -> None:
    wrote, seen = run_with_late_answer(server)
    assert re.search("\r. 0 s", wrote.decode())
    assert seen == ["Hi"]


@pytest.mark.parametrize(("arguments", "environ"), [(["-q"], {}), ([], {"TERM": "dumb"})])
def test_the_waiting_sign_can_be_switched_off(arguments: list[str], environ: dict[str, str], server: Loopback) -> None:
    wrote, _ = run_with_late_answer(server, *arguments, **environ)
    assert wrote == b"Hi\r\n"


def test_an_error_removes_the_waiting_sign(server: Loopback) -> None:
    late = threading.Event()
    server.answer_with(late, http_response(b"no", "500 x"))
    threading.Timer(3.0, late.set).start()  # a loaded machine takes more than a second to send the request
    wrote, _, screen = run_on_pty(server, "chat", "hi")
    assert b" 0 s" in wrote
    assert read_rows(screen)[0].startswith("aiml: ")


def test_a_signal_removes_the_waiting_sign(server: Loopback) -> None:
    import os
    import pty

    import pyte

    server.answer_with(threading.Event())
    mine, theirs = pty.openpty()
    environ = {**os.environ, "AIML_BASE_URL": server.url, "TERM": "xterm"}
    child = CliProcess(build_command("chat", "hi"), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    wrote = b""
    while b" s" not in wrote:
        wrote += os.read(mine, 4096)
    child.send_signal(signal.SIGINT)
    try:
        while piece := os.read(mine, 4096):
            wrote += piece
    except OSError:  # how a terminal says that the other side is gone
        pass
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(wrote)
    assert (child.wait(), read_rows(screen)[0]) == (130, "aiml: interrupted")
    os.close(mine)
