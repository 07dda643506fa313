"""Find the error in a server's response, whatever its shape, and choose the exception for it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiml_cli.api.stream_events import ErrorEvent
from aiml_cli.errors import AimlError

MAX_MESSAGE_CHARS, MAX_MESSAGE_LINES = 600, 4
# Limits for reading an error, because servers may repeat the complete request in it.
_MAX_DEPTH, _MAX_PARTS, _MAX_NAME_CHARS, _MAX_TEXT_CHARS = 8, 20, 100, 10_000

# Names are compared without case, "_" and "-". The first message that is more than a title is shown.
_MESSAGES = (
    "message", "msg", "errordescription", "errormessage", "errormsg", "faultstring", "detail", "statusmsg",
    "description", "reason", "err", "exception", "failure",
)  # fmt: skip
_CODES = ("code", "errorcode", "errcode")
_STATUSES = ("status", "statuscode", "httpstatus", "httpcode", "httpstatuscode", *_CODES, "error")
_TYPES = ("type", "errortype", "name", "__type", "status", "title")
_ANSWER_KEYS = ("choices", "output", "candidates")
_WRAPPERS = ("response", "data", "result", "body")
_TITLES = frozenset({
    "error", "errors", "failed", "failure", "exception", "bad request", "unauthorized", "payment required",
    "forbidden", "not found", "method not allowed", "not acceptable", "request timeout", "conflict", "gone",
    "payload too large", "content too large", "unsupported media type", "unprocessable entity",
    "unprocessable content", "too many requests", "internal server error", "not implemented", "bad gateway",
    "service unavailable", "gateway timeout",
})  # fmt: skip
_FAILURES = ("error", "failed", "failure", "fail", "err")
_SUCCESS_WORDS = frozenset({
    "", "0", "ok", "none", "null", "false", "success", "succeeded", "successful", "completed", "created", "accepted",
    "pending", "queued", "running", "processing", "in_progress", "no error",
})  # fmt: skip
_SUCCESS_CODES = (0, *range(100, 300), 20_000)


def parse_error(body: Any) -> ErrorEvent | None:
    """Return the error that a JSON value reports, or None if it is an answer.

    An `error` field counts even if there is an answer too; a message without it counts only with a sign of failure: a
    status, a code, `success: false`, ….
    """
    return _find_error(body, _MAX_DEPTH)


def _find_error(body: Any, depth: int) -> ErrorEvent | None:
    if isinstance(body, list) and depth:
        return next(filter(None, (_find_error(item, depth - 1) for item in body[:_MAX_PARTS])), None)
    if not isinstance(body, Mapping) or not depth:
        return None
    fields = _fold_names(body)
    if _is_error_value(fields.get("error")) or _has_failed(fields) or set(body) == {"Message"}:
        return _read_error(body, _MAX_DEPTH)
    wrapped = [fields[name] for name in _WRAPPERS if isinstance(fields.get(name), Mapping)]
    return next(filter(None, (_find_error(value, depth - 1) for value in wrapped)), None)


def _fold_names(body: Mapping[str, Any]) -> dict[str, Any]:
    return {_fold_name(name): value for name, value in body.items()}


def _fold_name(name: Any) -> str:
    folded = str(name)[:_MAX_NAME_CHARS].casefold().replace("-", "")
    return folded if folded.startswith("__") else folded.replace("_", "")


def _is_error_value(value: Any, depth: int = _MAX_DEPTH) -> bool:
    """True if the value of an `error` is an error, not a placeholder such as `{}`, 0 or "ok"."""
    match value:
        case bool() | None:
            return bool(value)
        case str():
            return value.strip()[:_MAX_NAME_CHARS].casefold() not in _SUCCESS_WORDS
        case int() | float():
            return value not in _SUCCESS_CODES
        case list() | Mapping() if depth:
            parts = value.values() if isinstance(value, Mapping) else value
            return any(_is_error_value(part, depth - 1) for part in parts)
        case _:
            return bool(value)


def _has_failed(fields: Mapping[str, Any]) -> bool:
    """True if an object without a usable `error` reports a failure in another way."""
    if any(fields.get(name) for name in _ANSWER_KEYS):
        return False
    if any(name.endswith("exception") and isinstance(fields[name], Mapping) for name in fields):
        return True
    names = ("errors", "detail", "fault", "errordescription", "errormessage", "errormsg", "err", "exception", "failure")
    reports = [fields.get(name) for name in names]
    if any(_is_error_value(value) for value in reports if isinstance(value, str | list | Mapping)):
        return True
    if isinstance(base := fields.get("baseresp"), Mapping):
        return _is_error_value(base.get("status_code"))
    words = ("message", "msg", "description", "reason")
    message = next((fields[name] for name in words if fields.get(name)), None)
    is_text = isinstance(message, str | list) or (isinstance(message, Mapping) and "role" not in message)
    return is_text and _is_error_value(message) and _has_failure_sign(fields)


def _has_failure_sign(fields: Mapping[str, Any]) -> bool:
    if fields.get("success") is False or fields.get("ok") is False or "__type" in fields:
        return True
    words = [str(fields.get(name)).casefold() for name in ("object", "type", "status", "code")]
    if any(word in _FAILURES or word.endswith(("_error", "exception")) for word in words):
        return True
    if any(_to_number(fields.get(name)) >= 300 for name in _STATUSES[:5]):  # noqa: PLR2004 - failures in HTTP
        return True
    codes = (fields.get(name) for name in _CODES)
    return any(isinstance(code, str | int) and _is_error_value(_to_number(code) or code) for code in codes)


def _to_number(value: Any) -> int:
    """Return an integer, or a string of digits as an integer; 0 for anything else."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:  # noqa: PLR2004 - no code is longer
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _read_error(value: Any, depth: int) -> ErrorEvent:
    """Return a JSON value as an error; the message is "" if it contains no text."""
    match value:
        case str():
            inner = _decode_object(value) if depth else None
            return _read_error(inner, depth - 1) if inner else ErrorEvent(value[:_MAX_TEXT_CHARS])
        case list() if depth:
            return _join([_read_error(item, depth - 1) for item in value[:_MAX_PARTS]])
        case Mapping() if depth:
            return _read_object(value, depth - 1)
        case None | bool():
            return ErrorEvent("")
        case _:
            return ErrorEvent(_to_json(value) if value else "")


