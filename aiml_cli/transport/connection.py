"""Track one request on its connection, and close the connection when it takes too long."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from time import monotonic
from typing import Any

from aiml_cli.system.signals import defer_signals
from aiml_cli.transport.http_types import OnSent

# How soon the watchdog checks for new deadlines after one was set, and the longest time between two checks.
FIRST_LOOK_S, MAX_LOOK_S = 0.1, 5.0


class Watchdog:
    """Calls functions at their deadlines, in one thread for all connections: a thread for each is expensive.

    The thread runs while there are deadlines, and ends with the first block of `run` that leaves none. It wakes up
    periodically, less often while no deadline is new: a wake-up for each would take a tenth of the time of a row.
    """

    def __init__(self) -> None:
        self._change = Condition()
        self._deadlines: dict[object, tuple[float, Callable[[], None]]] = {}
        self._is_running = self._has_new = False
        self._wakes_at = 0.0

    @contextmanager
    def run(self) -> Iterator[None]:
        """Let the thread end after the block, unless there are other deadlines."""
        try:
            yield
        finally:
            with defer_signals(), self._change:
                self._change.notify()

    def set(self, owner: object, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after `seconds`; it must not block. An owner has one deadline, the last that was set."""
        with defer_signals(), self._change:  # an interrupted start would leave a thread that is not recorded here
            ends_at = monotonic() + seconds
            self._deadlines[owner], self._has_new = (ends_at, call), True
            if not self._is_running:
                self._start()
            elif ends_at < self._wakes_at:
                self._change.notify()

    def clear(self, owner: object) -> None:
        """Drop the deadline of an owner, if there is one; its function is not called after this."""
        with defer_signals(), self._change:
            self._deadlines.pop(owner, None)

    def _start(self) -> None:
        with suppress(RuntimeError):  # the thread limit is reached: slow responses are not ended
            Thread(target=self._watch, daemon=True).start()
            self._is_running = True

    def _watch(self) -> None:
        pause = FIRST_LOOK_S
        with self._change:
            while self._deadlines:
                pause = FIRST_LOOK_S if self._has_new else min(2 * pause, MAX_LOOK_S)
                self._has_new, now = False, monotonic()
                self._wakes_at = min(now + pause, *(ends_at for ends_at, _ in self._deadlines.values()))
                if self._wakes_at > now:
                    self._change.wait(self._wakes_at - now)
                self._call_due(monotonic())
            self._is_running = False

    def _call_due(self, now: float) -> None:
        for owner, (ends_at, call) in tuple(self._deadlines.items()):
            if ends_at <= now:
                del self._deadlines[owner]
                with suppress(Exception):  # an error in one must not prevent the others
                    call()


watchdog = Watchdog()


class ConnectionHandle:
    """The newest connection of a client; httpcore does not report one that it reuses."""

    stream: Any = None
    abort_reason: BaseException | None = None

    def abort(self, reason: BaseException) -> None:
        """End the request from another thread, and all later ones; the thread of the request raises `reason`."""
        self.abort_reason = reason
        shut_down_stream(self.stream)

    def close_within(self, seconds: float) -> None:
        """Close the connection if the response has not ended after `seconds`; a later call replaces this one."""
        watchdog.set(self, seconds, self._hang_up)

    def keep_open(self) -> None:
        """Cancel `close_within`."""
        watchdog.clear(self)

    def _hang_up(self) -> None:
        shut_down_stream(self.stream)

    def raise_if_aborted(self) -> None:
        """Raise the reason if the connection was aborted."""
        if self.abort_reason:
            raise self.abort_reason


def shut_down_stream(stream: Any) -> None:
    """End a read that waits in another thread; closing the socket alone would not end it."""
    connection = stream.get_extra_info("socket") if stream else None
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class RequestHook:
    """Tracks one request: reports when it is sent, and closes the connection if the response headers take too long.

    The timeout of a read restarts with every byte, so headers that arrive byte by byte could take forever. Passed as
    `trace`, it also tracks a request that httpcore sends.
    """

    def __init__(self, connection: ConnectionHandle, seconds: float, on_sent: OnSent) -> None:
        self._connection, self._seconds, self._on_sent = connection, seconds, on_sent
        self._is_tunnel = False
        self.too_late = False

    def __call__(self, event_name: str, info: Mapping[str, Any]) -> None:
        """Handle an event of httpcore's trace extension; never raise into the library."""
        match event_name.partition(".")[2]:
            case "connect_tcp.complete" | "start_tls.complete":
                self.follow(info["return_value"])
            case "send_request_headers.started":
                self._is_tunnel = info["request"].method == b"CONNECT"
            case "send_request_body.complete" if not self._is_tunnel:
                self.report_sent()
            case "receive_response_headers.started":
                self.expect_head()
            case "receive_response_headers.complete" | "receive_response_headers.failed":
                self.note_head()

    def follow(self, stream: Any) -> None:
        """Record a new connection, and shut it down immediately if the request was aborted."""
        self._connection.stream = stream
        if self._connection.abort_reason:
            shut_down_stream(stream)

    def expect_head(self) -> None:
        """Close the connection if the headers do not arrive in time."""
        watchdog.set(self, self._seconds, self._hang_up)

    def note_head(self) -> None:
        """Record that the headers have arrived, or cannot arrive any more."""
        watchdog.clear(self)

    def report_sent(self) -> None:
        """Call `on_sent` once; its errors are ignored, so that the answer is not lost."""
        on_sent, self._on_sent = self._on_sent, None
        if on_sent:
            with suppress(Exception):
                on_sent()

    def _hang_up(self) -> None:
        self.too_late = True
        shut_down_stream(self._connection.stream)
