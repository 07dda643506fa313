"""Requests as they go out, replies as they come back; plain data, no HTTP library."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aiml_cli.errors import ServerError

LARGEST = 64 * 1024 * 1024


class HttpRequest(NamedTuple):
    """Hold what goes out; `body` None sends none."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class HttpResponse(NamedTuple):
    """Hold what comes back. Header names are in lower case; `chunks` gives one piece a network read.

    Reading `chunks` raises IncompleteAnswer when the connection ends before the body does.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def read_all(reply: HttpResponse) -> bytes:
    """Read all of a body; raise ServerError for more than 64 MiB."""
    body = bytearray()
    for chunk in reply.chunks:
        body += chunk
        if len(body) > LARGEST:
            raise ServerError(f"the server sent an answer of more than {LARGEST >> 20} MiB")
    return bytes(body)
