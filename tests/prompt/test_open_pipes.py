"""Waiting for an open pipe ends if no process can write to it."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.forked_process import run_process
from support.loopback import HELLO, Loopback
from support.run_cli import build_command, can_run_as_others

from aiml_cli.prompt.stdin import StdinTimeout
from aiml_cli.system.pipe_writers import Writers, find_writers

WAITING_NOTICE = "aiml: waiting for standard input; --no-stdin skips it\n"
NOTHING_ARRIVED = "nothing arrived on standard input within 2 s, and it was not closed"


@pytest.fixture
def open_pipe() -> Iterator[tuple[int, int]]:
    """Yield a pipe whose write end this process holds open."""
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for end in (read_end, write_end):
        os.close(end)


def run(server: Loopback, *arguments: str, stdin: int, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the program as a process with this standard input."""
    server.answer_with(HELLO)
    return run_process(
        build_command("chat", "hi", *arguments),
        env={**os.environ, "AIML_BASE_URL": server.url, **environ},
        stdin=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("flag", [["--stdin-wait", "1"], ["--stdin-wait=0.1"]])
def test_waiting_for_a_pipe_that_the_parent_holds_open_ends(
    flag: list[str], open_pipe: tuple[int, int], server: Loopback
) -> None:
    done = run(server, *flag, stdin=open_pipe[0])
    assert (done.returncode, done.stdout, server.requests) == (2, "", [])
    assert WAITING_NOTICE in done.stderr
    assert NOTHING_ARRIVED in done.stderr


def test_the_wait_can_be_configured(open_pipe: tuple[int, int], server: Loopback) -> None:
    assert run(server, stdin=open_pipe[0], AIML_STDIN_WAIT="1").returncode == 2


def test_waiting_for_an_open_socket_ends_too(server: Loopback) -> None:
    near, far = socket.socketpair()
    with near, far:
        done = run(server, "--stdin-wait", "1", stdin=near.fileno())
    assert (done.returncode, server.requests) == (2, [])


def test_without_standard_input_the_words_are_sent(open_pipe: tuple[int, int], server: Loopback) -> None:
    assert run(server, "--no-stdin", stdin=open_pipe[0]).returncode == 0


@pytest.mark.parametrize("data", [b"", b"some data"])
def test_a_closed_pipe_is_read_at_once(data: bytes, server: Loopback) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)
    done = run(server, stdin=read_end)
    os.close(read_end)
    assert done.returncode == 0
    assert ("some data" in server.requests[0].body.decode()) is bool(data)


