"""Structured output, from the flag to the body, and from the answer to the exit code; on both endpoints."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.answers import stream_text
from support.forked_process import CliProcess
from support.loopback import END, HELLO, STREAM, Loopback, chunk, delta, event, json_response, response_object, stream
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.store.model_cache import CachedModels, save_models

TEXT_TYPE, INTEGER_TYPE = {"type": "string"}, {"type": "integer"}
PERSON = {
    "type": "object",
    "properties": {"name": TEXT_TYPE, "age": INTEGER_TYPE, "tags": {"type": "array", "items": TEXT_TYPE}},
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SHORT_SCHEMA = "name, age int, tags: list of str"
SCHEMA_PROPERTIES = {"name": "answer", "schema": PERSON, "strict": True}
VALID_ANSWER, INVALID_ANSWER = '{"name": "Ada", "age": 36, "tags": []}', '{"name": "Ada", "age": "x", "tags": []}'
SCHEMA_ERROR = "the answer does not meet the schema: $.age: 'x' is not of type 'integer'"
RETRY_PROMPT = f"{SCHEMA_ERROR}\nAnswer again, with the right JSON only."
ON_BOTH_ENDPOINTS = pytest.mark.parametrize("endpoint", ["chat", "respond"])


Aiml = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def aiml(server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Aiml:
    """Return a function that runs the program in this process, against the loopback server."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        code, shown = main(arguments), capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, shown.out.encode(), shown.err.encode())

    return run


