"""Encode an exchange as a line of a recording, and decode it; no I/O.

Version 1: one JSON object per line. `request` has method, path (relative to the base URL), server and the user's
headers (both for readers only), and the body as `json`, `text` or `base64`; `reply` has status, headers and the chunks
as they arrived; `failure` is the error that was raised instead of a response, or after its last chunk.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiml_cli.errors import AimlError, ConnectionFailed, IncompleteAnswer, ServerError, UsageError
from aiml_cli.settings.urls import path_below
from aiml_cli.transport.http_types import HttpRequest
from aiml_cli.transport.key_masking import mask_credentials

Json = Any
START = b'{"aiml"'
# The errors that the transport itself raises; any other in a recording was put there by hand.
_FAILURE_CLASSES: tuple[type[AimlError], ...] = (IncompleteAnswer, UsageError, ServerError, ConnectionFailed)
FAILURES = {error_class.name: error_class for error_class in _FAILURE_CLASSES}


class InvalidExchangeError(ValueError):
    """A line that is not an exchange of a recording; its message says why."""


class RecordedRequest(NamedTuple):
    """The parts of a request that are matched; `body` is {} or has one of json, text and base64."""

    method: str
    path: str
    body: dict[str, Json]

    @property
    def key(self) -> str:
        """Return a text that is equal for equal requests; JSON is compared by value."""
        return json.dumps(self, sort_keys=True)


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """A request with its response; `status` is None if no response came.

    `added_headers` are those of the user in the request; they are for readers only and not matched.
    """

    request: RecordedRequest
    server: str
    status: int | None
    headers: Mapping[str, str]
    chunks: Sequence[bytes]
    failure: AimlError | None
    added_headers: Mapping[str, str] = field(default_factory=dict)


def describe_request(request: HttpRequest, base_url: str) -> RecordedRequest:
    """Return the parts of a request that are matched, without secrets; `base_url` "" matches the whole URL."""
    path = path_below(request.url, base_url) if base_url else request.url
    return RecordedRequest(request.method, path, _encode_body(None if request.body is None else bytes(request.body)))


def encode_exchange(exchange: RecordedExchange) -> bytes:
    """Return an exchange as a line; the caller has removed its secrets."""
    request, error = exchange.request, exchange.failure
    described: dict[str, Json] = {"method": request.method, "path": request.path, "server": exchange.server}
    if exchange.added_headers:
        described["headers"] = dict(exchange.added_headers)
    record: dict[str, Json] = {"aiml": 1, "request": {**described, **request.body}}
    if exchange.status is not None:
        chunks = [_encode_bytes(chunk) for chunk in exchange.chunks]
        record["reply"] = {"status": exchange.status, "headers": dict(exchange.headers), "chunks": chunks}
    if error:
        record["failure"] = {"kind": error.name, "message": error.message, "hint": error.hint, "details": error.details}
    return _encode_json(record) + b"\n"


def decode_exchange(line: bytes) -> RecordedExchange:
    """Parse a line; raise InvalidExchangeError if it is not an exchange."""
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        raise InvalidExchangeError("this is not JSON") from None
    if not isinstance(record, dict) or "aiml" not in record:
        raise InvalidExchangeError("this is not a line of a recording")
    if record["aiml"] != 1:
        raise InvalidExchangeError(f"this was recorded by another version of aiml (format {record['aiml']!r})")
    try:
        return _parse_exchange(record)
    except (KeyError, TypeError, ValueError, AttributeError, NotBase64) as error:
        raise InvalidExchangeError(f"the exchange is incomplete ({type(error).__name__}: {error})") from None


def _parse_exchange(record: dict[str, Json]) -> RecordedExchange:
    request, reply = record["request"], record.get("reply")
    body = {name: request[name] for name in ("json", "text", "base64") if name in request}
    if "json" in body:  # an earlier version masked less, and requests are compared without credentials
        body["json"] = mask_credentials(body["json"])
    failure = _parse_failure(record["failure"]) if record.get("failure") else None
    if reply is None and failure is None:
        raise KeyError("reply")
    recorded = RecordedRequest(_require_str(request["method"]), _require_str(request["path"]), body)
    status, headers, chunks = (reply["status"], reply["headers"], reply["chunks"]) if reply else (None, {}, [])
    if status is not None and type(status) is not int:
        raise TypeError(f"the status is {status!r}")
    headers = {_require_str(name).lower(): _require_str(value) for name, value in headers.items()}
    chunks = [_decode_bytes(chunk) for chunk in chunks]
    return RecordedExchange(recorded, str(request.get("server", "")), status, headers, chunks, failure)


def _parse_failure(record: dict[str, Json]) -> AimlError:
    error = FAILURES[record["kind"]](_require_str(record["message"]), _require_str(record.get("hint", "")))
    error.details = dict(record.get("details") or {})
    return error


def _require_str(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} instead of a string")
    return value


def _encode_body(body: bytes | None) -> dict[str, Json]:
    if body is None:
        return {}
    try:
        return {"json": mask_credentials(parse_json(body))}
    except (ValueError, RecursionError):
        encoded = _encode_bytes(body)
        return {"text": encoded} if isinstance(encoded, str) else encoded


def parse_json(data: bytes) -> Json:
    """Parse JSON in which 1.0 is 1, as it is for servers."""
    return json.loads(data, parse_float=_parse_number)


def _parse_number(digits: str) -> float:
    number = float(digits)
    return int(number) if number.is_integer() else number


def _encode_bytes(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _decode_bytes(chunk: Json) -> bytes:
    return b64decode(chunk["base64"], validate=True) if isinstance(chunk, dict) else _require_str(chunk).encode()


def _encode_json(value: Json) -> bytes:
    """Write readable JSON; escapes are used only if an unpaired surrogate requires them."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()
