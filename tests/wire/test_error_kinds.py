"""An error has the same effect in a status, in a body under 200 and in a stream."""

import json
from typing import Any

import pytest
from support.endings import Ask
from support.loopback import (
    HELLO,
    HELLO_RESPONSE,
    Loopback,
    delta,
    event,
    http_response,
    json_response,
    response_object,
    stream,
    text_events,
)

MESSAGE = "Say what."
ANSWERS = {"chat": HELLO, "respond": HELLO_RESPONSE}
# What the error holds, the exit code, and whether the request is sent again.
ERRORS: list[tuple[dict[str, Any], int, bool]] = [
    ({"code": "rate_limit_exceeded"}, 5, True),
    ({"type": "rate_limit_error"}, 5, True),
    ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, 5, True),
    ({"type": "overloaded_error"}, 6, True),
    ({"code": "server_error"}, 6, True),
    ({"code": 503}, 6, True),
    ({"code": "insufficient_quota"}, 3, False),
    ({"code": 402}, 3, False),
    ({"type": "authentication_error"}, 3, False),
    ({"code": "401"}, 3, False),
    ({"type": "invalid_request_error"}, 4, False),
    ({"code": "context_length_exceeded"}, 4, False),
    ({"code": 404}, 4, False),
    ({"code": "odd"}, 6, False),
    ({}, 6, False),
]


def build_replies(command: str, report: dict[str, Any]) -> dict[str, bytes]:
    """Return the ways in which an error is sent before any output."""
    error = {"message": MESSAGE, **report}
    started = [delta(role="assistant", text="")] if command == "chat" else text_events()
    replies = {
        "JSON under 200": json_response({"error": error}),
        "flat JSON under 200": json_response({"object": "error", **error}),
        "an array under 200": json_response([{"error": error}]),
        "a data line": stream(event({"error": error})),
        "after the start": stream(*started, event({"error": error}), event("[DONE]")),
        "a named event": stream(b"event: error\n" + event({"type": "error", "error": error})),
        "the field error": stream(b"error: " + json.dumps(error).encode() + b"\n\n"),
        "without data:": http_response(json.dumps({"error": error}).encode(), "200 OK", "text/event-stream"),
    }
    if command == "respond":
        failed = response_object(status="failed", output=[], error=error)
        replies |= {
            "response.failed": stream(*started, event({"type": "response.failed", "response": failed})),
            "a failed response": json_response(failed),
        }
    return replies


COMMANDS_AND_REPLY_NAMES = [(command, reply_name) for command in ANSWERS for reply_name in build_replies(command, {})]


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize(("report", "code", "is_retried"), ERRORS, ids=json.dumps)
@pytest.mark.parametrize("command", ANSWERS)
def test_an_error_before_any_output_is_handled_like_an_error_status(
    command: str, report: dict[str, Any], code: int, is_retried: bool, server: Loopback, ask: Ask
) -> None:
    """A third of the forms each time, so that every form is in several errors of each kind."""
    replies = list(build_replies(command, report).items())
    for reply_name, reply in replies[ERRORS.index((report, code, is_retried)) % 3 :: 3]:
        server.scripts.clear()
        server.requests.clear()
        server.answer_with(reply.replace(b"\r\n", b"\r\nRetry-After: 0\r\n", 1))
        ending = ask(command, "hi", retries=1)
        assert (ending.code, ending.stdout, len(server.requests)) == (code, "", 2 if is_retried else 1), reply_name
        assert MESSAGE in ending.stderr


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize("flags", [[], ["--json"], ["--no-stream"]], ids=str)
@pytest.mark.parametrize(("command", "reply_name"), COMMANDS_AND_REPLY_NAMES)
def test_after_an_early_error_the_answer_of_the_retry_is_shown(
    command: str, reply_name: str, flags: list[str], server: Loopback, ask: Ask
) -> None:
    reply = build_replies(command, {"code": "rate_limit_exceeded"})[reply_name]
    server.answer_with(reply.replace(b"\r\n", b"\r\nRetry-After: 0\r\n", 1))
    server.answer_with(ANSWERS[command])
    ending = ask(command, "hi", *flags, retries=1)
    assert (ending.code, len(server.requests)) == (0, 2)
    if flags == ["--json"]:
        answer = json.loads(ending.stdout)
        assert (answer["text"], answer["attempts"], answer["error"]) == ("Hello", 2, None)
    else:
        assert ending.stdout == "Hello\n"