def build_body(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the body that a command line would send."""
    assert main([*arguments, "hi", "--dry-run"]) == 0
    body: dict[str, Any] = json.loads(capfd.readouterr().out)["body"]
    return body


def test_the_short_form_is_sent_as_a_schema_to_each_endpoint(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", VALID_ANSWER))
    server.answer_with(stream_text("respond", VALID_ANSWER))
    done = [aiml(endpoint, "--schema", SHORT_SCHEMA, "hi") for endpoint in ("chat", "respond")]
    assert [(one.returncode, one.stdout.decode()) for one in done] == [(0, VALID_ANSWER + "\n")] * 2
    assert server.requests[0].json["response_format"] == {"type": "json_schema", "json_schema": SCHEMA_PROPERTIES}
    assert server.requests[1].json["text"] == {"format": {"type": "json_schema", **SCHEMA_PROPERTIES}}


def test_a_schema_of_the_user_is_sent_unchanged(capfd: pytest.CaptureFixture[str]) -> None:
    schema = {"title": "A b", "type": "object", "properties": {"z": {}, "a": {}}}
    Path("s.json").write_text(json.dumps(schema), encoding="utf-8")
    facts = {"name": "A_b", "schema": schema, "strict": False}
    for said in ("s.json", json.dumps(schema)):
        assert build_body(capfd, "chat", "--schema", said)["response_format"]["json_schema"] == facts
    assert build_body(capfd, "chat", "--schema", json.dumps(PERSON))["response_format"]["json_schema"]["strict"] is True


def test_json_object_is_sent_as_a_response_format(capfd: pytest.CaptureFixture[str]) -> None:
    assert build_body(capfd, "chat", "--json-object")["response_format"] == {"type": "json_object"}
    assert build_body(capfd, "respond", "--json-object")["text"] == {"format": {"type": "json_object"}}


def test_items_with_the_short_form_request_a_list(capfd: pytest.CaptureFixture[str]) -> None:
    schema = build_body(capfd, "chat", "--schema", "a int", "--items")["response_format"]["json_schema"]["schema"]
    element = {"type": "object", "properties": {"a": INTEGER_TYPE}, "required": ["a"], "additionalProperties": False}
    items = {"items": {"type": "array", "items": element}}
    assert schema == {"type": "object", "properties": items, "required": ["items"], "additionalProperties": False}
    given = build_body(capfd, "chat", "--schema", json.dumps(PERSON), "--items")["response_format"]["json_schema"]
    assert given["schema"] == PERSON


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize(
    ("flags", "text", "finish", "code", "stderr"),
    [
        (
            ["--schema", SHORT_SCHEMA],
            INVALID_ANSWER,
            "stop",
            9,
            f"aiml: {SCHEMA_ERROR}\nhint: --schema-retries N asks again\n",
        ),
        (["--schema", SHORT_SCHEMA], "Sure: {}", "stop", 9, "aiml: the answer is not JSON: line 1, column 1"),
        (["--schema", SHORT_SCHEMA], "{}", "stop", 9, "$: 'name' is a required property"),
        (["--schema", SHORT_SCHEMA], f"```json\n{VALID_ANSWER}\n```", "stop", 0, "code fence"),
        (["--schema", SHORT_SCHEMA], VALID_ANSWER[:9], "length", 8, "the answer was cut off at the token limit"),
        (
            ["--schema", SHORT_SCHEMA, "--allow-cut"],
            VALID_ANSWER[:9],
            "length",
            0,
            "the answer was cut off at the token limit",
        ),
        (["--json-object"], "{}", "stop", 0, ""),
        (["--json-object"], "[1]", "stop", 9, "the answer is not a JSON object but an array"),
        (["--json-object"], "true", "stop", 9, "the answer is not a JSON object but a boolean"),
        (["--json-object"], "{", "stop", 9, "the answer is not JSON: line 1, column 2"),
    ],
)
def test_an_answer_that_does_not_match_exits_with_9(
    endpoint: str, flags: list[str], text: str, finish: str, code: int, stderr: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(stream_text(endpoint, text, finish))
    done = aiml(endpoint, *flags, "hi")
    assert (done.returncode, done.stdout.decode()) == (code, text + "\n")
    assert stderr in done.stderr.decode()
    assert stderr or not done.stderr


def test_json_output_contains_the_error_and_the_text(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", INVALID_ANSWER))
    done = aiml("chat", "--schema", SHORT_SCHEMA, "--json", "hi")
    told = json.loads(done.stdout)
    assert (done.returncode, told["error"]["message"], told["error"]["exit_code"]) == (9, SCHEMA_ERROR, 9)
    assert told["text"] == INVALID_ANSWER


def test_each_choice_is_checked_and_the_failing_one_named(server: Loopback, aiml: Aiml) -> None:
    ends = [delta(finish="stop"), delta(finish="stop", index=1), event("[DONE]")]
    server.answer_with(stream(delta(VALID_ANSWER), delta(INVALID_ANSWER, index=1), *ends))
    done = aiml("chat", "-n", "2", "--schema", SHORT_SCHEMA, "hi")
    assert done.returncode == 9
    assert f"choice 2: {SCHEMA_ERROR}" in done.stderr.decode()


def test_an_answer_that_calls_a_tool_is_not_checked(server: Loopback, aiml: Aiml) -> None:
    calls = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    server.answer_with(stream(delta(tool_calls=calls), delta(finish="tool_calls"), event("[DONE]")))
    assert aiml("chat", "--schema", SHORT_SCHEMA, "hi").returncode == 0


@ON_BOTH_ENDPOINTS
def test_an_invalid_answer_is_sent_back_with_the_error(endpoint: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text(endpoint, INVALID_ANSWER))
    server.answer_with(stream_text(endpoint, VALID_ANSWER))
    done = aiml(endpoint, "--schema", SHORT_SCHEMA, "--schema-retries", "2", "hi")
    assert (done.returncode, done.stdout.decode()) == (0, VALID_ANSWER + "\n")
    assert done.stderr.decode() == f"aiml: {SCHEMA_ERROR}; asking again (1 of 2)\n"
    first, second = (request.json for request in server.requests)
    place = "messages" if endpoint == "chat" else "input"
    said = [{"role": "assistant", "content": INVALID_ANSWER}, {"role": "user", "content": RETRY_PROMPT}]
    assert second == {**first, place: [{"role": "user", "content": "hi"}, *said]}


def test_after_the_last_retry_the_last_answer_is_printed(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "{}"))
    server.answer_with(stream_text("chat", INVALID_ANSWER))
    done = aiml("chat", "-q", "--schema", SHORT_SCHEMA, "--schema-retries", "1", "hi")
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (
        9,
        INVALID_ANSWER + "\n",
        f"aiml: {SCHEMA_ERROR}\n",
    )
    assert len(server.requests) == 2


def test_a_truncated_answer_is_not_requested_again(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", VALID_ANSWER[:9], "length"))
    done = aiml("chat", "--schema", SHORT_SCHEMA, "--schema-retries", "3", "hi")
    assert (done.returncode, done.stdout.decode(), len(server.requests)) == (8, VALID_ANSWER[:9] + "\n", 1)


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "raw"])
def test_every_format_gets_the_last_answer_only(form: str, server: Loopback, aiml: Aiml) -> None:
    for text in ('"Bad"', '{"a": "Good"}'):
        server.answer_with(stream(delta(text), delta(finish="stop"), event("[DONE]")))
    done = aiml("chat", "--format", form, "--json-object", "--schema-retries", "1", "hi")
    assert (done.returncode, done.stdout.count(b"Bad")) == (0, 0)
    assert b"Good" in done.stdout


def test_the_text_of_a_broken_retry_is_shown(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", INVALID_ANSWER))
    server.answer_with(stream(delta('{"name'), end=b""))
    done = aiml("chat", "--schema", SHORT_SCHEMA, "--schema-retries", "1", "hi")
    assert (done.returncode, done.stdout) == (8, b'{"name\n')


def store_model(capabilities: list[str], base_url: str = "https://api.aimlapi.com/v1") -> None:
    """Store a catalog of one model."""
    body = json.dumps({"data": [{"id": "a/b", "type": "chat-completion", "capabilities": capabilities}]}).encode()
    save_models(CachedModels(base_url, "", time.time(), body, []))


def test_a_model_without_schemas_gets_the_schema_in_the_system_text(capfd: pytest.CaptureFixture[str]) -> None:
    store_model(["streaming", "tools"])
    plain = build_body(capfd, "chat", "-m", "a/b", "--schema", SHORT_SCHEMA)
    assert "response_format" not in plain
    system = plain["messages"][0]
    assert system["role"] == "system"
    assert json.loads(system["content"].partition("\n")[2]) == PERSON
    assert build_body(capfd, "respond", "-m", "a/b", "--schema", SHORT_SCHEMA, "-s", "Be\nkind.")["instructions"] == (
        "Be\nkind.\n\n" + system["content"]
    )


@pytest.mark.parametrize("capabilities", [["structured_output"], [], ["openai/chat-completion.stream"]])
def test_a_model_that_may_support_schemas_gets_one(capabilities: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    store_model(capabilities)
    assert "response_format" in build_body(capfd, "chat", "-m", "a/b", "--schema", SHORT_SCHEMA)
    assert "response_format" in build_body(capfd, "chat", "-m", "not/listed", "--schema", SHORT_SCHEMA)


def test_an_answer_of_a_model_without_schemas_is_checked_too(server: Loopback, aiml: Aiml) -> None:
    store_model(["streaming"], server.url)
    server.answer_with(stream_text("chat", INVALID_ANSWER))
    done = aiml("chat", "-m", "a/b", "--schema", SHORT_SCHEMA, "hi")
    assert (done.returncode, SCHEMA_ERROR in done.stderr.decode()) == (9, True)
    assert "a/b does not support schemas" in done.stderr.decode()
    assert "response_format" not in server.requests[0].json


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize(
    ("text", "stdout", "code", "stderr"),
    [
        ('[1, {"a": [2]}, "x\\n"]', '1\n{"a":[2]}\n"x\\n"\n', 0, ""),
        ('{"note": "n", "items": [1,\n 2]}', "1\n2\n", 0, ""),
        ("```json\n[1]\n```", "1\n", 0, ""),
        ("[]", "", 0, ""),
        ('["\x7f\u202e"]', '"\\u007f\\u202e"\n', 0, ""),
        ("I will not.", "I will not.\n", 9, "the answer is not JSON"),
        ("[demo]", "[demo]\n", 9, "the answer is not JSON"),
        ("{}", "{}\n", 9, "the answer has no array at the top level"),
        ("[1, 2", "1\n", 9, "the answer is not JSON"),
        ('{"a": [1], "b": [2]}', "1\n", 9, "several arrays, 'a', 'b'; the elements of the first are printed"),
    ],
)  # fmt: skip
def test_elements_become_json_lines(
    endpoint: str, text: str, stdout: str, code: int, stderr: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(stream_text(endpoint, text))
    done = aiml(endpoint, "--items", "hi")
    assert (done.stdout.decode(), done.returncode) == (stdout, code)
    assert stderr in done.stderr.decode()


def test_an_element_is_printed_before_the_next_one_arrives(server: Loopback) -> None:

    go = Event()
    server.answer_with(STREAM, chunk(delta("[1, ")), go, chunk(delta("2]")), chunk(delta(finish="stop")), END)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(
        build_command("chat", "--items", "hi"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environ
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"1\n"
        go.set()
        assert process.stdout.read() == b"2\n"
    assert process.returncode == 0


def test_each_element_is_checked_against_the_schema(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", '{"items": [{"a": 1}, {"a": "x"}]}'))
    done = aiml("chat", "--items", "--schema", "a int", "hi")
    assert (done.returncode, done.stdout) == (9, b'{"a":1}\n{"a":"x"}\n')
    assert "$.items[1].a: 'x' is not of type 'integer'" in done.stderr.decode()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--schema", "a inty"], "'a inty' is not a field"),
        (["--schema", '{"type": "whole"}'], "not a valid JSON Schema: $.type"),
        (["--schema", "missing.json"], "No such file"),
        (["--schema", "a", "--response-format", "{}"], "--schema cannot be used with --response-format"),
        (["--json-object", "--response-format", "{}"], "--json-object cannot be used with --response-format"),
        (["--items", "--json"], "--items cannot be used with --json"),
        (["--items", "--format", "raw"], "--format raw cannot be used with --items"),
    ],
)
def test_invalid_combinations_are_refused_before_anything_is_sent(
    flags: list[str], message: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(HELLO)
    done = aiml("chat", *flags, "hi")
    assert (done.returncode, server.requests) == (2, [])
    assert message in done.stderr.decode() + done.stdout.decode()


@ON_BOTH_ENDPOINTS
def test_the_demo_server_answers_with_valid_json(endpoint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([endpoint, "--demo", "--schema", SHORT_SCHEMA, "hi"]) == 0
    assert set(json.loads(capfd.readouterr().out)) == {"name", "age", "tags"}
    assert main([endpoint, "--demo", "--items", "--schema", "a int, b bool", "hi"]) == 0
    assert capfd.readouterr().out == '{"a":1,"b":true}\n'
    assert main([endpoint, "--demo", "--json-object", "hi"]) == 0
    assert isinstance(json.loads(capfd.readouterr().out), dict)


def test_an_answer_without_a_stream_is_checked_too(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(response_object(INVALID_ANSWER)))
    done = aiml("respond", "-S", "--schema", SHORT_SCHEMA, "hi")
    assert (done.returncode, done.stdout.decode()) == (9, INVALID_ANSWER + "\n")
