"""A tmux window whose size changes during an answer shows each word once."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest
from support.history_file import wait_until_equal
from support.loopback import END, STREAM, Loopback, chunk, delta
from support.run_cli import build_command

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
WORDS = [f"w{index:03}x" for index in range(400)]
BUILD_SEPARATOR: dict[str, Callable[[int], str]] = {
    "paragraph": lambda _index: " ",
    "lines": lambda index: "\n" if index % 11 == 10 else " ",
    "list": lambda index: "\n- " if index % 17 == 16 else " ",
    "paragraphs": lambda index: "\n\n" if index % 40 == 39 else " ",
}
Size = tuple[int, int]
RESIZES: dict[str, list[Size]] = {
    "narrower": [(40, 24)],
    "wider": [(120, 24)],
    "lower": [(80, 10)],
    "much smaller": [(30, 8)],
    "several times": [(60, 24), (40, 24), (100, 30), (50, 20)],
    "in small steps": [(columns, 24) for columns in range(78, 34, -2)],
}


class Tmux:
    """A tmux server with one window of 80 columns and 24 rows."""

    def __init__(self, folder: Path, command: str) -> None:
        self._environ = {**os.environ, "TMUX_TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
        self.run("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command)
        self.run("set", "-g", "window-size", "manual")

    def run(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", *arguments], env=self._environ, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def wait_for(self, text: str) -> None:
        assert wait_until_equal(lambda: text in self.read_text(), expected=True), self.read_text()

    def read_text(self) -> str:
        return self.run("capture-pane", "-p", "-J", "-S", "-")


@pytest.fixture
def open_tmux(tmp_path: Path) -> Iterator[Callable[[str], Tmux]]:
    opened: list[Tmux] = []

    def start(command: str) -> Tmux:
        opened.append(Tmux(tmp_path, command))
        return opened[0]

    yield start
    for tmux in opened:
        tmux.run("kill-server")


@pytest.mark.promise("drawing-errors")
@pytest.mark.parametrize("sizes", RESIZES.values(), ids=RESIZES)
@pytest.mark.parametrize("layout", BUILD_SEPARATOR)
def test_each_word_is_shown_once(
    layout: str, sizes: Sequence[Size], server: Loopback, open_tmux: Callable[[str], Tmux]
) -> None:
    steps = [Event() for _ in sizes]
    pieces = [chunk(delta(word + BUILD_SEPARATOR[layout](index))) for index, word in enumerate(WORDS)]
    rest: list[bytes | Event] = []
    for index, step in enumerate(steps):
        start, end = 100 + 200 * index // len(steps), 100 + 200 * (index + 1) // len(steps)
        rest += [step, *pieces[start:end]]
    server.answer_with(STREAM, *pieces[:100], *rest, *pieces[300:], chunk(delta(finish="stop")), END)
    program = shlex.join(["env", f"AIML_BASE_URL={server.url}", *build_command("chat", "hi")])
    tmux = open_tmux(f"seq 8; {program}; echo ended; sleep 600")
    tmux.wait_for(WORDS[99])
    for (columns, rows), step in zip(sizes, steps, strict=True):
        tmux.run("resize-window", "-x", str(columns), "-y", str(rows))
        step.set()
    tmux.wait_for("ended")
    assert re.findall(r"w\d{3}x", tmux.read_text()) == WORDS
