"""Odd environments: the outcome is the answer, or one clear line."""

import os
import subprocess
from pathlib import Path

import pytest
from support.forked_process import run_process
from support.loopback import HELLO, Loopback, delta, stream
from support.run_cli import Aiml, build_command

pytestmark = pytest.mark.promise("odd-environment")
XDG_VARIABLES = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")

ODD_ENVIRONMENTS = [
    {"LANG": "C", "LC_ALL": "C"},
    {"LC_ALL": "xx_YY.broken"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONUTF8": "0", "LC_ALL": "POSIX"},
    {"TERM": ""},
    {"TERM": "dumb"},
    {"TERM": "no-such-terminal"},
    {"COLUMNS": "0", "LINES": "0"},
    {"COLUMNS": "1"},
    {"COLUMNS": "-5"},
    {"COLUMNS": "x"},
    {"COLUMNS": "9" * 5000},
    {"TZ": "Nowhere/Nothing"},
    {"TMPDIR": "/nonexistent"},
    {"PATH": ""},
    {"PWD": "/nonexistent", "OLDPWD": ""},
    {"NO_PROXY": "::1,[::1],*", "no_proxy": "fe80::/10"},
    {"ALL_PROXY": "socks5://127.0.0.1:9"},
    {"HTTP_PROXY": "://", "HTTPS_PROXY": "%"},
    {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"},
    {"EDITOR": "", "VISUAL": "'", "PAGER": ""},
    {"NETRC": "/nonexistent", "PYTHONHASHSEED": "0"},
]


@pytest.mark.parametrize(
    "environ", ODD_ENVIRONMENTS, ids=lambda odd: " ".join(f"{name}={value[:20]}" for name, value in odd.items())
)
def test_an_odd_environment_does_not_prevent_an_answer(environ: dict[str, str], server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta(reasoning_content="hm é"), delta("Hé😀lo"), delta(finish="stop")))
    done = aiml("chat", "hé 😀", "-v", **environ)
    assert (done.returncode, done.stdout.decode()) == (0, "Hé😀lo\n")
    assert b"Traceback" not in done.stderr
    assert server.requests[0].json["messages"][0]["content"] == "hé 😀"


@pytest.mark.parametrize("columns", ["0", "1", "-5", "x"])
@pytest.mark.parametrize(
    "words", [["--help"], ["chat", "--help"], ["models", "--demo"], ["config", "show"], ["chat", "--nothing"]]
)
def test_an_odd_terminal_width_does_not_crash(words: list[str], columns: str, aiml: Aiml) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"} if columns == "1" else {}
    done = aiml(*words, COLUMNS=columns, TERM="dumb", **ascii_only)
    assert done.returncode == (2 if "--nothing" in words else 0)
    assert b"Traceback" not in done.stderr + done.stdout
    assert done.stdout or done.stderr.startswith(b"aiml: ")


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize("home", [None, "", "relative", "/proc", "/proc/1/x", "/dev/null", "file", "~", "/proc/\udcff"])
@pytest.mark.parametrize(
    "words", [["chat", "hi"], ["chat", "--demo", "hi"], ["config", "show"], ["config", "set", "n", "2"]]
)
def test_a_home_directory_that_cannot_be_written_does_not_prevent_an_answer(
    words: list[str], home: str | None, tmp_path: Path, server: Loopback
) -> None:
    """File modes do not stop root, but nobody can write in the kernel's own folders, or below a file."""
    Path("file").touch()
    server.answer_with(HELLO)
    environ = {name: value for name, value in os.environ.items() if name not in (*XDG_VARIABLES, "HOME")}
    if home is not None:
        environ["HOME"] = str(tmp_path / home) if home == "file" else home
    if home in (None, "", "relative", "~"):  # then the system's list of users names a real one: not ours to change
        words = ["config", "get", "n"] if "set" in words else words
        environ["AIML_NO_LOG"] = "1"
    done = run_process(
        build_command(*words), env={**environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    assert words[0] != "chat" or (done.returncode, bool(done.stdout)) == (0, True)
    assert done.stderr.count(b"\n") <= 3
    assert sorted(each.name for each in tmp_path.iterdir() if not each.name.startswith(("home", "xdg"))) == ["file"]


def test_a_huge_environment_does_not_prevent_an_answer(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    many = {f"ODD_{number}": "x" * 120_000 for number in range(12)}
    done = aiml("chat", "hi", **many, **{f"AIML_ODD_{number}": "y" for number in range(3000)})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello\n", b"")


def test_a_prompt_of_100_kilobytes_may_be_typed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    words = "é" * 50_000
    assert aiml("chat", words).stdout == b"Hello\n"
    assert server.requests[0].json["messages"][0]["content"] == words


def test_a_deleted_current_directory_does_not_prevent_an_answer(tmp_path: Path, server: Loopback) -> None:
    server.answer_with(HELLO)
    (tmp_path / "gone").mkdir()
    line = ["/bin/sh", "-c", 'cd gone; rmdir ../gone; "$@"', "sh", *build_command("chat", "hi")]
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"Hello\n"), done.stderr


def test_a_low_limit_on_open_files_does_not_crash(server: Loopback) -> None:
    server.answer_with(HELLO)
    line = ["/bin/sh", "-c", 'ulimit -n 7; "$@"', "sh", *build_command("chat", "hi")]
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    done = subprocess.run(line, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, 7)
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("nothing-runs-unasked")
def test_a_command_that_the_model_proposes_is_not_run(server: Loopback, aiml: Aiml) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "shell", "arguments": '{"command": "touch was-run"}'}}
    server.answer_with(
        stream(
            delta("```sh\ntouch was-run\n```\n$(touch was-run) `touch was-run`", tool_calls=[call]),
            delta(finish="tool_calls"),
        )
    )
    done = aiml("chat", "hi", stdin=b"y\ny\n")
    assert b"touch was-run" in done.stdout
    assert not Path("was-run").exists()
