"""Follow one request on its connection, by the events that httpcore traces."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Timer
from time import monotonic, sleep
from typing import Any

from aiml_cli.system.signals import defer_signals
from aiml_cli.transport.http_types import OnSent

POLL_S = 0.002


class ConnectionHandle:
    """The newest connection of a client; httpcore does not announce one that is used again."""

    stream: Any = None
    abort_reason: BaseException | None = None
    _deadline: float | None = None

    def abort(self, reason: BaseException) -> None:
        """End the request from another thread, for good; its own thread raises `reason`."""
        self.abort_reason = reason
        shut_down_stream(self.stream)

    def close_within(self, seconds: float) -> None:
        """Let `wait` close the connection if nothing arrives so long; a later call replaces an earlier one."""
        self._deadline = monotonic() + seconds

    def keep_open(self) -> None:
        """Drop the wish to close the connection."""
        self._deadline = None

    def wait(self, has_arrived: Callable[[], bool]) -> None:
        """Wait until something has arrived; close the connection at the deadline, if there is one."""
        while self._deadline is not None and not has_arrived():
            if monotonic() >= self._deadline:
                self._deadline = None
                shut_down_stream(self.stream)
                return
            sleep(POLL_S)

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


class TraceHook:
    """The `trace` of one request: reports when it is sent, and hangs up if its headers take too long.

    httpx restarts its own time-out with every byte, so headers that drip would block it for ever.
    """

    def __init__(self, connection: ConnectionHandle, seconds: float, on_sent: OnSent) -> None:
        self._connection, self._seconds, self._on_sent = connection, seconds, on_sent
        self._timer: Timer | None = None
        self._is_tunnel = False
        self.too_late = False

    def __call__(self, event_name: str, info: Mapping[str, Any]) -> None:
        """Handle an event of httpcore's trace extension; never raise into the library."""
        match event_name.partition(".")[2]:
            case "connect_tcp.complete" | "start_tls.complete":
                self._connection.stream = info["return_value"]
                if self._connection.abort_reason:
                    shut_down_stream(self._connection.stream)
            case "send_request_headers.started":
                self._is_tunnel = info["request"].method == b"CONNECT"
            case "send_request_body.complete" if not self._is_tunnel:
                self.report_sent()
            case "receive_response_headers.started":
                with defer_signals():  # a start that is interrupted leaves a timer that nobody can stop
                    self._timer = Timer(self._seconds, self._hang_up)
                    self._timer.daemon = True
                    self._timer.start()
            case "receive_response_headers.complete" | "receive_response_headers.failed":
                if self._timer:
                    self._timer.cancel()

    def report_sent(self) -> None:
        """Call `on_sent`, once; an error in it does not cost the answer."""
        on_sent, self._on_sent = self._on_sent, None
        if on_sent:
            with suppress(Exception):
                on_sent()

    def _hang_up(self) -> None:
        self.too_late = True
        shut_down_stream(self._connection.stream)
