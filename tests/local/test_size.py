"""Huge input: refused while it is read, or sent, within memory of three times its size."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.loopback import HELLO, HELLO_RESPONSE, Loopback

pytestmark = pytest.mark.promise("stdin")
MEGABYTE = 1_000_000
LINES = {"ascii": b'2026-01-01 INFO "quoted" \\ and so on, to the end of it\n', "cyrillic": "привет, мир\n".encode()}
# The kernel knows the most memory that a process ever had; the program ends without any more of Python.
MEASURE_SCRIPT = """
import os, sys
real = os._exit
def leave(code):
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    os.write(2, b"\\npeak " + peak.encode())
    real(code)
os._exit = leave
from aiml_cli.__main__ import run
run()
"""


class Result(NamedTuple):
    code: int
    out: bytes
    words: bytes
    peak: int


def run_with_pipe(server: Loopback, file: Path, *arguments: str) -> Result:
    """Run the program with a file on a pipe; measure its peak memory in bytes."""
    line = [sys.executable, "-c", MEASURE_SCRIPT, *arguments]
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as cat:
        done = subprocess.run(line, env=environ, stdin=cat.stdout, capture_output=True, timeout=60, check=False)
        cat.kill()
    words, _, peak = done.stderr.rpartition(b"\npeak ")
    return Result(done.returncode, done.stdout, words, int(peak) * 1024)


@pytest.fixture
def large_file() -> Iterator[Path]:
    """Yield a path for a large file, which is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "large"


@pytest.mark.parametrize(
    ("words", "reply", "kind"), [(["chat"], HELLO, "cyrillic"), (["respond", "sum", "up"], HELLO_RESPONSE, "ascii")]
)
def test_62_megabytes_from_a_pipe_need_less_than_three_times_their_size(
    words: list[str], reply: bytes, kind: str, large_file: Path, server: Loopback
) -> None:
    data = LINES[kind] * (62 * MEGABYTE // len(LINES[kind]))
    large_file.write_bytes(data)
    server.answer_with(reply)
    done = run_with_pipe(server, large_file, *words)
    assert (done.code, done.out, done.words) == (0, b"Hello\n", b"")
    text = data.decode()
    asked = server.requests[0].json
    assert text in (asked["messages"][0]["content"] if words == ["chat"] else asked["input"])
    assert done.peak < 3 * len(data)


def test_200_megabytes_are_refused_within_bounded_memory(large_file: Path, server: Loopback) -> None:
    with large_file.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * MEGABYTE)
    done = run_with_pipe(server, large_file, "chat", "sum", "up")
    assert (done.code, done.out, server.requests) == (2, b"", [])
    assert b"standard input: more than 64 MiB of input cannot be sent" in done.words
    assert done.peak < 110 * MEGABYTE


def test_a_file_of_62_megabytes_needs_less_than_three_times_its_size(large_file: Path, server: Loopback) -> None:
    data = LINES["ascii"] * (62 * MEGABYTE // len(LINES["ascii"]))
    large_file.write_bytes(data)
    server.answer_with(HELLO)
    done = run_with_pipe(server, Path(os.devnull), "chat", "-f", str(large_file), "sum up")
    assert (done.code, done.out) == (0, b"Hello\n")
    assert done.peak < 3 * len(data)
