"""Find the error in a server's response, whatever its shape, and choose the exception for it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from aiml_cli.api.stream_events import ErrorEvent
from aiml_cli.errors import AimlError, AuthError, RateLimited, RequestRejected, ServerError

MAX_MESSAGE_CHARS, MAX_MESSAGE_LINES = 600, 4
KEYS_PAGE = "https://aimlapi.com/app/keys"
BILLING_PAGE = "https://aimlapi.com/app/billing"

_CREDIT = re.compile(r"credit|quota|budget|balance|insufficient.fund|free.tier|billing|top.?up|payment", re.IGNORECASE)
_KEY = re.compile(
    r"api key not valid|(?:invalid|incorrect|missing|wrong|expired|no)[ _](?:\w+[ _])?(?:api[ _-]?key|authentication)",
    re.IGNORECASE,
)
_HINTS = {
    **dict.fromkeys(
        range(300, 400), "is --base-url right? redirects are not followed, so that key and prompt go nowhere else"
    ),
    **dict.fromkeys((400, 422), "see what was sent: the same command with --dry-run"),
    404: "is the model's id right? aiml models WORDS searches the catalogue",
    413: "the request is too large: send less",
}


def parse_error(body: Any) -> ErrorEvent | None:
    """Return the error that a JSON value reports, or None.

    Shapes: `error` as object or text, `errors` and arrays, `detail`, `message` with a status, `base_resp`.
    """
    if isinstance(body, list) and body:
        return parse_error(body[0])
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, Mapping) and (message := _find_message(error)):
        return ErrorEvent(message, _to_name(error.get("type") or error.get("name")), _to_name(error.get("code")))
    if error and not isinstance(error, Mapping):
        return ErrorEvent(_find_message(error), _to_name(body.get("type")), _to_name(body.get("code")))
    if isinstance(base := body.get("base_resp"), Mapping) and base.get("status_code"):
        return ErrorEvent(str(base.get("status_msg") or "the server failed"), None, _to_name(base["status_code"]))
    if any(body.get(name) for name in ("detail", "errors")) or _is_error_body(body):
        error_type, code = _to_name(body.get("type") or body.get("title")), _to_name(body.get("code"))
        return ErrorEvent(_find_message(body), error_type, code)
    return None


def _is_error_body(body: Mapping[str, Any]) -> bool:
    status = body.get("statusCode", body.get("status", body.get("code")))
    return bool(body.get("message")) and not {"choices", "output"} & set(body) and status is not None


def _find_message(error: Any) -> str:
    """Return the message in an error of any type, with the location that a validator adds."""
    match error:
        case str():
            return error
        case list():
            return "; ".join(filter(None, map(_find_message, error)))
        case Mapping():
            raw = error.get("metadata", {}).get("raw") if isinstance(error.get("metadata"), Mapping) else None
            for name in ("message", "msg", "detail", "errors", "error", "status_msg", "title", "code"):
                if message := _find_message(error.get(name)):
                    return f"{message}: {raw}" if raw and isinstance(raw, str) else _add_location(message, error)
            return json.dumps(error, ensure_ascii=False) if error else ""
        case None:
            return ""
        case _:
            return str(error)


def _add_location(message: str, error: Mapping[str, Any]) -> str:
    path = error.get("loc") or error.get("path")
    return f"{'.'.join(map(str, path))}: {message}" if isinstance(path, list) and path else message


def _to_name(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> AimlError:
    """Return the exception for a response with an error status, with the server's message."""
    event = _parse_body(body)
    message = shorten_message(event.message) if event else _page_to_text(headers, body)
    error = _choose_error(status, event, f"the server answered {status}" + (f": {message}" if message else ""))
    if 300 <= status < 400 and (location := shorten_message(headers.get("location", ""))):  # noqa: PLR2004
        error.hint = f"it points to {location}: {error.hint}"
    return error


def error_from_event(event: ErrorEvent) -> AimlError:
    """Return the exception for an error in mid-stream or with status 200."""
    message = f"the server reported an error: {shorten_message(event.message)}"
    return ServerError(message, "ask again", type=event.type, code=event.code)


def _parse_body(body: bytes) -> ErrorEvent | None:
    """Parse JSON, also in the first event of a stream; None if there is neither."""
    text = body.decode("utf-8-sig", "replace").strip()
    lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    for candidate in (text, *lines[:1]):
        try:
            value = json.loads(candidate)
            return parse_error(value) or (ErrorEvent(_find_message(value)) if value else None)
        except RecursionError:  # nested too deeply
            return None
        except ValueError:
            continue
    return None


def _page_to_text(headers: Mapping[str, str], body: bytes) -> str:
    text = body.decode("utf-8-sig", "replace")
    is_html = "html" in headers.get("content-type", "") or text.lstrip()[:1] == "<"
    return shorten_message(" ".join(_list_visible_words(text)) if is_html else text)


def _list_visible_words(page: str) -> list[str]:
    """List the words outside of tags, head, scripts and styles, in time linear in the page's length."""
    words: list[str] = []
    hidden_by = ""
    for part in re.split(r"(<[^<>]*>)", page):
        tag = re.match(r"<(/?)(head|script|style)\b", part, re.IGNORECASE)
        if tag and not hidden_by and not tag[1]:
            hidden_by = tag[2].lower()
        elif tag and tag[1] and tag[2].lower() == hidden_by:
            hidden_by = ""
        elif not hidden_by and not part.startswith("<"):
            words += part.split()
    return words


def shorten_message(message: str) -> str:
    """Truncate a message to four lines and 600 characters."""
    lines = [line.rstrip() for line in message.strip().splitlines() if line.strip()]
    text = "\n".join(lines[:MAX_MESSAGE_LINES])
    is_cut = len(lines) > MAX_MESSAGE_LINES or len(text) > MAX_MESSAGE_CHARS
    return text[:MAX_MESSAGE_CHARS] + (" …" if is_cut else "")


def _choose_error(status: int, event: ErrorEvent | None, message: str) -> AimlError:
    """Choose the class by status, code and message: gateways use several statuses for one error."""
    words = " ".join(filter(None, (event.code, event.type, event.message))) if event else ""
    details: dict[str, Any] = {"status": status, "type": event and event.type, "code": event and event.code}
    is_client_error = 400 <= status < 500  # noqa: PLR2004
    if status == 402 or (status in (403, 422, 429) and _CREDIT.search(words)):  # noqa: PLR2004
        return AuthError(message, f"the credit is used up: {BILLING_PAGE}", **details)
    if status == 401 or (status != 429 and _KEY.search(words if is_client_error else details["code"] or "")):  # noqa: PLR2004
        return AuthError(message, f"is the key right? aiml config key stores one; keys: {KEYS_PAGE}", **details)
    if status == 403:  # noqa: PLR2004
        hint = f"the key may not use this endpoint or model, or the credit is used up: {BILLING_PAGE}"
        return AuthError(message, hint, **details)
    if status == 429:  # noqa: PLR2004
        return RateLimited(message, "wait a little, then ask again", **details)
    if is_client_error or 300 <= status < 400:  # noqa: PLR2004
        return RequestRejected(message, _HINTS.get(status, ""), **details)
    return ServerError(message, "ask again in a moment", **details)
