"""Places that cannot be written or read: full, closed, read-only, no files at all."""

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback, delta, stream
from support.run_cli import Aiml, build_command

LONG = stream(delta("x" * 5000), delta(finish="stop"))
# No mode keeps root out, so these are places where nobody can write: below a file, and in the kernel's own folder.
NOWHERE = ["file/out.txt", "/proc/out.txt", "folder", "no/such/folder/out.txt"]


def run_with_file_limit(server: Loopback, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the program where no file can have more than 1000 bytes, as on a disk that is nearly full."""

    def limit_file_size() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    environ = {**os.environ, "AIML_BASE_URL": server.url, "PYTHONDONTWRITEBYTECODE": "1"}
    with Path("stdout").open("wb") as out:
        return subprocess.run(
            build_command(*arguments), env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
            preexec_fn=limit_file_size, timeout=60, check=False,
        )  # fmt: skip


@pytest.mark.promise("stdout-fails")
@pytest.mark.parametrize("form", ["text", "json", "jsonl", "raw"])
def test_a_disk_that_fills_up_under_standard_output_is_told(form: str, server: Loopback) -> None:
    server.answer_with(LONG)
    done = run_with_file_limit(server, "chat", "hi", "--format", form)
    assert (done.returncode, Path("stdout").stat().st_size) == (1, 1000)
    assert b"aiml: standard output: File too large" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("stdout-fails")
def test_a_disk_that_fills_up_under_the_output_file_leaves_the_old_one(server: Loopback) -> None:
    server.answer_with(LONG)
    Path("out.txt").write_text("old")
    done = run_with_file_limit(server, "chat", "hi", "-o", "out.txt")
    assert (done.returncode, Path("out.txt").read_text()) == (1, "old")
    assert b"File too large" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("answer-first")
def test_a_disk_that_takes_nothing_else_still_gets_the_answer(server: Loopback) -> None:
    server.answer_with(stream(delta("x" * 900), delta(finish="stop")))
    done = run_with_file_limit(server, "chat", "hi")
    assert (done.returncode, Path("stdout").read_text()) == (0, "x" * 900 + "\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("answer-first")
@pytest.mark.parametrize("name", NOWHERE)
def test_an_output_file_that_cannot_be_is_told_before_anything_is_sent(name: str, server: Loopback, aiml: Aiml) -> None:
    Path("file").touch()
    Path("folder").mkdir()
    done = aiml("chat", "hi", "-o", name)
    assert (done.returncode, server.requests) == (2, [])
    assert done.stderr.startswith(b"aiml: ")


READ_ONLY = [
    ["chat", "hi"],
    ["chat", "hi", "--json"],
    ["config", "path"],
    ["--help"],
    ["--version"],
    ["chat", "--as", "curl", "x"],
]


@pytest.mark.promise("stdout-fails")
@pytest.mark.parametrize("arguments", READ_ONLY)
def test_a_read_only_standard_output_is_told(arguments: list[str], server: Loopback) -> None:
    Path("out").touch()
    with Path("out").open("rb") as out:
        done = subprocess.run(
            build_command(*arguments), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, server.requests) == (1, [])
    assert done.stderr.startswith(b"aiml: standard output")
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("stdout-fails")
@pytest.mark.parametrize(
    "arguments", [["chat", "hi", "--json"], ["config", "show"], ["models", "--demo"], ["chat", "--demo", "hi"]]
)
def test_a_full_standard_output_is_told_by_every_command(arguments: list[str], server: Loopback) -> None:
    server.answer_with(HELLO)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            build_command(*arguments), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("answer-first")
@pytest.mark.parametrize("places", ["2>/dev/full", "2>&-", "2</dev/null"])
def test_standard_error_that_takes_nothing_costs_no_answer(places: str, server: Loopback) -> None:
    server.answer_with(stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop")))
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = ["/bin/sh", "-c", f'"$@" {places}', "sh", *build_command("chat", "hi", "-v")]
    done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"Hi\n")


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("place", [">out 0>&1", "<&-"])
def test_standard_input_that_gives_nothing_is_no_crash(place: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = [
        "/bin/sh",
        "-c",
        f'"$@" {place}; code=$?; test -e out && cat out; exit $code',
        "sh",
        *build_command("chat", "hi"),
    ]
    done = subprocess.run(line, env=environ, capture_output=True, timeout=60, check=False)
    sentence = b"aiml: standard input: Bad file descriptor\nhint: --no-stdin leaves it alone\n"
    assert (done.returncode, done.stdout, done.stderr) in {(0, b"Hello\n", b""), (2, b"", sentence)}
