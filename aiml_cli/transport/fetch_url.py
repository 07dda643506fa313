"""Fetch what an address of the user's holds: without a key, without following it elsewhere."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from aiml_cli.errors import ConnectionFailed, IncompleteAnswer, UsageError
from aiml_cli.transport.http_types import HttpRequest, HttpResponse

MOST = 20 * 1024 * 1024
OK = 200


def fetch_url(
    url: str,
    user_agent: str,
    client: AbstractContextManager[Any],
    send: Callable[..., AbstractContextManager[HttpResponse]],
) -> tuple[bytes, str]:
    """Give the bytes and the content type; `client` is opened for this, and `send` sends by it.

    Raises UsageError for what cannot be fetched or is larger than 20 MiB, and ConnectionFailed.
    """
    request = HttpRequest("GET", url, {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    with client as opened, send(opened, request) as reply:
        if reply.status != OK:
            to = reply.headers.get("location", "")
            raise UsageError(
                f"{url}: HTTP {reply.status}", f"it points to {to}: name that" if to else "nothing was sent"
            )
        data = bytearray()
        try:
            for piece in reply.chunks:
                data += piece
                if len(data) > MOST:
                    raise UsageError(f"{url}: more than {MOST >> 20} MiB", "fetch it yourself, and send a part of it")
        except IncompleteAnswer:
            raise ConnectionFailed(f"{url}: the connection was cut", "nothing was sent") from None
        return bytes(data), reply.headers.get("content-type", "")
