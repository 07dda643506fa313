"""The same error message means the same kind of error under every status, under 200 and in a stream."""

import json
import time
from typing import Any

import pytest

from aiml_cli.api.error_kinds import BILLING_PAGE, KEYS_PAGE, explain_unsent_key
from aiml_cli.api.error_response import error_from_event, error_from_status, parse_error
from aiml_cli.errors import AimlError

JSON_HEADERS = {"content-type": "application/json"}
KEY, CREDIT, FORBIDDEN, RATE, SERVER, REQUEST = (
    (3, KEYS_PAGE), (3, "credit is used up"), (3, "no access to"), (5, "wait"), (6, "in a moment"), (4, ""),
)  # fmt: skip
Meaning = tuple[int, str]


def make_status_error(status: int, body: Any, **headers: str) -> AimlError:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_from_status(status, JSON_HEADERS | names, json.dumps(body).encode())


def make_event_error(body: Any) -> AimlError:
    event = parse_error(body)
    assert event
    return error_from_event(event)


def has_meaning(error: AimlError, meaning: Meaning) -> bool:
    return error.exit_code == meaning[0] and meaning[1] in error.hint


# Codes and types, as servers write them.
ERROR_NAMES = [
    ("invalid_api_key", KEY), ("InvalidApiKey", KEY), ("INVALID_API_KEY", KEY), ("invalid-api-key", KEY),
    ("API_KEY_INVALID", KEY), ("missing_api_key", KEY), ("api_key_expired", KEY), ("authentication_error", KEY),
    ("AuthenticationError", KEY), ("auth_error", KEY), ("UNAUTHENTICATED", KEY), ("unauthorized", KEY),
    ("UnauthorizedException", KEY), ("invalid_client", KEY), ("invalid_token", KEY), ("ExpiredTokenException", KEY),
    ("UnrecognizedClientException", KEY), ("MissingAuthenticationTokenException", KEY), ("token_expired", KEY),
    ("account_deactivated", KEY),
    ("permission_denied", FORBIDDEN), ("PERMISSION_DENIED", FORBIDDEN), ("permission_error", FORBIDDEN),
    ("AccessDeniedException", FORBIDDEN), ("forbidden", FORBIDDEN), ("insufficient_permissions", FORBIDDEN),
    ("unsupported_country_region_territory", FORBIDDEN),
    ("insufficient_quota", CREDIT), ("InsufficientQuota", CREDIT), ("insufficient_user_quota", CREDIT),
    ("billing_hard_limit_reached", CREDIT), ("billing_not_active", CREDIT), ("billing_error", CREDIT),
    ("insufficient_balance", CREDIT), ("insufficient_credits", CREDIT), ("insufficient_funds", CREDIT),
    ("credit_balance_too_low", CREDIT), ("out_of_credits", CREDIT), ("payment_required", CREDIT),
    ("budget_exceeded", CREDIT), ("exceeded_current_quota_error", CREDIT), ("quota_exceeded", CREDIT),
    ("Arrearage", CREDIT), ("AccountOverdueError", CREDIT), ("AllocationQuota.FreeTierOnly", CREDIT),
    ("rate_limit_exceeded", RATE), ("rate_limit_error", RATE), ("RateLimitError", RATE), ("Rate-Limit Exceeded", RATE),
    ("rate_limit_reached_error", RATE), ("too_many_requests", RATE), ("TooManyRequestsException", RATE),
    ("RESOURCE_EXHAUSTED", RATE), ("ThrottlingException", RATE), ("throttling_exception", RATE),
    ("com.amazonaws#ThrottlingException", RATE), ("Throttling.RateQuota", RATE), ("tokens_per_minute", RATE),
    ("requests_per_minute_exceeded", RATE), ("tokens", RATE), ("requests", RATE), ("slow_down", RATE),
    ("ServiceQuotaExceededException", RATE), ("concurrency_limit_exceeded", RATE),
    ("policies.ratelimit.QuotaViolation", RATE),
    ("overloaded_error", SERVER), ("OverloadedError", SERVER), ("engine_overloaded", SERVER),
    ("service_unavailable", SERVER), ("ServiceUnavailableException", SERVER), ("model_not_ready", SERVER),
    ("context_length_exceeded", REQUEST), ("model_not_found", (4, "aiml models")), ("ModelNotFound", (4, "aiml models")),
    ("DeploymentNotFound", (4, "aiml models")), ("content_policy_violation", REQUEST), ("content_filter", REQUEST),
    ("string_above_max_length", REQUEST), ("unsupported_parameter", REQUEST), ("request_too_large", REQUEST),
]  # fmt: skip
# Names that count only where no status is given: servers put them on errors of other kinds too.
VAGUE_ERROR_NAMES = [
    ("invalid_request_error", REQUEST), ("INVALID_ARGUMENT", REQUEST), ("bad_request", REQUEST),
    ("not_found_error", REQUEST), ("NOT_FOUND", REQUEST), ("FAILED_PRECONDITION", REQUEST),
    ("ValidationException", REQUEST), ("value_error.missing", REQUEST),
    ("server_error", SERVER), ("api_error", SERVER), ("internal_error", SERVER), ("InternalServerException", SERVER),
    ("timeout", SERVER), ("DEADLINE_EXCEEDED", SERVER), ("UNAVAILABLE", SERVER), ("INTERNAL", SERVER),
    ("vector_store_timeout", SERVER),
]  # fmt: skip


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize(("name", "meaning"), [*ERROR_NAMES, *VAGUE_ERROR_NAMES])
@pytest.mark.parametrize("field", ["code", "type"])
def test_the_code_or_type_decides_the_kind_of_an_error_in_a_stream(field: str, name: str, meaning: Meaning) -> None:
    report = {"message": "Odd words.", field: name}
    bodies: list[Any] = [{"error": report}, {"type": "error", "error": report}, {"object": "error", **report}]
    bodies += [{"type": "response.failed", "response": {"status": "failed", "error": report}}, [{"error": report}]]
    for body in bodies:
        assert has_meaning(make_event_error(body), meaning), body


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize(("name", "meaning"), ERROR_NAMES)
@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_a_code_takes_precedence_over_the_status(status: int, name: str, meaning: Meaning) -> None:
    error = make_status_error(status, {"error": {"message": "Odd words.", "code": name}})
    assert has_meaning(error, meaning)
    assert error.details["status"] == status


