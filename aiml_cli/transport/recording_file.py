"""Write an exchange as a line of a recording, read it back; pure.

Version 1: a JSON object a line. `request` has method, path (behind the base URL), server (for readers only) and
the body as `json`, `text` or `base64`; `reply` has status, headers and the chunks as they came; `failure` is what
was raised in the place of a reply, or behind its last chunk.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiml_cli import errors
from aiml_cli.errors import AimlError
from aiml_cli.transport.http_types import HttpRequest

Json = Any
START = b'{"aiml"'
# What the wire can do to an exchange; anything else in a recording was put there by hand.
FAILURES: dict[str, type[AimlError]] = {
    kind.name: kind
    for kind in (errors.IncompleteAnswer, errors.UsageError, errors.ServerError, errors.ConnectionFailed)
}
STARS = "***"


class InvalidExchangeError(ValueError):
    """Say why a line is none of a recording."""


class RecordedRequest(NamedTuple):
    """Hold what is matched of a request; `body` is {} or has one of json, text and base64."""

    method: str
    path: str
    body: dict[str, Json]

    @property
    def key(self) -> str:
        """Give what is equal for requests that ask the same: JSON is compared as values."""
        return json.dumps(self, sort_keys=True)


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """Hold a request with its reply; `status` None says that none came."""

    request: RecordedRequest
    server: str
    status: int | None
    headers: Mapping[str, str]
    chunks: Sequence[bytes]
    failure: AimlError | None


def describe_request(request: HttpRequest, base: str) -> RecordedRequest:
    """Give what is matched of a request, without what is secret in it; `base` "" matches the whole address."""
    return RecordedRequest(request.method, _path(request.url, base), _body(request.body))


def encode_exchange(found: RecordedExchange) -> bytes:
    """Write an exchange as a line; what is secret in it was taken out before."""
    request = {
        "method": found.request.method, "path": found.request.path, "server": found.server, **found.request.body,
    }  # fmt: skip
    what: dict[str, Json] = {"aiml": 1, "request": request}
    if found.status is not None:
        chunks = [_written(chunk) for chunk in found.chunks]
        what["reply"] = {"status": found.status, "headers": dict(found.headers), "chunks": chunks}
    if found.failure:
        fault = found.failure
        details = {"message": fault.message, "hint": fault.hint, "details": fault.details}
        what["failure"] = {"kind": fault.name, **details}
    return _encoded(what) + b"\n"


def decode_exchange(line: bytes) -> RecordedExchange:
    """Read a line; raise NoExchangeError in words."""
    try:
        what = _plain(line)
    except (ValueError, RecursionError):
        raise InvalidExchangeError("this is not JSON") from None
    if not isinstance(what, dict) or "aiml" not in what:
        raise InvalidExchangeError("this is no line of a recording")
    if what["aiml"] != 1:
        raise InvalidExchangeError(f"this was recorded by another version of aiml (form {what['aiml']!r})")
    try:
        return _exchange(what)
    except (KeyError, TypeError, ValueError, AttributeError, NotBase64) as fault:
        raise InvalidExchangeError(f"the exchange is not whole ({type(fault).__name__}: {fault})") from None


def _exchange(what: dict[str, Json]) -> RecordedExchange:
    request, reply = what["request"], what.get("reply")
    body = {name: request[name] for name in ("json", "text", "base64") if name in request}
    failure = _failure(what["failure"]) if what.get("failure") else None
    if reply is None and failure is None:
        raise KeyError("reply")
    seen = RecordedRequest(_text(request["method"]), _text(request["path"]), body)
    status, headers, chunks = (reply["status"], reply["headers"], reply["chunks"]) if reply else (None, {}, [])
    if status is not None and type(status) is not int:
        raise TypeError(f"the status is {status!r}")
    told = {_text(name).lower(): _text(value) for name, value in headers.items()}
    return RecordedExchange(
        seen, str(request.get("server", "")), status, told, [_read(chunk) for chunk in chunks], failure
    )


def _failure(what: dict[str, Json]) -> AimlError:
    fault = FAILURES[what["kind"]](_text(what["message"]), _text(what.get("hint", "")))
    fault.details = dict(what.get("details") or {})
    return fault


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text belongs")
    return value


def _path(url: str, base: str) -> str:
    """Give what stands behind the base URL, or the path as a whole where the base is another."""
    base = base.rstrip("/")
    if not base:
        return url
    if url.startswith((f"{base}/", f"{base}?")):
        return url[len(base) :]
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _body(body: bytes | None) -> dict[str, Json]:
    if body is None:
        return {}
    try:
        return {"json": _without_secrets(_plain(body))}
    except (ValueError, RecursionError):
        found = _written(body)
        return {"text": found} if isinstance(found, str) else found


def _plain(data: bytes) -> Json:
    """Read JSON; 1.0 is 1, as it is for whoever is asked."""
    return json.loads(data, parse_float=_number)


def _number(digits: str) -> float:
    number = float(digits)
    return int(number) if number.is_integer() else number


def _without_secrets(value: Json) -> Json:
    """Put stars for what proves to a tool's server who asks."""
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "mcp":
        value = {name: _starred(each) if name in ("authorization", "headers") else each for name, each in value.items()}
    return {name: _without_secrets(each) for name, each in value.items()}


def list_secrets(request: HttpRequest) -> list[str]:
    """List what `asked` puts stars for: a reply may repeat it."""
    try:
        return _secrets_in(_plain(request.body or b"null"))
    except (ValueError, RecursionError):
        return []


def _secrets_in(value: Json) -> list[str]:
    if isinstance(value, list):
        return [secret for each in value for secret in _secrets_in(each)]
    if not isinstance(value, dict):
        return []
    names = ("authorization", "headers") if value.get("type") == "mcp" else ()
    here = [value.get(name) for name in names]
    texts = [each for found in here for each in (found.values() if isinstance(found, dict) else [found])]
    deeper = [secret for name, each in value.items() if name not in names for secret in _secrets_in(each)]
    return [each for each in texts if isinstance(each, str)] + deeper


def _starred(value: Json) -> Json:
    if isinstance(value, dict):
        return dict.fromkeys(value, STARS)
    return STARS if isinstance(value, str) else value


def _written(data: bytes) -> str | dict[str, str]:
    """Write bytes as text where they are UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _read(chunk: Json) -> bytes:
    return b64decode(chunk["base64"], validate=True) if isinstance(chunk, dict) else _text(chunk).encode()


def _encoded(what: Json) -> bytes:
    """Write JSON for a reader, and with escapes only where half a character can be written in no other way."""
    try:
        return json.dumps(what, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(what).encode()
