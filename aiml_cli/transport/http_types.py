"""HTTP requests and responses as plain data, without an HTTP library."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.errors import ServerError

if TYPE_CHECKING:
    from aiml_cli.api.request_body import LongBody

MAX_BODY_BYTES = 64 * 1024 * 1024


class HttpRequest(NamedTuple):
    """A request to send; `body` is None for a request without a body, and a LongBody if it is too large for `bytes`."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: "bytes | LongBody | None" = None


class HttpResponse(NamedTuple):
    """A response. Header names are in lower case; `chunks` yields one chunk per network read.

    Reading `chunks` raises IncompleteAnswer when the connection ends before the body does.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


OnSent = Callable[[], None] | None
Send = Callable[..., AbstractContextManager[HttpResponse]]  # called with (client, request, on_sent=None)


def read_all(response: HttpResponse) -> bytes:
    """Return the complete body; raise ServerError if it is larger than 64 MiB."""
    body = bytearray()
    for chunk in response.chunks:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ServerError(f"the server sent an answer of more than {MAX_BODY_BYTES >> 20} MiB")
    return bytes(body)
