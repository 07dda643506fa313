"""Send a request over HTTP; the only file that opens a network connection."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import h11
import httpx

from aiml_cli.errors import AimlError, ConnectionFailed, ServerError, UsageError
from aiml_cli.settings.urls import is_unencrypted
from aiml_cli.system.stdio import Notifier
from aiml_cli.transport.connection import ConnectionHandle, RequestHook, shut_down_stream, watchdog
from aiml_cli.transport.early_connection import CONNECT_SECONDS, EarlyConnection, load_context, open_socket
from aiml_cli.transport.http_connection import (
    HttpAnswer,
    HttpConnection,
    Origin,
    RequestParts,
    Timeouts,
    decompress,
    is_open,
    make_cut_error,
    make_silence_error,
)
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent
from aiml_cli.transport.key_masking import extract_key, list_credentials, mask_chunks, mask_errors, mask_text

if TYPE_CHECKING:
    from aiml_cli.api.request_body import LongBody

MAX_REDIRECTS = 5
# How long to wait for the end of a body whose answer is complete, and for how many chunks.
END_SECONDS, MAX_END_CHUNKS = 0.1, 16
# httpx would also accept br and zstd if they are installed, and their output cannot be bounded.
HEADERS = {"Accept-Encoding": "gzip, deflate"}
SLICE_BYTES = 1024 * 1024
PROXY_HINT = "check HTTPS_PROXY, ALL_PROXY and NO_PROXY"


class Client(httpx.Client):
    """An HTTP client that also knows its newest connection, and where to report a redirect."""

    def __init__(self, notify: Notifier, transport: "DirectTransport | None" = None, **settings: Any) -> None:
        super().__init__(transport=transport, **settings)
        self.connection, self.notify = ConnectionHandle(), notify
        self._direct, self._own_headers = transport, [(name.lower(), name, value) for name, value in self.headers.raw]

    def exchange(self, request: HttpRequest, hook: RequestHook) -> httpx.Response:
        """Send a request, and return the response when its headers have arrived.

        A POST needs no cookies and follows no redirect; httpx's code for these takes longer than everything else.
        """
        url, body, headers = _parse_url(request.url), _Body(request.body or b""), self._list_headers(request)
        timeouts = self.timeout.as_dict()
        if self._direct and request.method == "POST":
            return self._direct.send(url, RequestParts(request.method, url.raw_path, headers, body), hook, timeouts)
        extensions = {"trace": hook, "timeout": timeouts}
        outgoing = httpx.Request(request.method, url, headers=headers, stream=body, extensions=extensions)
        return self.send(outgoing, stream=True)

    def _list_headers(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        """Return the headers that `build_request` would make, in a tenth of the time."""
        given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        names, size = {name.lower() for name, _ in given}, len(request.body or b"")
        own = [(name, value) for key, name, value in self._own_headers if key not in names]
        length = [(b"Content-Length", b"%d" % size)] if size or request.method == "POST" else []
        return [(b"Host", _parse_url(request.url).netloc), *own, *given, *length]


_parse_url = lru_cache(maxsize=16)(httpx.URL)


class _Body(httpx.SyncByteStream):
    """The body of a request in slices, so that only one slice at a time is copied."""

    def __init__(self, data: "bytes | LongBody") -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        if not isinstance(self._data, bytes):
            yield from self._data
            return
        for start in range(0, len(self._data), SLICE_BYTES):
            yield self._data[start : start + SLICE_BYTES]


class DirectTransport(httpx.BaseTransport):
    """Sends the requests of one client, one at a time and without a proxy, over a connection that it keeps open.

    The first connection is the `early` one if it is to the right server and still open; otherwise, and after a
    failure, a new one is opened. Raises the errors of httpx. `context` is None for a server without TLS.
    """

    def __init__(self, context: ssl.SSLContext | None, early: EarlyConnection | None = None) -> None:
        self._context, self._early = context, early
        self._connection: HttpConnection | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the response when its headers have arrived."""
        body = cast("httpx.SyncByteStream", request.stream)
        parts = RequestParts(request.method, request.url.raw_path, request.headers.raw, body)
        return self.send(request.url, parts, request.extensions["trace"], request.extensions["timeout"])

    def send(self, url: httpx.URL, parts: RequestParts, hook: RequestHook, timeouts: Timeouts) -> httpx.Response:
        """Send a request of these parts, as `handle_request` does; `hook` tracks it."""
        connection = self._choose_connection(url, hook, timeouts["connect"])
        try:
            with _raise_network_errors(httpx.ReadTimeout, httpx.ReadError):
                answer = connection.send(parts, hook, timeouts)
        except h11.ProtocolError as error:
            raise getattr(httpx, type(error).__name__)(str(error)) from None  # httpx and h11 use the same names
        extensions = {"network_stream": connection}
        return httpx.Response(answer.status, headers=answer.headers, stream=_BodyStream(answer), extensions=extensions)

    def close(self) -> None:
        """Close the connection, and the early one if it was not used."""
        if self._early:
            self._early.close()
        if self._connection:
            self._connection.close()

    def _choose_connection(self, url: httpx.URL, hook: RequestHook, seconds: float | None) -> HttpConnection:
        """Return the last connection if it can be used again, else a new one."""
        origin = url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        last = self._connection
        if last and last.can_send(origin):
            return last
        if last:
            last.close()
        with _raise_network_errors(httpx.ConnectTimeout, httpx.ConnectError):
            self._connection = self._connect(origin, hook, seconds)
        return self._connection

    def _connect(self, origin: Origin, hook: RequestHook, seconds: float | None) -> HttpConnection:
        """Return a connection to the first address of a server that accepts one; raise OSError if none does."""
        early, self._early = self._early, None
        scheme, host, port = origin
        opened = early.take(host, port) if early else None
        if opened is None or not is_open(opened):
            opened = open_socket(host, port, seconds or CONNECT_SECONDS)
        hook.follow(connection := HttpConnection(opened, origin))
        if scheme == "https":
            hook.follow(connection := HttpConnection(self._encrypt(opened, host, seconds), origin))
        return connection

    def _encrypt(self, opened: socket.socket, host: str, seconds: float | None) -> ssl.SSLSocket:
        """Return the connection encrypted, after the server's certificate is verified for this host."""
        context = cast("ssl.SSLContext", self._context)
        if isinstance(opened, ssl.SSLSocket):
            if opened.context is context and opened.server_hostname == host:
                return opened  # the early connection has done it
            opened.close()
            raise OSError("the connection is encrypted for another server")
        opened.settimeout(seconds)
        return context.wrap_socket(opened, server_hostname=host)


