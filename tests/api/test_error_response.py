"""Every form of an error response gives the message of the server and the right kind of error."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.error_kinds import BILLING_PAGE, KEYS_PAGE
from aiml_cli.api.error_response import (
    MAX_MESSAGE_CHARS,
    error_from_event,
    error_from_status,
    parse_error,
    shorten_message,
)
from aiml_cli.api.stream_events import ErrorEvent
from aiml_cli.errors import AimlError, AuthError, RateLimited, RequestRejected, ServerError

JSON_HEADERS = {"content-type": "application/json"}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "detail",
                    "errors",
                    "code",
                    "type",
                    "status",
                    "metadata",
                    "raw",
                    "base_resp",
                    "loc",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ERROR_BODIES = [
    b'{"message":"no way","path":"/v1/chat/completions","requestId":"r","statusCode":"429","timestamp":"now"}',
    b'{"message":"no way","path":"/v1/chat/completions","requestId":"r","statusCode":500,"timestamp":"now"}',
    (
        b'{"title":"Odd","status":401,"message":"no way","instance":"/v1","requestId":"r","timestamp":"now",'
        b'"error":{"name":"OddException","message":"no way"}}'
    ),
    b'{"error":{"message":"no way","type":"invalid_request_error","param":null,"code":null}}',
    b'{"error":{"message":"no way","type":"t","code":"some_code"}}',
    b'{"error":{"message":"no way","code":400}}',
    b'{"error":"no way"}',
    b'{"error":{"code":"no way"}}',
    b'{"detail":"no way"}',
    b'{"detail":[{"msg":"no way"}]}',
    b'{"detail":{"error":"no way"}}',
    b'{"errors":["no way"]}',
    b'{"errors":[{"message":"no way"}]}',
    b'[{"error":{"message":"no way"}}]',
    b'["no way"]',
    b'"no way"',
    b'{"message":{"message":"no way"}}',
    b'{"message":["no way"]}',
    b'{"message":"no way"}',
    b'{"status":"error","message":"no way"}',
    b'{"type":"error","error":{"type":"x","message":"no way"}}',
    b'{"base_resp":{"status_code":1008,"status_msg":"no way"}}',
    b'{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"no way"}}',
    b'{"code":1,"message":"no way","data":{}}',
    b'{"code":1,"message":"no way","data":{"id":5,"trace":"x"}}',
    b'{"success":false,"data":{"message":"no way"},"message":"Bad Request"}',
    b'{"ok":false,"description":"no way","error_code":1}',
    b'{"err":{"message":"no way"}}',
    b'{"exception":"no way"}',
    b'{"failure":"no way"}',
    b'{"reason":"no way"}',
    b"no way",
    b"  no way\r\n",
    b"\xef\xbb\xbfno way",
    b'\xef\xbb\xbf{"error":"no way"}',
    b"<html><head><title>x</title><style>b{}</style></head><body><h1>no</h1>\n<p>way</p></body></html>",
    b"<!doctype html><script>alert(1)</script><b>no way",
    b'data: {"error":{"message":"no way"}}\n\n',
    b'event: error\ndata: {"error":{"message":"no way"}}\n\ndata: [DONE]\n\n',
    b': ping\n\n: ping\n\n: ping\n\n: ping\n\nevent: error\ndata: {"error":{"message":"no way"}}\n\n',
    b'id: 1\nevent: error\ndata: {"error":"no way"}\n\n',
    b'retry: 500\r\n\r\ndata:{"detail":"no way"}\r\n\r\n',
]


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize("body", ERROR_BODIES, ids=lambda body: body[:50].decode("utf-8", "replace"))
@pytest.mark.parametrize("status", [400, 418, 500])
def test_every_error_format_gives_the_message_of_the_server(body: bytes, status: int) -> None:
    error = error_from_status(status, {}, body)
    assert error.message == f"the server answered {status}: no way"
    assert type(error) is (ServerError if status == 500 else RequestRejected)
    assert error.details["status"] == status


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b"null", b"[]", b"<html><body></body></html>", b"\x00", b"{"])
def test_a_body_without_a_message_is_described_by_its_status(body: bytes) -> None:
    assert error_from_status(502, {}, body).message.startswith("the server answered 502")


def test_an_html_page_is_recognized_by_its_content_type_too() -> None:
    assert error_from_status(502, {"content-type": "text/html"}, b"bad <b>gateway</b>").message.endswith("bad gateway")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"it failed","metadata":{"raw":"too many tools"}}}', "it failed: too many tools"),
        (b'{"detail":[{"loc":["body","n"],"msg":"too small"},{"msg":"bad"}]}', "body.n: too small; bad"),
        (
            b'{"message":["temperature is wrong","n is wrong"],"statusCode":400}',
            "temperature is wrong; n is wrong",
        ),
        (
            rb"""{"message":"Body validation error\nInvalid enum value. Expected 'a' | 'b', received 'c'"}""",
            "Body validation error\nInvalid enum value. Expected 'a' | 'b', received 'c'",
        ),
        ('{"errors":{"n":"zu groß"}}'.encode(), '{"n": "zu groß"}'),
    ],
)
def test_all_messages_of_an_error_are_shown(body: bytes, message: str) -> None:
    assert error_from_status(400, JSON_HEADERS, body).message == f"the server answered 400: {message}"


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(
    ("status", "message", "kind", "exit_code"),
    [
        (400, "Invalid enum value", RequestRejected, 4),
        (400, "maximum context length is 128000 tokens", RequestRejected, 4),
        (401, "Unauthorized", AuthError, 3),
        (402, "Payment required", AuthError, 3),
        (402, "anything", AuthError, 3),
        (403, "You've run out of credits", AuthError, 3),
        (403, "Forbidden resource", AuthError, 3),
        (404, "No endpoints found", RequestRejected, 4),
        (405, "Method not allowed", RequestRejected, 4),
        (408, "Request timeout", RequestRejected, 4),
        (413, "request entity too large", RequestRejected, 4),
        (422, "Unprocessable", RequestRejected, 4),
        (422, "insufficient_quota", AuthError, 3),
        (429, "Too many requests", RateLimited, 5),
        (429, "Rate limit reached for requests per minute", RateLimited, 5),
        (500, "Internal server error", ServerError, 6),
        (502, "Bad gateway", ServerError, 6),
        (503, "model is under maintenance", ServerError, 6),
        (504, "generation timeout", ServerError, 6),
        (529, "overloaded", ServerError, 6),
        (300, "several", RequestRejected, 4),
        (301, "moved", RequestRejected, 4),
        (399, "odd", RequestRejected, 4),
        (499, "client closed the request", RequestRejected, 4),
        (599, "odd", ServerError, 6),
        (307, "moved", RequestRejected, 4),
    ],
)
def test_each_status_has_its_kind_of_error(status: int, message: str, kind: type[AimlError], exit_code: int) -> None:
    for body in (json.dumps({"error": {"message": message}}).encode(), json.dumps({"message": message}).encode()):
        error = error_from_status(status, JSON_HEADERS, body)
        assert type(error) is kind
        assert error.exit_code == exit_code
        assert message in error.message


@pytest.mark.parametrize("status", [403, 422, 429])
@pytest.mark.parametrize(
    "message",
    [
        "You exceeded your current quota, please check your plan and billing details",
        "You have run out of credits",
        "You've used up all of your credits.",
        "No credits left",
        "Your credits are exhausted",
        "Monthly quota reached",
        "Insufficient funds",
        "insufficient balance",
        "not enough credits",
        "Quota exceeded for this key",
        "The free tier allows 10 requests an hour",
        "Please top up your account",
    ],
)
def test_an_error_about_credit_links_to_the_billing_page(status: int, message: str) -> None:
    error = error_from_status(status, JSON_HEADERS, json.dumps({"message": message}).encode())
    assert type(error) is AuthError
    assert BILLING_PAGE in error.hint


@pytest.mark.parametrize("status", [402, 403, 422, 429])
@pytest.mark.parametrize("field", ["code", "type"])
@pytest.mark.parametrize("name", ["insufficient_quota", "budget_exceeded"])
def test_a_code_or_type_can_also_mean_missing_credit(status: int, field: str, name: str) -> None:
    error = error_from_status(status, JSON_HEADERS, json.dumps({"error": {"message": "no", field: name}}).encode())
    assert type(error) is AuthError
    assert BILLING_PAGE in error.hint


@pytest.mark.parametrize(
    ("status", "report"),
    [
        (400, {"message": "Incorrect API key provided: abc", "code": "invalid_api_key"}),
        (400, {"message": "API key not valid. Please pass a valid API key."}),
        (401, {"message": "must be a non-empty string"}),
        (403, {"message": "Invalid API key"}),
        (404, {"message": "Missing API key"}),
        (500, {"message": "Authentication Error", "type": "auth_error", "code": "invalid_api_key"}),
    ],
)
def test_a_refused_key_is_recognized_by_its_message_under_any_status(status: int, report: dict[str, str]) -> None:
    error = error_from_status(status, JSON_HEADERS, json.dumps({"error": report}).encode())
    assert type(error) is AuthError
    assert report["message"] in error.message


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (401, "Unauthorized", KEYS_PAGE),
        (403, "Forbidden", BILLING_PAGE),
        (403, "Forbidden", "no access to this endpoint"),
        (404, "No endpoints found", "aiml models"),
        (413, "too large", "send less"),
        (429, "slow down", "wait"),
        (503, "down", "again"),
        (308, "moved", "--base-url"),
        (400, "bad", "--dry-run"),
        (422, "bad", "--dry-run"),
    ],
)
def test_the_hint_says_what_to_do(status: int, message: str, hint: str) -> None:
    assert hint in error_from_status(status, JSON_HEADERS, json.dumps({"message": message}).encode()).hint


def test_type_and_code_are_kept_as_text() -> None:
    event = parse_error({"error": {"message": "m", "type": "t", "code": 42}})
    assert event == ErrorEvent("m", "t", "42")
    assert parse_error({"error": {"name": "E", "message": "m"}}) == ErrorEvent("m", "E", None)


# Shapes of errors, and what is found in them: the words "Say what.", a type, a code and a status.
MESSAGE = "Say what."
INNER_ERROR = {"message": MESSAGE, "type": "t", "code": "c"}
ERROR_FORMATS: list[tuple[object, tuple[str | None, str | None, int | None]]] = [
    ({"statusCode": 400, "message": [MESSAGE], "error": "Bad Request"}, ("Bad Request", None, 400)),
    ({"error": "Bad Request", "message": MESSAGE, "statusCode": "422"}, ("Bad Request", None, 422)),
    ({"statusCode": 400, "code": "FST_ERR", "error": "Bad Request", "message": MESSAGE}, ("Bad Request", "FST_ERR", 400)),
    ({"timestamp": "now", "status": 500, "error": "Internal Server Error", "message": MESSAGE, "path": "/v1"},
     ("Internal Server Error", None, 500)),
    ({"timestamp": 1, "status": 400, "error": MESSAGE, "message": "Bad Request", "path": "/v1"}, (None, None, 400)),
    ({"error": "invalid_client", "error_description": MESSAGE}, ("invalid_client", None, None)),
    ({"error": "access_denied", "error_message": MESSAGE, "status_code": 403}, ("access_denied", None, 403)),
    ({"error": True, "message": MESSAGE}, (None, None, None)),
    ({"error": 1, "msg": MESSAGE}, (None, None, None)),
    ({"error": 429, "message": MESSAGE}, (None, None, 429)),
    ({"error": "true", "message": MESSAGE, "status": 503}, ("true", None, 503)),
    ({"success": False, "message": MESSAGE}, (None, None, None)),
    ({"success": False, "message": MESSAGE, "code": "E7"}, (None, "E7", None)),
    ({"ok": False, "msg": MESSAGE, "status": 404}, (None, None, 404)),
    ({"status": "error", "message": MESSAGE, "code": 401}, (None, "401", 401)),
    ({"status": "fail", "message": MESSAGE}, (None, None, None)),
    ({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": MESSAGE}, ("Bad Request", None, 400)),
    ({"type": "https://x.org/quota", "title": "Out", "status": 402, "detail": MESSAGE, "errors": []}, ("Out", None, 402)),
    ({"Message": MESSAGE}, (None, None, None)),
    ({"__type": "ThrottlingException", "message": MESSAGE}, ("ThrottlingException", None, None)),
    ({"__type": "a.b#ValidationException", "Message": MESSAGE}, ("a.b#ValidationException", None, None)),
    ({"Error": {"Code": "AccessDenied", "Message": MESSAGE}, "RequestId": "r"}, (None, "AccessDenied", None)),
    ({"modelStreamErrorException": {"message": MESSAGE, "originalStatusCode": 424}},
     ("modelStreamErrorException", None, None)),
    ({"fault": {"faultstring": MESSAGE, "detail": {"errorcode": "policies.Quota"}}}, (None, "policies.Quota", None)),
    ([{"error": {"code": 400, "message": MESSAGE, "status": "INVALID_ARGUMENT"}}], ("INVALID_ARGUMENT", "400", 400)),
    ({"error": {"code": 400, "message": MESSAGE, "status": "INVALID_ARGUMENT",
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}},
     ("INVALID_ARGUMENT", "API_KEY_INVALID", 400)),
    ({"success": False, "errors": [{"code": 10000, "message": MESSAGE}], "messages": []}, (None, "10000", None)),
    ({"error": {"code": "BadThing", "message": MESSAGE, "innererror": {"code": "Inner"}}}, (None, "BadThing", None)),
    ({"error": MESSAGE}, (None, None, None)),
    ({"error": MESSAGE, "error_type": "overloaded"}, ("overloaded", None, None)),
    ({"error": {"reason": MESSAGE, "type": "t"}, "status": 400}, ("t", None, 400)),
    ({"object": "error", "message": MESSAGE, "type": "t", "param": None, "code": None}, ("t", None, None)),
    ({"object": "error", "message": MESSAGE, "type": "t", "code": 3000}, ("t", "3000", None)),
    ({"object": "error", "message": {"detail": [{"msg": MESSAGE}]}, "type": "t"}, ("t", None, None)),
    ({"errors": [{"message": MESSAGE, "extensions": {"code": "UNAUTHENTICATED"}}], "data": None},
     (None, "UNAUTHENTICATED", None)),
    ({"code": "InvalidApiKey", "message": MESSAGE, "request_id": "r"}, (None, "InvalidApiKey", None)),
    ({"code": 20012, "message": MESSAGE, "data": None}, (None, "20012", None)),
    ({"code": -1, "msg": MESSAGE}, (None, "-1", None)),
    ({"error_code": 336003, "error_msg": MESSAGE, "id": "x"}, (None, "336003", None)),
    ({"base_resp": {"status_code": 1008, "status_msg": MESSAGE}, "choices": None}, (None, "1008", None)),
    ({"type": "error", "status": 401, "error": INNER_ERROR}, ("t", "c", 401)),
    ({"type": "error", "code": "c", "message": MESSAGE, "param": None}, ("error", "c", None)),
    ({"type": "response.failed", "response": {"status": "failed", "error": INNER_ERROR}}, ("t", "c", None)),
    ({"type": "invalid_request_error", "message": MESSAGE}, ("invalid_request_error", None, None)),
    ({"error": {"error": INNER_ERROR, "status": 500}}, ("t", "c", 500)),
    ({"error": {"message": "Bad Gateway", "error": {"message": MESSAGE}, "code": 502}}, (None, "502", 502)),
    ({"error": json.dumps({"error": INNER_ERROR})}, ("t", "c", None)),
    ({"error": json.dumps(INNER_ERROR), "status": 400}, ("t", "c", 400)),
    ({"error": {"message": json.dumps({"error": INNER_ERROR}), "code": 429}}, ("t", "c", 429)),
    ({"error": {"message": json.dumps([{"error": INNER_ERROR}]), "type": "upstream"}}, ("t", "c", None)),
    ({"message": json.dumps({"detail": MESSAGE}), "statusCode": 500}, (None, None, 500)),
    ({"choices": [{"delta": {"content": "Hi"}}], "error": INNER_ERROR}, ("t", "c", None)),
    ({"output": [], "status": "failed", "error": INNER_ERROR}, ("t", "c", None)),
    ({"result": {"error": INNER_ERROR}}, ("t", "c", None)),
    ([{"id": 1}, {"error": INNER_ERROR}], ("t", "c", None)),
]  # fmt: skip


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(("body", "expected"), ERROR_FORMATS, ids=lambda value: json.dumps(value)[:70])
def test_an_error_is_found_in_any_format(body: object, expected: tuple[str | None, str | None, int | None]) -> None:
    assert parse_error(body) == ErrorEvent(MESSAGE, *expected)
    assert (
        error_from_status(418, JSON_HEADERS, json.dumps(body).encode()).message == f"the server answered 418: {MESSAGE}"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"title": "Bad Request", "detail": "Two fields.", "errors": [{"detail": "n is 0"}]}, "Two fields: n is 0"),
        ({"title": "Validation failed.", "status": 400, "errors": {"n": ["n is 0"]}}, 'Validation failed: {"n": ["n is 0"]}'),
        ({"error": {"message": "it failed", "metadata": {"raw": '{"error":{"message":"no tools"}}'}}}, "it failed: no tools"),
        ({"message": "Bad Request", "error": "Bad Request", "statusCode": 400}, "Bad Request"),
        ({"error": {"code": 402}}, "402"),
        ({"error": {"type": "overloaded_error"}}, "overloaded_error"),
        ({"error": {"foo": "bar"}}, '{"foo": "bar"}'),
    ],
)  # fmt: skip
def test_the_message_is_complete_and_never_empty(body: object, message: str) -> None:
    event = parse_error(body)
    assert event
    assert event.message == message


@pytest.mark.parametrize("depth", [1, 5, 50, 900])
def test_an_error_that_is_nested_too_deeply_does_not_crash(depth: int) -> None:
    body: object = "no way"
    for _ in range(depth):
        body = {"error": [body]}
    event = parse_error(body)
    assert event
    assert error_from_event(event).message != "the server reported an error: "


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"content": "Hi"}}], "error": {}, "errors": [], "message": None, "code": 0},
        {"choices": [{"delta": {"content": "x"}}], "status": 500, "message": "a field of tomorrow", "code": "E"},
        {"choices": [{"delta": {"content": "x"}}], "detail": "auto", "success": False, "msg": "?"},
        {"output": [{"type": "message"}], "status": "completed", "code": "200", "message": "OK"},
        {"object": "response", "status": "failed", "error": None},
        {"error": {"message": "", "type": None, "code": None}},
        {"error": {"code": 0, "message": "success"}},
        {"error": False, "message": "fine"},
        {"error": 0, "msg": "fine"},
        {"error": "none"},
        {"error": []},
        {"success": True, "message": "fine"},
        {"code": 0, "message": "fine"},
        {"code": "200", "msg": "fine"},
        {"code": 20000, "msg": "fine"},
        {"code": "Success", "message": "fine"},
        {"status": "processing", "message": "Your place is 3"},
        {"status": "in_progress", "message": "Working"},
        {"status": 200, "message": "fine"},
        {"type": "ping", "message": "still here"},
        {"message": "still here"},
        {"message": {"role": "assistant", "content": "Hi"}, "done": True},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"type": "message", "content": [{"type": "text", "text": "error"}]},
        {"data": {"message": "fine"}},
        {"id": "c1", "choices": [{"message": {"content": "Hi"}}], "error": None},
        {"choices": [], "usage": {"total_tokens": 1}},
        {"id": "resp_1", "status": "completed", "error": None, "output": [], "incomplete_details": None},
        {"base_resp": {"status_code": 0, "status_msg": "success"}, "choices": [{}]},
        {"object": "list", "data": [], "errors": []},
        {"output": [], "status": "completed", "message": "a field of tomorrow"},
        {"choices": [{}], "code": 0, "message": "a field of tomorrow"},
        {},
        [],
        None,
        "text",
        5,
    ],
    ids=repr,
)
def test_a_valid_answer_is_not_taken_for_an_error(answer: object) -> None:
    assert parse_error(answer) is None


@pytest.mark.promise("server-messages")
def test_a_message_is_shortened_to_four_lines_and_600_characters() -> None:
    assert shorten_message("\n\n a \n\nb\nc\nd\ne\n") == " a\nb\nc\nd …".strip()
    assert shorten_message("x" * 5000) == "x" * MAX_MESSAGE_CHARS + " …"
    assert shorten_message("x" * MAX_MESSAGE_CHARS) == "x" * MAX_MESSAGE_CHARS
    assert shorten_message("Traceback:\n  /srv/app.py") == "Traceback:\n  /srv/app.py"


@settings(deadline=None)
@given(st.text())
def test_a_shortened_text_is_within_the_limit(message: str) -> None:
    assert len(shorten_message(message)) <= MAX_MESSAGE_CHARS + 2
    assert len(shorten_message(message).split("\n")) <= 4


@settings(deadline=None, max_examples=150)
@given(JSON_VALUES, st.integers(300, 599))
def test_any_json_of_an_error_status_is_an_error(body: object, status: int) -> None:
    error = error_from_status(status, JSON_HEADERS, json.dumps(body).encode())
    assert error.message.startswith(f"the server answered {status}")
    assert 3 <= error.exit_code <= 6


@settings(deadline=None, max_examples=150)
@given(JSON_VALUES)
def test_any_json_in_the_field_error_is_an_error(body: object) -> None:
    if event := parse_error(body):
        error = error_from_event(event)
        assert error.message.startswith("the server reported an error: ")
        assert 3 <= error.exit_code <= 6


@pytest.mark.parametrize("depth", [*range(300, 1_000, 99), *range(985, 1_000), 5_000])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"error":', b"}"), (b'{"errors":[', b"]}")])
def test_deeply_nested_json_does_not_crash(start: bytes, end: bytes, depth: int) -> None:
    assert error_from_status(500, JSON_HEADERS, start * depth + b"1" + end * depth).message.startswith(
        "the server answered 500"
    )
    assert error_from_status(500, JSON_HEADERS, start * depth).message.startswith("the server answered 500")


@pytest.mark.parametrize("piece", [b"<", b"<script>", b"<p ", b"&", b" "])
def test_an_endless_page_does_not_hang(piece: bytes) -> None:
    page = b"<html>busy" + piece * (1_000_000 // len(piece))
    assert "busy" in error_from_status(502, {"content-type": "text/html"}, page).message


def test_an_unknown_error_under_200_is_a_server_error() -> None:
    error = error_from_event(ErrorEvent("busy\n" * 10, "t", "c"))
    assert type(error) is ServerError
    assert error.message.count("busy") == 4
