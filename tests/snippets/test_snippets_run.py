"""Run what --as prints: it sends and gets the same as aiml itself."""

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
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    Loopback,
    delta,
    event,
    json_response,
    response_object,
    stream,
    text_events,
)

from aiml_cli.__main__ import main
from aiml_cli.demo.server import serve

PROGRAMS = {"curl": "curl", "httpie": "http", "javascript": "node", "python": "sh"}
RUNNERS = {"python": [sys.executable], "javascript": ["node", "--input-type=module", "-"]}
SPECIAL_CHARACTERS = 'it\'s $HOME `id` $(id) \\ \\n "!!" _FILE_0_FILE_ <JSON> é\t.'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 8
WAV = b"RIFF\x24\x08\0\0WAVEfmt " + bytes(range(256)) * 8
WEATHER = '{"name": "weather", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}'

Capture = pytest.CaptureFixture[str]
RunAiml = Callable[..., str]


def is_installed(language: str) -> bool:
    module = "requests" if language == "python" else "json"
    return bool(shutil.which(PROGRAMS[language]) and importlib.util.find_spec(module))


def build_language_param(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=f"{name} cannot be run here"))


every_language = pytest.mark.parametrize("language", list(map(build_language_param, PROGRAMS)))
# A start of httpie takes much longer than of the others; it is written as curl is.
fast_language = pytest.mark.parametrize("language", list(map(build_language_param, ("curl", "javascript", "python"))))
printing_text = pytest.mark.parametrize(
    "language", [build_language_param("python"), build_language_param("javascript")]
)


@pytest.fixture(name="run_aiml")
def _run_aiml(capfd: Capture) -> RunAiml:
    """Return a function that runs aiml and returns its standard output."""

    def run_aiml(*arguments: str) -> str:
        code = main(list(arguments))
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return run_aiml


def run(language: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run a program where the files are, far from this user's ~/.curlrc and proxies."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME")}
    env = {**kept, "LC_ALL": "C.UTF-8", "AIML_API_KEY": "made-up"}
    return subprocess.run(
        RUNNERS.get(language, ["sh"]), input=text, capture_output=True, encoding="utf-8", env=env, check=False
    )


def get_output_text(out: str) -> str:
    """Read the text in the JSON of either endpoint."""
    found = json.loads(out)
    if "choices" in found:
        return str(found["choices"][0]["message"]["content"])
    return "".join(part["text"] for item in found["output"] for part in item.get("content", ()))


COMMAND_LINES = [
    ["chat", "hello"],
    ["chat", SPECIAL_CHARACTERS, "-s", "Be brief.", "--temperature", "0"],
    ["chat", "hello", "--tools", WEATHER, "--tool-choice", "none"],
    ["chat", "hello", "-O", "extra=12345678901234567890"],
    ["respond", "hello"],
    ["respond", SPECIAL_CHARACTERS, "--web-search", "--location", "city=Paris", "--code-interpreter"],
    ["respond", "hello", "--mcp-server", "docs=https://docs.example/mcp", "--reasoning-summary", "auto"],
]


@fast_language
@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=" ".join)
def test_a_program_gets_the_answer_that_aiml_gets(language: str, arguments: list[str], run_aiml: RunAiml) -> None:
    check_answer(language, arguments, run_aiml)


@pytest.mark.parametrize("language", [build_language_param("httpie")])
@pytest.mark.parametrize("arguments", [COMMAND_LINES[1], COMMAND_LINES[5]], ids=" ".join)
def test_httpie_gets_the_answer_that_aiml_gets(language: str, arguments: list[str], run_aiml: RunAiml) -> None:
    check_answer(language, arguments, run_aiml)


def check_answer(language: str, arguments: list[str], run_aiml: RunAiml) -> None:
    with serve() as url:
        command = [*arguments, "-S", "--base-url", url, "-m", "demo/echo"]
        ended = run(language, run_aiml(*command, "--as", language))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert get_output_text(ended.stdout) == run_aiml(*command).removesuffix("\n")


@printing_text
@pytest.mark.parametrize("endpoint", ["chat", "respond"])
def test_a_streaming_program_prints_what_aiml_prints(language: str, endpoint: str, run_aiml: RunAiml) -> None:
    with serve() as url:
        command = [endpoint, SPECIAL_CHARACTERS, "--base-url", url, "-m", "demo/markdown"]
        ended = run(language, run_aiml(*command, "--as", language))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.rstrip("\n") == run_aiml(*command).rstrip("\n")


TOOL_CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"at":"Rome"}'}
TOOL_CALL_PARTS = [
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"at":'}},
    {"index": 0, "function": {"arguments": '"Rome"}'}},
]
POSITION = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
DONE = event("[DONE]")
CUT_OFF_MESSAGE = "the answer is incomplete: the stream was cut off"


