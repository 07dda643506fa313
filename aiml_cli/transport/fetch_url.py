"""Download a file from a URL of the user's, without the API key and without following redirects."""

from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

from aiml_cli.errors import ConnectionFailed, IncompleteAnswer, UsageError
from aiml_cli.transport.http_types import HttpRequest, Send

MAX_BYTES = 20 * 1024 * 1024
OK = 200


def fetch_url(
    url: str, user_agent: str, client: AbstractContextManager[Any], send: Send, *, seconds: float
) -> tuple[bytes, str]:
    """Return the bytes at a URL and their content type; `client` is opened for this one request.

    Raises UsageError for what cannot be fetched or is larger than 20 MiB, and ConnectionFailed for what is not there
    after so many seconds, also if bytes go on to arrive.
    """
    end = monotonic() + seconds
    request = HttpRequest("GET", url, {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    with client as open_client, send(open_client, request) as response:
        if response.status != OK:
            target = response.headers.get("location", "")
            hint = f"it points to {target}: name that" if target else "nothing was sent"
            raise UsageError(f"{url}: HTTP {response.status}", hint)
        data = bytearray()
        try:
            for chunk in response.chunks:
                data += chunk
                if len(data) > MAX_BYTES:
                    hint = "fetch it yourself, and send a part of it"
                    raise UsageError(f"{url}: more than {MAX_BYTES >> 20} MiB", hint)
                if monotonic() > end:
                    what = f"{url}: not whole after {seconds:g} seconds"
                    raise ConnectionFailed(what, "wait longer with --timeout, or fetch it yourself")
        except IncompleteAnswer:
            raise ConnectionFailed(f"{url}: the connection was cut", "nothing was sent") from None
        return bytes(data), response.headers.get("content-type", "")
