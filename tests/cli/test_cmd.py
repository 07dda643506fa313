"""`aiml cmd` in scripts, where no question is asked: what is sent, and what is printed."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, get_last_messages, stream_text
from support.history_file import read_messages
from support.loopback import Loopback, delta, event, json_response, stream
from support.pty_run import HOSTILE_TEXT
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.core.shell_command import describe_system
from aiml_cli.store.model_cache import CachedModels, save_models

Aiml = Callable[..., "subprocess.CompletedProcess[bytes]"]
INVISIBLE_CHARACTERS = {
    "escape": "\x1b[31m",
    "return": "\r",
    "null": "\0",
    "C1": "\x9b",
    "bidi": "\u202e",
    "tag": "\U000e0041",
    "joiner": "\u200b",
}


@pytest.fixture
def aiml(server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Aiml:
    """Return a function that runs the program in this process, against the loopback server."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    monkeypatch.setenv("AIML_RETRIES", "0")
    monkeypatch.setenv("SHELL", "/bin/bash")

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        code, shown = main(["cmd", *arguments]), capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, shown.out.encode(), shown.err.encode())

    return run


def build_command_json(
    command: str = "ls -la", explanation: str = "Lists files.", risk: str = "low", **more: Any
) -> str:
    return json.dumps({"command": command, "explanation": explanation, "risk": risk, **more})


def test_only_the_command_is_on_standard_output(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", build_command_json()))
    result = aiml("list", "the", "files")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"ls -la\n", b"")


def test_the_request_names_only_the_system_and_the_shell(
    server: Loopback, aiml: Aiml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.answer_with(stream_text("chat", build_command_json()))
    (tmp_path / "secret-plans.txt").touch()
    monkeypatch.setenv("SHELL", "/usr/bin/env")
    assert aiml("list @secret-plans.txt", "{braces}", "--effort", "low").returncode == 0
    body = server.requests[0].json
    system, user = body["messages"]
    assert f"System: {describe_system()}\nShell: env\n" in system["content"]
    assert user == {"role": "user", "content": "list @secret-plans.txt {braces}"}
    told = json.dumps(body)
    for value in (os.environ.get("USER", "nobody-here"), str(tmp_path), os.uname().nodename):
        assert value not in told or value in describe_system()
    schema = body["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"]) == ("shell_command", True)
    assert schema["schema"]["required"] == ["command", "explanation", "risk"]
    assert body["reasoning_effort"] == "low"


