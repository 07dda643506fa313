"""Send a request over HTTP; the only file that opens a network connection."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from aiml_cli.errors import AimlError, ConnectionFailed, IncompleteAnswer, ServerError, UsageError
from aiml_cli.settings.urls import is_local, is_unencrypted
from aiml_cli.system.atomic_write import read_bounded
from aiml_cli.system.stdio import Notifier
from aiml_cli.transport.connection import ConnectionHandle, TraceHook, shut_down_stream
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent
from aiml_cli.transport.key_masking import extract_key, list_credentials, mask_chunks, mask_errors, mask_text
from aiml_cli.transport.response_body import decompress, read_ahead

CONNECT_SECONDS = 10.0
MAX_REDIRECTS = 5
# httpx would also ask for br and zstd if they are installed, and their output cannot be bounded.
HEADERS = {"Accept-Encoding": "gzip, deflate"}
SLICE_BYTES = 1024 * 1024
PROXY_HINT = "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY"


class Client(httpx.Client):
    """An HTTP client that also knows its newest connection, and where to report a redirect."""

    def __init__(self, notify: Notifier, **settings: Any) -> None:
        super().__init__(**settings)
        self.connection, self.notify = ConnectionHandle(), notify


@contextmanager
def open_http_client(url: str, timeout: float, ca_bundle: str | None, notify: Notifier) -> Iterator[Client]:
    """Open a client for one server; `timeout` is in seconds without a byte, `notify` receives redirects."""
    timeouts = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    context = make_ssl_context(ca_bundle) if not is_unencrypted(url) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        client = Client(notify, verify=context, timeout=timeouts, trust_env=not is_local(url), headers=HEADERS)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise UsageError(f"the proxy settings cannot be used: {error}", PROXY_HINT) from None
    with client:
        yield client


@contextmanager
def send_request(client: Client, request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
    """Send a request; raise ConnectionFailed if no response comes.

    Follows redirects of a GET within the same origin only, so that neither the key nor the prompt reaches another.
    `on_sent` is called once: after the last byte is written, or when a response comes before that.
    """
    key = extract_key(request.headers)
    with mask_errors(key):
        yield from _exchange(client, request, on_sent, key)


def _exchange(client: Client, request: HttpRequest, on_sent: OnSent, key: str) -> Iterator[HttpResponse]:
    response = _send_once(client, request, on_sent)
    try:
        for _ in range(MAX_REDIRECTS):
            if not (target := _find_redirect(request, response)):
                break
            response.close()
            if client.notify:
                client.notify(mask_text(f"{request.url} is redirected to {target}", key))
            request = request._replace(url=target)
            response = _send_once(client, request, None)
        headers = {name.lower(): mask_text(value, key) for name, value in response.headers.items()}
        chunks = _read_chunks(response)
        chunks = chunks if "content-length" in headers else read_ahead(chunks, client.connection)
        # Only an error repeats the credentials in a request; to look for them takes as long as to parse the request.
        credentials = list_credentials(request.body) if response.is_error else []
        for secret in filter(None, (key, *credentials)):
            chunks = mask_chunks(secret, chunks)
        yield HttpResponse(response.status_code, headers, chunks)
    finally:
        if not response.is_closed:
            shut_down_stream(response.extensions.get("network_stream"))
        response.close()


def _send_once(client: Client, request: HttpRequest, on_sent: OnSent) -> httpx.Response:
    hook = TraceHook(client.connection, client.timeout.read or 0, on_sent)
    length, content = _slice_body(request.body)
    headers = httpx.Headers({**request.headers, **length}, encoding="latin-1")
    try:
        outgoing = client.build_request(
            request.method, request.url, headers=headers, content=content, extensions={"trace": hook}
        )
        response = client.send(outgoing, stream=True)
    except httpx.HTTPError as error:
        cause = httpx.ReadTimeout("the headers dripped") if hook.too_late else error
        raise _translate_error(cause, outgoing.url, client.timeout.connect) from None
    except (httpx.InvalidURL, ValueError) as error:  # invalid host names: http://xn--/, http://a..b/
        raise UsageError(f"{request.url!r} is not the address of a server: {error}") from None
    hook.report_sent()
    return response


def _slice_body(body: bytes | None) -> tuple[dict[str, str], bytes | Iterator[bytes] | None]:
    """Return a long body in slices, and its length header: httpx copies the rest of a whole body after each write."""
    if body is None or len(body) <= SLICE_BYTES:
        return {}, body
    starts = range(0, len(body), SLICE_BYTES)
    return {"Content-Length": str(len(body))}, (body[start : start + SLICE_BYTES] for start in starts)


def _find_redirect(request: HttpRequest, response: httpx.Response) -> str | None:
    """Return the URL to which a GET is redirected within its origin, or None."""
    if request.method != "GET" or response.next_request is None:
        return None
    old, new = response.request.url, response.next_request.url
    same = (old.scheme, old.host, old.port, old.userinfo) == (new.scheme, new.host, new.port, new.userinfo)
    return str(new) if same else None


def make_ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a TLS context that verifies servers by the given file or by the system's certificates.

    From a directory of hashed certificates OpenSSL reads only the one that it needs (0.5 ms; all of certifi: 15).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_bundle:
        try:
            context.load_verify_locations(cadata=read_bounded(ca_bundle).decode("ascii", "replace"))
        except (OSError, ValueError) as error:  # ValueError: the file is empty
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{ca_bundle}: no certificates could be read: {reason}") from None
        return context
    context.set_default_verify_paths()
    if not _has_system_certificates():
        import certifi  # few systems have no certificates of their own

        context.load_verify_locations(certifi.where())
    return context


def _has_system_certificates() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).glob("*.0")))


def _read_chunks(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, decompressed; raw bytes cost less if nothing is compressed."""
    encodings = response.headers.get("content-encoding", "identity")
    chunks = response.iter_raw()
    if encodings.lower() != "identity":
        chunks = decompress(encodings, chunks)
    try:
        yield from chunks
    except httpx.ReadTimeout:
        hint = "ask again, or wait longer with --timeout"
        raise IncompleteAnswer("the answer stopped: nothing came any more", hint) from None
    except httpx.HTTPError:
        raise IncompleteAnswer("the connection was cut before the answer was complete", "ask again") from None


