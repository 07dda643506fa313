"""Show an exchange on standard error as it goes, with the key masked."""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from aiml_cli.system.stdio import print_err
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.key_masking import STARS, extract_key, mask_text

LONGEST = 4000
# What stands in for a picture or a sound is no help to anybody.
_CODED = re.compile(r"[A-Za-z0-9+/_-]{240,}={0,2}")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")


def show_exchanges(
    send: Callable[..., AbstractContextManager[HttpResponse]],
) -> Callable[..., AbstractContextManager[HttpResponse]]:
    """Give what sends as `send` does, and shows what goes out and what comes back."""

    @contextmanager
    def showing(client: Any, request: HttpRequest, on_sent: Callable[[], None] | None = None) -> Iterator[HttpResponse]:
        key = extract_key(request.headers)
        _show_request(client, request, key)
        with send(client, request, on_sent) as reply:
            print_err(f"< {reply.status}")
            for name, value in reply.headers.items():
                print_err(_header("<", name, value, key))
            print_err("<")
            yield reply._replace(chunks=_shown(reply.chunks, key))

    return showing


def _show_request(client: Any, request: HttpRequest, key: str) -> None:
    path, headers = _outgoing(client, request)
    print_err(mask_text(f"> {request.method} {path} HTTP/1.1", key))
    for name, value in headers:
        print_err(_header(">", name, value, key))
    print_err(">")
    for line in (request.body or b"").decode("utf-8", "replace").splitlines():
        print_err(f"> {_short(mask_text(line, key))}")


def _outgoing(client: Any, request: HttpRequest) -> tuple[str, list[tuple[str, str]]]:
    """Give the path and the headers as they are sent; where a recording answers, nothing is added to ours."""
    if not hasattr(client, "build_request"):
        parts = urlsplit(request.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path, list(request.headers.items())
    made = client.build_request(request.method, request.url, headers=dict(request.headers), content=request.body)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in made.headers.raw]
    return made.url.raw_path.decode("ascii", "replace"), headers


def _header(sign: str, name: str, value: str, key: str) -> str:
    """Write a header; of one that proves who somebody is only its scheme, or its cookie's name."""
    if name.lower() in _SECRET_HEADERS:
        scheme = re.match(r"(?:Bearer|Basic|Digest|Negotiate) |[\w!#$%&'*+.^`|~-]+=", value)
        value = (scheme[0] if scheme else "") + STARS
    return f"{sign} {name}: {_short(mask_text(value, key))}"


def _short(line: str) -> str:
    """Cut a line that nobody could read: coded bytes in it first, then its end."""
    line = _CODED.sub(lambda coded: f"{coded[0][:24]}…({len(coded[0]):,} characters)", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(line) - LONGEST:,} more characters)"


def _shown(chunks: Iterator[bytes], key: str) -> Iterator[bytes]:
    """Show the lines of a body as they come; one that is not ended yet waits for its end."""
    decoder, rest = getincrementaldecoder("utf-8")("replace"), ""
    try:
        for chunk in chunks:
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
            for line in lines:
                print_err(f"< {_short(mask_text(line.removesuffix(chr(13)), key))}")
            yield chunk
    finally:
        if rest:
            print_err(f"< {_short(mask_text(rest, key))}")