def build_final_event(status: str, event_type: str = "", **more: Any) -> bytes:
    return event({"type": f"response.{event_type or status}", "response": response_object("Half", status, **more)})


# endpoint, response, exit code, what standard output and standard error contain
ENDINGS: dict[str, tuple[str, bytes, int, str, str]] = {
    "chat, complete": ("chat", HELLO, 0, "Hello\n", ""),
    "chat, whole without a finish reason": ("chat", stream(delta("Half"), DONE), 0, "Half\n", ""),
    "chat, other finish reason": ("chat", stream(delta("Half"), delta(finish="end_turn")), 0, "Half\n", ""),
    "chat, cut between events": ("chat", stream(delta("Half")), 1, "Half\n", CUT_OFF_MESSAGE),
    "chat, cut connection": ("chat", stream(delta("Half"), end=b""), 1, "Half", ""),
    "chat, cut in an event": ("chat", stream(delta("Half"), b'data: {"cho'), 1, "Half", ""),
    "chat, nothing": ("chat", stream(), 1, "", CUT_OFF_MESSAGE),
    "chat, error": ("chat", stream(delta("Half"), event({"error": {"message": "M"}}), DONE), 1, "Half", '"M"'),
    "chat, length": ("chat", stream(delta("Half"), delta(finish="length"), DONE), 1, "Half\n", "incomplete: length"),
    "chat, filter": ("chat", stream(delta(finish="content_filter"), DONE), 1, "\n", "incomplete: content_filter"),
    "chat, refusal": (
        "chat",
        stream(delta(refusal="I can"), delta(refusal="not."), delta(finish="stop"), DONE),
        1,
        "\n",
        "refused: I cannot.",
    ),
    "chat, tool call": (
        "chat",
        stream(*(delta(tool_calls=[part]) for part in TOOL_CALL_PARTS), delta(finish="tool_calls"), DONE),
        0,
        '"weather"',
        "",
    ),
    "responses, complete": ("respond", HELLO_RESPONSE, 0, "Hello\n", ""),
    "responses, cut between events": ("respond", stream(*text_events("Half")), 1, "Half\n", CUT_OFF_MESSAGE),
    "responses, [DONE] is no end": ("respond", stream(*text_events("Half"), DONE), 1, "Half\n", CUT_OFF_MESSAGE),
    "responses, cut connection": ("respond", stream(*text_events("Half"), end=b""), 1, "Half", ""),
    "responses, error": (
        "respond",
        stream(*text_events("Half"), event({"type": "error", "message": "M"})),
        1,
        "Half",
        '"M"',
    ),
    "responses, error of a gateway": (
        "respond",
        stream(*text_events("Half"), event({"error": {"message": "M"}})),
        1,
        "Half",
        '"M"',
    ),
    "responses, failed": (
        "respond",
        stream(*text_events("Half"), build_final_event("failed", error={"message": "M"})),
        1,
        "Half",
        '"M"',
    ),
    "responses, incomplete": (
        "respond",
        stream(*text_events("Half"), build_final_event("incomplete")),
        1,
        "Half\n",
        "incomplete",
    ),
    "responses, incomplete inside": (
        "respond",
        stream(*text_events("Half"), build_final_event("incomplete", "completed")),
        1,
        "Half\n",
        "incomplete",
    ),
    "responses, refusal": (
        "respond",
        stream(
            event({"type": "response.refusal.delta", **POSITION, "delta": "I cannot."}), build_final_event("completed")
        ),
        1,
        "\n",
        "refused: I cannot.",
    ),
    "responses, tool call": (
        "respond",
        stream(
            event({"type": "response.output_item.done", "output_index": 0, "item": TOOL_CALL}),
            build_final_event("completed", output=[TOOL_CALL]),
        ),
        0,
        '"weather"',
        "",
    ),
}


@printing_text
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_streaming_program_tells_how_the_answer_ended(
    language: str, ending: tuple[str, bytes, int, str, str], server: Loopback, run_aiml: RunAiml
) -> None:
    endpoint, response, code, out, err = ending
    server.answer_with(response)
    ended = run(language, run_aiml(endpoint, "hi", "--base-url", server.url, "--as", language))
    assert ended.returncode == code
    assert out in ended.stdout
    assert err in ended.stderr
    assert bool(ended.stderr) == bool(code)
    if "weather" in out:
        assert json.loads(ended.stdout)["arguments"] == '{"at":"Rome"}'


@printing_text
@pytest.mark.parametrize("endpoint", ["chat", "respond"])
@pytest.mark.parametrize(
    ("response", "code"),
    [
        (json_response({"error": {"message": "M"}}), 1),
        (json_response({"choices": [], "error": None}), 0),
        (json_response({"output": []})[:-4], 1),
    ],
)
def test_a_program_that_prints_json_fails_with_an_error_and_a_cut_body(
    language: str, endpoint: str, response: bytes, code: int, server: Loopback, run_aiml: RunAiml
) -> None:
    server.answer_with(response)
    ended = run(language, run_aiml(endpoint, "hi", "-S", "--base-url", server.url, "--as", language))
    assert ended.returncode == code
    assert ("M" in ended.stdout) == (b'"M"' in response)


