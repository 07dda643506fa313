"""Send a request over HTTP; the only file that opens a network connection."""

import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httpx

from aiml_cli.errors import AimlError, ConnectionFailed, IncompleteAnswer, ServerError, UsageError
from aiml_cli.settings.urls import is_unencrypted
from aiml_cli.system.stdio import Notifier
from aiml_cli.transport.connection import ConnectionHandle, TraceHook, shut_down_stream, watchdog
from aiml_cli.transport.early_connection import CONNECT_SECONDS, EarlyConnection, load_context, open_socket
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent
from aiml_cli.transport.key_masking import extract_key, list_credentials, mask_chunks, mask_errors, mask_text
from aiml_cli.transport.response_body import decompress, join_chunks

if TYPE_CHECKING:
    from aiml_cli.api.request_body import LongBody

KEEP_ALIVE_SECONDS = 5.0
MAX_REDIRECTS = 5
# How long to wait for the end of a body whose answer is complete, and for how many chunks.
END_SECONDS, MAX_END_CHUNKS = 0.1, 16
# httpx would also ask for br and zstd if they are installed, and their output cannot be bounded.
HEADERS = {"Accept-Encoding": "gzip, deflate"}
SLICE_BYTES = 1024 * 1024
PROXY_HINT = "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY"
HTTPCORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


class Client(httpx.Client):
    """An HTTP client that also knows its newest connection, and where to report a redirect."""

    def __init__(self, notify: Notifier, transport: "DirectTransport | None" = None, **settings: Any) -> None:
        super().__init__(transport=transport, **settings)
        self.connection, self.notify = ConnectionHandle(), notify
        self._direct, self._own_headers = transport, [(name.lower(), name, value) for name, value in self.headers.raw]

    def exchange(self, request: HttpRequest, hook: TraceHook) -> httpx.Response:
        """Send a request, and return the response when its headers have arrived.

        A POST needs no cookies and follows no redirect; what httpx does for these takes longer than all the rest.
        """
        url, body, headers = _parse_url(request.url), _Body(request.body or b""), self._list_headers(request)
        extensions = {"trace": hook, "timeout": self.timeout.as_dict()}
        if self._direct and request.method == "POST":
            return self._direct.send(request.method, url, headers, body, extensions)
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
    """The body of a request, in slices: httpcore copies the rest of a whole body after each write."""

    def __init__(self, data: "bytes | LongBody") -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        if not isinstance(self._data, bytes):
            yield from self._data
            return
        for start in range(0, len(self._data), SLICE_BYTES):
            yield self._data[start : start + SLICE_BYTES]


class DirectTransport(httpx.BaseTransport):
    """Sends the requests of one client, one after the other and without a proxy, over a connection that it keeps.

    The first connection is the `early` one, if that leads to the right server and is still open; otherwise, and after
    a failure, a new one is opened. Errors are those of httpx. `context` is None for a server without TLS.
    """

    def __init__(self, context: ssl.SSLContext | None, early: EarlyConnection | None = None) -> None:
        self._context, self._network = context, _Network(early)
        self._connection: httpcore.HTTPConnection | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the response when its headers have arrived."""
        body = cast("httpx.SyncByteStream", request.stream)
        return self.send(request.method, request.url, request.headers.raw, body, request.extensions)

    def send(
        self,
        method: str,
        url: httpx.URL,
        headers: list[tuple[bytes, bytes]],
        body: httpx.SyncByteStream,
        extensions: Mapping[str, Any],
    ) -> httpx.Response:
        """Send a request of these parts, as `handle_request` does."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        outgoing = httpcore.Request(method, target, headers=headers, content=body, extensions=dict(extensions))
        with _raise_httpx_errors():
            response = self._choose_connection(target.origin).handle_request(outgoing)
        content = _ResponseStream(response)
        return httpx.Response(response.status, headers=response.headers, stream=content, extensions=response.extensions)

    def close(self) -> None:
        """Close the connection, and the early one if it was not used."""
        self._network.close()
        if self._connection:
            self._connection.close()

    def _choose_connection(self, origin: httpcore.Origin) -> httpcore.HTTPConnection:
        """Return the last connection if it can be used again, else a new one; a pool takes twice the time to choose."""
        last = self._connection
        if last and last.can_handle_request(origin) and last.is_available() and not last.has_expired():
            return last
        if last and last.is_idle():
            last.close()
        self._connection = httpcore.HTTPConnection(
            origin, self._context, keepalive_expiry=KEEP_ALIVE_SECONDS, network_backend=self._network
        )
        return self._connection