@pytest.mark.promise("sent-once")
@pytest.mark.parametrize(("report", "code"), [(report, code) for report, code, _ in ERRORS], ids=str)
@pytest.mark.parametrize("command", ANSWERS)
def test_an_error_after_output_ends_the_call_with_its_exit_code(
    command: str, report: dict[str, Any], code: int, server: Loopback, ask: Ask
) -> None:
    error = event({"type": "error", "error": {"message": MESSAGE, **report}})
    server.answer_with(stream(*([delta("Half")] if command == "chat" else text_events("Half")), error))
    server.answer_with(ANSWERS[command])
    ending = ask(command, "hi", retries=2)
    assert (ending.code, ending.stdout.strip(), len(server.requests)) == (code, "Half", 1)
    assert MESSAGE in ending.stderr


@pytest.mark.parametrize("command", ANSWERS)
def test_after_raw_output_the_request_is_not_retried(command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(json_response({"error": {"message": MESSAGE, "code": 429}}, "200 OK", "Retry-After: 0"))
    ending = ask(command, "hi", "--format", "raw", retries=2)
    assert (ending.code, len(server.requests), ending.stdout.count(MESSAGE)) == (5, 1, 1)


def test_after_raw_output_no_other_model_is_asked(server: Loopback, ask: Ask) -> None:
    server.answer_with(json_response({"error": {"message": MESSAGE, "type": "overloaded_error"}}))
    ending = ask("chat", "hi", "--format", "raw", "-m", "a,b")
    assert (ending.code, len(server.requests), ending.stdout.count(MESSAGE)) == (6, 1, 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 402}, 402), ({"code": "insufficient_quota"}, None), ({"type": "rate_limit_error", "status": 429}, 429)],
)
def test_json_gives_the_status_that_the_error_names(
    error: dict[str, Any], status: int | None, server: Loopback, ask: Ask
) -> None:
    server.answer_with(json_response({"error": {"message": MESSAGE, **error}}))
    answer = json.loads(ask("chat", "hi", "--json").stdout)
    assert (answer["status"], answer["error"]["status"], answer["error"]["exit_code"]) == (
        200, status, 5 if status == 429 else 3,
    )  # fmt: skip


ROWS = [f"row {number}" for number in range(60)]


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize(
    "report", [{"code": "invalid_api_key"}, {"code": 402}, {"code": "insufficient_quota"}], ids=str
)
@pytest.mark.parametrize("command", ANSWERS)
def test_a_key_or_credit_error_in_a_stream_stops_a_run_of_rows(
    command: str, report: dict[str, Any], server: Loopback, ask: Ask, tmp_path: Any
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(ROWS))
    server.answer_with(stream(event({"error": {"message": MESSAGE, **report}})))
    ending = ask(command, "--each", "line", "-j", "4", "-f", str(rows), "say {row}", retries=2)
    assert ending.code == 3
    assert len(server.requests) <= 12


