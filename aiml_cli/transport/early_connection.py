"""Open the connection to a server in a thread, while the main thread imports, reads and builds the request."""

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import zip_longest
from selectors import EVENT_WRITE, PollSelector
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from aiml_cli.errors import UsageError
from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import input_hooks

if TYPE_CHECKING:
    from aiml_cli.transport.tls_context import SharedContext

CONNECT_SECONDS = 10.0
# A server may close an idle connection; after this many seconds a new one is safer.
IDLE_S = 5.0
# How long one address may take before the next one is tried too (RFC 8305).
NEXT_ADDRESS_S = 0.25
POLL_S = 0.5
_PORTS = {"http": 80, "https": 443}
_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


class EarlyConnection:
    """A connection that a thread opens; `take` returns it, otherwise it is closed.

    Name lookup, TCP and TLS take `seconds` at most. With `after_input` no server is contacted before standard input
    has data or has ended. A connection that is not taken within five seconds is closed.
    """

    def __init__(self, url: str, seconds: float, ca_bundle: str | None, *, after_input: bool = False) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._seconds, self._ca_bundle, self._is_encrypted = seconds, ca_bundle, parts.scheme == "https"
        self._is_waiting, self._end = after_input, monotonic() + seconds
        self._lock, self._ended, self._released = Lock(), Event(), Event()
        self._outcome: socket.socket | OSError | None = None
        self._context: SharedContext | None = None
        self._input_arrived = Event()
        if after_input:
            input_hooks.append(self._input_arrived.set)

    def start(self) -> None:
        """Start the thread; if it cannot be started, `take` returns None.

        The user's certificates are read first: no server is contacted if they cannot be read.
        """
        try:
            if self._ca_bundle:
                self._context = load_context(self._ca_bundle)
            with defer_signals():  # an interrupted start would leave a thread that cannot be joined
                Thread(target=self._run, daemon=True).start()
            if self._is_encrypted:
                import aiml_cli.transport.tls_context  # noqa: F401 - takes half the time here, while TCP connects
        except (RuntimeError, UsageError):  # the thread limit, or a bad file, which the client reports
            self.close()

    def take(self, host: str, port: int) -> socket.socket | None:
        """Return the connection to this server, once; with https it is an SSLSocket that has verified the host.

        Waits until it is open. None means that a new one must be opened. Raises OSError if connecting failed.
        """
        if (host, port) != (self.host, self.port) or self._is_waiting:
            self.close()
            return None
        is_late = not (self._released.is_set() or self._ended.wait(max(0.0, self._end - monotonic())))
        outcome = self._release()
        if is_late and outcome is None:
            raise TimeoutError("timed out")
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close the connection if it was not taken, even while it is being opened."""
        _close(self._release())

    def _release(self) -> socket.socket | OSError | None:
        """Return the outcome so far; a connection that is opened later is closed."""
        with self._lock:
            self._released.set()
            outcome, self._outcome = self._outcome, None
        with suppress(ValueError):
            input_hooks.remove(self._input_arrived.set)
        return outcome

    def _run(self) -> None:
        with suppress(ValueError):  # the client reports an invalid host name
            outcome = self._open()
            with self._lock:
                if not self._released.is_set():
                    self._outcome, outcome = outcome, None
            _close(outcome)
        self._ended.set()
        if not self._released.wait(IDLE_S):
            self.close()

    def _open(self) -> socket.socket | OSError | None:
        """Return the connection, or the error; None if it is not needed any more."""
        if self._is_waiting:
            self._wait_for_input()
            self._end, self._is_waiting = monotonic() + self._seconds, False
        if self._released.is_set():
            return None
        try:
            if not self._is_encrypted:
                return _connect(_find_addresses(self.host, self.port), self._end)
            addresses = _find_addresses(self.host, self.port)
            # All certificates of a system take 25 ms to read, without the GIL.
            connection = _connect(addresses, self._end, self._load_context)
            if self._released.is_set():
                return connection
            connection.settimeout(max(0.001, self._end - monotonic()))
            return self._load_context().wrap_socket(connection, server_hostname=self.host)
        except OSError as error:
            return error

    def _load_context(self) -> "SharedContext":
        return self._context or load_context(None)

    def _wait_for_input(self) -> None:
        """Wait until standard input has data or has ended, or the connection is not needed any more."""
        with suppress(OSError, ValueError):  # standard input is closed
            while not (self._released.is_set() or self._input_arrived.is_set()):
                if select.select([0], [], [], POLL_S)[0]:
                    return


def load_context(ca_bundle: str | None) -> "SharedContext":
    """Return the TLS context of all connections with these certificates; raise UsageError if the file is invalid."""
    from aiml_cli.transport.tls_context import make_ssl_context  # ssl takes 5 ms to import

    return make_ssl_context(ca_bundle)


def open_socket(host: str, port: int, seconds: float) -> socket.socket:
    """Return a TCP connection to the first address of a host that accepts one.

    Raises the last OSError, or TimeoutError after `seconds`, which include the name lookup.
    """
    end = monotonic() + seconds
    return _connect(_find_addresses_within(host, port, seconds), end)


def _find_addresses_within(host: str, port: int, seconds: float) -> Sequence[_Address]:
    """Return the addresses of a host; a lookup has no timeout and delays signals, so a thread does it."""
    found: list[Sequence[_Address] | Exception] = []
    has_ended = Event()

    def look_up() -> None:
        try:
            found.append(_find_addresses(host, port))
        except (OSError, ValueError) as error:  # ValueError: an invalid host name
            found.append(error)
        has_ended.set()

    try:
        with defer_signals():  # as in EarlyConnection.start
            Thread(target=look_up, daemon=True).start()
    except RuntimeError:  # the thread limit is reached
        look_up()
    if not has_ended.wait(max(0.0, seconds)):
        raise TimeoutError("timed out")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _find_addresses(host: str, port: int) -> Sequence[_Address]:
    return _alternate_families(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _connect(addresses: Sequence[_Address], end: float, meanwhile: Callable[[], object] | None = None) -> socket.socket:
    """Return a connection to the first of some addresses that accepts one, or raise TimeoutError at the time `end`.

    Each address is tried a quarter of a second after the previous one, or as soon as that has failed. `meanwhile` is
    called once, after the first attempt was started.
    """
    untried = deque(addresses)
    with _Attempts() as attempts:
        while untried or attempts.is_any_open:
            if untried:
                attempts.start(untried.popleft())
            if meanwhile:
                meanwhile()
                meanwhile = None
            rest = end - monotonic()
            if connection := attempts.wait(min(rest, NEXT_ADDRESS_S) if untried else rest):
                return connection
            if monotonic() >= end:
                raise TimeoutError("timed out")
        raise attempts.error


def _alternate_families(addresses: Sequence[_Address]) -> list[_Address]:
    """Return the addresses in the system's order, but with IPv4 and IPv6 addresses alternating."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for pair in zip_longest(first, others) for address in pair if address]


