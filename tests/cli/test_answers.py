"""What the server sends becomes what the user sees: bytes to standard output, standard error and exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    USAGE,
    Loopback,
    delta,
    event,
    http_response,
    json_response,
    response_object,
    stream,
    text_events,
)
from support.run_cli import Aiml

pytestmark = pytest.mark.in_process

INCOMPLETE_RESPONSE = response_object("Hel", "incomplete", incomplete_details={"reason": "max_output_tokens"})
FILTERED_RESPONSE = response_object("Hel", "incomplete", incomplete_details={"reason": "content_filter"})
FAILED_RESPONSE = response_object("", "failed", error={"code": "server_error", "message": "It broke."})
ERROR_BODY = {"title": "Bad Request", "status": 400, "message": "Body validation error", "requestId": "r"}


def build_chat_answer(text: str | None, finish: str = "stop", **more: Any) -> dict[str, Any]:
    """Make a complete chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}
    return {"id": "chat-1", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


def build_error_response(status: str, body: object) -> bytes:
    """Make a reply with a failing status."""
    return json_response(body, status)


# command, reply, stdout, words of stderr, exit code
ANSWERS = [
    ("chat", HELLO, "Hello\n", "", 0),
    ("chat", json_response(build_chat_answer("Hello")), "Hello\n", "", 0),
    ("chat", json_response(build_chat_answer("Hello"), "201 Created"), "Hello\n", "", 0),
    ("chat", stream(delta("Hi\n"), delta(finish="stop")), "Hi\n", "", 0),
    ("chat", stream(delta("Hi"), event("[DONE]")), "Hi\n", "", 0),
    ("chat", stream(delta("Hi"), delta(finish="length"), event("[DONE]")), "Hi\n", "token limit", 8),
    ("chat", stream(delta("Hi"), delta(finish="content_filter")), "Hi\n", "content filter", 8),
    ("chat", stream(delta("Hi")), "Hi\n", "the stream ended before the answer was complete", 8),
    ("chat", stream(delta("Hi"), end=b""), "Hi\n", "the connection was cut", 8),
    ("chat", stream(delta("Hi"), delta(finish="stop"), end=b""), "Hi\n", "", 0),
    ("chat", stream(delta(refusal="No.")), "", "refusal: No.", 8),
    ("chat", stream(delta("Hi"), event({"error": {"message": "It broke."}})), "Hi\n", "It broke.", 6),
    ("chat", stream(delta("Hi"), event("{")), "Hi\n", "not JSON", 6),
    ("chat", stream(delta("Hi"), event({"choices": [{"delta": {"content": 5}}]})), "Hi\n", "cannot be decoded", 6),
    ("chat", json_response({"error": {"message": "It broke."}}), "", "It broke.", 6),
    ("chat", http_response(b"", "200 OK"), "", "an empty body", 6),
    ("chat", http_response(b"null"), "", "not a chat completion", 6),
    ("chat", http_response(b"<html><body>Please log in</body></html>", "200 OK", "text/html"), "", "Please log in", 6),
    ("chat", json_response(build_chat_answer("Hi", "length")), "Hi\n", "token limit", 8),
    ("chat", json_response(build_chat_answer(None, "tool_calls", tool_calls=[{"id": "c1", "function": {"name": "f", "arguments": "{}"}}])),
     "", "tool call: f({}) c1", 0),
    ("chat", stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop")), "Hi\n", "Hm\n", 0),
    ("chat", build_error_response("400 Bad Request", ERROR_BODY), "", "Body validation error", 4),
    ("chat", build_error_response("401 Unauthorized", {"message": "wrong", "statusCode": 401}), "", "aiml config key", 3),
    ("chat", build_error_response("402 Payment Required", {"error": "pay"}), "", "billing", 3),
    ("chat", build_error_response("403 Forbidden", {"message": "out of credits", "statusCode": 403}), "", "billing", 3),
    ("chat", build_error_response("404 Not Found", {"error": {"message": "no such model"}}), "", "aiml models", 4),
    ("chat", build_error_response("413 Payload Too Large", {}), "", "send less", 4),
    ("chat", build_error_response("422 Unprocessable", {"detail": [{"loc": ["body", "n"], "msg": "bad"}]}), "", "body.n: bad", 4),
    ("chat", build_error_response("429 Too Many", {"error": {"message": "slow down"}}), "", "slow down", 5),
    ("chat", build_error_response("429 Too Many", {"error": {"code": "insufficient_quota", "message": "x"}}), "", "billing", 3),
    ("chat", http_response(b"<html><title>x</title><h1>Bad gateway</h1>", "502 Bad", "text/html"), "", "Bad gateway", 6),
    ("chat", http_response(b"busy", "503 Busy", "text/plain"), "", "busy", 6),
    ("chat", http_response(b"", "504 Time-out"), "", "the server answered 504", 6),
    ("chat", http_response(b"", "302 Found", "text/plain", "Location: https://evil.example/"), "", "302", 4),
    ("chat", b"SSH-2.0-OpenSSH\r\n\r\n", "", "not HTTP", 6),
    ("chat", b"", "", "closed without an answer", 7),
    ("respond", HELLO_RESPONSE, "Hello\n", "", 0),
    ("respond", json_response(response_object()), "Hello\n", "", 0),
    ("respond", json_response({k: v for k, v in response_object().items() if k != "status"}), "Hello\n", "", 0),
    ("respond", stream(*text_events("Hel"), event({"type": "response.incomplete", "response": INCOMPLETE_RESPONSE})), "Hel\n", "token limit", 8),
    ("respond", json_response(FILTERED_RESPONSE), "Hel\n", "content filter", 8),
    ("respond", stream(*text_events("Hel"), event({"type": "response.completed", "response": INCOMPLETE_RESPONSE})), "Hel\n", "token limit", 8),
    ("respond", stream(*text_events("Hel")), "Hel\n", "the stream ended before", 8),
    ("respond", stream(*text_events("Hel"), event({"type": "response.failed", "response": FAILED_RESPONSE})), "Hel\n", "It broke.", 6),
    ("respond", json_response(FAILED_RESPONSE), "", "It broke.", 6),
    ("respond", stream(*text_events("Hel"), event({"type": "error", "message": "It broke."})), "Hel\n", "It broke.", 6),
    ("respond", json_response(response_object("", "in_progress", output=[])), "", "in_progress", 8),
]  # fmt: skip


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize(("command", "reply", "stdout", "stderr", "code"), ANSWERS)
def test_each_answer_gives_the_right_output_message_and_exit_code(
    command: str, reply: bytes, stdout: str, stderr: str, code: int, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(reply)
    done = aiml(command, "hi")
    assert (done.stdout.decode(), done.returncode) == (stdout, code)
    assert stderr in done.stderr.decode()
    assert done.stderr == b"" or stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize(("command", "reply", "stdout", "stderr", "code"), ANSWERS)
def test_json_output_gives_the_same_text_and_exit_code(
    command: str, reply: bytes, stdout: str, stderr: str, code: int, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(reply)
    done = aiml(command, "hi", "--format", "json")
    found = json.loads(done.stdout)
    assert done.returncode == code
    assert found["text"] == stdout.removesuffix("\n") or stdout == "Hi\n"
    assert found["complete"] is (code == 0)
    assert (found["error"] or {"exit_code": 0})["exit_code"] == code
    assert found["endpoint"] == {"chat": "chat", "respond": "responses"}[command]


def test_an_allowed_length_limit_exits_with_0_and_a_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("Hi"), delta(finish="length")))
    done = aiml("chat", "hi", "--allow-cut")
    assert (done.returncode, done.stdout) == (0, b"Hi\n")
    assert b"token limit" in done.stderr


@pytest.mark.promise("incomplete-answers")
def test_allow_cut_does_not_allow_a_broken_stream(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("Hi"), end=b""))
    assert aiml("chat", "hi", "--allow-cut").returncode == 8


def test_each_line_of_jsonl_is_an_event_and_the_last_is_the_complete_object(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    lines = [json.loads(line) for line in aiml("chat", "hi", "--format", "jsonl").stdout.splitlines()]
    assert [line["type"] for line in lines] == ["text", "text", "usage", "done"]
    assert [line["text"] for line in lines[:2]] == ["Hel", "lo"]
    assert lines[-1]["text"] == "Hello"
    assert lines[-1]["usage"]["reasoning_tokens"] == 2


def test_raw_output_is_the_body_as_the_server_sent_it(server: Loopback, aiml: Aiml) -> None:
    body = b': comment\r\n\r\ndata: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\r\n\r\n'
    server.answer_with(http_response(body, "200 OK", "text/event-stream"))
    assert aiml("chat", "hi", "--format", "raw").stdout == body


@pytest.mark.promise("pipe-bytes")
def test_a_pipe_gets_the_text_byte_for_byte(server: Loopback, aiml: Aiml) -> None:
    text = "a\x1b[31mb\r\x07\u202e\U0001f469‍🚀 é\n"
    server.answer_with(stream(delta(text), delta(finish="stop")))
    assert aiml("chat", "hi").stdout == text.encode()


def test_the_texts_of_choices_are_not_mixed(server: Loopback, aiml: Aiml) -> None:
    pieces = [delta("a"), delta("x", index=1), delta("b"), delta("y", index=1)]
    server.answer_with(stream(*pieces, delta(finish="stop"), delta(finish="stop", index=1)))
    assert aiml("chat", "hi", "-n", "2").stdout == b"ab\nxy\n"


@pytest.mark.promise("incomplete-answers")
def test_one_unfinished_choice_makes_the_answer_incomplete(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("a"), delta("x", index=1), delta(finish="stop")))
    assert aiml("chat", "hi", "-n", "2").returncode == 8


def test_usage_is_one_line(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(
        json_response(
            {**build_chat_answer("Hi"), "meta": {"usage": {"usd_spent": 0.00012}}}, "200 OK", "x-inference-id: inf-1"
        )
    )
    line = aiml("chat", "hi", "-u", "-S").stderr.decode()
    assert "3 in (1 cached) · 5 out (2 reasoning) · 8 tokens" in line
    assert "$0.00012" in line
    assert "request inf-1" in line


@pytest.mark.parametrize("name", ["x-aimlapi-usd-spent", "x-litellm-response-cost"])
def test_the_price_may_come_in_a_header(name: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(build_chat_answer("Hi"), "200 OK", f"{name}: 0.5"))
    found = json.loads(aiml("chat", "hi", "--json").stdout)
    assert (found["cost_usd"], found["cost_source"]) == (0.5, "gateway")


ODD_COSTS = ["nan", "inf", "-1", "1e400", "", "None", "0x10", "1,5", "free"]


@pytest.mark.parametrize("value", ODD_COSTS)
def test_an_invalid_price_in_a_header_is_ignored(value: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(build_chat_answer("Hi"), "200 OK", f"x-litellm-response-cost: {value}"))
    found = json.loads(aiml("chat", "hi", "--json").stdout)
    assert (found["cost_usd"], found["cost_source"]) == (None, None)


def test_the_price_in_the_body_takes_precedence_over_a_header(server: Loopback, aiml: Aiml) -> None:
    body = {**build_chat_answer("Hi"), "meta": {"usage": {"usd_spent": 0.25}}}
    server.answer_with(json_response(body, "200 OK", "x-litellm-response-cost: 0.5"))
    assert json.loads(aiml("chat", "hi", "--json").stdout)["cost_usd"] == 0.25


LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]}
TWO_CHOICES = {
    **build_chat_answer("Hi"),
    "choices": [{**build_chat_answer("Hi")["choices"][0], "index": index} for index in (0, 1)],
}
FEWER_CHOICES_NOTICE, NO_LOGPROBS_NOTICE = "aiml: m sent {} of {} choices (-n)\n", "aiml: m sent no log probabilities\n"
CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
# arguments, reply, standard error
MISSING_PARTS = [
    (["chat", "-n", "3"], HELLO, FEWER_CHOICES_NOTICE.format(1, 3)),
    (["chat", "-n", "3", "-S"], json_response(TWO_CHOICES), FEWER_CHOICES_NOTICE.format(2, 3)),
    (["chat", "-n", "2", "--json"], HELLO, FEWER_CHOICES_NOTICE.format(1, 2)),
    (["chat", "-n", "2", "-S"], json_response(TWO_CHOICES), ""),
    (["chat", "-n", "1"], HELLO, ""),
    (["chat", "--logprobs"], HELLO, NO_LOGPROBS_NOTICE),
    (["chat", "--top-logprobs", "0"], HELLO, NO_LOGPROBS_NOTICE),
    (["chat", "-n", "2", "--logprobs"], HELLO, FEWER_CHOICES_NOTICE.format(1, 2) + NO_LOGPROBS_NOTICE),
    (["respond", "--include", "message.output_text.logprobs"], HELLO_RESPONSE, NO_LOGPROBS_NOTICE),
    (["chat", "--logprobs"], json_response({"choices": [{"message": {"content": "Hi"}, "logprobs": LOGPROBS}]}), ""),
    (
        ["chat", "--logprobs"],
        json_response(build_chat_answer(None, "tool_calls", tool_calls=CALLS)),
        "tool call: f({}) c\n",
    ),
    (["chat", "-n", "3", "--logprobs", "-q"], HELLO, ""),
]


