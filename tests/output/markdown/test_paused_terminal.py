"""Output to a terminal that pauses or goes away: nothing is lost unless the exit code says so."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from support.forked_process import CliProcess
from support.loopback import END, STREAM, Loopback, chunk, delta, stream
from support.run_cli import Aiml, build_command

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import CompletionBuilder
from aiml_cli.api.stream_events import TextDelta
from aiml_cli.errors import AimlError, Interrupted, OutputFailed
from aiml_cli.output.markdown import live_renderer
from aiml_cli.output.markdown.block_parser import BlockParser
from aiml_cli.output.markdown.block_renderer import BlockRenderer
from aiml_cli.output.markdown.live_region import TerminalRegion
from aiml_cli.output.markdown.live_renderer import LiveMarkdownRenderer

WORDS = [f"w{index}" for index in range(8000)]
TEXT = "\n".join(" ".join(WORDS[start : start + 10]) for start in range(0, len(WORDS), 10))
ANSWER = stream(delta(TEXT), delta(finish="stop"))
MANY_BYTES = 2000  # more than a program writes before its answer
FORMATS = [["--format", "md"], ["--format", "text"]]


@contextmanager
def run_on_paused_pty(server: Loopback, *arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run the program on a pty that nobody reads, and that controls it; yield the process and our side of the pty."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", "TERM": "xterm"}
    streams: Any = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    process = CliProcess(build_command("chat", "hi", *arguments), env=settings, start_new_session=True, **streams)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_all(fd: int) -> str:
    data = b""
    with suppress(OSError):  # how a terminal says that the other side is gone
        while piece := os.read(fd, 1 << 16):
            data += piece
    return data.decode()


def wait_until_blocked(process: "subprocess.Popen[bytes]") -> None:
    """Wait until the program has written something and writes no more: the terminal is full then."""
    counts = [0]
    while counts[-1] < MANY_BYTES or counts[-1] != counts[-2]:
        counts.append(int(Path(f"/proc/{process.pid}/io").read_text().split()[3]))
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


@pytest.mark.promise("drawing-errors")
@pytest.mark.parametrize("arguments", FORMATS, ids=repr)
def test_an_answer_waits_for_a_paused_terminal(arguments: list[str], server: Loopback) -> None:
    server.answer_with(ANSWER)
    with run_on_paused_pty(server, *arguments) as (process, ours):
        wait_until_blocked(process)
        assert process.poll() is None
        shown = read_all(ours)
        assert process.wait() == 0
    assert re.findall(r"w\d+", shown) == WORDS


@pytest.mark.promise("signals")
@pytest.mark.parametrize("arguments", FORMATS, ids=repr)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=repr
)
@pytest.mark.parametrize("is_ended", [True, False])
def test_a_signal_ends_the_wait_for_a_paused_terminal(
    number: signal.Signals, code: int, arguments: list[str], server: Loopback, aiml: Aiml, *, is_ended: bool
) -> None:
    """Also while the answer is still arriving; the text so far is in the history."""
    late = Event()
    server.answer_with(ANSWER if is_ended else STREAM, *([] if is_ended else [chunk(delta(TEXT)), late, END]))
    with run_on_paused_pty(server, *arguments) as (process, _):
        wait_until_blocked(process)
        process.send_signal(number)
        assert process.wait(20) == code
    late.set()
    assert WORDS[-1] in aiml("history", "show").stdout.decode()


@pytest.mark.parametrize("arguments", FORMATS, ids=repr)
def test_the_program_ends_if_its_terminal_goes_away(arguments: list[str], server: Loopback, aiml: Aiml) -> None:
    server.answer_with(ANSWER)
    with run_on_paused_pty(server, *arguments) as (process, ours):
        wait_until_blocked(process)
        twin = os.open(os.devnull, os.O_RDONLY)
        os.dup2(twin, ours)  # closes our side
        os.close(twin)
        assert process.wait(20) in (1, 129)
    assert WORDS[-1] in aiml("history", "show").stdout.decode()


# ---- in process


def close_renderer(renderer: LiveMarkdownRenderer, error: AimlError | None = None) -> None:
    renderer.close(Answer("chat", CompletionBuilder().build(), error))


def show_and_close(renderer: LiveMarkdownRenderer, text: str) -> None:
    renderer.show([TextDelta(text)])
    close_renderer(renderer)


def test_the_end_of_an_answer_waits_for_the_terminal() -> None:
    wrote: list[str] = []
    resumed = Event()

    def write(text: str) -> None:
        resumed.wait()
        wrote.append(text)

    renderer = LiveMarkdownRenderer(write, lambda: (80, 24), {})
    renderer.show([TextDelta(TEXT)])
    closing = Thread(target=close_renderer, args=(renderer,))
    closing.start()
    closing.join(0.5)
    assert closing.is_alive()
    resumed.set()
    closing.join()
    assert re.findall(r"w\d+", "".join(wrote)) == WORDS


def test_after_a_signal_the_wait_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_renderer, "STALL_TIMEOUT_S", 0.05)
    resumed = Event()
    renderer = LiveMarkdownRenderer(lambda _text: (resumed.wait(), None)[1], lambda: (80, 24), {})
    renderer.show([TextDelta(TEXT)])
    close_renderer(renderer, Interrupted("interrupted"))
    resumed.set()


@pytest.mark.promise("failed-stdout")
def test_a_terminal_that_cannot_be_written_is_an_error_and_is_not_written_again() -> None:
    calls: list[str] = []

    def write(text: str) -> None:
        calls.append(text)
        raise OutputFailed("standard output: Input/output error")

    renderer = LiveMarkdownRenderer(write, lambda: (80, 24), {})
    with pytest.raises(OutputFailed):
        show_and_close(renderer, "one")
    assert len(calls) == 1


FAILURES = [
    (BlockParser, "feed"),
    (BlockParser, "open_blocks"),
    (BlockParser, "finish"),
    (BlockRenderer, "draw"),
    (BlockRenderer, "finish"),
    (TerminalRegion, "draw"),
]


@pytest.mark.promise("drawing-errors")
@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError(), AssertionError()], ids=repr)
@pytest.mark.parametrize(("owner_class", "name"), FAILURES)
@pytest.mark.parametrize("calls_before_error", [0, 5])
def test_after_an_internal_error_the_rest_is_shown_without_formatting(
    owner_class: type, name: str, calls_before_error: int, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = getattr(owner_class, name), []

    def fail(*arguments: object, **options: object) -> object:
        calls.append(name)
        if len(calls) > calls_before_error:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(owner_class, name, fail)
    wrote: list[str] = []
    page = live_renderer.MarkdownStream(wrote.append, {})
    for index in range(0, len(TEXT[:3000]), 100):
        page.feed(TEXT[index : min(index + 100, 3000)], (80, 24))
        page.draw((80, 24))
    page.feed("\x1b[2J end", (80, 24))
    page.finish((80, 24))
    shown = "".join(wrote)
    words = re.findall(r"w\d+", TEXT[:3000])
    assert set(words) <= set(re.findall(r"w\d+", shown))
    assert "\\x1b[2J end" in shown
