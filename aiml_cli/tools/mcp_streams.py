"""Connect to an MCP server through pipes or HTTP, and limit the size and rate of its messages."""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from aiml_cli import __version__
from aiml_cli.settings.urls import is_local
from aiml_cli.tools.mcp_config import McpServer
from aiml_cli.tools.mcp_process import ServerProcess

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# Notifications and requests per second. A server that sends more has to wait, so that it cannot keep a CPU busy.
MAX_PER_SECOND = 1000
MAX_OPEN_REQUESTS = 100  # unanswered requests of the server
_READ_BYTES = 256 * 1024
_CONNECT_SECONDS = 30.0
NotificationHandler = Callable[[str, Mapping[str, Any]], None]


class StreamFailed(Exception):
    """A connection that cannot continue; `args[0]` says why."""


class MessageSource(Protocol):
    """A source of messages: an asynchronous iterator."""

    def __aiter__(self) -> "MessageSource":
        """Return the iterator itself."""

    async def __anext__(self) -> SessionMessage | Exception:
        """Return the next message, or an error for data that is not a message."""


class MessageSink(Protocol):
    """A destination of messages."""

    async def send(self, item: SessionMessage, /) -> None:
        """Send a message."""

    async def aclose(self) -> None:
        """Send no more."""


class _Stream:
    """The methods that the SDK expects in both directions."""

    async def aclose(self) -> None:
        """Do nothing: `open_pipes` closes the pipes."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Inbox(_Stream):
    """The messages of a server for the SDK. Notifications are handled here immediately, not in separate tasks."""

    def __init__(self, source: MessageSource, handle: NotificationHandler, on_end: Callable[[str], None]) -> None:
        self._source, self._handle, self._on_end = source, handle, on_end
        self._open: set[object] = set()
        self._has_room = asyncio.Event()
        self._second, self._count = 0, 0

    def __aiter__(self) -> Self:
        return self

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message that the SDK handles; raise EndOfStream at the end."""
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def __anext__(self) -> SessionMessage | Exception:
        while True:
            item = await self._read()
            message = item.message if isinstance(item, SessionMessage) else None
            if isinstance(message, JSONRPCNotification | JSONRPCRequest):
                await self._throttle()
            if isinstance(message, JSONRPCNotification):
                if message.method == "notifications/cancelled":
                    self.note_answer((message.params or {}).get("requestId"))
                    return item
                self._handle(message.method, message.params or {})
            elif not isinstance(message, JSONRPCRequest) or await self._admit(message.id):
                return item

    async def _admit(self, request_id: object) -> bool:
        """Wait while too many requests from the server are open; return whether this one is new."""
        while len(self._open) >= MAX_OPEN_REQUESTS:
            self._has_room.clear()
            await self._has_room.wait()
        is_new = request_id not in self._open
        self._open.add(request_id)
        return is_new

    async def _read(self) -> SessionMessage | Exception:
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            self._on_end("")
            raise
        except StreamFailed as error:
            self._on_end(str(error))
            raise StopAsyncIteration from None

    async def _throttle(self) -> None:
        """Wait for the next second if there were too many messages in the current one."""
        now = time.monotonic()
        self._count = self._count + 1 if int(now) == self._second else 1
        self._second = int(now)
        if self._count > MAX_PER_SECOND:
            await asyncio.sleep(self._second + 1 - now)

    def note_answer(self, request_id: object) -> None:
        """Record that a request of the server was answered."""
        if isinstance(request_id, int | str):
            self._open.discard(request_id)
            self._has_room.set()


class Outbox(_Stream):
    """The messages to a server."""

    def __init__(self, sink: MessageSink, inbox: Inbox) -> None:
        self._sink, self._inbox = sink, inbox

    async def send(self, item: SessionMessage, /) -> None:
        """Send a message; raise BrokenResourceError if the connection is closed."""
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._inbox.note_answer(item.message.id)
        await self._sink.send(item)

    async def aclose(self) -> None:
        """Send no more."""
        await self._sink.aclose()


Handlers = tuple[NotificationHandler, Callable[[str], None]]