class _ResponseStream(httpx.SyncByteStream):
    """The body of a response, whose errors are those of httpx."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _raise_httpx_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


@contextmanager
def _raise_httpx_errors() -> Iterator[None]:
    """Raise an error of httpcore as that of httpx, which has the same name."""
    try:
        yield
    except HTTPCORE_ERRORS as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


class _Network(httpcore.NetworkBackend):
    """Opens the connections of one client; the first one may be there already."""

    def __init__(self, early: EarlyConnection | None) -> None:
        self._early = early

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any) -> "_OpenStream":
        """Return a connection to a server, to the first of its addresses that accepts one."""
        early, self._early = self._early, None
        with _raise_network_errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            connection = early.take(host, port) if early else None
            if connection is None or not _is_open(connection):
                connection = open_socket(host, port, timeout or CONNECT_SECONDS)
        return _OpenStream(connection)

    def close(self) -> None:
        """Close the early connection if it was not used."""
        if self._early:
            self._early.close()


class _OpenStream(httpcore.NetworkStream):
    """A connected socket, with errors of httpcore; `last_read` is what the last network read brought."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self.last_read, self._head = connection, b"", b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _raise_network_errors(httpcore.ReadTimeout, httpcore.ReadError):
            self._set_timeout(timeout)
            self.last_read = self._socket.recv(max_bytes)
            return self.last_read

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send the bytes; the head of a POST is sent with the beginning of its body, which follows at once."""
        head, self._head = self._head, b""
        if buffer.startswith(b"POST ") and buffer.endswith(b"\r\n\r\n"):
            self._head = buffer
            return
        with _raise_network_errors(httpcore.WriteTimeout, httpcore.WriteError):
            self._set_timeout(timeout)
            rest = memoryview(head + buffer)
            while rest:  # with sendall, the time-out would be for the whole buffer
                rest = rest[self._socket.send(rest) :]

    def _set_timeout(self, timeout: float | None) -> None:
        """Set the time-out of the socket if it has another; each system call hands all Python to another thread."""
        if self._socket.gettimeout() != timeout:
            self._socket.settimeout(timeout)

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_OpenStream":
        """Return the connection encrypted, after the server's certificate is verified for this host."""
        if isinstance(self._socket, ssl.SSLSocket):
            if self._socket.context is ssl_context and self._socket.server_hostname == server_hostname:
                return self  # the early connection has done it
            self.close()
            raise httpcore.ConnectError("the connection is encrypted for another server")
        with _raise_network_errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            self._socket.settimeout(timeout)
            return _OpenStream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))

    def get_extra_info(self, info: str) -> Any:
        """Return the socket, or whether an idle connection has ended; None for what is not known."""
        if info == "is_readable":
            return not _is_open(self._socket)
        return self._socket if info == "socket" else None


def _is_open(connection: socket.socket) -> bool:
    """True if the server has not closed an idle connection, nor sent anything; TLS itself may have sent tickets."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        connection.settimeout(0)
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


@contextmanager
def _raise_network_errors(on_timeout: type[Exception], on_failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise on_timeout(error) from error
    except OSError as error:
        raise on_failure(error) from error


@contextmanager
def open_http_client(
    url: str, timeout: float, ca_bundle: str | None, notify: Notifier, early: EarlyConnection | None, *, by_proxy: bool
) -> Iterator[Client]:
    """Open a client for one server; `timeout` is in seconds without a byte, `notify` receives redirects.

    `early` is used as the first connection. With `by_proxy` the environment says which proxy is used, if any.
    """
    timeouts = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    context = None if is_unencrypted(url) else load_context(ca_bundle)
    if by_proxy:
        # httpx would read all certificates of certifi, also where none are needed.
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
        # Only an error repeats the credentials in a request; to look for them takes as long as to parse the request.
        credentials = list_credentials(request.body) if response.is_error else []
        for secret in filter(None, (key, *credentials)):
            chunks = mask_chunks(secret, chunks)
        yield HttpResponse(response.status_code, headers, chunks)
        if not response.is_closed:
            _read_end(chunks, client.connection)
    finally:
        if not response.is_closed:
            shut_down_stream(response.extensions.get("network_stream"))
        response.close()


def _read_end(chunks: Iterator[bytes], connection: ConnectionHandle) -> None:
    """Read what follows a complete answer, if it is there: only then the connection can be used again."""
    connection.close_within(END_SECONDS)
    with suppress(AimlError):
        for _ in islice(chunks, MAX_END_CHUNKS):
            pass
    connection.keep_open()


def _send_once(client: Client, request: HttpRequest, on_sent: OnSent) -> httpx.Response:
    hook = TraceHook(client.connection, client.timeout.read or 0, on_sent)
    try:
        response = client.exchange(request, hook)
    except httpx.HTTPError as error:
        cause = httpx.ReadTimeout("the headers dripped") if hook.too_late else error
        raise _translate_error(cause, _parse_url(request.url), client.timeout.connect) from None
    except (httpx.InvalidURL, ValueError) as error:  # invalid host names: http://xn--/, http://a..b/
        raise UsageError(f"{request.url!r} is not the address of a server: {error}") from None
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
    stream = response.extensions.get("network_stream")
    if isinstance(stream, _OpenStream):
        is_chunked = "transfer-encoding" in response.headers
        # What follows a response that nobody asked for would be the answer to the next request.
        refuse_excess = partial(shut_down_stream, stream)
        chunks = join_chunks(chunks, lambda: stream.last_read, is_chunked=is_chunked, on_excess=refuse_excess)
    if encodings.lower() != "identity":
        chunks = decompress(encodings, chunks)
    try:
        yield from chunks
        response.close()
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
