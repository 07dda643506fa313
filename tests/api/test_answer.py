"""Each way in which an answer can end gives the right error and exit code, on both endpoints."""

from typing import Any

import pytest

from aiml_cli.api.answer import Answer, Timing, add_costs, add_tokens, error_from_completion
from aiml_cli.api.completion_builder import Completion, CompletionBuilder
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.parse_response import parse_response
from aiml_cli.api.stream_events import Usage
from aiml_cli.errors import AimlError, IncompleteAnswer, ServerError

OK, CUT, FAILED = 0, 8, 6
CHAT_DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
RESPONSES_DELTA = b'data: {"type":"response.output_text.delta","delta":"a"}\n\n'
FINISH = b'{"index":0,"delta":{},"finish_reason":"%s"}'
DONE = b"data: [DONE]\n\n"
CHAT_JSON = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"%s"}]}'
OUTPUT_FIELD = b'"output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}]'
INCOMPLETE = b'{"status":"incomplete","incomplete_details":{"reason":"%s"},' + OUTPUT_FIELD + b"}"


def build_chunk(choice: bytes) -> bytes:
    return b'data: {"choices":[' + choice + b"]}\n\n"


def build_event(name: bytes, response: bytes) -> bytes:
    return b'data: {"type":"response.' + name + b'","response":' + response + b"}\n\n"


def build_completion(endpoint: str, body: bytes) -> Completion:
    builder = CompletionBuilder()
    count = 2 if b'"index":1' in body else 1
    for batch in parse_response(get_endpoint(endpoint), 200, {}, iter([body]), choice_count=count):
        builder.add(batch)
    return builder.build()


def find_error(endpoint: str, body: bytes, **options: bool) -> AimlError | None:
    """Return the error of a reply, if any; `wishes` are the options of the user."""
    try:
        return error_from_completion(
            build_completion(endpoint, body), **{"allow_cut": False, "background": False, **options}
        )
    except AimlError as error:
        return error


