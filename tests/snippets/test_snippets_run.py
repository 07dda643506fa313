"""What --as prints is run, and gets and sends what aiml itself does."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.loopback import HELLO, HELLO_RESPONSE, Loopback, json_response, response_object

from aiml_cli.__main__ import main
from aiml_cli.demo.server import serve

NAMES = {"curl": "curl", "httpie": "http", "javascript": "node", "python": "sh"}
RUNNERS = {"python": [sys.executable], "javascript": ["node", "--input-type=module", "-"]}
HARD = 'it\'s $HOME `id` $(id) \\ \\n "!!" _FILE_0_FILE_ <JSON> é\t.'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 8
WAV = b"RIFF\x24\x08\0\0WAVEfmt " + bytes(range(256)) * 8
WEATHER = '{"name": "weather", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}'

Capture = pytest.CaptureFixture[str]
Ask = Callable[..., str]


def is_there(language: str) -> bool:
    needed = "requests" if language == "python" else "json"
    return bool(shutil.which(NAMES[language]) and importlib.util.find_spec(needed))


def language(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(not is_there(name), reason=f"{name} cannot be run here"))


every_language = pytest.mark.parametrize("language", list(map(language, NAMES)))
printing_text = pytest.mark.parametrize("language", [language("python"), language("javascript")])


@pytest.fixture(name="ask")
def _ask(capfd: Capture) -> Ask:
    """Return a function that runs aiml and returns its standard output."""

    def ask(*arguments: str) -> str:
        code = main(list(arguments))
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return ask


def run(language: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run a program where the files are, far from this user's ~/.curlrc and proxies."""
    here = {name: os.environ[name] for name in ("PATH", "HOME")}
    env = {**here, "LC_ALL": "C.UTF-8", "AIML_API_KEY": "made-up"}
    return subprocess.run(
        RUNNERS.get(language, ["sh"]), input=text, capture_output=True, encoding="utf-8", env=env, check=False
    )


def output_text(out: str) -> str:
    """Read the text in the JSON of either endpoint."""
    found = json.loads(out)
    if "choices" in found:
        return str(found["choices"][0]["message"]["content"])
    return "".join(part["text"] for item in found["output"] for part in item.get("content", ()))


ASKED = [
    ["chat", "hello"],
    ["chat", HARD, "-s", "Be brief.", "--temperature", "0"],
    ["chat", "hello", "--tools", WEATHER, "--tool-choice", "none"],
    ["chat", "hello", "-O", "extra=12345678901234567890"],
    ["respond", "hello"],
    ["respond", HARD, "--web-search", "--location", "city=Paris", "--code-interpreter"],
    ["respond", "hello", "--mcp-server", "docs=https://docs.example/mcp", "--reasoning-summary", "auto"],
]


@every_language
@pytest.mark.parametrize("arguments", ASKED, ids=" ".join)
def test_a_program_gets_the_answer_that_aiml_gets(language: str, arguments: list[str], ask: Ask) -> None:
    with serve() as url:
        there = [*arguments, "-S", "--base-url", url, "-m", "demo/echo"]
        ended = run(language, ask(*there, "--as", language))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert output_text(ended.stdout) == ask(*there).removesuffix("\n")


@printing_text
@pytest.mark.parametrize("endpoint", ["chat", "respond"])
def test_a_streaming_program_prints_what_aiml_prints(language: str, endpoint: str, ask: Ask) -> None:
    with serve() as url:
        there = [endpoint, HARD, "--base-url", url, "-m", "demo/markdown"]
        ended = run(language, ask(*there, "--as", language))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.rstrip("\n") == ask(*there).rstrip("\n")


FILES = [
    ("chat", "photo.png", PNG),
    ("chat", "paper.pdf", PDF),
    ("chat", "voice.wav", WAV),
    ("respond", "photo.png", PNG),
    ("respond", "paper.pdf", PDF),
    ("respond", "it's $HOME's `best`.png", PNG),
    ("chat", 'a "b" \\n $(c) \\.png', PNG),
]


@every_language
@pytest.mark.parametrize(("endpoint", "name", "data"), FILES, ids=repr)
def test_a_program_reads_files_and_sends_what_aiml_sends(
    language: str, endpoint: str, name: str, data: bytes, server: Loopback, ask: Ask
) -> None:
    Path(name).write_bytes(data)
    server.answer_with(HELLO if endpoint == "chat" else HELLO_RESPONSE)
    there = [endpoint, HARD, "--file", name, "--base-url", server.url]
    text = ask(*there, "--as", language)
    ask(*there)
    assert run(language, text).stderr == ""
    assert server.requests[1].json == server.requests[0].json
    assert len(text) < len(json.dumps(server.requests[0].json)) / 1.2


@every_language
def test_files_are_read_beside_numbers_that_javascript_cannot_write(language: str, server: Loopback, ask: Ask) -> None:
    Path("a.png").write_bytes(PNG)
    Path("b.png").write_bytes(PNG[::-1].join([PNG[:8], b""]))
    server.answer_with(json_response(response_object()))
    there = ["respond", "hi", "-S", "-f", "a.png", "-f", "b.png", "-O", "x=12345678901234567890"]
    text = ask(*there, "--base-url", server.url, "--as", language)
    ask(*there, "--base-url", server.url)
    assert run(language, text).stderr == ""
    assert server.requests[1].json == server.requests[0].json
    assert "encoded" in text or "base64 <" in text


def test_the_json_names_the_file(ask: Ask) -> None:
    Path("photo.png").write_bytes(PNG)
    body = json.loads(ask("respond", "what is it", "@photo.png", "--dry-run"))["body"]
    images = [part["image_url"] for part in body["input"][0]["content"] if part["type"] == "input_image"]
    assert images == ["@photo.png"]


def test_a_file_that_fits_in_a_line_stays_in_the_program(ask: Ask) -> None:
    Path("dot.png").write_bytes(PNG[:300])
    assert "data:image/png;base64,iVBOR" in ask("respond", "hi", "-f", "dot.png", "--as", "curl")


@pytest.mark.parametrize("flags", [["--dry-run"], ["--as", "curl"]])
def test_a_preview_of_the_demo_names_a_server_that_can_be_started(flags: list[str], capfd: Capture) -> None:
    assert main(["chat", "--demo", "hi", *flags]) == 0
    out, err = capfd.readouterr()
    assert "http://127.0.0.1:8765/v1/chat/completions" in out
    assert "demo/echo" in out
    assert "Authorization" not in out
    assert err == "aiml: to run it, start the embedded server first: aiml demo --port 8765\n"


def test_a_program_for_this_machine_sends_the_key_where_there_is_one(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ["chat", "hi", "--base-url", "http://127.0.0.1:1/v1", "--as", "curl"]
    assert "Authorization" not in ask(*here)
    monkeypatch.setenv("AIML_API_KEY", "sk-made-up")
    assert '"Authorization: Bearer $AIML_API_KEY"' in ask(*here)


def test_a_program_names_the_variable_that_holds_the_key(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "$AIMLAPI_API_KEY" in ask("chat", "hi", "--as", "curl")
    monkeypatch.setenv("AIMLAPI_KEY", "sk-made-up")
    out = ask("chat", "hi", "--as", "httpie")
    assert 'Authorization:"Bearer $AIMLAPI_KEY"' in out
    assert "sk-made-up" not in out
