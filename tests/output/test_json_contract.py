"""JSON output follows docs/json.md whatever a server sends."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from support import loopback
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    RESET,
    USAGE,
    Loopback,
    delta,
    event,
    json_response,
    response_object,
    stream,
)
from support.paths import ROOT

from aiml_cli.__main__ import main

DOCS = ROOT / "docs"
ANSWER_SCHEMA, EVENTS_SCHEMA = (json.loads((DOCS / f"{name}.schema.json").read_text()) for name in ("answer", "events"))
REGISTRY = Registry().with_resources([(it["$id"], Resource.from_contents(it)) for it in (ANSWER_SCHEMA, EVENTS_SCHEMA)])
ANSWER_VALIDATOR, EVENT_VALIDATOR = (
    Draft202012Validator(it, registry=REGISTRY) for it in (ANSWER_SCHEMA, EVENTS_SCHEMA)
)

CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": "{"}}
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Ho", "logprob": -2}]}
CITATION = {"type": "url_citation", "url_citation": {"url": "https://a.example", "start_index": 0, "end_index": 2}}
MEDIA = {
    "audio": {"id": "a", "data": "QUJD", "transcript": "Hi"},
    "images": [{"image_url": {"url": "data:x;base64,QUJD"}}],
}
LOGPROBS = event({"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [TOKEN]}}]})
SEARCH = {"type": "web_search_call", "id": "w", "status": "completed", "action": {"query": "rivers"}}
FILE_CITATION = {"type": "container_file_citation", "container_id": "cntr", "file_id": "f", "filename": "a.csv"}
PART = {"type": "output_text", "text": "Hi", "annotations": [FILE_CITATION], "logprobs": [TOKEN]}
REASONING = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}]}
FUNCTION = {"type": "function_call", "id": "f", "call_id": "c", "name": "look", "arguments": "{}"}
MESSAGE = {"type": "message", "id": "m", "content": [PART, {"type": "refusal", "refusal": "No."}]}
ITEMS = [SEARCH, REASONING, FUNCTION, MESSAGE]
ODD_ANSWER = {
    "id": 7,
    "model": 7,
    "created": 1e400,
    "choices": [{"message": {"content": "Hi"}, "logprobs": {"content": [{}]}}],
}

CHAT_REPLIES = {
    "hello": HELLO,
    "cut": stream(delta("Hel"), end=b""),
    "length": stream(delta("Hel"), delta(finish="length")),
    "refusal": stream(delta(refusal="No."), delta(finish="stop")),
    "reasoning": stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop"), event("[DONE]")),
    "tool": stream(delta(tool_calls=[CALL]), delta(finish="tool_calls")),
    "choices": stream(delta("a"), delta("x", index=1), delta(finish="stop"), delta(finish="stop", index=1)),
    "citations": stream(
        delta("Hi", annotations=[CITATION]), delta(finish="stop"), event({"citations": ["https://b.example"]})
    ),
    "media": stream(delta(**MEDIA), delta(finish="stop")),
    "tokens": stream(LOGPROBS, delta(finish="stop")),
    "error in the stream": stream(delta("Hel"), event({"error": {"message": "busy", "code": 500}})),
    "whole": json_response(
        {"id": "c", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
    ),
    "odd values": json_response(ODD_ANSWER),
    "no answer": json_response(None),
    "unauthorized": json_response({"error": {"message": "no", "type": "auth"}}, "401 Unauthorized"),
    "busy": json_response({"message": "slow down", "statusCode": "429"}, "429 Too Many Requests"),
    "failed": loopback.http_response(b"<html>", "502 Bad Gateway", "text/html"),
}
RESPONSES_REPLIES = {
    "hello": HELLO_RESPONSE,
    "items": stream(event({"type": "response.completed", "response": response_object(output=ITEMS)})),
    "whole": json_response(response_object(output=ITEMS)),
    "incomplete": json_response(
        response_object(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    ),
    "failed": json_response(response_object(status="failed", error={"code": "server_error", "message": "busy"})),
    "cut": stream(*loopback.text_events("Hel"), end=b""),
}
REPLIES = [pytest.param("chat", reply, id=f"chat {name}") for name, reply in CHAT_REPLIES.items()] + [
    pytest.param("respond", reply, id=f"respond {name}") for name, reply in RESPONSES_REPLIES.items()
]
DEMO_MODELS = ["echo", "markdown", "tool", "reasoning", "refusal", "cut", "length", "filter", "error", "status-429"]


Run = Callable[..., tuple[int, bytes]]


@pytest.fixture
def run(server: Loopback, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command line, and returns the exit code and standard output."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    monkeypatch.setenv("AIML_RETRIES", "0")
    return lambda *arguments: (main(arguments), capfdbinary.readouterr().out)


def check_both_formats(run: Run, *arguments: str) -> None:
    """Check both formats of an answer against the schemas."""
    code, whole = run(*arguments, "--no-stdin", "--format", "json")
    code_of_lines, lines = run(*arguments, "--no-stdin", "--format", "jsonl")
    found = json.loads(whole)
    ANSWER_VALIDATOR.validate(found)
    assert (found["error"] or {"exit_code": 0})["exit_code"] == code == code_of_lines
    read = [json.loads(line) for line in lines.splitlines()]
    for line in read:
        EVENT_VALIDATOR.validate(line)
    assert [line["type"] for line in read].index("done") == len(read) - 1
    said = "".join(line["text"] for line in read if line["type"] in ("text", "transcript") and not line["choice"])
    assert said == read[-1]["text"] == found["text"]


@pytest.mark.parametrize(("command", "reply"), REPLIES)
def test_any_answer_of_a_server_follows_the_contract(command: str, reply: bytes, server: Loopback, run: Run) -> None:
    server.answer_with(reply)
    check_both_formats(run, command, "hi")


@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("model", DEMO_MODELS)
def test_answers_of_the_demo_server_follow_the_contract(command: str, model: str, run: Run) -> None:
    check_both_formats(run, command, "hi", "--demo", "-m", f"demo/{model}")


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_choices_and_tokens_of_the_demo_server_follow_the_contract(command: str, run: Run) -> None:
    more = ["-n", "2", "--top-logprobs", "2"] if command == "chat" else []
    check_both_formats(run, command, "hi", "--demo", *more)


@pytest.mark.parametrize("arguments", [["--temperature", "9"], ["-f", "absent.txt"], ["--audio-out", "absent/a.wav"]])
def test_requests_that_were_never_sent_follow_the_contract(arguments: list[str], server: Loopback, run: Run) -> None:
    code, out = run("chat", "hi", "--no-stdin", "--json", *arguments)
    found = json.loads(out)
    ANSWER_VALIDATOR.validate(found)
    assert (code, found["attempts"], server.requests) == (2, 0, [])


def test_a_connection_that_fails_follows_the_contract(server: Loopback, run: Run) -> None:
    server.answer_with(RESET)
    check_both_formats(run, "chat", "hi")


def list_properties(schema: Any) -> set[str]:
    """List the names of all properties of a schema."""
    if isinstance(schema, list):
        return set().union(*map(list_properties, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())) | set().union(*map(list_properties, schema.values()))


def test_the_page_names_every_key_and_every_line() -> None:
    named = set(re.findall(r"`([a-z_]+)`", (DOCS / "json.md").read_text()))
    assert list_properties(ANSWER_SCHEMA) | list_properties(EVENTS_SCHEMA) | set(EVENTS_SCHEMA["$defs"]) <= named


@pytest.mark.parametrize("schema", [ANSWER_SCHEMA, EVENTS_SCHEMA])
def test_the_schemas_of_the_contract_are_valid(schema: Any) -> None:
    Draft202012Validator.check_schema(schema)


def test_the_schemas_allow_no_key_that_they_do_not_name() -> None:
    found = {"type": "text", "choice": 0, "text": "Hi"}
    assert EVENT_VALIDATOR.is_valid(found)
    assert not EVENT_VALIDATOR.is_valid(found | {"extra": 1})
    assert not EVENT_VALIDATOR.is_valid({"type": "text", "text": "Hi"})
    assert not EVENT_VALIDATOR.is_valid(found | {"type": "unheard"})