@pytest.mark.parametrize(("arguments", "reply", "stderr"), MISSING_PARTS)
def test_a_notice_names_what_was_requested_but_not_in_the_answer(
    arguments: list[str], reply: bytes, stderr: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(reply)
    done = aiml(*arguments, "hi", "-m", "m")
    assert (done.returncode, done.stderr.decode()) == (0, stderr)


@pytest.mark.parametrize("name", ["AIML_N", "AIML_LOGPROBS"])
def test_no_notice_is_given_for_a_setting_of_the_other_endpoint(name: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO_RESPONSE)
    assert aiml("respond", "hi", **{name: "1" if name == "AIML_LOGPROBS" else "3"}).stderr == b""


def test_quiet_or_hidden_reasoning_prints_nothing_on_standard_error(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop")))
    assert aiml("chat", "hi", "-R").stderr == b""
    assert aiml("chat", "hi", "-q").stderr == b""


@pytest.mark.promise("incomplete-answers")
def test_only_a_complete_answer_replaces_the_output_file(server: Loopback, aiml: Aiml) -> None:
    file = Path("out.txt")
    file.write_text("old")
    server.answer_with(stream(delta("Hi"), end=b""))
    server.answer_with(HELLO)
    cut = aiml("chat", "hi", "-o", "out.txt")
    assert (cut.returncode, cut.stdout, file.read_text()) == (8, b"", "old")
    assert Path("out.txt.part").read_text() == "Hi\n"
    assert b"out.txt.part" in cut.stderr
    assert aiml("chat", "hi", "-o", "out.txt").returncode == 0
    assert file.read_text() == "Hello\n"
    assert Path("out.txt.part").read_text() == "Hi\n"
    assert list(Path().glob(".*")) == []


def test_a_failed_request_leaves_no_empty_partial_file(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(b"busy", "503 Busy"))
    aiml("chat", "hi", "-o", "out.txt")
    assert list(Path().glob("out*")) == []


def test_halves_of_a_character_in_two_deltas_are_joined(server: Loopback, aiml: Aiml) -> None:
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"a\\ud83d", b"\\ude00b")]
    server.answer_with(stream(*halves, delta(finish="stop")))
    assert aiml("chat", "hi").stdout.decode() == "a😀b\n"


