"""Send a request over HTTP; the only file that opens a socket."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from aiml_cli.errors import AimlError, ConnectionFailed, IncompleteAnswer, ServerError, UsageError
from aiml_cli.settings.urls import is_local, is_unencrypted
from aiml_cli.transport.connection import ConnectionHandle, TraceHook, shut_down_stream
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.key_masking import extract_key, mask_chunks, mask_errors, mask_text
from aiml_cli.transport.response_body import ahead

CONNECT_SECONDS = 10.0
MOST_REDIRECTS = 5
# The library would also ask for br and zstd where it finds them installed, and they cannot be bounded.
ENCODINGS = {"Accept-Encoding": "gzip, deflate"}
SLICE = 1024 * 1024


class Client(httpx.Client):
    """Know the newest connection besides, and whom to tell of a redirect."""

    def __init__(self, notify: Callable[[str], None], **settings: Any) -> None:
        super().__init__(**settings)
        self.connection, self.notify = ConnectionHandle(), notify


@contextmanager
def open_http_client(
    url: str, timeout: float, ca_bundle: str | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[Client]:
    """Open a client for one server; `timeout` is in seconds without a byte, `tell` hears of redirects."""
    limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    context = make_ssl_context(ca_bundle) if not is_unencrypted(url) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        client = Client(tell or _nobody, verify=context, timeout=limits, trust_env=not is_local(url), headers=ENCODINGS)
    except (ImportError, ValueError, httpx.InvalidURL) as fault:
        hint = "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY"
        raise UsageError(f"the proxy settings cannot be used: {fault}", hint) from None
    with client:
        yield client


@contextmanager
def send_request(
    client: Client, request: HttpRequest, on_sent: Callable[[], None] | None = None
) -> Iterator[HttpResponse]:
    """Send a request; raise ConnectionFailed when no reply comes.

    Only a GET is redirected, and only on the same origin: neither the key nor the prompt goes where nobody sent it.
    `on_sent` is called once, as soon as the last byte is written, or when a reply comes before that.
    """
    key = extract_key(request.headers)
    with mask_errors(key):
        yield from _exchange(client, request, on_sent, key)


def _exchange(
    client: Client, request: HttpRequest, on_sent: Callable[[], None] | None, key: str
) -> Iterator[HttpResponse]:
    response = _answered(client, request, on_sent)
    try:
        for _ in range(MOST_REDIRECTS):
            if not (target := _next(request, response)):
                break
            response.close()
            client.notify(mask_text(f"{request.url} is redirected to {target}", key))
            request = request._replace(url=target)
            response = _answered(client, request, None)
        headers = {name.lower(): mask_text(value, key) for name, value in response.headers.items()}
        chunks = _chunks(response)
        chunks = chunks if "content-length" in headers else ahead(chunks)
        yield HttpResponse(response.status_code, headers, mask_chunks(key, chunks) if key else chunks)
    finally:
        if not response.is_closed:
            shut_down_stream(response.extensions.get("network_stream"))
        response.close()


def _answered(client: Client, request: HttpRequest, on_sent: Callable[[], None] | None) -> httpx.Response:
    """Send one request, and wait for the headers of its reply."""
    watch = TraceHook(client.connection, client.timeout.read or 0, on_sent)
    length, content = _in_slices(request.body)
    try:
        outgoing = client.build_request(
            request.method, request.url, headers={**request.headers, **length}, content=content,
            extensions={"trace": watch},
        )  # fmt: skip
        response = client.send(outgoing, stream=True)
    except httpx.HTTPError as fault:
        late = httpx.ReadTimeout("the headers dripped") if watch.too_late else fault
        raise _unreached(late, outgoing.url, client.timeout.connect) from None
    except (httpx.InvalidURL, ValueError) as fault:  # names that are no names: http://xn--/, http://a..b/
        raise UsageError(f"{request.url!r} is not the address of a server: {fault}") from None
    watch.sent()
    return response


def _in_slices(body: bytes | None) -> tuple[dict[str, str], bytes | Iterator[bytes] | None]:
    """Give a long body piece by piece: of a whole one the library copies the rest after each write."""
    if body is None or len(body) <= SLICE:
        return {}, body
    return {"Content-Length": str(len(body))}, (body[at : at + SLICE] for at in range(0, len(body), SLICE))


def _next(request: HttpRequest, response: httpx.Response) -> str | None:
    """Give the address that a GET is to be sent to next; None when it stays with this reply."""
    if request.method != "GET" or response.next_request is None:
        return None
    here, there = response.request.url, response.next_request.url
    same = (here.scheme, here.host, here.port, here.userinfo) == (there.scheme, there.host, there.port, there.userinfo)
    return str(there) if same else None


def make_ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Make the TLS context: always checking, by the file given or by the system's certificates.

    A directory of hashed certificates is read one certificate at a time, when one is needed: that
    costs 0.5 ms, where the whole of certifi costs 15.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_bundle:
        try:
            context.load_verify_locations(Path(ca_bundle).expanduser())
        except OSError as fault:
            raise UsageError(f"{ca_bundle}: no certificates could be read: {fault.strerror or fault}") from None
        return context
    context.set_default_verify_paths()
    if not _system_trusts():
        import certifi  # only where the system has no certificates of its own

        context.load_verify_locations(certifi.where())
    return context


def _system_trusts() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).glob("*.0")))


def _nobody(_: str) -> None:
    """Tell nobody."""


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    """Give the body as it comes; the raw bytes cost less where nothing is compressed."""
    encodings = response.headers.get("content-encoding", "identity")
    chunks = response.iter_raw()
    if encodings.lower() != "identity":
        from aiml_cli.transport.response_body import unpacked  # streams are asked for uncompressed

        chunks = unpacked(encodings, chunks)
    try:
        yield from chunks
    except httpx.ReadTimeout:
        raise IncompleteAnswer(
            "the answer stopped: nothing came any more", "ask again, or wait longer with --timeout"
        ) from None
    except httpx.HTTPError:
        raise IncompleteAnswer("the connection was cut before the answer was complete", "ask again") from None


def _unreached(fault: httpx.HTTPError, url: httpx.URL, seconds: float | None) -> AimlError:
    """Say in our words why no reply came."""
    where = f"{url.host}:{url.port}" if url.port else url.host
    match fault:
        case httpx.ConnectTimeout():
            return ConnectionFailed(f"{where}: no connection within {seconds:g} s", "is the address right?", again=1)
        case httpx.TimeoutException():
            return ConnectionFailed(f"{where}: no answer in time", "wait longer with --timeout, or ask again")
        case httpx.ProxyError():
            return ConnectionFailed(
                f"the proxy refused: {_words(fault)}", "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY"
            )
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return UsageError(f"the request cannot be sent: {_words(fault)}")
        case httpx.RemoteProtocolError() if "disconnected" not in str(fault):
            return ServerError(f"{where}: the reply is not HTTP: {_words(fault)}", "is --base-url right?")
        case httpx.ConnectError():
            again = not _is_lasting(fault)
            return ConnectionFailed(
                f"{where}: {_connecting(fault)}", "is the address right, and the network up?", again=again
            )
        case _:
            return ConnectionFailed(f"{where}: the connection was closed without an answer", "ask again", again=1)


def _is_lasting(fault: httpx.ConnectError) -> bool:
    """Say whether both sides will not agree on TLS next time either; one that only hung up may."""
    cause: BaseException | None = fault
    while cause and not isinstance(cause, OSError):
        cause = cause.__context__
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)


def _connecting(fault: httpx.ConnectError) -> str:
    words = _words(fault)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        reason = words.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"the server's certificate is not trusted: {reason or words}"
    if words.startswith("[SSL"):
        return f"no TLS connection: {words.partition('] ')[2].partition(' (_ssl')[0]}"
    return f"no connection: {words}"


def _words(fault: Exception) -> str:
    """Give a library's message without its error number."""
    words = str(fault) or type(fault).__name__
    return words.partition("] ")[2] if words.startswith("[Errno") else words