class _BodyStream(httpx.SyncByteStream):
    """The body of a response as a stream of httpx."""

    def __init__(self, answer: HttpAnswer) -> None:
        self.answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self.answer.read_body()

    def close(self) -> None:
        self.answer.close()


@contextmanager
def _raise_network_errors(on_timeout: type[Exception], on_failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise on_timeout(str(error)) from error
    except OSError as error:
        raise on_failure(str(error)) from error


@contextmanager
def open_http_client(
    url: str, timeout: float, ca_bundle: str | None, notify: Notifier, early: EarlyConnection | None, *, by_proxy: bool
) -> Iterator[Client]:
    """Open a client for one server; `timeout` is the longest time without a byte, in seconds.

    `notify` reports redirects. `early` is the first connection. With `by_proxy` the environment selects the proxy.
    """
    timeouts = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    context = None if is_unencrypted(url) else load_context(ca_bundle)
    if by_proxy:
        # httpx would read all certificates of certifi, even if none are needed.
        settings: dict[str, Any] = {"verify": context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "trust_env": True}
    else:
        settings = {"transport": DirectTransport(context, early), "trust_env": False}
    try:
        client = Client(notify, timeout=timeouts, headers=HEADERS, **settings)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise UsageError(f"the proxy settings cannot be used: {error}", PROXY_HINT) from None
    with client, watchdog.run():
        yield client


@contextmanager
def send_request(client: Client, request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
    """Send a request; raise ConnectionFailed if there is no response.

    Follows redirects of a GET within the same origin only, so that no other server receives the key or the prompt.
    `on_sent` is called once: after the last byte is written, or when a response arrives before that.
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
        # Only an error repeats the credentials in a request; looking for them takes as long as parsing the request.
        credentials = list_credentials(request.body) if response.is_error else []
        for secret in filter(None, (key, *credentials)):
            chunks = mask_chunks(secret, chunks)
        yield HttpResponse(response.status_code, headers, chunks)
        if not _is_complete(response):
            _read_end(chunks, client.connection)
    finally:
        if not _is_complete(response):
            shut_down_stream(response.extensions.get("network_stream"))
        response.close()


def _is_complete(response: httpx.Response) -> bool:
    """True if the end of the body has arrived, even if not all of it was yielded."""
    return response.is_closed or (isinstance(response.stream, _BodyStream) and response.stream.answer.is_complete)


def _read_end(chunks: Iterator[bytes], connection: ConnectionHandle) -> None:
    """Read the end of the body after a complete answer, if it arrives soon: only then can the connection be reused."""
    connection.close_within(END_SECONDS)
    with suppress(AimlError):
        for _ in islice(chunks, MAX_END_CHUNKS):
            pass
    connection.keep_open()


def _send_once(client: Client, request: HttpRequest, on_sent: OnSent) -> httpx.Response:
    hook = RequestHook(client.connection, client.timeout.read or 0, on_sent)
    try:
        response = client.exchange(request, hook)
    except httpx.HTTPError as error:
        cause = httpx.ReadTimeout("the headers arrived too slowly") if hook.too_late else error
        raise _translate_error(cause, _parse_url(request.url), client.timeout.connect) from None
    except (httpx.InvalidURL, ValueError) as error:  # invalid host names: http://xn--/, http://a..b/
        raise UsageError(f"{request.url!r} is not the URL of a server: {error}") from None
    hook.report_sent()
    return response


def _find_redirect(request: HttpRequest, response: httpx.Response) -> str | None:
    """Return the URL to which a GET is redirected within its origin, or None."""
    if request.method != "GET" or response.next_request is None:
        return None
    old, new = response.request.url, response.next_request.url
    same = (old.scheme, old.host, old.port, old.userinfo) == (new.scheme, new.host, new.port, new.userinfo)
    return str(new) if same else None


def _read_chunks(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, decompressed; raw bytes cost less if nothing is compressed."""
    encodings = response.headers.get("content-encoding", "identity")
    chunks = iter(cast("httpx.SyncByteStream", response.stream))  # iter_raw would count and copy each chunk
    if encodings.lower() != "identity":
        chunks = decompress(encodings, chunks)
    try:
        yield from chunks
        response.close()
    except httpx.ReadTimeout:  # only connections through a proxy raise these
        raise make_silence_error() from None
    except httpx.HTTPError:
        raise make_cut_error() from None


def _translate_error(error: httpx.HTTPError, url: httpx.URL, seconds: float | None) -> AimlError:
    host = f"{url.host}:{url.port}" if url.port else url.host
    match error:
        case httpx.ConnectTimeout():
            return ConnectionFailed(f"{host}: no connection within {seconds:g} s", "check the URL", again=1)
        case httpx.TimeoutException():
            return ConnectionFailed(f"{host}: no answer in time", "wait longer with --timeout, or try again")
        case httpx.ProxyError():
            return ConnectionFailed(f"the proxy refused: {_format_error(error)}", PROXY_HINT)
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return UsageError(f"the request cannot be sent: {_format_error(error)}")
        case httpx.RemoteProtocolError() if "disconnected" not in str(error):
            return ServerError(f"{host}: the response is not HTTP: {_format_error(error)}", "check --base-url")
        case httpx.ConnectError():
            message, hint = _format_connect_error(error), "check the URL and the network"
            return ConnectionFailed(f"{host}: {message}", hint, again=not _is_tls_mismatch(error))
        case _:
            return ConnectionFailed(f"{host}: the connection was closed without an answer", "try again", again=1)


def _is_tls_mismatch(error: httpx.ConnectError) -> bool:
    """True if TLS would fail again; a server that only closed the connection may answer the next time."""
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