def _decode_object(text: str) -> Any:
    """Return the text as a JSON object or array, or None if it is neither."""
    if text.lstrip()[:1] not in ("{", "[") or len(text) > 10 * _MAX_TEXT_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _to_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)[:_MAX_TEXT_CHARS]
    except (ValueError, RecursionError):  # a number with more digits than Python prints
        return ""


def _join(reports: list[ErrorEvent]) -> ErrorEvent:
    """Join the messages of several errors; type, code and status are those of the first that has them."""
    message = "; ".join(report.message for report in reports if report.message)
    first = [next(filter(None, values), None) for values in zip(*(report[1:] for report in reports), strict=True)]
    return ErrorEvent(message, *first)


def _read_object(body: Mapping[str, Any], depth: int) -> ErrorEvent:
    fields = _fold_names(body)
    title = fields.get("error") if isinstance(fields.get("error"), str) else fields.get("title")
    values = [*_list_nested(body, fields), *(fields.get(name) for name in _MESSAGES), title, fields.get("errors")]
    reports = [_read_error(value, depth) for value in values]
    messages = [report.message for report in reports if report.message]
    message = next((text for text in messages if not _is_title(text)), messages[0] if messages else "")
    own = ErrorEvent("", _find_type(fields, message), _find_code(fields), _find_status(fields))
    found = _join([report._replace(message="") for report in (*reports, own)])
    message = _add_location(message, fields) if message else found.code or found.type or _to_json(body)
    for more in (reports[-1].message, _read_raw(fields.get("metadata"), depth)):
        message = message if not more or more in message else f"{message.rstrip('.')}: {more}"
    return found._replace(message=message[:_MAX_TEXT_CHARS])


