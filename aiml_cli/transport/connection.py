"""Follow one request on its way, by the marks that the HTTP library sets."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Timer
from typing import Any

from aiml_cli.system.signals import defer_signals


class ConnectionHandle:
    """Hold the newest connection of a client: a kept one is not announced again."""

    stream: Any = None
    abort_reason: BaseException | None = None

    def abort(self, why: BaseException) -> None:
        """End what is under way for good, from another thread; there it is raised as `why`."""
        self.abort_reason = why
        shut_down_stream(self.stream)

    def raise_if_aborted(self) -> None:
        """Raise why no more may be sent, if so."""
        if self.abort_reason:
            raise self.abort_reason


def shut_down_stream(stream: Any) -> None:
    """End a read that waits in another thread; closing the socket alone would not."""
    connection = stream.get_extra_info("socket") if stream else None
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class TraceHook:
    """Tell when a request has been sent, and hang up when its headers do not come in time.

    The library's own clock begins anew with every byte: headers that drip would hold it up for ever.
    An instance is the `trace` of one request; it raises nothing into the library.
    """

    def __init__(self, wire: ConnectionHandle, seconds: float, on_sent: Callable[[], None] | None) -> None:
        self._wire, self._seconds, self._on_sent = wire, seconds, on_sent
        self._timer: Timer | None = None
        self._tunnel = False
        self.too_late = False

    def __call__(self, mark: str, facts: Mapping[str, Any]) -> None:
        """Take a mark of httpcore's trace extension."""
        match mark.partition(".")[2]:
            case "connect_tcp.complete" | "start_tls.complete":
                self._wire.stream = facts["return_value"]
                if self._wire.abort_reason:
                    shut_down_stream(self._wire.stream)
            case "send_request_headers.started":
                self._tunnel = facts["request"].method == b"CONNECT"
            case "send_request_body.complete" if not self._tunnel:
                self.sent()
            case "receive_response_headers.started":
                with defer_signals():  # a start that is broken off leaves a clock that nobody can stop
                    self._timer = Timer(self._seconds, self._end)
                    self._timer.daemon = True
                    self._timer.start()
            case "receive_response_headers.complete" | "receive_response_headers.failed":
                self._stop()

    def sent(self) -> None:
        """Tell once that the request is on its way; a fault of the listener costs no answer."""
        tell, self._on_sent = self._on_sent, None
        if tell:
            with suppress(Exception):
                tell()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _end(self) -> None:
        self.too_late = True
        shut_down_stream(self._wire.stream)