def _translate_error(error: httpx.HTTPError, url: httpx.URL, seconds: float | None) -> AimlError:
    host = f"{url.host}:{url.port}" if url.port else url.host
    match error:
        case httpx.ConnectTimeout():
            return ConnectionFailed(f"{host}: no connection within {seconds:g} s", "is the address right?", again=1)
        case httpx.TimeoutException():
            return ConnectionFailed(f"{host}: no answer in time", "wait longer with --timeout, or ask again")
        case httpx.ProxyError():
            return ConnectionFailed(f"the proxy refused: {_format_error(error)}", PROXY_HINT)
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return UsageError(f"the request cannot be sent: {_format_error(error)}")
        case httpx.RemoteProtocolError() if "disconnected" not in str(error):
            return ServerError(f"{host}: the reply is not HTTP: {_format_error(error)}", "is --base-url right?")
        case httpx.ConnectError():
            message, hint = _format_connect_error(error), "is the address right, and the network up?"
            return ConnectionFailed(f"{host}: {message}", hint, again=not _is_tls_mismatch(error))
        case _:
            return ConnectionFailed(f"{host}: the connection was closed without an answer", "ask again", again=1)


def _is_tls_mismatch(error: httpx.ConnectError) -> bool:
    """True if TLS fails the next time too; a server that only hung up may answer then."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, OSError):
        cause = cause.__context__
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)


def _format_connect_error(error: httpx.ConnectError) -> str:
    message = _format_error(error)
    if "CERTIFICATE_VERIFY_FAILED" in message:
        reason = message.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"the server's certificate is not trusted: {reason or message}"
    if message.startswith("[SSL"):
        return f"no TLS connection: {message.partition('] ')[2].partition(' (_ssl')[0]}"
    return f"no connection: {message}"


def _format_error(error: Exception) -> str:
    """Return a library's message without its error number."""
    message = str(error) or type(error).__name__
    return message.partition("] ")[2] if message.startswith("[Errno") else message