@pytest.mark.promise("retries")
def test_a_retry_is_announced_and_has_its_own_request_id(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "busy"}, "503 Busy", "retry-after-ms: 1"))
    server.answer_with(HELLO)
    done = aiml("chat", "hi", AIML_RETRIES="2")
    assert (done.stdout, done.returncode) == (b"Hello\n", 0)
    assert b"trying again in 0.0 s (1 of 2)" in done.stderr
    ids = [request.get_header("x-client-request-id") for request in server.requests]
    assert len(set(ids)) == 2


NOT_RETRIED = ["400 x", "401 x", "402 x", "403 x", "404 x", "413 x", "422 x"]


@pytest.mark.promise("retries")
@pytest.mark.parametrize("status", NOT_RETRIED)
def test_a_refused_request_is_not_retried(status: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "no"}, status, "retry-after-ms: 1"))
    aiml("chat", "hi", AIML_RETRIES="2")
    assert len(server.requests) == 1


@pytest.mark.promise("sent-once")
def test_nothing_is_retried_after_the_first_text(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("Hi"), end=b""))
    assert aiml("chat", "hi", AIML_RETRIES="2").returncode == 8
    assert len(server.requests) == 1


@pytest.mark.promise("retries")
def test_a_long_requested_wait_is_an_error_and_not_a_retry(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "slow down"}, "429 x", "Retry-After: 1000"))
    done = aiml("chat", "hi", AIML_RETRIES="2")
    assert (done.returncode, len(server.requests)) == (5, 1)
    assert b"1000 s" in done.stderr


