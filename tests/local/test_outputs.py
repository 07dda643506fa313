"""Outputs and inputs that cannot be written or read: full, closed, read-only, or not files."""

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from support.forked_process import CliProcess, run_process
from support.history_file import wait_until_equal
from support.loopback import HELLO, HELLO_RESPONSE, SILENCE, STREAM, Loopback, chunk, delta, event, stream
from support.run_cli import Aiml, build_command

LONG_ANSWER = stream(delta("x" * 5000), delta(finish="stop"))
# No mode keeps root out, so these are places where nobody can write: below a file, and in the kernel's own folder.
INVALID_PATHS = ["file/out.txt", "/proc/out.txt", "folder", "no/such/folder/out.txt"]


def run_with_file_limit(server: Loopback, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the program where no file can have more than 1000 bytes, as on a disk that is nearly full."""

    def limit_file_size() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    environ = {**os.environ, "AIML_BASE_URL": server.url, "PYTHONDONTWRITEBYTECODE": "1"}
    with Path("stdout").open("wb") as out:
        return run_process(
            build_command(*arguments), env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
            preexec_fn=limit_file_size, timeout=60, check=False,
        )  # fmt: skip


@pytest.mark.promise("failed-stdout")
@pytest.mark.parametrize("form", ["text", "json", "jsonl", "raw"])
def test_a_disk_that_fills_up_during_output_is_an_error(form: str, server: Loopback) -> None:
    server.answer_with(LONG_ANSWER)
    done = run_with_file_limit(server, "chat", "hi", "--format", form)
    assert (done.returncode, Path("stdout").stat().st_size) == (1, 1000)
    assert b"aiml: standard output: File too large" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("failed-stdout")
def test_a_disk_that_fills_up_keeps_the_old_output_file(server: Loopback) -> None:
    server.answer_with(LONG_ANSWER)
    Path("out.txt").write_text("old")
    done = run_with_file_limit(server, "chat", "hi", "-o", "out.txt")
    assert (done.returncode, Path("out.txt").read_text()) == (1, "old")
    assert b"File too large" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("answer-before-storage")
def test_the_answer_is_printed_even_if_nothing_else_can_be_written(server: Loopback) -> None:
    server.answer_with(stream(delta("x" * 900), delta(finish="stop")))
    done = run_with_file_limit(server, "chat", "hi")
    assert (done.returncode, Path("stdout").read_text()) == (0, "x" * 900 + "\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize("name", INVALID_PATHS)
def test_an_invalid_output_path_is_refused_before_anything_is_sent(name: str, server: Loopback, aiml: Aiml) -> None:
    Path("file").touch()
    Path("folder").mkdir()
    done = aiml("chat", "hi", "-o", name)
    assert (done.returncode, server.requests) == (2, [])
    assert done.stderr.startswith(b"aiml: ")


CALLS = [
    ["chat", "hi"],
    ["chat", "hi", "--json"],
    ["config", "path"],
    ["--help"],
    ["--version"],
    ["chat", "--as", "curl", "x"],
]


@pytest.mark.promise("failed-stdout")
@pytest.mark.parametrize("arguments", CALLS)
def test_a_read_only_standard_output_is_an_error_before_anything_is_sent(
    arguments: list[str], server: Loopback
) -> None:
    Path("out").touch()
    with Path("out").open("rb") as out:
        done = run_process(
            build_command(*arguments), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, server.requests) == (1, [])
    assert done.stderr.startswith(b"aiml: standard output")
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("failed-stdout")
@pytest.mark.parametrize(
    "arguments", [["chat", "hi", "--json"], ["config", "show"], ["models", "--demo"], ["chat", "--demo", "hi"]]
)
def test_every_command_reports_a_full_disk_at_standard_output(arguments: list[str], server: Loopback) -> None:
    server.answer_with(HELLO)
    with Path("/dev/full").open("wb") as full:
        done = run_process(
            build_command(*arguments), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2</dev/null"])
def test_the_answer_is_printed_even_if_standard_error_cannot_be_written(redirection: str, server: Loopback) -> None:
    server.answer_with(stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop")))
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *build_command("chat", "hi", "-v")]
    done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"Hi\n")


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("redirection", [">out 0>&1", "<&-"])
def test_an_unreadable_standard_input_does_not_crash(redirection: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = [
        "/bin/sh",
        "-c",
        f'"$@" {redirection}; code=$?; test -e out && cat out; exit $code',
        "sh",
        *build_command("chat", "hi"),
    ]
    done = subprocess.run(line, env=environ, capture_output=True, timeout=60, check=False)
    sentence = b"aiml: standard input: Bad file descriptor\nhint: --no-stdin skips it\n"
    assert (done.returncode, done.stdout, done.stderr) in {(0, b"Hello\n", b""), (2, b"", sentence)}


STDOUT_NAMES = ["-", "/dev/stdout", "/dev/fd/1"]
META_PROPERTY = b'"endpoint": "chat"'
AUDIO_ANSWER = stream(
    delta(audio={"id": "a", "data": "QUJD", "transcript": "Hi"}),
    delta(audio={"data": "REVG"}),
    delta(finish="stop"),
    event("[DONE]"),
)


def list_files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.is_file() or "xdg" not in path.name)


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("name", STDOUT_NAMES)
@pytest.mark.parametrize("flags", [["--output"], ["-q", "-o"]])
def test_a_dash_means_standard_output(name: str, flags: list[str], server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    before = list_files()
    done = aiml("chat", "hi", *flags, name)
    assert (done.returncode, done.stdout, list_files()) == (0, b"Hello\n", before)


@pytest.mark.promise("output-names")
def test_with_a_dash_an_incomplete_answer_is_printed_too(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("Hel"), end=b""))
    before = list_files()
    done = aiml("chat", "hi", "-o", "-")
    assert (done.returncode, done.stdout, list_files()) == (8, b"Hel\n", before)


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("name", STDOUT_NAMES)
def test_the_meta_object_can_follow_the_answer_on_standard_output(name: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    before = list_files()
    done = aiml("chat", "hi", "--meta", name)
    text, _, meta = done.stdout.partition(b"\n")
    assert (done.returncode, text, json.loads(meta)["complete"], list_files()) == (0, b"Hello", True, before)
    done = aiml("chat", "hi", "--meta", name, "-o", "answer.txt")
    assert (done.returncode, json.loads(done.stdout)["complete"]) == (0, True)
    assert Path("answer.txt").read_bytes() == b"Hello\n"


@pytest.mark.promise("output-names")
@pytest.mark.parametrize(
    "arguments",
    [
        ["chat", "--each", "line", "-f", "rows", "{row}"],
        ["chat", "-m", "a", "-m", "b", "hi"],
        ["chat", "-m", "a", "-m", "b", "--first", "hi"],
        ["chat", "--chunk", "50", "-f", "rows", "hi"],
        ["chat", "--chunk", "50", "--reduce", "sum up", "-f", "rows", "hi"],
        ["respond", "hi"],
    ],
)
def test_a_dash_means_standard_output_for_several_requests_too(
    arguments: list[str], server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(HELLO_RESPONSE if arguments[0] == "respond" else HELLO)
    Path("rows").write_text("one\ntwo\n")
    before = list_files()
    done = aiml(*arguments, "-o", "-")
    assert (done.returncode, b"Hello" in done.stdout, list_files()) == (0, True, before)


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("output", [[], ["-o", "text.txt"]])
def test_audio_can_be_written_to_standard_output_without_the_text(
    output: list[str], server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(AUDIO_ANSWER)
    done = aiml("chat", "say hi", "--audio-out", "-", *output)
    assert (done.returncode, done.stdout, Path("-").exists()) == (0, b"ABCDEF", False)
    if output:
        assert Path("text.txt").read_bytes() == b"Hi\n"


@pytest.mark.promise("output-names")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--audio-out", "-", "--json"], b"nothing else can be written"),
        (["--audio-out", "-", "-o", "-"], b"nothing else can be written"),
        (["--audio-out", "-", "--meta", "-"], b"nothing else can be written"),
        (["--audio-out", "-", "--meta", "/dev/stdout", "-o", "x"], b"nothing else can be written"),
        (["--audio-out", "-", "-x"], b"nothing else can be written"),
        (["--audio-out", "same", "-o", "same"], b"same file"),
        (["--audio-out", "same", "--meta", "./same"], b"same file"),
        (["--meta", "same", "-o", "same"], b"same file"),
        (["--meta", "same.part", "-o", "same"], b"same file"),
        (["--save-dir", "-"], b"needs a folder"),
        (["--record", "-"], b"would mix"),
        (["--in-place", "-"], b"needs a file"),
        (["--each", "line", "-f", "rows", "--resume-from", "-"], b"name a file"),
    ],
)  # fmt: skip
def test_two_kinds_of_output_cannot_share_standard_output(
    arguments: list[str], message: bytes, server: Loopback, aiml: Aiml
) -> None:
    Path("rows").write_text("one\n")
    before = list_files()
    done = aiml("chat", "hi", *arguments)
    assert (done.returncode, server.requests, list_files()) == (2, [], before)
    assert message in done.stderr


@pytest.mark.promise("output-names")
def test_the_history_is_exported_to_a_dash(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi")
    before = list_files()
    done = aiml("history", "export", "-o", "-")
    assert (done.returncode, b"Hello" in done.stdout, list_files()) == (0, True, before)


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("arguments", [["hi"], ["--each", "line", "-f", "rows", "{row}"], ["-m", "a", "-m", "b", "hi"]])
@pytest.mark.parametrize(
    "wrong_flags", [["--max-tokens", "0"], ["--messages", "none"], ["--replay", "none"], ["--meta", "no/such"]]
)
def test_a_call_that_fails_before_the_request_leaves_no_file(
    arguments: list[str], wrong_flags: list[str], server: Loopback, aiml: Aiml
) -> None:
    Path("rows").write_text("one\n")
    before = list_files()
    done = aiml("chat", *arguments, "-o", "out", *wrong_flags)
    assert (done.returncode, server.requests, list_files()) == (2, [], before)


def test_a_key_that_is_missing_leaves_no_file(aiml: Aiml) -> None:
    Path("rows").write_text("one\n")
    before = list_files()
    for arguments in (["hi"], ["--each", "line", "-f", "rows", "{row}"], ["-m", "a", "-m", "b", "hi"]):
        done = aiml("chat", *arguments, "-o", "out", AIML_BASE_URL="https://api.example.com/v1")
        assert (done.returncode, list_files()) == (3, before)


@pytest.mark.promise("stopped-runs")
@pytest.mark.parametrize("old_text", [None, "old"])
def test_the_text_of_a_killed_program_is_in_the_partial_file(old_text: str | None, server: Loopback) -> None:
    server.answer_with(STREAM + chunk(delta("Hel")), SILENCE)
    if old_text:
        Path("out.txt").write_text(old_text)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(build_command("chat", "hi", "-o", "out.txt"), env=environ, stdin=subprocess.DEVNULL) as process:
        wait_until_equal(lambda: [path.read_bytes() for path in Path().glob("out.txt.part")], [b"Hel"])
        process.kill()
    assert (Path("out.txt").read_text() if old_text else Path("out.txt").exists()) == (old_text or False)
    assert [name for name in os.listdir() if name.startswith(".")] == []  # noqa: PTH208
    assert Path("out.txt.part").read_bytes() == b"Hel"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.promise("output-names")
def test_a_mount_point_is_refused_before_anything_is_sent(server: Loopback) -> None:
    Path("real").write_text("old")
    Path("out.txt").touch()
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = 'mount --bind real out.txt || exit 77; "$@"; code=$?; cat out.txt; exit $code'
    command = ["unshare", "--mount", "sh", "-c", line, "sh", *build_command("chat", "hi", "-o", "out.txt")]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    if done.returncode not in (0, 1, 2, 8):
        pytest.skip("nothing can be mounted here")
    assert (done.returncode, done.stdout, server.requests) == (2, b"old", [])
    assert b"mount its folder" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.promise("output-names")
def test_a_full_disk_is_an_error_before_anything_is_sent(server: Loopback) -> None:
    Path("small").mkdir()
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = 'mount -t tmpfs -o size=64k none small && echo old > small/out || exit 77; cat /dev/zero > small/zeros; "$@"; code=$?'
    line += "; cat small/out; ls -A small | wc -l; exit $code"
    command = ["unshare", "--mount", "sh", "-c", line, "sh", *build_command("chat", "hi", "-o", "small/out")]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    if done.returncode not in (0, 1, 2, 8):
        pytest.skip("nothing can be mounted here")
    assert (done.returncode, done.stdout.split(), server.requests) == (2, [b"old", b"2"], [])
    assert b"small/out: cannot be written: No space left on device" in done.stderr