@pytest.mark.parametrize(
    "code",
    [
        "token_budget_exceeded", "invalid_budget", "credit_card_invalid", "missing_authentication_header",
        "tool_authentication_error", "mcp_unauthorized", "invalid_tool_api_key", "max_tokens_exceeded", "unbalanced",
        "invalid_credits_parameter", "quota_project_unknown",
    ],
)  # fmt: skip
def test_a_code_that_only_resembles_a_key_or_credit_error_changes_nothing(code: str) -> None:
    assert make_status_error(400, {"error": {"message": "Odd words.", "code": code}}).exit_code == 4


EXIT_CODES_BY_STATUS = [
    (400, 4), (401, 3), (402, 3), (403, 3), (404, 4), (408, 4), (409, 4), (413, 4), (422, 4), (429, 5), (451, 4),
    (500, 6), (502, 6), (503, 6), (504, 6), (529, 6),
]  # fmt: skip


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize("name", [name for name, _ in VAGUE_ERROR_NAMES] + ["", "odd", "new_api_error"])
@pytest.mark.parametrize(("status", "code"), EXIT_CODES_BY_STATUS)
def test_the_status_takes_precedence_over_a_vague_code_or_type(status: int, code: int, name: str) -> None:
    words = {"message": "Odd words.", "type": name}
    errors = [
        make_status_error(status, {"error": words}),
        make_event_error({"type": "error", "status": status, "error": words}),
        make_event_error({"error": {**words, "code": status}}),
        make_event_error({"error": {**words, "code": str(status)}}),
        make_event_error({"error": {**words, "status": status}}),
        make_event_error({"statusCode": status, "error": words}),
        make_event_error({"status_code": status, "message": "Odd words.", "error": "Some Title"}),
    ]
    assert [(error.exit_code, error.details["status"]) for error in errors] == [(code, status)] * len(errors)


