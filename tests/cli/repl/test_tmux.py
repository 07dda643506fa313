"""The conversation in a window of tmux: stopped, continued, and made narrow in mid-answer."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from support.loopback import STREAM, Loopback, chunk, delta, stream
from support.run_cli import build_command

TIMEOUT_S = 20.0
WORDS = [f"word{number:03}" for number in range(60)]
HELLO = stream(delta("the answer"), delta(finish="stop"))

pytestmark = [
    pytest.mark.promise("job-control"),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Window:
    """A window of a tmux server of its own, with a shell in it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._socket = folder / "tmux"
        self._environ = {**os.environ, "PS1": "$ ", "AIML_RETRIES": "0", **environ}
        shell = "env 'PS1=$ ' bash --norc --noprofile -i"
        self.run("-f", os.devnull, "new-session", "-d", "-x", "80", "-y", "24", shell)

    def run(self, *arguments: str) -> str:
        """Run a command of tmux; return what it prints."""
        line = ["tmux", "-S", str(self._socket), *arguments]
        done = subprocess.run(line, env=self._environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        return done.stdout

    def press(self, *keys: str) -> None:
        """Press keys by their names in tmux."""
        self.run("send-keys", *keys)

    def type_line(self, text: str) -> None:
        """Type a line and press Enter."""
        self.run("send-keys", "-l", text)
        self.press("Enter")

    def read_text(self) -> str:
        """Return the text of the window and of what was scrolled out of it, with wrapped lines joined."""
        return self.run("capture-pane", "-p", "-J", "-S", "-500")

    def wait_until(self, expected: str | Callable[[], object]) -> None:
        """Wait until a text is in the window, or a condition is true."""
        is_met = expected if callable(expected) else lambda: expected in self.read_text()
        end = time.monotonic() + TIMEOUT_S
        while not is_met():
            assert time.monotonic() < end, f"{expected!r} did not come:\n{self.read_text()}"

    def read_last_line(self) -> str:
        """Return the last line of the window that is not empty."""
        return (self.read_text().split("\n\n")[-1].strip() or self.read_text().strip()).splitlines()[-1].strip()


@pytest.fixture
def window(server: Loopback, empty_home: Path) -> Iterator[Window]:
    """Yield a window with a shell at its prompt."""
    window = Window(empty_home, {"AIML_BASE_URL": server.url})
    try:
        window.wait_until("$")
        yield window
    finally:
        window.run("kill-server")


def test_a_stopped_repl_continues_with_what_was_typed_ahead(window: Window, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(STREAM + chunk(delta("the beginning")), goes_on, chunk(delta(finish="stop")))
    server.answer_with(HELLO)
    window.type_line(shlex.join(build_command("chat")))
    window.wait_until("/help")
    window.type_line("one")
    window.wait_until("the beginning")
    window.run("send-keys", "-l", "ahead")
    window.press("C-z")
    window.wait_until("Stopped")
    window.type_line("fg")
    goes_on.set()
    window.wait_until("> ahead")
    window.press("C-z")
    window.wait_until(lambda: window.read_text().count("Stopped") == 2)
    shown = window.read_text().count("> ahead")
    window.type_line("fg")
    window.wait_until(lambda: window.read_text().count("> ahead") > shown)
    window.type_line(" done")
    window.wait_until("the answer")
    assert server.requests[-1].json["messages"][-1]["content"] == "ahead done"


@pytest.mark.parametrize("columns", [40, 23])
def test_a_window_that_becomes_narrow_shows_each_word_once(columns: int, window: Window, server: Loopback) -> None:
    goes_on = Event()
    first, last = " ".join(WORDS[:40]), " ".join(WORDS[40:])
    server.answer_with(STREAM + chunk(delta(first + " ")), goes_on, chunk(delta(last)), chunk(delta(finish="stop")))
    window.type_line(shlex.join(build_command("chat", "hi")))
    window.wait_until(WORDS[39])
    window.run("resize-window", "-x", str(columns))
    goes_on.set()
    window.wait_until(WORDS[-1])
    assert [window.read_text().count(word) for word in WORDS] == [1] * len(WORDS)
