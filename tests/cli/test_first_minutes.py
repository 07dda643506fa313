"""The first minutes: no key, no command, a wrong model, a prompt that is written in an editor."""

import os
import shlex
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.forked_process import TerminalProcess
from support.loopback import HELLO, Loopback
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main
from aiml_cli.api.model_list import parse_models
from aiml_cli.store.model_cache import CachedModels, save_models

CATALOG = b"""{"data": [
  {"id": "openai/gpt-5-1", "type": "chat-completion"}, {"id": "openai/gpt-5-1-pro", "type": "responses"},
  {"id": "vendor/other", "type": "chat-completion"}
]}"""


def build_error_response(code: int, words: str) -> bytes:
    body = f'{{"error": {{"message": "{words}"}}}}'
    return f"HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def get_hint(aiml: Aiml, server: Loopback, reply: bytes, *arguments: str) -> str:
    """Return the hint after a refusal, with a stored catalog."""
    save_models(CachedModels(server.url, "", time.time(), CATALOG, parse_models(CATALOG)))
    server.answer_with(reply)
    done = aiml(*arguments)
    assert (done.returncode, done.stdout, len(server.requests)) == (4, b"", 1)
    text: str = done.stderr.decode().partition("hint: ")[2]
    return text


def write_editor(code: str) -> str:
    """Return an editor command that runs a line of Python, in which `path` is the file."""
    Path("editor.py").write_text(f"import os, sys, pathlib\npath = pathlib.Path(sys.argv[1])\n{code}\n")
    return shlex.join([sys.executable, str(Path("editor.py").absolute())])


def list_kept_prompts() -> list[Path]:
    """List the prompts that are still on disk."""
    return [path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]


def test_a_script_without_a_key_gets_a_two_line_error(aiml: Aiml) -> None:
    done = aiml("chat", "hi", AIML_BASE_URL="https://api.example.com/v1")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (3, b"", 2)
    assert all(word in done.stderr for word in (b"aimlapi.com/app/keys", b"aiml config key", b"--demo"))


def test_a_user_without_a_key_gets_a_four_line_error() -> None:
    environ: Any = {**os.environ, "AIML_BASE_URL": "https://api.example.com/v1", "TERM": "xterm"}
    program, *rest = build_command("chat", "hi")
    child = TerminalProcess(program, rest, env=environ, dimensions=(24, 120), timeout=60)
    child.expect(pexpect.EOF)
    child.close()
    lines = [line.split()[0] for line in child.before.decode().split("\n") if line.strip()]
    assert (child.exitstatus, lines) == (3, ["aiml:", "hint:", "then", "or"])


def test_aiml_without_arguments_shows_three_examples(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capfd.readouterr().out
    assert len([line for line in text.splitlines() if line.startswith("  ")]) == 3
    assert ("--help" in text, "config key" in text, len(text.splitlines()) < 10) == (True, True, True)


@pytest.mark.parametrize(("code", "words"), [(404, "not found"), (400, "The model gpt-5.1 does not exist")])
def test_an_unknown_model_gives_a_suggestion(code: int, words: str, aiml: Aiml, server: Loopback) -> None:
    told = get_hint(aiml, server, build_error_response(code, words), "chat", "-m", "gpt-5.1", "hi")
    assert told.startswith("did you mean openai/gpt-5-1")


def test_a_model_of_the_other_endpoint_gives_a_hint(aiml: Aiml, server: Loopback) -> None:
    told = get_hint(
        aiml, server, build_error_response(400, "unsupported model"), "chat", "-m", "openai/gpt-5-1-pro", "hi"
    )
    assert told == "openai/gpt-5-1-pro works with: aiml respond -m openai/gpt-5-1-pro\n"


@pytest.mark.parametrize(
    ("model", "words"), [("gpt-5.1", "temperature is too high"), ("vendor/other", "no such model")]
)
def test_an_error_that_is_not_about_the_model_keeps_its_hint(
    model: str, words: str, aiml: Aiml, server: Loopback
) -> None:
    assert "--dry-run" in get_hint(aiml, server, build_error_response(400, words), "chat", "-m", model, "hi")


def test_an_unknown_conversation_gives_a_suggestion(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "hi").returncode == 0
    listed = aiml("history", "list", "--json").stdout.decode()
    name = listed.partition('"name": "')[2].partition('"')[0] or listed.partition('"id": "')[2].partition('"')[0]
    done = aiml("chat", "-r", f"{name}q", "on")
    assert (done.returncode, f"did you mean {name}?" in done.stderr.decode()) == (2, True)


def test_the_editor_starts_with_the_typed_words_and_its_text_is_sent(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    code = "path.write_text(path.read_text() + oct(path.stat().st_mode)[-3:] + '\\n@x\\n')"
    assert aiml("chat", "-e", "one", "two", EDITOR="false", VISUAL=write_editor(code)).returncode == 0
    assert server.requests[0].json["messages"][0]["content"] == "one two\n600\n@x"
    assert list_kept_prompts() == []


@pytest.mark.promise("stdin")
def test_the_editor_does_not_read_the_piped_input(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    code = "os.set_blocking(0, False); path.write_text('sum' + sys.stdin.read()); print('noise')"
    done = aiml("chat", "-e", stdin=b"data", EDITOR=write_editor(code))
    assert (done.returncode, b"noise" in done.stdout) == (0, False)
    assert server.requests[0].json["messages"][0]["content"] == "<stdin>\ndata\n</stdin>\n\nsum"


@pytest.mark.parametrize("code", ["path.write_text('')", "path.write_text('  \\n\\n')", "path.unlink()"])
def test_an_empty_prompt_is_not_sent(code: str, aiml: Aiml, server: Loopback) -> None:
    done = aiml("chat", "-e", "words", EDITOR=write_editor(code))
    assert (done.returncode, server.requests, list_kept_prompts()) == (2, [], [])
    assert b"the prompt is empty" in done.stderr


@pytest.mark.promise("private-files")
def test_the_text_is_kept_if_the_editor_fails(aiml: Aiml, server: Loopback) -> None:
    done = aiml("chat", "-e", EDITOR=write_editor("path.write_text('mine'); sys.exit(3)"))
    (kept,) = list_kept_prompts()
    assert (done.returncode, server.requests, kept.read_text()) == (2, [], "mine")
    assert f"kept in {kept}".encode() in done.stderr
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_text_from_the_editor_fills_the_template(aiml: Aiml, server: Loopback) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
    folder.mkdir(parents=True)
    (folder / "t.toml").write_text('prompt = "Say {words}!"')
    server.answer_with(HELLO)
    assert aiml("chat", "-e", "-t", "t", EDITOR=write_editor("path.write_text('hi')")).returncode == 0
    assert server.requests[0].json["messages"][0]["content"] == "Say hi!"