CHAT_CASES = [
    ("finished and done", CHAT_DELTA + build_chunk(FINISH % b"stop") + DONE, OK),
    ("finished, then nothing", CHAT_DELTA + build_chunk(FINISH % b"stop"), OK),
    ("done without a reason", CHAT_DELTA + DONE, OK),
    ("tool calls", CHAT_DELTA + build_chunk(FINISH % b"tool_calls") + DONE, OK),
    ("function call", CHAT_DELTA + build_chunk(FINISH % b"function_call") + DONE, OK),
    ("end of turn", CHAT_DELTA + build_chunk(FINISH % b"end_turn") + DONE, OK),
    ("cut after a chunk", CHAT_DELTA, CUT),
    ("cut within a chunk", CHAT_DELTA + CHAT_DELTA[:30], CUT),
    ("cut after an empty reason", CHAT_DELTA + build_chunk(FINISH % b""), CUT),
    (
        "one of two choices cut",
        CHAT_DELTA + build_chunk(b'{"index":1,"delta":{"content":"b"}}') + build_chunk(FINISH % b"stop"),
        CUT,
    ),
    ("comments alone", b": ping\n\n: ping\n\n", CUT),
    ("events without data", b"event: message\n\nid: 5\n\n", CUT),
    ("length", CHAT_DELTA + build_chunk(FINISH % b"length") + DONE, CUT),
    ("filter", CHAT_DELTA + build_chunk(FINISH % b"content_filter") + DONE, CUT),
    ("refusal", build_chunk(b'{"index":0,"delta":{"refusal":"no"},"finish_reason":"stop"}') + DONE, CUT),
    ("error after text", CHAT_DELTA + b'data: {"error":{"message":"busy"}}\n\n' + DONE, FAILED),
    ("error after the finish", CHAT_DELTA + build_chunk(FINISH % b"stop") + b'data: {"error":"busy"}\n\n', FAILED),
    ("broken JSON", CHAT_DELTA + b"data: {oops\n\n" + DONE, FAILED),
    ("JSON stop", CHAT_JSON % b"stop", OK),
    ("JSON length", CHAT_JSON % b"length", CUT),
    ("JSON filter", CHAT_JSON % b"content_filter", CUT),
    ("JSON refusal", b'{"choices":[{"message":{"refusal":"no"},"finish_reason":"stop"}]}', CUT),
    ("JSON error", b'{"error":{"message":"busy"}}', FAILED),
    ("JSON error with text", CHAT_JSON[:-1] % b"stop" + b',"error":{"message":"busy"}}', FAILED),
    ("JSON null", b"null", FAILED),
    ("empty body", b"", FAILED),
    ("plain text", b"upstream is busy", FAILED),
    ("page", b"<html><body>Bad gateway</body></html>", FAILED),
]
RESPONSES_CASES = [
    ("completed", RESPONSES_DELTA + build_event(b"completed", b'{"status":"completed"}'), OK),
    ("completed and done", RESPONSES_DELTA + build_event(b"completed", b'{"status":"completed"}') + DONE, OK),
    ("completed without status", RESPONSES_DELTA + build_event(b"completed", b'{"output":[]}'), OK),
    ("completed without response", RESPONSES_DELTA + build_event(b"completed", b"null"), OK),
    ("cut after a delta", RESPONSES_DELTA, CUT),
    ("cut within a delta", RESPONSES_DELTA + RESPONSES_DELTA[:40], CUT),
    ("done without an end", RESPONSES_DELTA + DONE, CUT),
    ("begun only", build_event(b"created", b'{"id":"r","status":"in_progress"}'), CUT),
    ("comments alone", b": ping\n\n", CUT),
    ("incomplete: cap", RESPONSES_DELTA + build_event(b"incomplete", INCOMPLETE % b"max_output_tokens"), CUT),
    ("incomplete: filter", RESPONSES_DELTA + build_event(b"incomplete", INCOMPLETE % b"content_filter"), CUT),
    ("incomplete without reason", RESPONSES_DELTA + build_event(b"incomplete", b'{"status":"incomplete"}'), CUT),
    ("incomplete by its name alone", RESPONSES_DELTA + build_event(b"incomplete", b"{}"), CUT),
    (
        "incomplete, status null",
        RESPONSES_DELTA + build_event(b"incomplete", b'{"status":null,"incomplete_details":null}'),
        CUT,
    ),
    (
        "incomplete inside completed",
        RESPONSES_DELTA + build_event(b"completed", INCOMPLETE % b"max_output_tokens"),
        CUT,
    ),
    ("in progress inside completed", RESPONSES_DELTA + build_event(b"completed", b'{"status":"in_progress"}'), CUT),
    ("cancelled inside completed", RESPONSES_DELTA + build_event(b"completed", b'{"status":"cancelled"}'), CUT),
    ("refusal", b'data: {"type":"response.refusal.delta","delta":"no"}\n\n' + build_event(b"completed", b"{}"), CUT),
    ("failed", RESPONSES_DELTA + build_event(b"failed", b'{"status":"failed","error":{"message":"busy"}}'), FAILED),
    ("failed without words", RESPONSES_DELTA + build_event(b"failed", b'{"status":"failed","error":null}'), FAILED),
    ("failed by its name alone", RESPONSES_DELTA + build_event(b"failed", b'{"status":null,"error":null}'), FAILED),
    (
        "failed inside completed",
        RESPONSES_DELTA + build_event(b"completed", b'{"status":"failed","error":{"message":"busy"}}'),
        FAILED,
    ),
    ("error event", RESPONSES_DELTA + b'data: {"type":"error","message":"busy"}\n\n', FAILED),
    ("broken JSON", RESPONSES_DELTA + b"data: {oops\n\n", FAILED),
    ("JSON completed", b'{"status":"completed",' + OUTPUT_FIELD + b"}", OK),
    ("JSON without status", b'{"error":null,' + OUTPUT_FIELD + b"}", OK),
    ("JSON cap", INCOMPLETE % b"max_output_tokens", CUT),
    ("JSON filter", INCOMPLETE % b"content_filter", CUT),
    ("JSON incomplete", b'{"status":"incomplete",' + OUTPUT_FIELD + b"}", CUT),
    ("JSON cancelled", b'{"status":"cancelled","output":[]}', CUT),
    ("JSON queued", b'{"status":"queued","output":[]}', CUT),
    ("JSON in progress", b'{"status":"in_progress","output":[]}', CUT),
    ("JSON failed", b'{"status":"failed","error":{"message":"busy"},"output":[]}', FAILED),
    ("JSON error", b'{"error":{"message":"busy"}}', FAILED),
    ("JSON null", b"null", FAILED),
    ("empty body", b"", FAILED),
]


