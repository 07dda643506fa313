"""Decide what a server's error means: its exception, its hint, and whether and when the request is sent again."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from aiml_cli.api.json_values import as_amount
from aiml_cli.api.stream_events import ErrorEvent
from aiml_cli.errors import (
    AimlError,
    AuthError,
    ConnectionFailed,
    IncompleteAnswer,
    RateLimited,
    RequestRejected,
    ServerError,
)

KEYS_PAGE = "https://aimlapi.com/app/keys"
BILLING_PAGE = "https://aimlapi.com/app/billing"
FIRST_PAUSE_S, MAX_PAUSE_S, MAX_RETRY_AFTER_S = 0.5, 8.0, 120.0
# These errors are permanent, so they are not retried even if the server allows it.
FINAL_STATUSES = frozenset({400, 401, 402, 403, 404, 413, 422})
RETRY_STATUSES = frozenset({408, 409})
_UNKNOWN, _KEY, _CREDIT, _FORBIDDEN, _NOT_FOUND, _NO_METHOD, _RATE_LIMIT = 0, 401, 402, 403, 404, 405, 429
_NOT_IMPLEMENTED = 501
_FIRST_REDIRECT, _FIRST_CLIENT_ERROR, _FIRST_SERVER_ERROR = 300, 400, 500
_MAX_NAME_CHARS, _MAX_HEADER_CHARS = 100, 60


class _Kind(NamedTuple):
    """A kind of error: the HTTP status that represents it, and the expressions that recognize it.

    `names` match types and codes in snake case, `texts` match messages. They are short and their repetitions are
    bounded, because they run on text from a server.
    """

    status: int
    names: Sequence[str]
    texts: Sequence[str] = ()


_PERIOD = r"(?:s|m|sec(?:ond)?|min(?:ute)?)s?\b"
_MONEY = r"(?:credits?(?!\W?(?:card|scor))|funds|balance|quota)\b"
_LIMIT = r"(?:quota|credits|credit limit|spend(?:ing)? limit|billing limit|usage limits?|monthly limit)\b"
_OPTIONAL_QUALIFIERS = r"(?:(?:more|remaining|all|of|your|any|account|prepaid|available|api|user) ){0,4}"
_API_KEY = r"api[ _-]?key"
_CERTAIN_KINDS = (
    _Kind(
        _CREDIT,
        (
            r"insufficient_(\w{1,20}_)?(quota|credit|balance|fund)",
            r"(credits?|funds|balance)_(is_|limit_)?(insufficient|exhausted|depleted|exceeded|reached|too_low)",
            r"(?<!rate_)(?<!service_)(?<!request_)(?<!requests_)quota_(limit_)?(exhausted|exceeded|reached)",
            r"(?<!token_)(?<!tokens_)(?<!thinking_)(?<!reasoning_)budget_(limit_)?(exhausted|exceeded|reached)",
            r"exceeded_(\w{1,10}_)?(current_)?(quota|budget)|(out_of|no|not_enough)_(credit|balance|funds|quota)",
            r"(credit|spend|spending|billing)_(hard_|soft_)?limit|usage_limit_reached",
            r"^billing|payment_required|arrear|overdue|free_tier",
        ),
        (
            rf"\b(?:insufficient|not enough|out of|lack of|used(?: up)?|requires? more) {_OPTIONAL_QUALIFIERS}{_MONEY}",
            r"\bno (?:more |remaining |available )?credits?(?: left| remaining| available|$|[.,!])",
            r"\b(?:add|buy|purchase) (?:more )?credits\b",
            (
                rf"\b{_MONEY}(?: balance| limit)?(?: (?:is|are|was|has|have|been|too|now|already|left)){{0,3}}"
                r" (?:low|exhausted|used up|depleted|exceeded|reached|insufficient|empty|negative|not enough|expired)\b"
            ),
            rf"\b(?:exceeded|reached|hit|over|used up)(?: [\w-]{{1,20}}){{0,4}} {_LIMIT}",
            (
                r"(?:^|[.!:] ?|\b(?:your|monthly|daily|user|team|key|project) )budget (?:has been |is |was |limit )?"
                r"(?:exceeded|exhausted|reached)\b(?![^.]{0,40}token)"
            ),
            r"\bover budget\b|\bexceeded ?budget\b|\bbilling (?:hard )?limit\b",
            r"\b(?:check|update|visit|enable|set up) (?:your )?(?:plan|billing)\b|\baccount is not active\b",
            r"\bfree[ -]tier\b|\btop[ -]up,? (?:your|please|the)\b|\bplease top[ -]up\b|\brecharge your\b",
            r"^payment required|\bin arrears\b|\boverdue (?:payment|balance|invoice|bill)\b|\bcredits left\b",
        ),
    ),
    _Kind(
        _RATE_LIMIT,
        (
            r"rate_?limit|too_many_(\w{1,15}_)?requests|resource_exhausted|throttl|requests?_limit|^requests$|^tokens$",
            r"(requests?|tokens?)_per_|per_(second|minute)|concurren\w{1,6}_(request|limit)|slow_down|^limit_exceeded",
            r"(service|rate|requests?)_quota|quota_violation|enhance_your_calm",
        ),
        (
            r"\brate[ _-]?limit|too many (?:\w{1,15} )?requests\b|requests? limit|slow down|throttl|\b[rt]pm\b",
            rf"\b(?:requests?|tokens?|calls|queries)(?: per | ?/ ?| an? ){_PERIOD}|(?:\b|_)per[ _-](?:second|minute)",
            r"concurrent (?:\w{1,15} )?(?:requests|limit)|concurrency limit",
        ),
    ),
    _Kind(
        _KEY,
        (
            (
                r"(invalid|incorrect|missing|no|wrong|expired|unknown|disabled|revoked|bad)_((?!tool|mcp)\w{1,12}_)?"
                r"(api_?key|auth(entication|orization)?(_token|_error)?|credentials?|jwt|access_token)$|^(invalid|expired)_(token|client|key)$"
            ),
            r"api_?key_(is_)?(invalid|expired|missing|not_|disabled|revoked|required|inactive)|^token_expired",
            r"^auth(entication|orization)?(_fail\w{0,4}|_required|_invalid|_missing)?(_error)?$",
            r"^(user_)?(unauthori[sz]ed|unauthenticated|not_authenticated)|unrecognized_client|^account_(deactiv|disabl|suspend)",
        ),
        (
            rf"incorrect {_API_KEY} provided|{_API_KEY} not valid|(?:didn.t|did not) provide an {_API_KEY}",
            (
                r"^(?:error:? )?(?:the |your |an? )?(?:invalid|incorrect|missing|wrong|expired|no)(?: or missing)?"
                rf" {_API_KEY}(?: provided| given| supplied| found)?(?:$|[.,;:!(])"
            ),
            (
                rf"^(?:error:? )?(?:the |your |an? )?{_API_KEY} (?:is |was |has )?(?:been )?"
                r"(?:invalid|missing|expired|revoked|disabled|required|incorrect)(?:$|[.,;:!(])"
            ),
        ),
    ),
    _Kind(
        _FORBIDDEN,
        (
            r"^(permission|access)(_denied)?(_error)?$|^forbidden|insufficient_permission|^not_authorized",
            r"^unsupported_country",
        ),
    ),
    _Kind(
        _NOT_FOUND,
        (
            r"(model|deployment|engine)_(is_)?(not_(found|exist|supported)|unknown|invalid)",
            r"(unknown|invalid|no_such|unsupported)_(model|deployment|engine)|(response|item)_not_found",
        ),
        (
            r"\bmodels?\b[^\n]{0,120}\b(?:not (?:be )?found|not exist|doesn.t exist|is not (?:a valid|supported))\b",
            r"\b(?:unknown|invalid|no such) model\b|\bno endpoints found\b",
        ),
    ),
    _Kind(
        400,
        (
            r"context_(length|window)|_too_(long|large)$|above_max|content_(policy|filter|management)|moderation",
            r"unsupported_(parameter|value|media)|missing_required|invalid_(parameter|prompt|image|json|schema)",
        ),
        (r"context (?:length|window)|prompt is too long|\binvalid (?:request|parameter|value|argument|schema|json)\b",),
    ),
    _Kind(
        503,
        (r"overload|(service|server|temporarily|model)_(is_)?(unavailable|busy|not_ready|loading)|at_capacity",),
        (
            r"overloaded|\b(?:temporarily|currently|service|model is) (?:unavailable|busy)\b|at capacity",
            r"\btry again later\b",
            r"\binternal (?:server )?error|server had an error|bad gateway|gateway time-?out|\btimed? ?out\b",
        ),
    ),
)
# Servers also use these names for errors of other kinds, so the status takes precedence.
_VAGUE_KINDS = (
    _Kind(
        400,
        (
            r"invalid|bad_request|request_error$|not_found|unprocessable|validation|malformed|missing|unsupported",
            r"conflict|out_of_range|precondition|already_exists|not_allowed|unknown_(parameter|url)|too_large",
        ),
    ),
    _Kind(
        500,
        (
            r"server|internal|^api_error|upstream|gateway|backend|provider|time_?out|timed_out|deadline|abort",
            r"unknown_error|unavailable|processing_error",
        ),
    ),
)
_CREDIT_TEXT, _RATE_TEXT, _KEY_TEXT = (kind.texts for kind in _CERTAIN_KINDS[:3])
_MODEL_TEXT = next(kind.texts for kind in _CERTAIN_KINDS if kind.status == _NOT_FOUND)
_RETRY_SOON = (
    rf"(?:re)?try(?:ing)?(?: again)? (?:in|after) (?:about )?\d{{1,9}}(?:\.\d{{1,9}})? ?(?:ms\b|milli\w+|{_PERIOD})",
)
# What servers say if a stored response does not exist, or if the path does not.
_RESPONSE_TEXT = (
    r"(?<!/)\bresponses?\b[^\n]{0,120}\b(?:not (?:be )?found|not exist|doesn.t exist|expired|no longer|deleted)\b",
    r"(?<!/)\bresponses?\b[^\n]{0,120}\b(?:not associated|belongs to|not accessible)\b|response_not_found",
    r"\bno (?:such |stored )?response\b|\bresp_\w{1,100}\W{1,3}(?:was |is )?(?:not found|does)",
)
_PATH_TEXT = (
    r"\bcannot (?:get|post|put|delete) /|\binvalid url\b|\bunknown (?:request )?url\b|\bpage not found\b",
    r"^\W{0,3}(?:404:? ?)?(?:(?:the requested )?(?:file|resource|url) )?(?:was |is )?not found\W{0,3}$",
    r"^(?:404 )?not found (?:nginx|openresty|cloudflare|apache)|\bno such (?:path|route|endpoint)\b",
    r"\bno (?:matching )?(?:route|static resource|handler)\b",
    r"\b(?:route|path|url|endpoint|uri)\b[^\n]{0,120}\b(?:not (?:be )?found|not exist|doesn.t exist)\b",
)
# The input and the answer exceed the model's context.
_CONTEXT_NAMES = (r"context_(length|window|size|limit)|exceed\w{0,3}_context|(prompt|input)_(is_)?too_long",)
_CONTEXT_TEXT = (
    r"\bcontext[ _-](?:length|window|size|limit)\b|\b(?:prompt|input|conversation|messages?) (?:is |are )?too long\b",
    r"\bmaximum (?:prompt|input) (?:length|tokens)\b|\b(?:input|prompt) token count\b[^\n]{0,60}\bexceed",
    r"\btoo many (?:input |prompt )?tokens\b|\brange of input length\b|\bmaximum number of (?:input )?tokens allowed\b",
    r"\breduce the length of (?:the |your )?(?:messages|prompt|input)\b",
)
CONTEXT_HINT = (
    "--fit oldest leaves out the oldest turns; --fit compact, or /compact, replaces them by a summary; "
    "--fit head cuts a long input"
)
_LINK = r"\b(?:https?://|www\.)\S+"
_QUOTATION = r"""`[^`\n]{1,200}`|"[^"\n]{1,200}"|(?<!\w)'[^'\n]{1,200}'(?!\w)"""

_KEY_HINT = f"is the key right? aiml config key stores one; keys: {KEYS_PAGE}"
_HINTS = {
    **dict.fromkeys(
        range(300, 400),
        "check --base-url; redirects are not followed, to keep the key and the prompt on this server",
    ),
    **dict.fromkeys((400, 422), "to see the request, run the same command with --dry-run"),
    _KEY: _KEY_HINT,
    _CREDIT: f"the credit is used up; add more at {BILLING_PAGE}",
    _FORBIDDEN: f"the key has no access to this endpoint or model, or the credit is used up: {BILLING_PAGE}",
    _NOT_FOUND: "is the model's id right? aiml models WORDS searches the catalog",
    413: "the request is too large: send less",
    _RATE_LIMIT: "wait a moment, then try again",
}
_MISSING_HINTS = {
    "path": "the server does not have this URL: check --base-url",
    "response": "the response is gone, was never stored, or belongs to another key or account",
}


def make_error(event: ErrorEvent, message: str, headers: Mapping[str, str], *, is_page: bool = False) -> AimlError:
    """Return the exception for an error with a shortened message; `message` is the text for the user.

    In its details, `again` means that the same request may succeed, and `missing` says what was not found: a model, a
    path or a response.
    """
    kind = _choose_kind(event, headers)
    missing = "path" if kind == _NOT_FOUND and is_page else _find_missing(event, kind)
    details: dict[str, Any] = {"status": event.status, "type": event.type, "code": event.code}
    details |= {"missing": missing} if missing else {}
    hint = _MISSING_HINTS.get(missing) or _HINTS.get(kind, "")
    hint = CONTEXT_HINT if _is_too_long(event, kind) else hint
    if kind in (_KEY, _CREDIT, _FORBIDDEN):
        return AuthError(message, hint, **details)
    if kind == _RATE_LIMIT:
        return RateLimited(message, hint, again=1, **details)
    if _FIRST_REDIRECT <= kind < _FIRST_SERVER_ERROR:
        return RequestRejected(message, hint, **details)
    if kind == _UNKNOWN:
        return ServerError(message, hint or "try again", **details)
    return ServerError(message, hint or "try again in a moment", again=1, **details)


def _is_too_long(event: ErrorEvent, kind: int) -> bool:
    """True if the conversation exceeds the model's context, not a rate limit or the credit."""
    names = [_to_snake_case(name) for name in (event.code, event.type) if name]
    is_about_size = any(_matches_any(_CONTEXT_NAMES, name) for name in names) or _matches_any(
        _CONTEXT_TEXT, event.message
    )
    return is_about_size and kind not in (_KEY, _CREDIT, _FORBIDDEN, _NOT_FOUND, _RATE_LIMIT)


def explain_unsent_key(error: AimlError) -> None:
    """Set the hint of an authentication error to say that no key was sent."""
    if error.hint == _KEY_HINT:
        error.hint = "no key was sent: aiml config key stores one for a server, or set AIMLAPI_API_KEY"


def _choose_kind(event: ErrorEvent, headers: Mapping[str, str]) -> int:
    """Return the status that represents the kind of an error; 0 if it is unknown.

    Codes and types decide first, then the status, then the text: gateways use several statuses for one error, and
    texts quote the request.
    """
    names = [_to_snake_case(name) for name in (event.code, event.type, _find_identifier(event.message)) if name]
    if kind := _find_kind(_CERTAIN_KINDS, names):
        return kind
    text = re.sub(_LINK, " ", event.message)
    if status := event.status or _find_kind(_VAGUE_KINDS, names):
        return _refine_status(status, text, headers)
    return _find_kind_of_text(text)


def _find_kind(kinds: Sequence[_Kind], names: Sequence[str]) -> int:
    return next((kind.status for name in names for kind in kinds if _matches_any(kind.names, name)), _UNKNOWN)


def _refine_status(status: int, text: str, headers: Mapping[str, str]) -> int:
    """Return the status, or 401 or 402 if the text clearly means the key or the credit."""
    own_words = _drop_quotations(text)
    if status == _RATE_LIMIT:
        is_passing = _matches_any((*_RETRY_SOON, *_RATE_TEXT), text) or _has_retry_signal(headers)
        return _CREDIT if _matches_any(_CREDIT_TEXT, own_words) and not is_passing else status
    if not _FIRST_CLIENT_ERROR <= status < _FIRST_SERVER_ERROR:
        return status
    if _matches_any(_KEY_TEXT, own_words):
        return _KEY
    return _CREDIT if status in (400, 401, 403, 422) and _matches_any(_CREDIT_TEXT, own_words) else status


def _find_kind_of_text(text: str) -> int:
    """Return the kind of an error without a status and without a known code or type."""
    if _matches_any((*_RETRY_SOON, *_RATE_TEXT), text):
        return _RATE_LIMIT
    own_words = _drop_quotations(text)
    if kind := next((kind.status for kind in _CERTAIN_KINDS if _matches_any(kind.texts, own_words)), _UNKNOWN):
        return kind
    names = [_to_snake_case(own_words)] if len(own_words.split()) <= 2 else []  # noqa: PLR2004 - e.g. "Bad Request"
    return _find_kind(_CERTAIN_KINDS, names) or _find_kind(_VAGUE_KINDS, names)


def _drop_quotations(text: str) -> str:
    """Return the text without quotations, which are not the server's own words."""
    return " ".join(re.sub(_QUOTATION, " ", text).split())


def _matches_any(patterns: Sequence[str], text: str) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def _to_snake_case(name: str) -> str:
    """Return a type or code in snake case, without the namespace that AWS puts before it."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:_MAX_NAME_CHARS].rpartition("#")[2])
    return re.sub(r"[^a-z0-9]+", "_", words.casefold()).strip("_").removesuffix("_exception")


def _find_identifier(message: str) -> str:
    """Return a message that is itself a code, else ""."""
    return message if re.fullmatch(r"[A-Za-z]+(?:_[A-Za-z]+)+", message) else ""


def _find_missing(event: ErrorEvent, kind: int) -> str:
    """Return what is missing according to an error: "response", "model" or "path"; "" if it does not say."""
    text = f"{event.code} {event.message}"
    if (event.status or kind) in (400, 403, 404, 410, 422) and kind != _CREDIT and _matches_any(_RESPONSE_TEXT, text):
        return "response"
    if kind in (_NO_METHOD, _NOT_IMPLEMENTED):
        return "path"
    if kind != _NOT_FOUND:
        return ""
    names = [_to_snake_case(name) for name in (event.code, event.type) if name]
    if _find_kind(_CERTAIN_KINDS, names) == _NOT_FOUND or _matches_any(_MODEL_TEXT, text):
        return "model"
    return "path" if _matches_any(_PATH_TEXT, event.message) else ""


def retry_delay(
    error: AimlError,
    headers: Mapping[str, str],
    attempt: int,
    now: datetime,
    jitter: float,
    *,
    may_be_cut: bool = False,
) -> float | None:
    """Return the seconds to wait before the next attempt, or None if the request must not be retried.

    `headers` are those of the failed response, `attempt` counts from 1, `jitter` is from 0 to 1. The server's
    headers (`x-should-retry`, `retry-after-ms`, `Retry-After`) win over our own rules, up to two minutes.
    With `may_be_cut`, an answer that broke off is requested again too.
    """
    if isinstance(error, IncompleteAnswer):
        may_retry = may_be_cut and "stopped_by" not in error.details
    else:
        may_retry = _is_retryable(error, headers)
    if not may_retry:
        return None
    seconds = parse_retry_after(headers, now)
    if seconds is not None:
        return seconds if seconds <= MAX_RETRY_AFTER_S else None
    return _backoff_delay(attempt) * (0.75 + jitter / 4)


def jitter_retry_after(headers: Mapping[str, str], attempt: int, now: datetime, jitter: float) -> float:
    """Return the seconds to add to a pause that the server asks for; 0.0 if it asks for none.

    Otherwise, many processes with the same pause would send their requests at the same time.
    """
    return 0.0 if parse_retry_after(headers, now) is None else jitter * _backoff_delay(attempt)


def _backoff_delay(attempt: int) -> float:
    return float(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1)))


def add_retry_hint(error: AimlError, headers: Mapping[str, str], now: datetime) -> AimlError:
    """Add the server's requested wait to the hint: after a rate limit, and if it is too long for an automatic retry."""
    seconds = parse_retry_after(headers, now)
    if seconds is None or not isinstance(error, RateLimited | ServerError | RequestRejected | AuthError):
        return error
    wait = f"try again in {round(seconds):.12g} s"
    if isinstance(error, RateLimited):
        error.hint = wait
    elif seconds > MAX_RETRY_AFTER_S:
        error.hint = wait if isinstance(error, ServerError) else "; ".join(filter(None, (error.hint, wait)))
    return error


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds the server asks the client to wait.

    None if the header is absent or invalid, or if the time is negative or in the past.
    """
    texts = [headers.get(name, "") for name in ("retry-after-ms", "retry-after")]
    texts = [text if len(text) <= _MAX_HEADER_CHARS else "" for text in texts]
    milliseconds, seconds = map(as_amount, texts)
    if milliseconds is not None:
        return milliseconds / 1000
    return seconds if seconds is not None else _count_seconds_until(texts[1], now)


def _count_seconds_until(text: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def _has_retry_signal(headers: Mapping[str, str]) -> bool:
    """True if the server says that the request may be sent again soon."""
    seconds = parse_retry_after(headers, datetime.now(UTC))
    return _parse_should_retry(headers) is True or (seconds is not None and seconds <= MAX_RETRY_AFTER_S)


def _parse_should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return the value of `x-should-retry`; None if it is absent or invalid."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().casefold())


def _is_retryable(error: AimlError, headers: Mapping[str, str]) -> bool:
    status, may_pass = error.details.get("status"), bool(error.details.get("again"))
    if isinstance(error, ConnectionFailed):
        return may_pass
    if not isinstance(error, RateLimited | ServerError | RequestRejected):
        return False
    if isinstance(error, RequestRejected) and (status is None or status in FINAL_STATUSES):
        return False
    wish = _parse_should_retry(headers)
    return wish if wish is not None else may_pass or status in RETRY_STATUSES