@pytest.mark.parametrize("report", [{"code": "model_not_found"}, {"code": 404}], ids=str)
def test_a_missing_model_in_a_stream_stops_a_run_of_rows(
    report: dict[str, Any], server: Loopback, ask: Ask, tmp_path: Any
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(ROWS))
    server.answer_with(stream(event({"error": {"message": MESSAGE, **report}})))
    ending = ask("chat", "--each", "line", "-j", "4", "-f", str(rows), "say {row}")
    assert (ending.code, len(server.requests) <= 12) == (4, True)


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize("command", ANSWERS)
def test_a_rate_limit_in_a_stream_makes_all_rows_wait(command: str, server: Loopback, ask: Ask, tmp_path: Any) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(ROWS[:6]))
    limit = stream(event({"error": {"message": MESSAGE, "code": "rate_limit_exceeded"}}))
    server.answer_with(limit.replace(b"\r\n", b"\r\nRetry-After: 0.2\r\n", 1))
    server.answer_with(ANSWERS[command])
    ending = ask(command, "--each", "line", "-j", "2", "-f", str(rows), "say {row}", retries=2)
    assert (ending.code, len(server.requests), len(ending.stdout.splitlines())) == (0, 7, 6)
    assert "all workers wait 0.2 s" in ending.stderr


@pytest.mark.parametrize(
    ("command", "body", "advice"),
    [
        ("respond", {"message": "Cannot POST /v1/responses", "error": "Not Found", "statusCode": 404}, "try aiml chat"),
        ("respond", {"detail": "Not Found"}, "this server may not support /v1/responses"),
        ("chat", {"detail": "Not Found"}, "this server may not support /v1/chat/completions"),
        ("chat", {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}, "aiml models"),
        ("respond --previous-response-id resp_9",
         {"error": {"message": "Previous response with id 'resp_9' not found."}}, "another key or account"),
        ("respond --show resp_9", {"error": {"message": "Response with id 'resp_9' not found."}}, "is the id right?"),
        ("respond --show resp_9", {"detail": "Not Found"}, "this gateway may not store responses"),
        ("respond --wait resp_9", {"message": "Cannot GET /v1/responses/resp_9", "statusCode": 404}, "may not store"),
    ],
)  # fmt: skip
def test_a_404_says_what_to_do(command: str, body: Any, advice: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(json_response(body, "404 Not Found"))
    words = [] if "resp_9" in command and "previous" not in command else ["hi"]
    ending = ask(*command.split(), *words)
    assert (ending.code, advice in ending.stderr) == (4, True), ending.stderr
    assert ("aiml models" in ending.stderr) == (advice == "aiml models")


@pytest.mark.parametrize(("command", "other_command"), [("respond", "aiml chat"), ("chat", "aiml respond")])
@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        ("501 Not Implemented", 6, {"error": {"message": "The Responses API is not supported here"}}),
        ("405 Method Not Allowed", 4, {"detail": "Method Not Allowed"}),
        ("404 Not Found", 4, {"error": {"message": "Invalid URL (POST /v1/responses)"}}),
    ],
)
def test_a_missing_endpoint_is_an_error_that_names_the_other_one(
    command: str, other_command: str, status: str, code: int, body: Any, server: Loopback, ask: Ask
) -> None:
    server.answer_with(json_response(body, status))
    ending = ask(command, "hi")
    assert (ending.code, len(server.requests)) == (code, 1)
    assert f": try {other_command}, or check --base-url" in ending.stderr


@pytest.mark.parametrize(
    "message",
    [
        "Forbidden. The response id is not associated with the user, who this key belongs to.",
        "Response resp_9 belongs to another project",
    ],
)
def test_a_response_of_another_account_is_not_an_error_about_credit(message: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(json_response({"detail": message}, "403 Forbidden"))
    ending = ask("respond", "--previous-response-id", "resp_9", "hi")
    assert (ending.code, "another key or account" in ending.stderr) == (3, True)
    assert "credit" not in ending.stderr


@pytest.mark.parametrize("key", ["", "sk-loopback-0123456789abcdef"])
def test_a_refusal_says_whether_a_key_was_sent(
    key: str, server: Loopback, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", key)
    server.answer_with(json_response({"error": {"message": "No auth credentials found"}}, "401 Unauthorized"))
    ending = ask("chat", "hi")
    assert (ending.code, server.requests[0].get_header("authorization") is None) == (3, not key)
    assert ("no key was sent" in ending.stderr, "is the key right?" in ending.stderr) == (not key, bool(key))
