"""Search for the key after every kind of call: in outputs, files and the list of processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support.loopback import HELLO, HELLO_RESPONSE, Loopback, delta, event, http_response, json_response, stream
from support.loopback import Request as Got
from support.run_cli import Aiml, build_command

CANARY = "k-canary-5d1e8f0b7a"
# A stand-in for the package of that name, which is an extra.
KEYRING = f"""
def get_password(service, name): return {CANARY!r}
def set_password(service, name, value): raise RuntimeError(value)
delete_password = set_password
"""
BROKEN = "import os\nraise RuntimeError('a bug with ' + os.environ['AIMLAPI_API_KEY'])"
ECHO = {"error": {"message": f"the key {CANARY} is wrong", "type": CANARY, "code": CANARY, "param": [CANARY]}}
HEADERS = (f"X-Request-Id: {CANARY}", f"Set-Cookie: a={CANARY}", f"X-Echo: Bearer {CANARY}", f"Retry-After: {CANARY}")
ANSWERS = {
    "answer": HELLO,
    "response": HELLO_RESPONSE,
    "refused": json_response(ECHO, "401 Unauthorized", *HEADERS),
    "limited": json_response(ECHO, "429 Slow", *HEADERS),
    "failed": http_response(f"<h1>{CANARY}</h1>".encode(), "503 Busy", "text/html", *HEADERS),
    "under 200": json_response(ECHO, "200 OK", *HEADERS),
    "mid-stream": stream(delta("Hi"), event(ECHO)),
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
FEW = ("answer", "refused")  # enough for a key that is found in another place
PLACES = ["environment", "keyring", "key_command", "file"]


@pytest.fixture
def processes() -> Iterator[set[bytes]]:
    """Look for the key in the command lines of all processes, as long as the test runs."""
    done, guilty = threading.Event(), set[bytes]()

    def look() -> None:
        while not done.wait(0.01):
            for line in map(_command_line, Path("/proc").glob("[0-9]*/cmdline")):
                if CANARY.encode() in line:
                    guilty.add(line)

    thread = threading.Thread(target=look)
    thread.start()
    yield guilty
    done.set()
    thread.join()


def _command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


@pytest.fixture(params=PLACES)
def environ(request: pytest.FixtureRequest, tmp_path: Path, server: Loopback, aiml: Aiml) -> dict[str, str]:
    """Put the key in each of its places; return the environment that the program needs for it."""
    match request.param:
        case "environment":
            return {"AIMLAPI_API_KEY": CANARY}
        case "keyring":
            return {"PYTHONPATH": module(tmp_path, "keyring", KEYRING)}
        case "key_command":
            (tmp_path / "secret").write_text(CANARY)
            return {"AIML_KEY_COMMAND": f"cat {tmp_path / 'secret'}"}
        case _:
            blocked = module(tmp_path, "keyring", "raise ImportError")
            done = aiml("config", "key", "--stdin", stdin=CANARY.encode(), PYTHONPATH=blocked)
            assert done.returncode == 0
            assert CANARY.encode() not in done.stdout + done.stderr
            return {"PYTHONPATH": blocked}


def module(tmp_path: Path, name: str, source: str) -> str:
    """Write a module; return the folder that it is in."""
    place = tmp_path / f"modules-{name}"
    place.mkdir()
    (place / f"{name}.py").write_text(source)
    return str(place)


def files(tmp_path: Path) -> list[Path]:
    """List every file that the program may have written, except the one of the keys."""
    places = [*tmp_path.glob("home"), *tmp_path.glob("xdg_*"), tmp_path / "meta.json", *tmp_path.glob("answer.txt*")]
    found = [path for place in places for path in [place, *place.rglob("*")] if path.is_file()]
    return [path for path in found if path.name != "keys.json"]


def sent(requests: list[Got]) -> set[str | None]:
    return {request.get_header("authorization") for request in requests}


@pytest.mark.promise("key-secret")
def test_no_call_shows_the_key(
    environ: dict[str, str], server: Loopback, aiml: Aiml, tmp_path: Path, processes: set[bytes]
) -> None:
    every = "AIMLAPI_API_KEY" in environ
    for index, (name, answer) in enumerate(ANSWERS.items()):
        if not every and name not in FEW:
            continue
        server.scripts, server._count = [[answer]], 0  # noqa: SLF001 - start again
        endpoint = "respond" if name == "response" else "chat"
        for flags in [FLAGS[index % len(FLAGS)], ["--debug", "-v"]][not every :]:
            done = aiml(endpoint, "hi", *flags, **environ)
            assert CANARY.encode() not in done.stdout + done.stderr, (name, flags)
            assert b"Traceback" not in done.stderr
    assert sent(server.requests) == {f"Bearer {CANARY}"}
    assert not [path for path in files(tmp_path) if CANARY.encode() in path.read_bytes()]
    assert not processes


@pytest.mark.promise("key-secret")
def test_no_command_shows_the_key(
    environ: dict[str, str], server: Loopback, aiml: Aiml, tmp_path: Path, processes: set[bytes]
) -> None:
    server.answer_with(json_response({"current_balance": 1, "currency": CANARY, "data": []}, "200 OK", *HEADERS))
    for line in COMMANDS if "AIMLAPI_API_KEY" in environ else COMMANDS[1:4]:
        done = aiml(*line.split(), **environ)
        assert CANARY.encode() not in done.stdout + done.stderr, line
    assert not [path for path in files(tmp_path) if CANARY.encode() in path.read_bytes()]
    assert not processes


@pytest.mark.promise("key-secret")
def test_an_internal_error_is_reported_without_the_key(aiml: Aiml, tmp_path: Path) -> None:
    done = aiml("chat", "hi", AIMLAPI_API_KEY=CANARY, PYTHONPATH=module(tmp_path, "httpx", BROKEN))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"internal error: RuntimeError" in done.stderr
    assert CANARY.encode() not in done.stderr


@pytest.mark.promise("key-secret")
def test_no_terminal_output_shows_the_key(server: Loopback) -> None:
    server.answer_with(ANSWERS["refused"])
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIMLAPI_API_KEY": CANARY}
    wrote = pexpect.run(" ".join(build_command("chat", "hi", "-v", "--debug")), env=environ, timeout=60)
    assert b"aiml config key" in wrote
    assert CANARY.encode() not in wrote


def test_the_search_finds_a_key_in_a_command_line(processes: set[bytes]) -> None:
    """A search that finds no key must be able to find one."""
    with subprocess.Popen([sys.executable, "-c", "input()", CANARY], stdin=subprocess.PIPE) as process:
        while not processes and process.poll() is None:
            pass
        process.communicate(b"\n", timeout=30)
    assert any(CANARY.encode() in line for line in processes)
