"""Another model is asked if one is unavailable."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.console import Console
from support.history_file import read_messages
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    RESET,
    Loopback,
    chunk,
    delta,
    event,
    json_response,
    response_object,
    stream,
)
from support.run_cli import Aiml

pytestmark = pytest.mark.in_process

NO_MODEL = json_response(
    {"error": {"message": "The model `a` does not exist", "code": "model_not_found"}}, "400 Bad Request"
)
UNPROCESSED = json_response({"message": "Invalid model: a", "statusCode": 422}, "422 Unprocessable")
BUSY = json_response({"error": "slow down"}, "429 Too Many Requests", "Retry-After: 100")
DOWN = json_response({"error": "down"}, "503 Service Unavailable")
STREAMED_ERROR = stream(event({"error": {"message": "Provider returned error", "code": 502}}))
OVERLOADED = stream(event({"type": "error", "error": {"message": "Overloaded", "type": "overloaded_error"}}))
LIMITED = json_response({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}})
UNKNOWN_MODEL = json_response({"error": {"message": "x", "code": "model_not_found"}})
UNAVAILABLE = {
    "404": json_response({"error": "no such model"}, "404 Not Found"), "400": NO_MODEL, "422": UNPROCESSED, "429": BUSY,
    "500": json_response({"error": "failed"}, "500 Failed"), "503": DOWN, "200": STREAMED_ERROR,
    "overloaded": OVERLOADED, "limited": LIMITED, "unknown": UNKNOWN_MODEL,
}  # fmt: skip
NO_FAULT_OF_THE_MODEL = {
    "401": (json_response({"error": "who?"}, "401 Unauthorized"), 3),
    "402": (json_response({"error": "pay"}, "402 Payment Required"), 3),
    "403": (json_response({"error": "no"}, "403 Forbidden"), 3),
    "429 of credit": (json_response({"error": "insufficient credit"}, "429 Too Many"), 3),
    "400": (json_response({"error": "this model does not support temperature"}, "400 Bad Request"), 4),
    "413": (json_response({"error": "too large"}, "413 Too Large"), 4),
    "a key under 200": (json_response({"error": {"message": "x", "code": "invalid_api_key"}}), 3),
    "a limit of credit under 200": (json_response({"error": {"message": "x", "type": "insufficient_quota"}}), 3),
    "a rejection under 200": (json_response({"error": {"message": "x", "type": "invalid_request_error"}}), 4),
    "reset": (RESET, 7),
    "cut": (stream(delta("Hel"), end=b"0\r\n\r\n"), 8),
    "reported after a word": (stream(delta("Hel"), event({"error": {"message": "x", "code": 503}})), 6),
}


def list_requested_models(server: Loopback) -> list[str]:
    return [request.json["model"] for request in server.requests]


@pytest.mark.parametrize("reason", UNAVAILABLE)
@pytest.mark.parametrize(("command", "reply"), [("chat", HELLO), ("respond", HELLO_RESPONSE)])
def test_the_next_model_is_asked_at_once_if_one_is_unavailable(
    reason: str, command: str, reply: bytes, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(UNAVAILABLE[reason])
    server.answer_with(reply)
    done = aiml(command, "-m", "a,b", "--json", "hi", AIML_RETRIES="3")
    found = json.loads(done.stdout)
    assert (done.returncode, found["text"], found["attempts"], found["error"]) == (0, "Hello", 2, None)
    assert list_requested_models(server) == ["a", "b"]
    first, second, *rest = done.stderr.decode().splitlines()
    assert (first.startswith("aiml: a: the server "), first.endswith("; falling back to b")) == (True, True)
    assert (second, rest) == ("aiml: b answered", [])


@pytest.mark.parametrize("reason", NO_FAULT_OF_THE_MODEL)
def test_no_other_model_is_asked_if_the_error_is_not_about_the_model(reason: str, server: Loopback, aiml: Aiml) -> None:
    reply, code = NO_FAULT_OF_THE_MODEL[reason]
    server.answer_with(reply)
    server.answer_with(HELLO)
    done = aiml("chat", "-m", "a,b", "hi")
    assert (done.returncode, list_requested_models(server)) == (code, ["a"])
    assert b"falling back to b" not in done.stderr


def test_a_failed_connection_is_retried_with_the_same_model(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(RESET)
    server.answer_with(HELLO)
    done = aiml("chat", "-m", "a,b", "hi", AIML_RETRIES="1")
    assert (done.returncode, done.stdout, list_requested_models(server)) == (0, b"Hello\n", ["a", "a"])


def test_each_attempt_has_its_own_request_id_and_one_model(server: Loopback, aiml: Aiml) -> None:
    for reply in (DOWN, DOWN, HELLO):
        server.answer_with(reply)
    assert aiml("chat", "-m", "a, b ,c", "hi").returncode == 0
    ids = {request.get_header("x-client-request-id") for request in server.requests}
    assert (list_requested_models(server), len(ids)) == (["a", "b", "c"], 3)


def test_the_last_model_is_retried_as_usual(server: Loopback, aiml: Aiml) -> None:
    for reply in (DOWN, json_response({"error": "down"}, "503 Down", "Retry-After: 0"), HELLO):
        server.answer_with(reply)
    done = aiml("chat", "-m", "a,b", "--json", "hi", AIML_RETRIES="1")
    assert (list_requested_models(server), json.loads(done.stdout)["attempts"]) == (["a", "b", "b"], 3)


def test_if_all_models_fail_the_last_failure_counts_and_the_others_are_named(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(DOWN)
    server.answer_with(UNAVAILABLE["404"])
    done = aiml("chat", "-m", "a,b", "hi")
    *_, told, hint = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (4, b"")
    assert told == "aiml: the server answered 404: no such model"
    assert hint.endswith("earlier: a: the server answered 503: down")


@pytest.mark.parametrize("models", ["a,", ",b", "a,,b", " , ", ","])
def test_an_empty_model_name_is_refused_before_anything_is_sent(models: str, server: Loopback, aiml: Aiml) -> None:
    for more in ([], ["--dry-run"], ["-m", "c"]):
        done = aiml("chat", "-m", models, *more, "hi")
        assert (done.returncode, done.stdout, server.connections) == (2, b"", 0)
        assert b"has an empty part" in done.stderr


def test_environment_and_config_file_can_name_several_models(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    server.scripts_by_model = {"a": [DOWN], "b": [HELLO], "c": [DOWN]}
    assert aiml("config", "set", "model", "a,b").returncode == 0
    assert aiml("chat", "hi").stdout == b"Hello\n"
    assert aiml("chat", "hi", AIML_MODEL="c , b").stdout == b"Hello\n"
    assert list_requested_models(server) == ["a", "b", "c", "b"]


def test_the_history_names_the_model_that_answered(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [DOWN], "b": [HELLO]}
    assert aiml("chat", "-m", "a,b", "hi", AIML_SESSION="s").returncode == 0
    assert [(row["role"], row["model"], row["state"]) for row in read_messages()] == [
        ("user", "b", "complete"),
        ("assistant", "b", "complete"),
    ]
    assert aiml("chat", "-c", "more", AIML_SESSION="s").returncode == 0
    assert list_requested_models(server) == ["a", "b", "b"]


def test_a_dry_run_shows_the_request_to_the_first_model(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "-m", "a,b", "--dry-run", "hi")
    assert (json.loads(done.stdout)["body"]["model"], server.connections) == ("a", 0)
    assert b"this is the request to a; b would be used if it is unavailable" in done.stderr


def test_a_background_response_can_come_from_a_fallback_model(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {"a": [DOWN], "b": [json_response(response_object("", "queued", output=[]))]}
    done = aiml("respond", "-m", "a,b", "--background", "hi")
    assert (done.returncode, done.stdout, list_requested_models(server)) == (0, b"resp_1\n", ["a", "b"])


def test_schema_retries_ask_the_model_that_answered(server: Loopback, aiml: Aiml) -> None:
    for reply in (DOWN, build_answer("no JSON"), build_answer("{}")):
        server.answer_with(reply)
    done = aiml("chat", "-m", "a,b", "--json-object", "--schema-retries", "1", "hi")
    assert (done.stdout, list_requested_models(server)) == (b"{}\n", ["a", "b", "b"])


def test_a_continuation_is_requested_from_the_model_that_answered(server: Loopback, aiml: Aiml) -> None:
    for reply in (DOWN, build_answer("Hel", "length"), build_answer("lo")):
        server.answer_with(reply)
    done = aiml("chat", "-m", "a,b,c", "--auto-continue", "1", "hi")
    assert (done.stdout, list_requested_models(server)) == (b"Hello\n", ["a", "b", "b"])


@pytest.mark.promise("sent-once")
def test_no_other_model_continues_an_answer(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_answer("Hel", "length"))
    server.answer_with(DOWN)
    done = aiml("chat", "-m", "a,b", "--auto-continue", "1", "hi")
    assert (done.returncode, done.stdout, list_requested_models(server)) == (6, b"Hel\n", ["a", "a"])


def test_raw_output_contains_only_the_answer_of_the_last_model(server: Loopback, aiml: Aiml) -> None:
    server.scripts_by_model = {
        "a": [DOWN],
        "b": [json_response({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})],
    }
    done = aiml("chat", "-m", "a,b", "--format", "raw", "hi")
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "Hi"


def test_the_repl_falls_back_too(server: Loopback) -> None:
    server.scripts_by_model = {"a": [DOWN], "b": [HELLO]}
    with Console("chat", "-m", "a,b", AIML_BASE_URL=server.url, COLUMNS="100") as console:
        console.wait_for_prompt()
        console.type_line("hi")
        console.wait_until("Hello")
        console.wait_for_prompt()
        assert "falling back to b" in console.read_text()
        assert console.leave() == 0


def build_answer(text: str, finish: str = "stop") -> bytes:
    choice: dict[str, Any] = {"index": 0, "message": {"content": text}, "finish_reason": finish}
    return json_response({"id": "1", "model": "m", "choices": [choice]})


def test_no_other_model_is_asked_once_an_answer_has_begun(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_chunked_head(), RESET)
    done = aiml("chat", "-m", "a,b", "hi")
    assert (done.returncode, list_requested_models(server)) == (8, ["a"])


def build_chunked_head() -> bytes:
    return stream(end=b"") + chunk(b": hello\n\n")


def test_rows_do_not_wait_for_the_rate_limit_of_a_model_with_a_fallback(server: Loopback, aiml: Aiml) -> None:
    limited = json_response({"error": "slow down"}, "429 Too Many Requests", "Retry-After: 90")
    server.scripts_by_model = {"a": [limited], "b": [HELLO]}
    done = aiml("chat", "--each", "line", "-m", "a,b", stdin=b"1\n2\n3\n")
    assert (done.returncode, b"all workers wait" in done.stderr) == (0, False)