@pytest.mark.promise("key-masked")
def test_a_key_that_the_server_repeats_before_a_retry_is_masked(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "bad canary-0123456789"}, "500 x", "retry-after-ms: 1"))
    done = aiml("chat", "hi", AIMLAPI_API_KEY="canary-0123456789", AIML_RETRIES="1")
    assert (done.returncode, len(server.requests)) == (6, 2)
    assert b"canary" not in done.stdout + done.stderr


def test_raw_output_contains_no_failed_attempt(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "busy"}, "503 x", "retry-after-ms: 1"))
    server.answer_with(json_response(build_chat_answer("Hi")))
    done = aiml("chat", "hi", "--format", "raw", AIML_RETRIES="1")
    assert json.loads(done.stdout) == build_chat_answer("Hi")


def test_the_status_is_that_of_the_last_attempt(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "busy"}, "503 x", "retry-after-ms: 1"))
    server.answer_with(b"")
    found = json.loads(aiml("chat", "hi", "--json", AIML_RETRIES="1").stdout)
    assert (found["status"], found["attempts"], found["error"]["exit_code"]) == (None, 2, 7)


@pytest.mark.parametrize("flags", [["--temperature", "5"], ["--profile", "nobody"], ["-o", "no/such/file"]])
def test_an_error_before_the_request_is_json_too(flags: list[str], aiml: Aiml) -> None:
    done = aiml("chat", "hi", "--json", *flags)
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (2, 2)