FILES = [
    ("chat", "photo.png", PNG),
    ("chat", "paper.pdf", PDF),
    ("chat", "voice.wav", WAV),
    ("respond", "photo.png", PNG),
    ("respond", "paper.pdf", PDF),
    ("respond", "it's $HOME's `best`.png", PNG),
    ("chat", 'a "b" \\n $(c) \\.png', PNG),
]


@fast_language
@pytest.mark.parametrize(("endpoint", "name", "data"), FILES, ids=[f"{each[0]} {each[1]}" for each in FILES])
def test_a_program_reads_files_and_sends_what_aiml_sends(
    language: str, endpoint: str, name: str, data: bytes, server: Loopback, run_aiml: RunAiml
) -> None:
    check_files(language, endpoint, name, data, server, run_aiml)


@pytest.mark.parametrize("language", [build_language_param("httpie")])
@pytest.mark.parametrize(("endpoint", "name", "data"), FILES[-2:], ids=["respond", "chat"])
def test_httpie_reads_files_and_sends_what_aiml_sends(
    language: str, endpoint: str, name: str, data: bytes, server: Loopback, run_aiml: RunAiml
) -> None:
    check_files(language, endpoint, name, data, server, run_aiml)


def check_files(language: str, endpoint: str, name: str, data: bytes, server: Loopback, run_aiml: RunAiml) -> None:
    Path(name).write_bytes(data)
    server.answer_with(HELLO if endpoint == "chat" else HELLO_RESPONSE)
    command = [endpoint, SPECIAL_CHARACTERS, "--file", name, "--base-url", server.url]
    text = run_aiml(*command, "--as", language)
    run_aiml(*command)
    assert run(language, text).stderr == ""
    assert server.requests[1].json == server.requests[0].json
    assert len(text) < len(json.dumps(server.requests[0].json)) / 1.2


@every_language
def test_files_are_read_beside_numbers_that_javascript_cannot_write(
    language: str, server: Loopback, run_aiml: RunAiml
) -> None:
    Path("a.png").write_bytes(PNG)
    Path("b.png").write_bytes(PNG[::-1].join([PNG[:8], b""]))
    server.answer_with(json_response(response_object()))
    command = ["respond", "hi", "-S", "-f", "a.png", "-f", "b.png", "-O", "x=12345678901234567890"]
    text = run_aiml(*command, "--base-url", server.url, "--as", language)
    run_aiml(*command, "--base-url", server.url)
    assert run(language, text).stderr == ""
    assert server.requests[1].json == server.requests[0].json
    assert "encoded" in text or "base64 <" in text


def test_the_json_names_the_file(run_aiml: RunAiml) -> None:
    Path("photo.png").write_bytes(PNG)
    body = json.loads(run_aiml("respond", "what is it", "@photo.png", "--dry-run"))["body"]
    images = [part["image_url"] for part in body["input"][0]["content"] if part["type"] == "input_image"]
    assert images == ["@photo.png"]


def test_a_short_file_is_included_in_the_program(run_aiml: RunAiml) -> None:
    Path("dot.png").write_bytes(PNG[:300])
    assert "data:image/png;base64,iVBOR" in run_aiml("respond", "hi", "-f", "dot.png", "--as", "curl")


@pytest.mark.parametrize("flags", [["--dry-run"], ["--as", "curl"]])
def test_a_program_for_the_demo_names_a_server_that_can_be_started(flags: list[str], capfd: Capture) -> None:
    assert main(["chat", "--demo", "hi", *flags]) == 0
    out, err = capfd.readouterr()
    assert "http://127.0.0.1:8765/v1/chat/completions" in out
    assert "demo/echo" in out
    assert "Authorization" not in out
    assert err == "aiml: to run it, start the demo server first: aiml demo --port 8765\n"


def test_a_program_for_a_local_server_sends_the_key_if_one_is_set(
    run_aiml: RunAiml, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["chat", "hi", "--base-url", "http://127.0.0.1:1/v1", "--as", "curl"]
    assert "Authorization" not in run_aiml(*command)
    monkeypatch.setenv("AIML_API_KEY", "sk-made-up")
    assert '"Authorization: Bearer $AIML_API_KEY"' in run_aiml(*command)


def test_a_program_names_the_variable_that_holds_the_key(run_aiml: RunAiml, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "$AIMLAPI_API_KEY" in run_aiml("chat", "hi", "--as", "curl")
    monkeypatch.setenv("AIMLAPI_KEY", "sk-made-up")
    out = run_aiml("chat", "hi", "--as", "httpie")
    assert 'Authorization:"Bearer $AIMLAPI_KEY"' in out
    assert "sk-made-up" not in out