class _Attempts:
    """Attempts to connect to several addresses at once; `error` is why the last one failed."""

    def __init__(self) -> None:
        self._selector = PollSelector()
        self._sockets = set[socket.socket]()
        self.error = OSError("no address")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for attempt in self._sockets:
            attempt.close()

    @property
    def is_any_open(self) -> bool:
        """True if an attempt has neither succeeded nor failed."""
        return bool(self._sockets)

    def start(self, address: _Address) -> None:
        """Start to connect to an address."""
        family, kind, protocol, _, target = address
        try:
            attempt = socket.socket(family, kind, protocol)
        except OSError as error:  # a system without this address family
            self.error = error
            return
        self._sockets.add(attempt)
        attempt.setblocking(False)
        self._selector.register(attempt, EVENT_WRITE)
        if (code := attempt.connect_ex(target)) not in (0, errno.EINPROGRESS):
            self._drop(attempt, code)

    def wait(self, seconds: float) -> socket.socket | None:
        """Return the first connection, or None after `seconds` or when an attempt has failed."""
        for key, _ in self._selector.select(max(0.0, seconds)) if self._sockets else ():
            attempt = next(each for each in self._sockets if each is key.fileobj)
            if not (code := attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                self._sockets.remove(attempt)
                attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return attempt
            self._drop(attempt, code)
        return None

    def _drop(self, attempt: socket.socket, code: int) -> None:
        self.error = OSError(code, os.strerror(code))
        self._selector.unregister(attempt)
        self._sockets.remove(attempt)
        attempt.close()


def _close(outcome: socket.socket | OSError | None) -> None:
    if isinstance(outcome, socket.socket):
        outcome.close()
