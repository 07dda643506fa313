"""Search for the key after every kind of call: in outputs, files and the list of processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    Loopback,
    Request,
    delta,
    event,
    http_response,
    json_response,
    stream,
)
from support.run_cli import Aiml, build_command

CANARY = f"k-canary-5d1e8f0b7a-{os.getpid()}"  # the processes of other workers have another key
# A stand-in for the package of that name, which is an extra.
KEYRING_MODULE = f"""
def get_password(service, name): return {CANARY!r}
def set_password(service, name, value): raise RuntimeError(value)
delete_password = set_password
"""
BROKEN_MODULE = "import os\nraise RuntimeError('a bug with ' + os.environ['AIMLAPI_API_KEY'])"
ERROR_WITH_KEY = {"error": {"message": f"the key {CANARY} is wrong", "type": CANARY, "code": CANARY, "param": [CANARY]}}
HEADERS_WITH_KEY = (
    f"X-Request-Id: {CANARY}",
    f"Set-Cookie: a={CANARY}",
    f"X-Echo: Bearer {CANARY}",
    f"Retry-After: {CANARY}",
)
ANSWERS = {
    "answer": HELLO,
    "response": HELLO_RESPONSE,
    "refused": json_response(ERROR_WITH_KEY, "401 Unauthorized", *HEADERS_WITH_KEY),
    "limited": json_response(ERROR_WITH_KEY, "429 Slow", *HEADERS_WITH_KEY),
    "failed": http_response(f"<h1>{CANARY}</h1>".encode(), "503 Busy", "text/html", *HEADERS_WITH_KEY),
    "under 200": json_response(ERROR_WITH_KEY, "200 OK", *HEADERS_WITH_KEY),
    "mid-stream": stream(delta("Hi"), event(ERROR_WITH_KEY)),
    "cut": stream(delta("Hi"), end=b""),
    "moved": http_response(b"", "302 Found", "text/plain", f"Location: /{CANARY}"),
    "odd": http_response(f"{CANARY}\0".encode(), f"200 {CANARY}", CANARY),
}
FLAGS = [
    [], ["-v"], ["--debug"], ["--json"], ["--format", "jsonl"], ["--format", "raw"], ["-u", "--meta", "meta.json"],
    ["-o", "answer.txt"], ["-S", "--retries", "1"],
]  # fmt: skip
COMMANDS = [
    "config show", "config show --json", "chat hi --as curl", "usage --debug", "config check --debug",
    "chat hi --as python", "chat hi --as javascript", "chat hi --as httpie", "chat hi --dry-run", "models", "usage --json",
    "history list",
]  # fmt: skip
ANSWERS_FOR_OTHER_PLACES = ("answer", "refused")  # enough for a key that is found in another place
KEY_PLACES = ["environment", "keyring", "key_command", "file"]


@pytest.fixture
def exposing_processes() -> Iterator[set[bytes]]:
    """Look for the key in the command lines of all processes, as long as the test runs."""
    done, guilty = threading.Event(), set[bytes]()

    def search_processes() -> None:
        while not done.wait(0.01):
            for line in map(_read_command_line, Path("/proc").glob("[0-9]*/cmdline")):
                if CANARY.encode() in line:
                    guilty.add(line)

    thread = threading.Thread(target=search_processes)
    thread.start()
    yield guilty
    done.set()
    thread.join()


def _read_command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


@pytest.fixture(params=KEY_PLACES)
def key_environ(request: pytest.FixtureRequest, tmp_path: Path, server: Loopback, aiml: Aiml) -> dict[str, str]:
    """Put the key in each of its places; return the environment that the program needs for it."""
    match request.param:
        case "environment":
            return {"AIMLAPI_API_KEY": CANARY}
        case "keyring":
            return {"PYTHONPATH": write_module(tmp_path, "keyring", KEYRING_MODULE)}
        case "key_command":
            (tmp_path / "secret").write_text(CANARY)
            return {"AIML_KEY_COMMAND": f"cat {tmp_path / 'secret'}"}
        case _:
            blocked = write_module(tmp_path, "keyring", "raise ImportError")
            done = aiml("config", "key", "--stdin", stdin=CANARY.encode(), PYTHONPATH=blocked)
            assert done.returncode == 0
            assert CANARY.encode() not in done.stdout + done.stderr
            return {"PYTHONPATH": blocked}


def write_module(tmp_path: Path, name: str, source: str) -> str:
    """Write a module; return the folder that it is in."""
    place = tmp_path / f"modules-{name}"
    place.mkdir()
    (place / f"{name}.py").write_text(source)
    return str(place)


def list_written_files(tmp_path: Path) -> list[Path]:
    """List every file that the program may have written, except the one of the keys."""
    places = [*tmp_path.glob("home"), *tmp_path.glob("xdg_*"), tmp_path / "meta.json", *tmp_path.glob("answer.txt*")]
    found = [path for place in places for path in [place, *place.rglob("*")] if path.is_file()]
    return [path for path in found if path.name != "keys.json"]


def list_authorizations(requests: list[Request]) -> set[str | None]:
    return {request.get_header("authorization") for request in requests}


@pytest.mark.promise("key-masked")
def test_no_call_shows_the_key(
    key_environ: dict[str, str], server: Loopback, aiml: Aiml, tmp_path: Path, exposing_processes: set[bytes]
) -> None:
    is_in_environment = "AIMLAPI_API_KEY" in key_environ
    for index, (name, answer) in enumerate(ANSWERS.items()):
        if not is_in_environment and name not in ANSWERS_FOR_OTHER_PLACES:
            continue
        server.scripts, server._count = [[answer]], 0  # noqa: SLF001 - start again
        endpoint = "respond" if name == "response" else "chat"
        for flags in [FLAGS[index % len(FLAGS)], ["--debug", "-v"]][not is_in_environment :]:
            done = aiml(endpoint, "hi", *flags, **key_environ)
            assert CANARY.encode() not in done.stdout + done.stderr, (name, flags)
            assert b"Traceback" not in done.stderr
    assert list_authorizations(server.requests) == {f"Bearer {CANARY}"}
    assert not [path for path in list_written_files(tmp_path) if CANARY.encode() in path.read_bytes()]
    assert not exposing_processes


@pytest.mark.promise("key-masked")
def test_no_command_shows_the_key(
    key_environ: dict[str, str], server: Loopback, aiml: Aiml, tmp_path: Path, exposing_processes: set[bytes]
) -> None:
    server.answer_with(
        json_response({"current_balance": 1, "currency": CANARY, "data": []}, "200 OK", *HEADERS_WITH_KEY)
    )
    for line in COMMANDS if "AIMLAPI_API_KEY" in key_environ else COMMANDS[1:4]:
        done = aiml(*line.split(), **key_environ)
        assert CANARY.encode() not in done.stdout + done.stderr, line
    assert not [path for path in list_written_files(tmp_path) if CANARY.encode() in path.read_bytes()]
    assert not exposing_processes


@pytest.mark.promise("key-masked")
def test_an_internal_error_is_reported_without_the_key(aiml: Aiml, tmp_path: Path) -> None:
    done = aiml("chat", "hi", AIMLAPI_API_KEY=CANARY, PYTHONPATH=write_module(tmp_path, "httpx", BROKEN_MODULE))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"internal error: RuntimeError" in done.stderr
    assert CANARY.encode() not in done.stderr


@pytest.mark.promise("key-masked")
def test_no_terminal_output_shows_the_key(server: Loopback) -> None:
    server.answer_with(ANSWERS["refused"])
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIMLAPI_API_KEY": CANARY}
    output = pexpect.run(" ".join(build_command("chat", "hi", "-v", "--debug")), env=environ, timeout=60)
    assert b"aiml config key" in output
    assert CANARY.encode() not in output


def test_the_search_finds_a_key_in_a_command_line(exposing_processes: set[bytes]) -> None:
    """A search that finds no key must be able to find one."""
    with subprocess.Popen([sys.executable, "-c", "input()", CANARY], stdin=subprocess.PIPE) as process:
        while not exposing_processes and process.poll() is None:
            pass
        process.communicate(b"\n", timeout=30)
    assert any(CANARY.encode() in line for line in exposing_processes)
