"""Turn an HTTP response into events: an error status, a stream or a JSON body, whatever its Content-Type is."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.json_values import MalformedError, decode_json
from aiml_cli.api.sse import MAX_EVENT_BYTES, split_events
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AimlError, IncompleteAnswer, ServerError

MAX_ERROR_BYTES = 1024 * 1024
# Supported encodings besides UTF-8. All of them extend ASCII; in others, the key would not be masked.
_CHARSET = r"(?i)charset=\W?(iso-8859-\d{1,2}|latin-?1|windows-125\d|gbk|gb\d{4,5}|big5|shift_jis|euc-\w\w)\b"
STREAM_PREFIXES = (b"data:", b"event:", b"id:", b"retry:", b":")


def parse_response(
    endpoint: Endpoint,
    status: int,
    headers: Mapping[str, str],
    chunks: Iterator[bytes],
    *,
    choice_count: int = 1,
    on_complete: Callable[[], None] | None = None,
) -> Iterator[EventBatch]:
    """Yield the events of a response; raise the error for an error status, or ServerError if it is not an answer.

    `choice_count` is the number of requested choices; `on_complete` is called when a JSON body seems complete although
    the connection is still open.
    """
    body = bytearray()
    if not 200 <= status < 300:  # noqa: PLR2004 - the range of success
        with suppress(AimlError):  # a truncated error message is better than none
            _read_body(body, chunks, MAX_ERROR_BYTES)
        from aiml_cli.api.error_response import error_from_status  # most requests succeed

        raise error_from_status(status, headers, bytes(body))
    start, chunks = _peek(chunks)
    if _is_stream(headers.get("content-type", ""), start):
        yield from endpoint.parse_stream(split_events(chunks), choice_count)
        return
    cut: AimlError | None = None
    try:
        answer = _read_object(body, chunks, on_complete)
    except IncompleteAnswer as error:
        answer, cut = None, error  # the body may be complete although the connection broke
    if answer is None:
        try:
            answer = _decode_json(status, headers, bytes(body))
        except ServerError as error:
            raise cut or error from None
    yield endpoint.parse_json(answer, choice_count)


def _read_body(body: bytearray, chunks: Iterator[bytes], limit: int) -> None:
    for chunk in chunks:
        body += chunk
        if len(body) > limit:
            break


def _read_object(body: bytearray, chunks: Iterator[bytes], on_complete: Callable[[], None] | None) -> Any:
    """Read a body; return its JSON object as soon as a chunk completes it, or None if none does."""
    tested, answer = 0, None
    for chunk in chunks:
        body += chunk
        answer = None
        if len(body) > MAX_EVENT_BYTES:
            break
        # Only tested when the size has doubled, so that the time is linear even if many chunks end in a bracket.
        if len(body) >= 2 * tested and chunk.rstrip().endswith(b"}"):
            tested = len(body)
            with suppress(ValueError):
                answer = decode_json(body.decode("utf-8-sig"))
            if answer is not None and on_complete:
                on_complete()
    return answer


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return enough bytes to recognize a stream, and all chunks."""
    read: list[bytes] = []
    start, size = b"", 0
    for chunk in chunks:
        read.append(chunk)
        start = (start + chunk).removeprefix(b"\xef\xbb\xbf").lstrip()
        size += len(chunk)
        if len(start) >= len(b"event:") or size > MAX_EVENT_BYTES:
            break
    return start, chain(read, chunks)


def _is_stream(content_type: str, start: bytes) -> bool:
    """True if the body is a stream. The bytes count more than the header: gateways mix up the types."""
    is_declared = "event-stream" in content_type
    return start.startswith(STREAM_PREFIXES) or (is_declared and not start.startswith((b"{", b"[", b"<")))


def _decode_json(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    if len(body) > MAX_EVENT_BYTES:
        raise ServerError("the server sent an answer of more than 64 MiB")
    charset = re.search(_CHARSET, headers.get("content-type", ""))
    declared = [(charset[1], "strict")] if charset else []
    for encoding, errors in (("utf-8-sig", "strict"), *declared, ("utf-8-sig", "replace")):
        try:
            return decode_json(body.decode(encoding, errors))
        except MalformedError as error:
            raise ServerError(f"the server sent an answer that cannot be decoded: {error}", status=status) from None
        except (ValueError, LookupError):
            continue
    raise _build_body_error(status, headers, body)


def _build_body_error(status: int, headers: Mapping[str, str], body: bytes) -> ServerError:
    if not body.strip():
        return ServerError(f"the server answered {status} with an empty body", "try again", status=status)
    from aiml_cli.api.error_response import error_from_status, shorten_message  # most bodies are answers

    message = shorten_message(error_from_status(status, headers, body).message)
    return ServerError(f"{message} (not a response of the API)", "check --base-url", status=status)
