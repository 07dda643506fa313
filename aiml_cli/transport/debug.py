"""Show each request and response on standard error (--debug), with the key and other credentials masked."""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from aiml_cli.system.stdio import print_err
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent, Send
from aiml_cli.transport.key_masking import STARS, extract_key, list_credentials, make_masker

Mask = Callable[[str], str]
MAX_LINE_LENGTH = 4000
# The base64 of images and audio, which nobody can read.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{240,}={0,2}")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")


def show_exchanges(send: Send) -> Send:
    """Return a function that sends as `send` does, and shows the request and the response."""

    @contextmanager
    def send_and_show(client: Any, request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
        mask = make_masker([extract_key(request.headers), *list_credentials(request.body)])
        _show_request(client, request, mask)
        with send(client, request, on_sent) as response:
            print_err(f"< {response.status}")
            for name, value in response.headers.items():
                print_err(_format_header("<", name, value, mask))
            print_err("<")
            yield response._replace(chunks=_show_chunks(response.chunks, mask))

    return send_and_show


def _show_request(client: Any, request: HttpRequest, mask: Mask) -> None:
    path, headers = _build_head(client, request)
    print_err(mask(f"> {request.method} {path} HTTP/1.1"))
    for name, value in headers:
        print_err(_format_header(">", name, value, mask))
    print_err(">")
    for line in bytes(request.body or b"").decode("utf-8", "replace").splitlines():
        print_err(f"> {_shorten(mask(line))}")


def _build_head(client: Any, request: HttpRequest) -> tuple[str, list[tuple[str, str]]]:
    """Return the path and the headers as they are sent; the client of a replay adds no headers."""
    if not hasattr(client, "build_request"):
        parts = urlsplit(request.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path, list(request.headers.items())
    encoded = {name: value.encode("latin-1") for name, value in request.headers.items()}
    outgoing = client.build_request(request.method, request.url, headers=encoded, content=bytes(request.body or b""))
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in outgoing.headers.raw]
    return outgoing.url.raw_path.decode("ascii", "replace"), headers


def _format_header(sign: str, name: str, value: str, mask: Mask) -> str:
    """Return a header line; a credential is masked except for its scheme or the name of its cookie."""
    if name.lower() in _SECRET_HEADERS:
        scheme = re.match(r"(?:Bearer|Basic|Digest|Negotiate) |[\w!#$%&'*+.^`|~-]+=", value)
        value = (scheme[0] if scheme else "") + STARS
    return f"{sign} {name}: {_shorten(mask(value))}"


def _shorten(line: str) -> str:
    """Shorten a line that is too long to read: first its base64, then its end."""
    line = _BASE64.sub(lambda match: f"{match[0][:24]}…({len(match[0]):,} characters)", line)
    extra = len(line) - MAX_LINE_LENGTH
    return line if extra <= 0 else f"{line[:MAX_LINE_LENGTH]}… ({extra:,} more characters)"


def _show_chunks(chunks: Iterator[bytes], mask: Mask) -> Iterator[bytes]:
    """Yield the chunks, and show each line of the body when it is complete."""
    decoder, rest = getincrementaldecoder("utf-8")("replace"), ""
    try:
        for chunk in chunks:
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
            for line in lines:
                print_err(f"< {_shorten(mask(line.removesuffix(chr(13))))}")
            yield chunk
    finally:
        if rest:
            print_err(f"< {_shorten(mask(rest))}")