def test_files_and_standard_input_are_sent_if_they_are_given(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(stream_text("chat", build_command_json()))
    (tmp_path / "log").write_text("from a file")
    command = build_command("cmd", "fix this", "-f", "log")
    result = subprocess.run(
        command, input=b"piped in", env={**os.environ, "AIML_BASE_URL": server.url}, capture_output=True, check=True
    )
    assert result.stdout == b"ls -la\n"
    content = str(get_last_messages(server)[-1]["content"])
    assert "from a file" in content
    assert "piped in" in content
    assert content.rstrip("}]'").endswith("fix this")


def test_settings_that_change_the_answers_of_chat_are_ignored(
    server: Loopback, aiml: Aiml, monkeypatch: pytest.MonkeyPatch, empty_home: Path
) -> None:
    config = empty_home / "xdg_config_home/aiml/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        'system = "Be a pirate."\nn = 2\nformat = "json"\nlogprobs = true\nauto_continue = 3\ntemperature = 0.5\n'
    )
    config.chmod(0o600)
    for name, value in {"SCHEMA": "a int", "JSON_OBJECT": "1", "EXTRACT": "1", "TOOLS": "[]", "YES": "1"}.items():
        monkeypatch.setenv(f"AIML_{name}", value)
    server.answer_with(stream_text("chat", build_command_json()))
    result = aiml("list files")
    assert (result.returncode, result.stdout) == (0, b"ls -la\n")
    body = server.requests[0].json
    assert "pirate" not in body["messages"][0]["content"]
    assert body.keys() & {"n", "logprobs", "tools"} == set()
    assert body["temperature"] == 0.5
    assert body["response_format"]["json_schema"]["name"] == "shell_command"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-y", "x"], "only runs after you confirm it"),
        (["--yes", "x"], "only runs after you confirm it"),
        (["-o", "f", "x"], "aiml cmd has no flag -o"),
        (["-n", "2", "x"], "aiml cmd has no flag -n"),
        (["--each", "line", "x"], "aiml cmd has no flag --each"),
        (["--json", "x"], "aiml cmd has no flag --json"),
        (["-T", "x", "x"], "aiml cmd has no flag -T"),
        (["-s", "x", "x"], "aiml cmd has no flag -s"),
        (["-m", "a", "-m", "b", "x"], "aiml cmd only works with one model"),
        ([], "the prompt is empty"),
        (["-f", "missing", "x"], "missing"),
    ],
)  # fmt: skip
def test_invalid_combinations_are_refused_before_anything_is_sent(
    arguments: list[str], message: str, server: Loopback, aiml: Aiml
) -> None:
    result = aiml(*arguments)
    assert result.returncode == 2
    assert message in result.stderr.decode()
    assert (result.stdout, server.requests) == (b"", [])


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{build_command_json()}\n```",
        build_command_json(note="more than was asked for"),
        build_command_json(risk="LOW"),
        build_command_json(command="ls -la\n"),
        "\ufeff" + build_command_json(),
        json.dumps(json.loads(build_command_json()), indent=4),
    ],
)
def test_a_command_is_read_in_any_form_of_the_json(text: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", text))
    result = aiml("x")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"ls -la\n", b"")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ls -la", "not JSON"),
        ("Use this:\n```sh\nls -la\n```", "not JSON"),
        (f"Here it is: {build_command_json()}", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"command": "ls"}', "no string 'explanation'"),
        (json.dumps({"command": ["ls"], "explanation": "", "risk": "low"}), "no string 'command'"),
        (build_command_json(risk="none"), "the risk is not one of low, medium, high"),
        (build_command_json(command="```sh\nls\n```"), "code fence"),
        (build_command_json(command="$ ls"), "prompt"),
        (build_command_json(command="a" * 20_001), "20,001 characters"),
    ],
)
def test_an_invalid_answer_is_requested_again_and_is_finally_an_error(
    text: str, reason: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(stream_text("chat", text))
    result = aiml("x")
    assert (result.returncode, result.stdout) == (9, b"")
    assert reason in result.stderr.decode()
    assert len(server.requests) == 3
    assert "Answer again" in get_last_messages(server)[-1]["content"]
    assert aiml("x", "--schema-retries", "0").returncode == 9
    assert len(server.requests) == 4


def test_a_valid_second_answer_is_used(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "ls"))
    server.answer_with(stream_text("chat", build_command_json()))
    result = aiml("x")
    assert (result.returncode, result.stdout) == (0, b"ls -la\n")


@pytest.mark.promise("risky-commands")
@pytest.mark.parametrize("name", INVISIBLE_CHARACTERS)
def test_a_command_with_invisible_characters_is_refused(name: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", build_command_json(command=f"echo {INVISIBLE_CHARACTERS[name]} hi")))
    result = aiml("x")
    assert (result.returncode, result.stdout) == (9, b"")
    assert b"control characters or invisible ones" in result.stderr


def test_a_command_may_contain_tabs_newlines_and_other_scripts(server: Loopback, aiml: Aiml) -> None:
    command = "printf 'a\tb' &&\n  echo 'grüße 世界 👨\u200d👩'"
    server.answer_with(stream_text("chat", build_command_json(command=command)))
    result = aiml("x")
    assert (result.returncode, result.stdout.decode()) == (0, f"{command}\n")


def test_an_answer_without_a_command_is_an_error_with_the_models_explanation(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(
        stream_text("chat", build_command_json(command="", explanation="That is\nno task \x1b[31mfor a shell."))
    )
    result = aiml("hello")
    assert (result.returncode, result.stdout) == (9, b"")
    assert result.stderr.decode().startswith(
        "aiml: the model found no command for this: That is no task \\x1b[31mfor a shell.\n"
    )
    assert len(server.requests) == 1


def test_a_risky_command_is_printed_with_a_warning(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", build_command_json(command="rm -rf build")))
    server.answer_with(stream_text("chat", build_command_json(risk="medium")))
    server.answer_with(stream_text("chat", build_command_json(command="rm -rf build")))
    results = [aiml("x"), aiml("x"), aiml("x", "-q")]
    assert [(each.returncode, each.stdout, each.stderr) for each in results] == [
        (0, b"rm -rf build\n", b"aiml: risky: deletes files\n"),
        (0, b"ls -la\n", b"aiml: risky: medium (rated by the model)\n"),
        (0, b"rm -rf build\n", b""),
    ]


def test_a_model_that_refuses_schemas_gets_the_schema_in_the_system_text(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_json_error("'response_format' of type 'json_schema' is not supported with this model"))
    server.answer_with(stream_text("chat", build_command_json()))
    result = aiml("x")
    assert (result.returncode, result.stdout) == (0, b"ls -la\n")
    assert b"the schema is added to the system text" in result.stderr
    body = server.requests[1].json
    assert "response_format" not in body
    assert '"shell_command"' in body["messages"][0]["content"]


def test_a_model_without_schemas_in_the_catalog_gets_the_schema_in_the_system_text(
    server: Loopback, aiml: Aiml
) -> None:
    rows = [{"id": "m", "type": "openai/chat-completions", "info": {}, "capabilities": ["streaming"]}]
    save_models(CachedModels(server.url, "", time.time(), json.dumps({"data": rows}).encode(), []))
    server.answer_with(stream_text("chat", build_command_json()))
    assert aiml("x", "-m", "m").stdout == b"ls -la\n"
    body = server.requests[0].json
    assert "response_format" not in body
    assert '"shell_command"' in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (build_json_error("no", "401 Unauthorized"), 3),
        (build_json_error("no"), 4),
        (build_json_error("no", "429 Too Many Requests"), 5),
        (build_json_error("no", "500 Internal Server Error"), 6),
        (stream(delta('{"command": "rm -rf /'), delta(finish="length"), event("[DONE]")), 8),
        (stream(delta('{"command": "rm -rf /"')), 8),
        (stream(delta(""), delta(finish="stop"), event("[DONE]")), 9),
    ],
)
def test_every_failure_has_the_same_exit_code_as_in_chat_and_no_output(
    answer: bytes, code: int, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(answer)
    result = aiml("x")
    assert (result.returncode, result.stdout) == (code, b"")


def test_a_failed_connection_exits_with_7(aiml: Aiml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIML_BASE_URL", "http://127.0.0.1:9/v1")
    result = aiml("x")
    assert (result.returncode, result.stdout) == (7, b"")


def test_the_turn_is_in_the_history_like_any_other(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", build_command_json()))
    assert aiml("list", "files").returncode == 0
    assert [(each["role"], each["text"]) for each in read_messages()] == [
        ("user", "list files"),
        ("assistant", build_command_json()),
    ]
    assert aiml("again", "--no-log").returncode == 0
    assert len(read_messages()) == 2


@pytest.mark.parametrize("flags", [["-S"], ["--no-stream"], ["--stream"]])
def test_an_answer_without_a_stream_gives_the_same_command(flags: list[str], server: Loopback, aiml: Aiml) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": build_command_json()}, "finish_reason": "stop"}
    server.answer_with(json_response({"id": "1", "model": "m", "choices": [choice]}))
    result = aiml("x", *flags)
    assert (result.returncode, result.stdout) == (0, b"ls -la\n")


def test_a_recorded_call_is_replayed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", build_command_json()))
    assert aiml("x", "--record", "r.jsonl").returncode == 0
    result = aiml("x", "--replay", "r.jsonl")
    assert (result.returncode, result.stdout, len(server.requests)) == (0, b"ls -la\n", 1)


def test_dry_run_and_as_show_the_request_without_sending_it(server: Loopback, aiml: Aiml) -> None:
    shown = aiml("list files", "--dry-run")
    assert json.loads(shown.stdout)["body"]["messages"][1]["content"] == "list files"
    assert aiml("list files", "--as", "curl").stdout.startswith(b"curl ")
    assert server.requests == []


def test_the_demo_writes_a_harmless_command_and_says_that_no_model_ran(aiml: Aiml) -> None:
    result = aiml("--demo", "find the ten largest files")
    assert (result.returncode, result.stdout) == (0, b"echo '[demo: no model ran]'\n")
    assert result.stderr == b"aiml: answers come from the demo server; no model runs\n"
    for shell in ("sh", "bash"):
        assert subprocess.check_output([shell, "-c", result.stdout]) == b"[demo: no model ran]\n"


def test_control_sequences_in_an_error_message_are_escaped(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_json_error(HOSTILE_TEXT))
    assert b"\x1b" not in aiml("x").stderr


def test_reasoning_is_not_written_to_standard_output(server: Loopback, aiml: Aiml) -> None:
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]})
    server.answer_with(stream(thought, delta(build_command_json()), delta(finish="stop"), event("[DONE]")))
    assert aiml("x").stdout == b"ls -la\n"
