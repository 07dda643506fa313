"""Command lines become request bodies, on both endpoints."""

import json
from pathlib import Path
from typing import Any

import pytest

from aiml_cli.__main__ import main

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FLAT_FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
FLAT_SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}


def build_body(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the body that a command line would send, without the properties that are always there."""
    assert main([*arguments, "--dry-run"]) == 0
    body: dict[str, Any] = json.loads(capfd.readouterr().out)["body"]
    return body


def test_a_plain_question_sends_only_what_is_needed(capfd: pytest.CaptureFixture[str]) -> None:
    assert build_body(capfd, "chat", "why", "is", "it") == {
        "model": "openai/gpt-5-1",
        "messages": [{"role": "user", "content": "why is it"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert build_body(capfd, "respond", "why", "is", "it") == {
        "model": "openai/gpt-5-1",
        "input": "why is it",
        "stream": True,
    }


CHAT_FLAGS = [
    (["-m", "a/b"], {"model": "a/b"}),
    (["-S"], {"stream": False, "stream_options": None}),
    (["--no-include-usage"], {"stream_options": {"include_usage": False}}),
    (["--temperature", "0"], {"temperature": 0}),
    (["--temperature", "0.5"], {"temperature": 0.5}),
    (["--top-p", "0.01"], {"top_p": 0.01}),
    (["--max-tokens", "7"], {"max_tokens": 7}),
    (["--max-completion-tokens", "7"], {"max_completion_tokens": 7}),
    (["-n", "2"], {"n": 2}),
    (["--seed", "1"], {"seed": 1}),
    (["--logprobs"], {"logprobs": True}),
    (["--no-logprobs"], {"logprobs": False}),
    (["--top-logprobs", "3"], {"logprobs": True, "top_logprobs": 3}),
    (["--effort", "low"], {"reasoning_effort": "low"}),
    (["--reasoning-effort", "own-word"], {"reasoning_effort": "own-word"}),
    (["--parallel-tool-calls"], {"parallel_tool_calls": True}),
    (["--no-parallel-tool-calls"], {"parallel_tool_calls": False}),
    (["--tool-choice", "required"], {"tool_choice": "required"}),
    (["--tool-choice", "f"], {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
    (["--tools", json.dumps([FLAT_FUNCTION])], {"tools": [{"type": "function", "function": {
        "name": "f", "parameters": {"type": "object"}, "strict": False}}]}),
    (["--response-format", json.dumps(FLAT_SCHEMA)], {"response_format": SCHEMA}),
    (["-O", "top_k=3"], {"top_k": 3}),
    (["-O", "user=007"], {"user": "007"}),
    (["-O", "a.b=true", "-O", "a.c=[1]"], {"a": {"b": True, "c": [1]}}),
    (["-O", "stream_options.x=1"], {"stream_options": {"include_usage": True, "x": 1}}),
    (["--temperature", "1", "-O", "temperature=null"], {"temperature": None}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "expected"), CHAT_FLAGS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_each_flag_of_chat_sets_its_property_of_the_body(
    flags: list[str], expected: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    body = build_body(capfd, "chat", "hi", *flags)
    assert {name: body.get(name) for name in expected} == expected


RESPOND_FLAGS = [
    (["--max-tokens", "16"], {"max_output_tokens": 16}),
    (["--max-output-tokens", "16"], {"max_output_tokens": 16}),
    (["-S"], {"stream": False}),
    (["-s", "Be brief."], {"instructions": "Be brief."}),
    (["--temperature", "2"], {"temperature": 2}),
    (["--effort", "high", "--reasoning-summary", "auto"], {"reasoning": {"effort": "high", "summary": "auto"}}),
    (["--store"], {"store": True}),
    (["--no-store"], {"store": False}),
    (["--previous-response-id", "resp_1"], {"previous_response_id": "resp_1"}),
    (["--truncation", "auto"], {"truncation": "auto"}),
    (["--background"], {"background": True}),
    (["--include", "a", "--include", "b,c"], {"include": ["a", "b", "c"]}),
    (["--prompt-id", "p", "--prompt-version", "2"], {"prompt": {"id": "p", "version": "2"}}),
    (
        ["--prompt-id", "p", "--prompt-var", "x=3", "--prompt-var", "y=a=b"],
        {"prompt": {"id": "p", "variables": {"x": "3", "y": "a=b"}}},
    ),
    (["--tool-choice", "f"], {"tool_choice": {"type": "function", "name": "f"}}),
    (["--tool-choice", "mcp"], {"tool_choice": {"type": "mcp"}}),
    (["--tools", json.dumps([FUNCTION])], {"tools": [FLAT_FUNCTION]}),
    (["--response-format", json.dumps(SCHEMA)], {"text": {"format": FLAT_SCHEMA}}),
    (["--text-format", '{"type": "json_object"}'], {"text": {"format": {"type": "json_object"}}}),
]


@pytest.mark.parametrize(
    ("flags", "expected"), RESPOND_FLAGS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_each_flag_of_respond_sets_its_property_of_the_body(
    flags: list[str], expected: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    body = build_body(capfd, "respond", "hi", *flags)
    assert {name: body.get(name) for name in expected} == expected


def test_the_system_text_is_the_first_message_of_chat(capfd: pytest.CaptureFixture[str]) -> None:
    Path("style.txt").write_text("Be brief.\n")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert build_body(capfd, "chat", "hi", "-s", "@style.txt")["messages"] == messages


def test_the_source_with_the_highest_priority_wins(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["config", "set", "temperature", "0.1"]) == 0
    assert main(["config", "set", "temperature", "0.2", "--profile", "work"]) == 0
    capfd.readouterr()
    assert build_body(capfd, "chat", "hi")["temperature"] == 0.1
    assert build_body(capfd, "chat", "hi", "--profile", "work")["temperature"] == 0.2
    monkeypatch.setenv("AIML_TEMPERATURE", "0")
    assert build_body(capfd, "chat", "hi", "--profile", "work")["temperature"] == 0
    assert build_body(capfd, "chat", "hi", "--temperature", "0.4")["temperature"] == 0.4


def test_a_switch_in_the_config_file_can_be_overridden_by_a_flag(capfd: pytest.CaptureFixture[str]) -> None:
    main(["config", "set", "stream", "off"])
    capfd.readouterr()
    assert build_body(capfd, "chat", "hi")["stream"] is False
    assert build_body(capfd, "chat", "hi", "--stream")["stream"] is True


USAGE_ERRORS = [
    (["chat", "hi", "--temperature", "3"], "--temperature: '3' is not a number from 0 to 2"),
    (["chat", "hi", "--temperature", "nan"], "--temperature: 'nan' is not a number from 0 to 2"),
    (["chat", "hi", "--top-p", "0"], "--top-p: '0' is not a number from 0.01 to 1"),
    (["chat", "hi", "--seed", "0"], "--seed: '0' is not a whole number of at least 1"),
    (["chat", "hi", "--max-tokens", "0"], "--max-tokens: '0' is not a number of at least 1"),
    (["respond", "hi", "--max-tokens", "15"], "--max-tokens: '15' is not a whole number of at least 16"),
    (["chat", "hi", "--format", "jsn"], "did you mean json?"),
    (["chat", "hi", "--tools", "{"], "--tools: '{' is not JSON"),
    (["chat", "hi", "-O", "x"], "--option: 'x' is not KEY=VALUE"),
    (["chat", "hi", "-O", "model.x=1"], "'model' is not an object"),
    (["chat", "hi", "--otput", "f"], "did you mean --output?"),
    (["chat", "hi", "--store"], "--store belongs to aiml respond"),
    (["respond", "hi", "--logprobs"], "--logprobs belongs to aiml chat"),
    (["chat", "hi", "--api-key", "x"], "the key is not passed as a flag"),
    (["chat", "hi", "-o", "temperature", "0"], "use -O temperature=0"),
    (["cht", "hi"], "did you mean aiml chat?"),
    (["--verison"], "did you mean --version?"),
    (["help"], "use aiml --help"),
    (["config", "chek"], "did you mean aiml config check?"),
    (["models", "--format", "json"], "--format belongs to aiml chat"),
    (["why", "is", "it"], "aiml chat why is it"),
    (["chat"], "the prompt is empty"),
    (["chat", " "], "the prompt is empty"),
    (["chat", "{stdin}", "x"], "nothing is piped in"),
    (["chat", "hi", "-f", "missing.txt"], "missing.txt: No such file"),
    (["chat", "hi", "-s", "@missing.txt"], "missing.txt: No such file"),
    (["chat", "hi", "-o", "missing/out.txt"], "missing/out.txt: cannot be written"),
    (["chat", "hi", "--base-url", "api.example.com"], "is not the URL of a server"),
    (["chat", "hi", "--profile", "nobody"], "nobody"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), USAGE_ERRORS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_usage_error_exits_with_2_and_at_most_two_lines(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", "k")
    assert main(arguments) == 2
    shown = capfd.readouterr()
    assert words in shown.err
    assert shown.err.startswith("aiml: ")
    assert len(shown.err.splitlines()) <= 2
    assert shown.out == ""


@pytest.mark.parametrize("variable", ["AIML_TEMPERATURE", "AIML_TOP_P"])
def test_an_invalid_value_in_the_environment_is_reported_like_one_of_a_flag(
    variable: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "7")
    assert main(["chat", "hi", "--dry-run"]) == 2
    assert capfd.readouterr().err.startswith(f"aiml: {variable}: '7' is not a number from 0")


def test_an_empty_argument_is_not_a_flag(capfd: pytest.CaptureFixture[str]) -> None:
    assert build_body(capfd, "respond", "hi", "")["input"] == "hi "
    assert "tools" not in build_body(capfd, "respond", "", "hi", "")
    assert main(["chat", "hi", "--max-cost", ""]) == 2
    assert "--max-cost: ''" in capfd.readouterr().err
