"""Send a request over HTTP; the only file that opens a socket."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from aiml_cli.api.ahead import ahead
from aiml_cli.errors import AimlError, CutShort, Misuse, ServerFailed, Unreachable
from aiml_cli.hosts import is_local, is_plain

Client = httpx.Client
CONNECT_SECONDS = 10.0
KEPT = "ask again; what came so far is kept"


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what goes out; `body` None sends none."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold what comes back. Header names are in lower case; `chunks` gives one piece a network read.

    Reading `chunks` raises CutShort when the connection ends before the body does.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


@contextmanager
def connect(url: str, timeout: float, ca_bundle: str | None = None) -> Iterator[Client]:
    """Open a client for one server; `timeout` is in seconds without a byte."""
    limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    context = trust(ca_bundle) if not is_plain(url) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        client = httpx.Client(verify=context, timeout=limits, trust_env=not is_local(url))
    except (ImportError, ValueError, httpx.InvalidURL) as fault:
        hint = "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY"
        raise Misuse(f"the proxy settings cannot be used: {fault}", hint) from None
    with client:
        yield client


@contextmanager
def send(client: Client, request: Request) -> Iterator[Reply]:
    """Send a request; raise Unreachable when no reply comes.

    Redirects are not followed: neither the key nor the prompt goes where nobody sent it.
    """
    try:
        outgoing = client.build_request(
            request.method, request.url, headers=dict(request.headers), content=request.body
        )
        response = client.send(outgoing, stream=True)
    except httpx.HTTPError as fault:
        raise _unreached(fault, outgoing.url, client.timeout.connect) from None
    except (httpx.InvalidURL, ValueError) as fault:  # names that are no names: http://xn--/, http://a..b/
        raise Misuse(f"{request.url!r} is not the address of a server: {fault}") from None
    try:
        headers = {name.lower(): value for name, value in response.headers.items()}
        chunks = _chunks(response)
        yield Reply(response.status_code, headers, chunks if "content-length" in headers else ahead(chunks))
    finally:
        _wake(response)
        response.close()


def _wake(response: httpx.Response) -> None:
    """End a read that waits in another thread; closing the socket alone would not."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream and not response.is_closed else None
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def trust(ca_bundle: str | None) -> ssl.SSLContext:
    """Make the TLS context: always checking, by the file given or by the system's certificates.

    A directory of hashed certificates is read one certificate at a time, when one is needed: that
    costs 0.5 ms, where the whole of certifi costs 15.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_bundle:
        try:
            context.load_verify_locations(Path(ca_bundle).expanduser())
        except OSError as fault:
            raise Misuse(f"{ca_bundle}: no certificates could be read: {fault.strerror or fault}") from None
        return context
    context.set_default_verify_paths()
    if not _system_trusts():
        import certifi  # only where the system has no certificates of its own

        context.load_verify_locations(certifi.where())
    return context


def _system_trusts() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).glob("*.0")))


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    """Give the body as it comes; the raw bytes cost less where nothing is compressed."""
    encoded = response.headers.get("content-encoding", "identity").lower() != "identity"
    try:
        yield from response.iter_bytes() if encoded else response.iter_raw()
    except httpx.ReadTimeout:
        raise CutShort(
            "the answer stopped: nothing came any more", "ask again, or wait longer with --timeout"
        ) from None
    except httpx.DecodingError as fault:
        raise ServerFailed(f"the answer could not be decompressed: {fault}") from None
    except httpx.HTTPError:
        raise CutShort("the connection was cut before the answer was complete", KEPT) from None


def _unreached(fault: httpx.HTTPError, url: httpx.URL, seconds: float | None) -> AimlError:
    """Say in our words why no reply came."""
    where = f"{url.host}:{url.port}" if url.port else url.host
    match fault:
        case httpx.ConnectTimeout():
            return Unreachable(f"{where}: no connection within {seconds:g} s", "is the address right?", again=1)
        case httpx.TimeoutException():
            return Unreachable(f"{where}: no answer in time", "wait longer with --timeout, or ask again")
        case httpx.ProxyError():
            return Unreachable(f"the proxy refused: {_words(fault)}", "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY")
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return Misuse(f"the request cannot be sent: {_words(fault)}")
        case httpx.RemoteProtocolError() if "disconnected" not in str(fault):
            return ServerFailed(f"{where}: the reply is not HTTP: {_words(fault)}")
        case httpx.ConnectError():
            again = "CERTIFICATE" not in str(fault)
            return Unreachable(
                f"{where}: {_connecting(fault)}", "is the address right, and the network up?", again=again
            )
        case _:
            return Unreachable(f"{where}: the connection was closed without an answer", "ask again", again=1)


def _connecting(fault: httpx.ConnectError) -> str:
    words = _words(fault)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        reason = words.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"the server's certificate is not trusted: {reason or words}"
    return f"no connection: {words}"


def _words(fault: Exception) -> str:
    """Give a library's message without its error number."""
    words = str(fault) or type(fault).__name__
    return words.partition("] ")[2] if words.startswith("[Errno") else words