# Texts, and what they mean under a status: of each group some look alike and mean different things.
MESSAGES: list[tuple[int, str, Meaning]] = [
    (429, "You exceeded your current quota, please check your plan and billing details: https://x.org/rate-limits", CREDIT),
    (429, "Rate limit reached for m on tokens per min (TPM): Limit 10000, Used 9000. Please try again in 6s.", RATE),
    (429, "Rate limit reached. Add a payment method at https://x.org/billing, or buy credits, to increase it.", RATE),
    (429, "rate limit hit, see https://example.com/quotaincrease", RATE),
    (429, "You send too fast: https://example.com/docs/insufficient_quota", RATE),
    (429, "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'", RATE),
    (429, "Rate limit quota violation. Quota limit exceeded. Identifier : x", RATE),
    (429, "Your quota is exhausted. Please retry in 29.3s.", RATE),
    (429, "Your quota is exhausted. Please retry in 29 days.", CREDIT),
    (429, "Too many requests: your quota is 60 requests per minute", RATE),
    (429, "Request was throttled. Expected available in 3 seconds.", RATE),
    (429, "The free tier is exhausted: 0 of 50 requests left today", CREDIT),
    (429, "You have run out of credits", CREDIT),
    (429, "Monthly quota reached", CREDIT),
    (429, "You have exceeded your monthly included credits", CREDIT),
    (429, "Your account is suspended due to insufficient balance, please recharge your account", CREDIT),
    (429, "Your card is credited tomorrow", RATE),
    (403, "Your team has either used all available credits or reached its monthly spending limit.", CREDIT),
    (403, "The model 'credit-scorer' is not for you", FORBIDDEN),
    (400, "Your credit balance is too low to access the API. Please go to Plans & Billing.", CREDIT),
    (400, "Budget has been exceeded! Current cost: 0.0002, Max budget: 0.0001", CREDIT),
    (400, "max_tokens must be greater than thinking.budget_tokens", REQUEST),
    (422, "thinking.budget_tokens must be less than max_tokens", REQUEST),
    (422, "Token budget exceeded: 9000 tokens", REQUEST),
    (422, "max_tokens exceeds the thinking budget", REQUEST),
    (422, "budget exceeded: 9000 reasoning tokens", REQUEST),
    (429, "Quota exceeded for x.com/requests_per_minute_per_project", RATE),
    (429, "Requests have exceeded the rate limit of your pricing tier. Go to https://x.org/quotaincrease", RATE),
    (429, "You have reached the limit of 3 requests per minute on the free tier", RATE),
    (429, "Daily quota exceeded", CREDIT),
    (404, "The model free-tier/llama does not exist", REQUEST),
    (422, "reasoning budget must be positive", REQUEST),
    (422, "`credits` must be an integer", REQUEST),
    (422, "balance: must be a number", REQUEST),
    (422, "quota: unknown field", REQUEST),
    (422, "payment is required", REQUEST),
    (422, "tool 'process_payment' has an invalid schema", REQUEST),
    (422, "function get_quota: the description is too long", REQUEST),
    (422, "The name 'Credit Suisse' is not allowed", REQUEST),
    (422, "no credit card numbers in prompts", REQUEST),
    (422, "Invalid tool output: 'insufficient funds'", REQUEST),
    (422, "billing_address is not a valid property", REQUEST),
    (422, "Unbalanced parentheses in the schema", REQUEST),
    (422, "top_p must be at most 1", REQUEST),
    (422, "see https://example.com/credits-exhausted", REQUEST),
    (422, "You have run out of credits", CREDIT),
    (400, "Incorrect API key provided: sk-1. You can find your API key at https://example.com", KEY),
    (400, "API key not valid. Please pass a valid API key.", KEY),
    (400, "Invalid API key", KEY),
    (400, "missing authentication header", REQUEST),
    (400, "Missing authentication header for the MCP server x", REQUEST),
    (400, "Invalid API key for tool 'weather'", REQUEST),
    (400, "tool weather: no API key configured", REQUEST),
    (400, "invalid authentication token in tools[0].headers", REQUEST),
    (400, "x-api-key is not an allowed header", REQUEST),
    (403, "Invalid API key", KEY),
    (401, "must be a non-empty string", KEY),
    (402, "slow down", CREDIT),
    (500, "insufficient balance of the upstream account", SERVER),
    (503, "load balancer: no healthy upstream", SERVER),
]  # fmt: skip


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize(("status", "text", "meaning"), MESSAGES)
def test_a_message_decides_the_kind_only_if_it_is_unambiguous(status: int, text: str, meaning: Meaning) -> None:
    errors = [
        make_status_error(status, {"error": {"message": text, "type": None}}),
        make_status_error(status, {"message": text, "statusCode": status, "error": "Some Title"}),
        error_from_status(status, {}, text.encode()),
        make_event_error({"error": {"message": text, "code": status}}),
    ]
    assert all(has_meaning(error, meaning) for error in errors)


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Rate limit exceeded", RATE), ("Too Many Requests", RATE), ("Please try again in 20 seconds", RATE),
        ("You exceeded your current quota, please check your plan and billing details", CREDIT),
        ("insufficient balance", CREDIT), ("Payment Required", CREDIT), ("insufficient_quota", CREDIT),
        ("Unauthorized", KEY), ("Incorrect API key provided: x", KEY), ("Authentication failed", KEY),
        ("Forbidden", FORBIDDEN), ("Internal Server Error", SERVER), ("The model is overloaded", SERVER),
        ("Service Unavailable", SERVER), ("Gateway Timeout", SERVER), ("Request timed out", SERVER),
        ("The server had an error while processing your request", SERVER), ("Bad Request", REQUEST),
        ("maximum context length is 4096 tokens", REQUEST), ("Not Found", REQUEST),
        ("model 'x' not found, try pulling it first", (4, "aiml models")),
        ("It is broken.", (6, "try again")), ("42", (6, "try again")),
    ],
)  # fmt: skip
def test_a_message_alone_decides_the_kind_of_an_error_in_a_stream(text: str, meaning: Meaning) -> None:
    for body in ({"error": text}, {"error": {"message": text}}, {"error": True, "message": text}):
        assert has_meaning(make_event_error(body), meaning)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 3), ({"retry_after": "1"}, 5), ({"retry_after": "120"}, 5), ({"retry_after_ms": "5"}, 5),
        ({"x_should_retry": "true"}, 5), ({"retry_after": "121"}, 3), ({"retry_after": "-1"}, 3),
        ({"retry_after": "soon"}, 3), ({"x_should_retry": "maybe"}, 3), ({"x_should_retry": "false"}, 3),
    ],
)  # fmt: skip
def test_a_retry_header_takes_precedence_over_the_message(headers: dict[str, str], code: int) -> None:
    assert make_status_error(429, {"message": "You have run out of credits"}, **headers).exit_code == code
    assert make_status_error(429, {"error": {"message": "no", "code": "insufficient_quota"}}, **headers).exit_code == 3


