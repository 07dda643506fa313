"""Every shape of an error report gives the server's own words, and the right kind of failure."""

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

JSON = {"content-type": "application/json"}
VALUES = st.recursive(
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
SHAPES = [
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


@pytest.mark.promise("servers-words")
@pytest.mark.parametrize("body", SHAPES, ids=lambda body: body[:50].decode("utf-8", "replace"))
@pytest.mark.parametrize("status", [400, 418, 500])
def test_every_shape_gives_the_servers_own_words(body: bytes, status: int) -> None:
    error = error_from_status(status, {}, body)
    assert error.message == f"the server answered {status}: no way"
    assert type(error) is (ServerError if status == 500 else RequestRejected)
    assert error.details["status"] == status


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b"null", b"[]", b"<html><body></body></html>", b"\x00", b"{"])
def test_a_body_without_words_is_told_by_its_status(body: bytes) -> None:
    assert error_from_status(502, {}, body).message.startswith("the server answered 502")


def test_a_page_is_known_by_its_header_too() -> None:
    assert error_from_status(502, {"content-type": "text/html"}, b"bad <b>gateway</b>").message.endswith("bad gateway")


@pytest.mark.parametrize(
    ("body", "words"),
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
def test_all_of_the_words_are_told(body: bytes, words: str) -> None:
    assert error_from_status(400, JSON, body).message == f"the server answered 400: {words}"


@pytest.mark.promise("servers-words")
@pytest.mark.parametrize(
    ("status", "words", "kind", "exit_code"),
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
        (408, "Request time-out", RequestRejected, 4),
        (413, "request entity too large", RequestRejected, 4),
        (422, "Unprocessable", RequestRejected, 4),
        (422, "insufficient_quota", AuthError, 3),
        (429, "Too many requests", RateLimited, 5),
        (429, "Rate limit reached for requests per minute", RateLimited, 5),
        (500, "Internal server error", ServerError, 6),
        (502, "Bad gateway", ServerError, 6),
        (503, "model is under maintenance", ServerError, 6),
        (504, "generation time-out", ServerError, 6),
        (529, "overloaded", ServerError, 6),
        (300, "several", RequestRejected, 4),
        (301, "moved", RequestRejected, 4),
        (399, "odd", RequestRejected, 4),
        (499, "client closed the request", RequestRejected, 4),
        (599, "odd", ServerError, 6),
        (307, "moved", RequestRejected, 4),
    ],
)
def test_each_status_is_its_kind_of_failure(status: int, words: str, kind: type[AimlError], exit_code: int) -> None:
    for body in (json.dumps({"error": {"message": words}}).encode(), json.dumps({"message": words}).encode()):
        error = error_from_status(status, JSON, body)
        assert type(error) is kind
        assert error.exit_code == exit_code
        assert words in error.message


@pytest.mark.parametrize("status", [403, 422, 429])
@pytest.mark.parametrize(
    "words",
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
def test_words_of_credit_lead_to_the_billing_page(status: int, words: str) -> None:
    error = error_from_status(status, JSON, json.dumps({"message": words}).encode())
    assert type(error) is AuthError
    assert BILLING_PAGE in error.hint


@pytest.mark.parametrize("status", [402, 403, 422, 429])
@pytest.mark.parametrize("place", ["code", "type"])
@pytest.mark.parametrize("word", ["insufficient_quota", "budget_exceeded"])
def test_a_code_or_type_speaks_of_credit_as_well(status: int, place: str, word: str) -> None:
    error = error_from_status(status, JSON, json.dumps({"error": {"message": "no", place: word}}).encode())
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
def test_a_refused_key_is_known_by_its_words_whatever_the_status(status: int, report: dict[str, str]) -> None:
    error = error_from_status(status, JSON, json.dumps({"error": report}).encode())
    assert type(error) is AuthError
    assert report["message"] in error.message


@pytest.mark.parametrize(
    ("status", "words", "advice"),
    [
        (401, "Unauthorized", KEYS_PAGE),
        (403, "Forbidden", BILLING_PAGE),
        (403, "Forbidden", "may not use this endpoint"),
        (404, "No endpoints found", "aiml models"),
        (413, "too large", "send less"),
        (429, "slow down", "wait"),
        (503, "down", "again"),
        (308, "moved", "--base-url"),
        (400, "bad", "--dry-run"),
        (422, "bad", "--dry-run"),
    ],
)
def test_the_hint_says_what_to_do(status: int, words: str, advice: str) -> None:
    assert advice in error_from_status(status, JSON, json.dumps({"message": words}).encode()).hint


def test_type_and_code_are_kept_as_text() -> None:
    fault = parse_error({"error": {"message": "m", "type": "t", "code": 42}})
    assert fault == ErrorEvent("m", "t", "42")
    assert parse_error({"error": {"name": "E", "message": "m"}}) == ErrorEvent("m", "E", None)


@pytest.mark.parametrize(
    "answer",
    [
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
def test_a_good_answer_holds_no_report(answer: object) -> None:
    assert parse_error(answer) is None


@pytest.mark.promise("servers-words")
def test_a_report_is_cut_to_four_lines_and_600_characters() -> None:
    assert shorten_message("\n\n a \n\nb\nc\nd\ne\n") == " a\nb\nc\nd …".strip()
    assert shorten_message("x" * 5000) == "x" * MAX_MESSAGE_CHARS + " …"
    assert shorten_message("x" * MAX_MESSAGE_CHARS) == "x" * MAX_MESSAGE_CHARS
    assert shorten_message("Traceback:\n  /srv/app.py") == "Traceback:\n  /srv/app.py"


@settings(deadline=None)
@given(st.text())
def test_a_shortened_text_is_short(words: str) -> None:
    assert len(shorten_message(words)) <= MAX_MESSAGE_CHARS + 2
    assert len(shorten_message(words).split("\n")) <= 4


@settings(deadline=None, max_examples=150)
@given(VALUES, st.integers(300, 599))
def test_no_json_is_more_than_a_failure(found: object, status: int) -> None:
    error = error_from_status(status, JSON, json.dumps(found).encode())
    assert error.message.startswith(f"the server answered {status}")
    assert 3 <= error.exit_code <= 6


@pytest.mark.parametrize("depth", [*range(300, 1_000, 99), *range(985, 1_000), 5_000])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"error":', b"}"), (b'{"errors":[', b"]}")])
def test_json_that_is_nested_deeply_is_no_crash(start: bytes, end: bytes, depth: int) -> None:
    assert error_from_status(500, JSON, start * depth + b"1" + end * depth).message.startswith(
        "the server answered 500"
    )
    assert error_from_status(500, JSON, start * depth).message.startswith("the server answered 500")


@pytest.mark.parametrize("piece", [b"<", b"<script>", b"<p ", b"&", b" "])
def test_a_page_without_end_is_no_hang(piece: bytes) -> None:
    page = b"<html>busy" + piece * (1_000_000 // len(piece))
    assert "busy" in error_from_status(502, {"content-type": "text/html"}, page).message


def test_a_report_under_200_is_the_servers_failure() -> None:
    error = error_from_event(ErrorEvent("busy\n" * 10, "t", "c"))
    assert type(error) is ServerError
    assert error.message.count("busy") == 4