@asynccontextmanager
async def open_pipes(process: ServerProcess, handlers: Handlers, on_stderr: Callable[[bytes], None]) -> Any:
    """Yield the streams of a process; all of its pipes are closed afterwards."""
    loop = asyncio.get_running_loop()
    reader, writer = _PipeReader(process.stdout), _PipeWriter(process.stdin)

    def read_stderr() -> None:
        try:
            data = os.read(process.stderr, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            on_stderr(data)
        else:
            loop.remove_reader(process.stderr)

    loop.add_reader(process.stderr, read_stderr)
    try:
        inbox = Inbox(reader, *handlers)
        yield inbox, Outbox(writer, inbox)
    finally:
        for fd in (process.stdout, process.stderr):
            loop.remove_reader(fd)
        loop.remove_writer(process.stdin)
        writer.is_broken = True
        process.close_pipes()


class _PipeReader:
    """Reads the messages that a process writes, one per line."""

    def __init__(self, fd: int) -> None:
        self._fd, self._buffer, self._searched = fd, bytearray(), 0
        self._messages: deque[SessionMessage | Exception] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        while not self._messages:
            self._messages.extend(_parse_line(await self._read_line()))
        return self._messages.popleft()

    async def _read_line(self) -> bytes:
        """Return the next line; raise StopAsyncIteration at the end, and StreamFailed for one that is too long."""
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > MAX_MESSAGE_BYTES:
                raise StreamFailed(f"it sent a message of more than {MAX_MESSAGE_BYTES // 1024**2} MiB")
            data = await self._read_some()
            if not data:
                raise StopAsyncIteration
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    async def _read_some(self) -> bytes:
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                await _wait_for(self._fd, writable=False)
            except OSError:
                return b""
            else:
                await asyncio.sleep(0)  # lets other tasks run while this server sends a lot
                return data


class _PipeWriter:
    """Writes messages to a process, one per line."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock, self.is_broken = fd, asyncio.Lock(), False

    async def aclose(self) -> None:
        """Write no more."""
        self.is_broken = True

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message; raise BrokenResourceError if the process has stopped reading."""
        data = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode("utf-8", "replace") + b"\n"
        async with self._lock:
            if self.is_broken:
                raise anyio.BrokenResourceError
            try:
                await self._write(memoryview(data))
            except OSError:
                self.is_broken = True
                raise anyio.BrokenResourceError from None
            except asyncio.CancelledError:
                self.is_broken = True  # nothing can follow half a line
                raise

    async def _write(self, view: memoryview) -> None:
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _wait_for(self._fd, writable=True)


async def _wait_for(fd: int, *, writable: bool) -> None:
    """Wait until a pipe can be read or written."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writable else (loop.add_reader, loop.remove_reader)

    def go_on() -> None:
        if not future.done():
            future.set_result(None)

    add(fd, go_on)
    try:
        await future
    finally:
        remove(fd)


def _parse_line(line: bytes) -> list[SessionMessage | Exception]:
    """Return the messages in a line, or an error for anything that is not a message."""
    if not line.strip():
        return []
    try:
        parsed = json.loads(line.decode("utf-8", "replace"))
    except RecursionError:
        raise StreamFailed("it sent a message that is nested too deeply") from None
    except ValueError:
        return [ValueError(line[:200].decode("utf-8", "replace"))]
    return [_parse_message(item) for item in (parsed if isinstance(parsed, list) else [parsed])]


def _parse_message(item: Any) -> SessionMessage | Exception:
    """Return a message; a malformed answer becomes an error answer for the call that waits for it."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_python(item, by_name=False))
    except (ValidationError, RecursionError):
        request_id = item.get("id") if isinstance(item, dict) and "method" not in item else None
        if isinstance(request_id, int | str):
            data = ErrorData(code=INTERNAL_ERROR, message="the answer is not a JSON-RPC message")
            return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=data))
        return ValueError(repr(item)[:200])


class HttpState:
    """The state of an HTTP connection: the status and the session."""

    is_session_lost = False
    status = 0


@asynccontextmanager
async def open_http(server: McpServer, handlers: Handlers, state: HttpState) -> Any:
    """Yield the streams of an HTTP server."""

    async def check(response: httpx2.Response) -> None:
        request = response.request
        if request.method == "POST" and "mcp-session-id" in request.headers:
            # The protocol requires 404; the SDK for TypeScript answers 400 (seen in November 2026).
            state.is_session_lost = state.is_session_lost or response.status_code in (400, 404)
        state.status = response.status_code
        _check_response(response)

    headers = {"User-Agent": f"aiml/{__version__}", **server.headers, "Accept-Encoding": "identity"}
    timeout = httpx2.Timeout(_CONNECT_SECONDS, read=None)  # calls have their own time limit
    uses_proxy = not is_local(server.url)  # requests to this machine must not leave it
    hooks = {"response": [check]}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks=hooks, trust_env=uses_proxy) as client,
        _open_streams(server.url, client) as (read_stream, write_stream),
    ):
        inbox = Inbox(read_stream, *handlers)
        yield inbox, Outbox(write_stream, inbox)


def _open_streams(url: str, client: httpx2.AsyncClient) -> AbstractAsyncContextManager[Any]:
    return streamable_http_client(url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES)


def _check_response(response: httpx2.Response) -> None:
    """Limit the size of a response; raise StreamFailed for a redirect, which could lead anywhere."""
    if response.has_redirect_location:
        raise StreamFailed(f"it redirects to {response.headers['location'][:200]}, which is not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise StreamFailed("it compresses its answers, which is not supported")
    is_stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")
    if not is_stream and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedBody(response.stream)


class _BoundedBody(httpx2.AsyncByteStream):
    """The body of a response; reading it fails if it is too long."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._inner:
            size += len(data)
            if size > MAX_MESSAGE_BYTES:
                raise httpx2.StreamError(f"more than {MAX_MESSAGE_BYTES // 1024**2} MiB")
            yield data

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()