NOT_FOUND_MESSAGES = [
    ("Cannot POST /v1/responses", "path"), ("Not Found", "path"), ("404 page not found", "path"), ("", "path"),
    ("Invalid URL (POST /v1/respond)", "path"), ("The requested resource was not found", "path"),
    ("Unknown request URL: POST /respond", "path"), ("Route POST:/v1/responses not found", "path"),
    ("No static resource v1/responses.", "path"), ("Resource not found", "path"),
    ("The model `m` does not exist or you do not have access to it.", "model"), ("Unknown model: m", "model"),
    ("model 'm' not found, try pulling it first", "model"), ("No endpoints found for m.", "model"),
    ("models/m is not found for API version v1beta", "model"),
    ("Response with id 'resp_1' not found.", "response"), ("Previous response with id 'resp_1' not found.", "response"),
    ("No response found", "response"), ("resp_1 not found", "response"), ("The response has expired", "response"),
    ("What you look for is not there", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "missing"), NOT_FOUND_MESSAGES)
def test_a_not_found_error_names_what_was_not_found(text: str, missing: str | None) -> None:
    for body in ({"error": {"message": text}}, {"message": text, "statusCode": 404}, {"detail": text}):
        error = make_status_error(404, body if text else {})
        assert text == "" or error.details.get("missing") == missing
    assert error_from_status(404, {}, text.encode()).details.get("missing") == missing
    hints = {"path": "--base-url", "response": "another key or account"}
    assert hints.get(missing or "", "aiml models") in error_from_status(404, {}, text.encode()).hint


def test_an_html_page_with_status_404_means_a_wrong_path() -> None:
    page = b"<html><head><title>404</title></head><body><center>Sorry</center><hr>nginx/1.2</body></html>"
    assert "--base-url" in error_from_status(404, {"content-type": "text/html"}, page).hint


def test_a_response_of_another_account_is_not_a_key_error() -> None:
    words = "Forbidden. The response id is not associated with the user, who this key belongs to."
    error = make_status_error(403, {"error": {"message": words, "type": "auth", "code": "403"}})
    assert (error.exit_code, KEYS_PAGE in error.hint, BILLING_PAGE in error.hint) == (3, False, False)
    assert "another key or account" in error.hint


def test_a_refused_request_without_a_key_says_that_none_was_sent() -> None:
    refused, empty = make_status_error(401, {"message": "Unauthorized"}), make_status_error(402, {"message": "no"})
    explain_unsent_key(refused)
    explain_unsent_key(empty)
    assert refused.hint.startswith("no key was sent")
    assert BILLING_PAGE in empty.hint


MESSAGE_PARTS = [
    "no_", "no ", "your ", "credits ", "budget ", "models ", "response ",
    "exceeded a ", "'a", '"', "`", "https://",
    "retry in 1", "_", "aA", "A", "api key ", "404 ", "incorrect or missing ", "used up all of your ", "{", "[", "\\",
    "requests per ", "insufficient_a_", "no response resp_", "<p ", "data:",
]  # fmt: skip


@pytest.mark.promise("error-kinds")
@pytest.mark.parametrize("piece", MESSAGE_PARTS)
def test_a_long_error_message_takes_linear_time(piece: str) -> None:
    def measure(size: int) -> float:
        text = piece * (size // len(piece))
        places: list[Any] = [
            {"error": text},
            {"error": {"message": "x", "code": text, "type": text}},
            {"detail": [text]},
        ]
        bodies = [json.dumps(place).encode() for place in places]
        began = time.process_time()
        for body in bodies:
            for status in (400, 404, 429):
                error_from_status(status, {}, body)
            if event := parse_error(json.loads(body)):
                error_from_event(event)
        return time.process_time() - began

    measure(1_000)  # the expressions are compiled once
    # The garbage collector may run in one of the measurements.
    assert any(measure(200_000) < 30 * max(measure(20_000), 0.002) for _ in range(3))