def test_a_usage_error_takes_precedence_over_a_missing_key(aiml: Aiml) -> None:
    assert aiml("chat", "--base-url", "https://api.example.com/v1").returncode == 2
    assert aiml("chat", "hi", "-f", "missing", "--base-url", "https://api.example.com/v1").returncode == 2


@pytest.mark.promise("key-masked")
def test_a_key_that_the_server_repeats_is_masked(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": "wrong key canary-0123456789"}, "401 x"))
    for form in ("text", "json", "jsonl"):
        done = aiml("chat", "hi", "--format", form, AIMLAPI_API_KEY="canary-0123456789")
        assert done.returncode == 3
        assert b"canary" not in done.stdout + done.stderr
    assert server.requests[0].get_header("authorization") == "Bearer canary-0123456789"


@pytest.mark.promise("implausible-keys")
@pytest.mark.parametrize("key", ["", "<YOUR_AIMLAPI_KEY>", "<YOUR_API_KEY>"])
def test_without_a_key_nothing_is_sent(key: str, server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "hi", "--base-url", "https://api.example.com/v1", AIMLAPI_API_KEY=key)
    assert (done.returncode, server.requests) == (3, [])
    assert b"aiml config key" in done.stderr


@pytest.mark.promise("key-per-server")
def test_no_key_goes_over_plain_http_to_another_machine(aiml: Aiml) -> None:
    done = aiml("chat", "hi", "--base-url", "http://api.example.com/v1", AIMLAPI_API_KEY="canary-0123456789")
    assert done.returncode == 2
    assert b"plain http" in done.stderr


@pytest.mark.promise("key-masked")
def test_verbose_shows_the_request_and_the_response(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(build_chat_answer("Hi"), "200 OK", "x-inference-id: inf-1"))
    words = aiml("chat", "hi", "-v", AIMLAPI_API_KEY="canary-0123456789").stderr.decode()
    assert f"POST {server.url}/chat/completions, " in words
    assert "200 application/json, request inf-1" in words
    assert "canary" not in words