def list_cases() -> list[Any]:
    table = [("chat", *row) for row in CHAT_CASES] + [("responses", *row) for row in RESPONSES_CASES]
    return [pytest.param(endpoint, body, code, id=f"{endpoint}: {name}") for endpoint, name, body, code in table]


@pytest.mark.parametrize(("endpoint", "body", "code"), list_cases())
def test_each_ending_has_its_exit_code(endpoint: str, body: bytes, code: int) -> None:
    error = find_error(endpoint, body)
    assert (error.exit_code if error else 0) == code
    assert error is None or error.message


@pytest.mark.parametrize(("endpoint", "body", "code"), list_cases())
def test_a_user_can_accept_a_length_limit_but_nothing_else(endpoint: str, body: bytes, code: int) -> None:
    capped = any(word in body for word in (b'"length"', b'"max_output_tokens"'))
    error = find_error(endpoint, body, allow_cut=True)
    assert (error.exit_code if error else 0) == (OK if capped else code)


@pytest.mark.parametrize("status", [b"queued", b"in_progress"])
def test_a_queued_background_response_counts_as_complete(status: bytes) -> None:
    body = b'{"id":"r","status":"%s","output":[]}' % status
    assert find_error("responses", body, background=True) is None
    assert isinstance(find_error("responses", body, background=False), IncompleteAnswer)


@pytest.mark.parametrize(
    "body", [INCOMPLETE % b"content_filter", b'{"status":"cancelled","output":[]}', RESPONSES_DELTA]
)
def test_a_failed_background_response_is_incomplete(body: bytes) -> None:
    assert isinstance(find_error("responses", body, background=True), IncompleteAnswer)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (CHAT_DELTA, "stream ended", "try again"),
        (CHAT_JSON % b"length", "token limit", "--allow-cut"),
        (CHAT_JSON % b"content_filter", "content filter", "rephrase"),
        (b'{"choices":[{"message":{"refusal":"no"},"finish_reason":"stop"}]}', "refused", "another model"),
    ],
)
def test_an_incomplete_answer_is_explained_with_a_hint(body: bytes, message: str, hint: str) -> None:
    error = find_error("chat", body)
    assert error
    assert message in error.message
    assert hint in error.hint


def test_an_error_has_the_message_of_the_server() -> None:
    error = find_error("chat", CHAT_DELTA + b'data: {"error":{"message":"busy today","type":"t","code":7}}\n\n')
    assert isinstance(error, ServerError)
    assert "busy today" in error.message
    assert (error.details["type"], error.details["code"]) == ("t", "7")


@pytest.mark.parametrize(
    ("body_cost", "header_cost", "cost"), [(0.5, 0.1, 0.5), (0.0, 0.1, 0.0), (None, 0.1, 0.1), (None, None, None)]
)
def test_the_price_in_the_body_takes_precedence_over_the_header(
    body_cost: float | None, header_cost: float | None, cost: float | None
) -> None:
    completion = Completion(usage=Usage(cost_usd=body_cost))
    assert Answer("chat", completion, header_cost_usd=header_cost).cost_usd == cost


def test_the_price_is_read_from_the_header_if_the_body_has_none() -> None:
    assert Answer("responses", header_cost_usd=0.25).cost_usd == 0.25


@pytest.mark.parametrize(
    ("usage", "timing", "speed"),
    [
        (Usage(output_tokens=10), Timing(1.0, 3.0), 5.0),
        (Usage(output_tokens=10), Timing(3.0, 3.0), None),
        (Usage(output_tokens=10), Timing(None, 3.0), None),
        (Usage(output_tokens=10), Timing(), None),
        (Usage(output_tokens=0), Timing(1.0, 3.0), None),
        (Usage(), Timing(1.0, 3.0), None),
        (None, Timing(1.0, 3.0), None),
    ],
)
def test_the_speed_is_shown_only_if_it_is_known(usage: Usage | None, timing: Timing, speed: float | None) -> None:
    assert Answer("chat", Completion(usage=usage), timing=timing).tokens_per_second == speed


def test_tokens_of_all_rounds_are_added_up_and_each_cost_counts_once() -> None:
    first, last = (Answer("chat", Completion(usage=Usage(3, 5, 8)._replace(cost_usd=cost))) for cost in (0.01, 0.02))
    total = add_tokens(add_costs(last, [first, last]), [first])
    assert total.completion.usage
    assert (total.completion.usage.total_tokens, total.cost_usd) == (16, pytest.approx(0.03))