def _list_nested(body: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nested objects that contain the error itself, each with its own message, type and code."""
    error = fields.get("error")
    if isinstance(error, Mapping | list) or (isinstance(error, str) and _decode_object(error)):
        yield error
    yield from (fields[name] for name in ("fault", "baseresp") if isinstance(fields.get(name), Mapping))
    yield from (fields[name] for name in _WRAPPERS if _has_words(fields.get(name)))
    for name, value in body.items():
        if str(name).lower().endswith("exception") and isinstance(value, Mapping):  # as in Bedrock's streams
            yield {"type": name, **value}


def _has_words(value: Any) -> bool:
    """True if a wrapper object itself has the message of an error."""
    names = set(_fold_names(value)) if isinstance(value, Mapping) else set()
    return not names.isdisjoint((*_MESSAGES, "error", "errors", "fault"))


def _is_title(message: str) -> bool:
    return message.strip(" .!").casefold() in _TITLES


def _read_raw(metadata: Any, depth: int) -> str:
    """Return the provider's message, which OpenRouter puts into the metadata."""
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return _read_error(raw, depth).message if isinstance(raw, str) else ""


def _add_location(message: str, fields: Mapping[str, Any]) -> str:
    path = fields.get("loc") or fields.get("path")
    return f"{'.'.join(map(str, path[:_MAX_PARTS]))}: {message}" if isinstance(path, list) and path else message


def _find_type(fields: Mapping[str, Any], message: str) -> str | None:
    """Return the server's name for the type of error; "error" or a URL only if there is nothing better."""
    values = [fields.get(name) for name in (*_TYPES, "error")]
    names = [name for value in values if isinstance(value, str) and value != message and (name := _to_name(value))]
    words = [name for name in names if not _to_number(name) and name.casefold() not in (*_FAILURES, *_SUCCESS_WORDS)]
    best = [word for word in words if "://" not in word and not word.startswith(("response.", "about:"))]
    return next(iter((*best, *words, *(names if fields.get("type") else ()))), None)


def _find_code(fields: Mapping[str, Any]) -> str | None:
    """Return the code; if there are Google's `details`, their `reason`, which is a name, rather than a number."""
    details = fields.get("details")
    for detail in details[:_MAX_PARTS] if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and isinstance(reason := detail.get("reason"), str) and reason:
            return _to_name(reason)
    extensions = fields.get("extensions")
    others = [extensions.get("code")] if isinstance(extensions, Mapping) else []
    status = fields.get("statuscode")
    others += [None if _to_status(status) else status] if _to_number(status) else []
    return next(
        (name for value in (*(fields.get(each) for each in _CODES), *others) if (name := _to_name(value))), None
    )


def _find_status(fields: Mapping[str, Any]) -> int | None:
    return next((status for name in _STATUSES if (status := _to_status(fields.get(name)))), None)


def _to_status(value: Any) -> int | None:
    return number if 400 <= (number := _to_number(value)) < 600 else None  # noqa: PLR2004 - errors in HTTP


def _to_name(value: Any) -> str | None:
    """Return a type or code as a string; None if it is a sentence, has several lines, or is not a scalar."""
    if value is None or isinstance(value, bool | dict | list) or value == "":
        return None
    name = value if isinstance(value, str) else _to_json(value)
    return name if name and len(name) <= _MAX_NAME_CHARS and name.isprintable() else None


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> AimlError:
    """Return the exception for a response with an error status, with the server's message."""
    from aiml_cli.api import error_kinds  # only after an error

    event = _parse_body(body) or ErrorEvent(_page_to_text(headers, body))
    message = shorten_message(event.message)
    error_type = event.type or _to_name(headers.get("x-amzn-errortype", "").partition(":")[0])
    event = event._replace(message=message, type=error_type, status=status)
    words = f"the server answered {status}" + (f": {message}" if message else "")
    error = error_kinds.make_error(event, words, headers, is_page=_is_page(headers, body) or not message)
    if 300 <= status < 400 and (location := shorten_message(headers.get("location", ""))):  # noqa: PLR2004
        error.hint = f"the server redirects to {location}: {error.hint}"
    return error


def error_from_event(event: ErrorEvent) -> AimlError:
    """Return the exception for an error in a stream or with status 200, as if it had arrived with an error status.

    An error with neither a status nor a known kind is a ServerError that is not retried.
    """
    from aiml_cli.api import error_kinds  # only after an error

    event = event._replace(message=shorten_message(event.message))
    return error_kinds.make_error(event, f"the server reported an error: {event.message or 'no reason given'}", {})


def _parse_body(body: bytes) -> ErrorEvent | None:
    """Return the error in a JSON body or in the first event of a stream; None if the body is neither."""
    text = body.decode("utf-8-sig", "replace").strip()
    lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    for candidate in (text, *lines[:1]):
        try:
            value = json.loads(candidate)
            return parse_error(value) or (_read_error(value, _MAX_DEPTH) if value else None)
        except RecursionError:  # nested too deeply
            return None
        except ValueError:
            continue
    return None


def parse_error_text(text: str) -> ErrorEvent:
    """Return the error in text that a server sends instead of an event: JSON, an HTML page or a sentence."""
    body = text.encode("utf-8", "replace")
    return _parse_body(body) or ErrorEvent(_page_to_text({}, body))


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "") or body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def _page_to_text(headers: Mapping[str, str], body: bytes) -> str:
    text = body.decode("utf-8-sig", "replace")
    return " ".join(_list_visible_words(text)) if _is_page(headers, body) else text


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
    text = message.lstrip()
    lines = [line.rstrip() for line in text[:_MAX_TEXT_CHARS].splitlines() if line.strip()]
    short = "\n".join(lines[:MAX_MESSAGE_LINES])
    is_cut = len(lines) > MAX_MESSAGE_LINES or len(short) > MAX_MESSAGE_CHARS or bool(text[_MAX_TEXT_CHARS:].strip())
    return short[:MAX_MESSAGE_CHARS] + (" …" if is_cut else "")