def start_pipeline(server: Loopback, producer: str, *before: str) -> "subprocess.Popen[str]":
    """Start a producer and the program, as a shell does: the shell holds no end of the pipe."""
    server.answer_with(HELLO)
    command = " ".join([*before, *(f"'{word}'" for word in build_command("chat", "hi", "--stdin-wait", "0.1"))])
    return subprocess.Popen(
        ["sh", "-c", f"{producer} | {command}"],
        env={**os.environ, "AIML_BASE_URL": server.url},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("producer", ["(read x < go; echo $x)", "sh -c 'sh -c \"cat go\"'", "cat go | cat | cat"])
def test_a_slow_producer_is_waited_for(producer: str, server: Loopback) -> None:
    os.mkfifo("go")
    with start_pipeline(server, producer) as shell:
        assert shell.stderr
        assert shell.stderr.readline() == WAITING_NOTICE
        Path("go").write_text("slow data\n", encoding="utf-8")
        assert shell.wait(30) == 0
    assert "slow data" in server.requests[0].body.decode()


def test_a_background_process_that_holds_the_pipe_is_waited_for_until_it_ends(server: Loopback) -> None:
    os.mkfifo("go")
    with start_pipeline(server, "(cat go > /dev/null & echo early)") as shell:
        assert shell.stdout
        Path("go").write_text("", encoding="utf-8")
        assert shell.wait(30) == 0
    assert "early" in server.requests[0].body.decode()


@pytest.mark.parametrize(
    ("suffix", "bodies"),
    [
        (" < /dev/null", ["hi one", "hi two", "hi three"]),
        (" --no-stdin", ["hi one", "hi two", "hi three"]),
        ("", ["two\\nthree\\n"]),  # as ssh, the first call reads what the loop would have read
    ],
    ids=["null", "flag", "neither"],
)
def test_a_call_in_a_loop_over_lines_reads_the_lines_unless_told_not_to(
    suffix: str, bodies: list[str], server: Loopback
) -> None:
    for _ in bodies:
        server.answer_with(HELLO)
    command = " ".join(f"'{word}'" for word in build_command("chat", "hi"))
    loop = f"printf 'one\\ntwo\\nthree\\n' | while read -r line; do {command} \"$line\"{suffix}; done"
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(["sh", "-c", loop], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "Hello\n" * len(bodies)), done.stderr
    assert len(server.requests) == len(bodies)
    assert all(text in request.body.decode() for text, request in zip(bodies, server.requests, strict=True))


@pytest.mark.parametrize("stdin", ["< /dev/null", "<&-", "0<>/dev/null"], ids=["null", "closed", "null to write"])
def test_a_call_under_cron_sends_its_words(stdin: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    command = " ".join(f"'{word}'" for word in build_command("chat", "hi"))
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(
        ["sh", "-c", f"{command} {stdin}"], env=environ, capture_output=True, text=True, timeout=60,
        start_new_session=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\n", "")


@pytest.mark.skipif(not can_run_as_others(), reason="needs root, setpriv, and a checkout that other users can read")
def test_a_producer_of_another_user_is_waited_for(server: Loopback, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        os.chown(os.environ[variable], 65534, 65534)
    os.mkfifo("go")
    before = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with start_pipeline(server, "cat go", *before) as shell:
        assert shell.stderr
        assert shell.stderr.readline() == WAITING_NOTICE
        Path("go").write_text("of root\n", encoding="utf-8")
        assert shell.wait(30) == 0, shell.stderr.read()
    assert "of root" in server.requests[0].body.decode()


def test_the_processes_that_can_write_to_a_pipe_are_found(
    open_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = open_pipe
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert find_writers(read_end) is Writers.ANCESTORS
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=write_end) as other:
        assert find_writers(read_end) is Writers.OTHERS
        other.kill()
    assert find_writers(read_end) is Writers.ANCESTORS
    monkeypatch.setenv("SSH_CONNECTION", "::1 1 ::1 22")
    assert find_writers(read_end) is Writers.UNKNOWN
    assert find_writers(-1) is Writers.UNKNOWN


def test_a_process_that_only_reads_does_not_count_as_a_writer(open_pipe: tuple[int, int]) -> None:
    with subprocess.Popen(["sleep", "60"], stdin=open_pipe[0]) as other:
        assert find_writers(open_pipe[0]) is Writers.ANCESTORS
        other.kill()


@pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/proc"], capture_output=True, check=False).returncode
    != 0,
    reason="/proc cannot be hidden here: no right to make a mount namespace",
)  # fmt: skip
def test_without_proc_the_writers_are_unknown(open_pipe: tuple[int, int], server: Loopback) -> None:
    hide = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh"]
    done = subprocess.run(
        [*hide, *build_command("chat", "hi", "--stdin-wait", "1")],
        env={**os.environ, "AIML_BASE_URL": server.url},
        stdin=open_pipe[0], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, server.requests) == (2, [])


@pytest.mark.parametrize(
    ("seconds", "is_known", "limit"),
    [
        (None, True, 10),
        (None, False, 60),
        (5, True, 5),
        (5, False, 5),
        (0, True, float("inf")),
        (0, False, float("inf")),
    ],
)
def test_the_wait_depends_on_whether_a_writer_is_known(seconds: float | None, is_known: bool, limit: float) -> None:
    assert StdinTimeout(seconds).limit(known=is_known) == limit
