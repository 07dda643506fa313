"""Turn a reply into events: an error status, a stream or a JSON body, whichever it really is."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain

from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.error_response import error_from_status, shorten_message
from aiml_cli.api.sse import LONGEST, split_events
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AimlError, ServerError

ENOUGH_OF_AN_ERROR = 1024 * 1024
STARTS_OF_A_STREAM = (b"data:", b"event:", b"id:", b"retry:", b":")


def parse_response(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], chunks: Iterator[bytes]
) -> Iterator[EventBatch]:
    """Give the events of a reply.

    Raises what a failing status means, and ServerError for a body that is neither stream nor JSON.
    """
    if not 200 <= status < 300:  # noqa: PLR2004 - the range of success
        raise error_from_status(status, headers, _as_far_as_it_came(chunks))
    start, chunks = _peeked(chunks)
    if _is_stream(headers.get("content-type", ""), start):
        yield from endpoint.parse_stream(split_events(chunks))
    else:
        yield endpoint.parse_json(_json(status, headers, _whole(chunks)))


def _as_far_as_it_came(chunks: Iterator[bytes]) -> bytes:
    """Read the words of a refusal; that they are cut takes nothing from it."""
    body = bytearray()
    with suppress(AimlError):
        for chunk in chunks:
            body += chunk
            if len(body) > ENOUGH_OF_AN_ERROR:
                break
    return bytes(body)


def _peeked(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Look at the first bytes, as many as it takes to know what they begin."""
    seen: list[bytes] = []
    start, size = b"", 0
    for chunk in chunks:
        seen.append(chunk)
        start = (start + chunk).removeprefix(b"\xef\xbb\xbf").lstrip()
        size += len(chunk)
        if len(start) >= len(b"event:") or size > LONGEST:
            break
    return start, chain(seen, chunks)


def _is_stream(content_type: str, start: bytes) -> bool:
    """Trust the bytes more than the header: gateways send each under the other's name."""
    if start.startswith(STARTS_OF_A_STREAM):
        return True
    return "event-stream" in content_type and not start.startswith((b"{", b"[", b"<"))


def _whole(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > LONGEST:
            break
    return bytes(body)


def _json(status: int, headers: Mapping[str, str], body: bytes) -> object:
    try:
        found: object = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _no_answer(status, headers, body) from None
    return found


def _no_answer(status: int, headers: Mapping[str, str], body: bytes) -> ServerError:
    if len(body) > LONGEST:
        return ServerError("the server sent an answer of more than 64 MiB")
    if not body.strip():
        return ServerError(f"the server answered {status} with nothing in it", "ask again", status=status)
    words = error_from_status(status, headers, body).message
    return ServerError(f"{shorten_message(words)} (this is no answer)", "is --base-url right?", status=status)
