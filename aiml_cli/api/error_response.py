"""Read a server's report of failure, in all the shapes it comes in, and say what kind it is."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiml_cli.api.stream_events import ErrorEvent
from aiml_cli.errors import AimlError, AuthError, RateLimited, RequestRejected, ServerError

LONGEST_WORDS, MOST_LINES = 600, 4
KEYS_PAGE = "https://aimlapi.com/app/keys"
BILLING_PAGE = "https://aimlapi.com/app/billing"

_CREDIT = re.compile(r"credit|quota|budget|balance|insufficient.fund|free.tier|billing|top.?up|payment", re.IGNORECASE)
_KEY = re.compile(
    r"api key not valid|(?:invalid|incorrect|missing|wrong|expired|no)[ _](?:\w+[ _])?(?:api[ _-]?key|authentication)",
    re.IGNORECASE,
)


def parse_error(body: Any) -> ErrorEvent | None:
    """Find the server's report in a JSON value; None when there is none.

    Shapes: `error` as object or text, `errors` and arrays, `detail`, `message` with a status, `base_resp`.
    """
    if isinstance(body, list) and body:
        return parse_error(body[0])
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, Mapping) and (words := _words(error)):
        return ErrorEvent(words, _name(error.get("type") or error.get("name")), _name(error.get("code")))
    if error and not isinstance(error, Mapping):
        return ErrorEvent(_words(error), _name(body.get("type")), _name(body.get("code")))
    if isinstance(found := body.get("base_resp"), Mapping) and found.get("status_code"):
        return ErrorEvent(str(found.get("status_msg") or "the server failed"), None, _name(found["status_code"]))
    if any(body.get(name) for name in ("detail", "errors")) or _is_report(body):
        return ErrorEvent(_words(body), _name(body.get("type") or body.get("title")), _name(body.get("code")))
    return None


def _is_report(body: Mapping[str, Any]) -> bool:
    status = body.get("statusCode", body.get("status", body.get("code")))
    return bool(body.get("message")) and not {"choices", "output"} & set(body) and status is not None


def _words(found: Any) -> str:
    """Give the words of a report, whatever holds them."""
    match found:
        case str():
            return found
        case list():
            return "; ".join(filter(None, map(_words, found)))
        case Mapping():
            raw = found.get("metadata", {}).get("raw") if isinstance(found.get("metadata"), Mapping) else None
            for name in ("message", "msg", "detail", "errors", "error", "status_msg", "title", "code"):
                if words := _words(found.get(name)):
                    return f"{words}: {_words(raw)}" if raw and isinstance(raw, str) else _placed(words, found)
            return json.dumps(found, ensure_ascii=False) if found else ""
        case None:
            return ""
        case _:
            return str(found)


def _placed(words: str, found: Mapping[str, Any]) -> str:
    """Name the field that a validator complains about."""
    place = found.get("loc") or found.get("path")
    return f"{'.'.join(map(str, place))}: {words}" if isinstance(place, list) and place else words


def _name(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> AimlError:
    """Make the error for a reply with a failing status, in the server's own words."""
    fault = _parsed(body)
    words = shorten_message(fault.message) if fault else _plain(headers, body)
    error = _classified(status, fault, f"the server answered {status}" + (f": {words}" if words else ""))
    if 300 <= status < 400 and (place := shorten_message(headers.get("location", ""))):  # noqa: PLR2004
        error.hint = f"it points to {place}: {error.hint}"
    return error


def error_from_event(fault: ErrorEvent) -> AimlError:
    """Make the error for a report that came under status 200 or in mid-stream."""
    words = f"the server reported an error: {shorten_message(fault.message)}"
    return ServerError(words, "ask again", type=fault.type, code=fault.code)


def _parsed(body: bytes) -> ErrorEvent | None:
    text = body.decode("utf-8-sig", "replace").strip()
    try:
        found = _json(text)
        return parse_error(found) or (ErrorEvent(_words(found)) if found else None)
    except RecursionError:  # nested without end
        return None


def _json(text: str) -> Any:
    """Read JSON, also from the first event of a stream; None when it is neither."""
    lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    for candidate in (text, *lines[:1]):
        with suppress(ValueError):
            return json.loads(candidate)
    return None


def _plain(headers: Mapping[str, str], body: bytes) -> str:
    """Give the words of a page or a text; of HTML what a reader would see."""
    text = body.decode("utf-8-sig", "replace")
    is_page = "html" in headers.get("content-type", "") or text.lstrip()[:1] == "<"
    return shorten_message(" ".join(_seen(text)) if is_page else text)


def _seen(page: str) -> list[str]:
    """List the words of a page outside of its tags, head, scripts and styles; each character is looked at once."""
    words: list[str] = []
    hidden = ""
    for part in re.split(r"(<[^<>]*>)", page):
        tag = re.match(r"<(/?)(head|script|style)\b", part, re.IGNORECASE)
        if tag and not hidden and not tag[1]:
            hidden = tag[2].lower()
        elif tag and tag[1] and tag[2].lower() == hidden:
            hidden = ""
        elif not hidden and not part.startswith("<"):
            words += part.split()
    return words


def shorten_message(words: str) -> str:
    """Cut a report to four lines and 600 characters."""
    lines = [line.rstrip() for line in words.strip().splitlines() if line.strip()]
    text = "\n".join(lines[:MOST_LINES])
    cut = len(lines) > MOST_LINES or len(text) > LONGEST_WORDS
    return text[:LONGEST_WORDS] + (" …" if cut else "")


def _classified(status: int, fault: ErrorEvent | None, sentence: str) -> AimlError:
    """Choose the kind by status, code and words: gateways use several statuses for one thing."""
    about = " ".join(filter(None, (fault.code, fault.type, fault.message))) if fault else ""
    details: dict[str, Any] = {"status": status, "type": fault and fault.type, "code": fault and fault.code}
    client_fault = 400 <= status < 500  # noqa: PLR2004
    if status == 402 or (status in (403, 422, 429) and _CREDIT.search(about)):  # noqa: PLR2004
        return AuthError(sentence, f"the credit is used up: {BILLING_PAGE}", **details)
    if status == 401 or (status != 429 and _KEY.search(about if client_fault else details["code"] or "")):  # noqa: PLR2004
        return AuthError(sentence, f"is the key right? aiml config key stores one; keys: {KEYS_PAGE}", **details)
    if status == 403:  # noqa: PLR2004
        hint = f"the key may not use this endpoint or model, or the credit is used up: {BILLING_PAGE}"
        return AuthError(sentence, hint, **details)
    if status == 429:  # noqa: PLR2004
        return RateLimited(sentence, "wait a little, then ask again", **details)
    if client_fault or 300 <= status < 400:  # noqa: PLR2004
        return RequestRejected(sentence, _advice(status), **details)
    return ServerError(sentence, "ask again in a moment", **details)


def _advice(status: int) -> str:
    match status:
        case 404:
            return "is the model's id right? aiml models WORDS searches the catalogue"
        case 413:
            return "the request is too large: send less"
        case 400 | 422:
            return "see what was sent: the same command with --dry-run"
        case _ if status < 400:  # noqa: PLR2004
            return "is --base-url right? redirects are not followed, so that key and prompt go nowhere else"
        case _:
            return ""
