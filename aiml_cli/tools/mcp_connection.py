"""One session with an MCP server: start it, list tools, run calls, and end it, all on the event loop."""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, NamedTuple

from mcp import ClientSession, MCPError
from mcp.client.session import ClientRequestContext
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    ClientCapabilities,
    ElicitationCapability,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    FormElicitationCapability,
    Implementation,
    InitializedNotification,
    InitializeRequest,
    InitializeRequestParams,
    InitializeResult,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError

from aiml_cli import __version__
from aiml_cli.errors import UsageError
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import Notifier
from aiml_cli.tools.mcp_config import McpServer
from aiml_cli.tools.mcp_content import ListedTool, read_result, read_tools
from aiml_cli.tools.mcp_elicitation import ElicitationForm
from aiml_cli.tools.mcp_process import ServerProcess
from aiml_cli.tools.mcp_streams import HttpState, StreamFailed, open_http, open_pipes
from aiml_cli.tools.tool import CallResult

MAX_TOOLS, MAX_PAGES, MAX_NOTICES = 1000, 100, 5
# A call ends after this time even if the server still reports progress.
MAX_CALL_S = 3600.0
PROGRESS_S, PING_S, LIST_S = 0.5, 2.0, 10.0
EXIT_S, EXIT_CHECKS = 0.5, 50
MAX_LINES_PER_S, MAX_LINE = 50, 500


class SessionLost(Exception):
    """The server rejected a call because it no longer has the session; `args[0]` is the server's message."""


class _RunningCall:
    """A running call: the times of the server's last message and of the last progress report."""

    def __init__(self, now: float) -> None:
        self.started = self.seen = now
        self.reported = 0.0


class ServerLog:
    """Shows the output and log messages of a server with --verbose: sanitized, with a limit of lines per second."""

    def __init__(self, report: Notifier, name: str) -> None:
        self._report, self._name, self._rest = report, name, b""
        self._second, self._count, self._left_out = 0, 0, 0

    def feed(self, data: bytes, now: float) -> None:
        """Show the lines that these bytes complete."""
        *lines, self._rest = (self._rest[-MAX_LINE:] + data).split(b"\n")
        for line in lines:
            self.show(line.decode("utf-8", "replace"), now)

    def show(self, text: str, now: float) -> None:
        """Show one line, if there were not too many in this second."""
        if int(now) != self._second:
            if self._left_out and self._report:
                self._report(f"{self._name}: {self._left_out:,} lines are left out")
            self._second, self._count, self._left_out = int(now), 0, 0
        self._count += 1
        if self._count > MAX_LINES_PER_S:
            self._left_out += 1
        elif text.strip() and self._report:
            self._report(f"{self._name}: {sanitize(text[:MAX_LINE].strip())}")


class Listing(NamedTuple):
    """The tools of a server, and notices about those that cannot be used."""

    tools: list[ListedTool]
    notices: list[str]


class Connection:
    """A session with a server. `open` starts it; `end_reason` is "" until it has ended, by itself or by `close`."""

    def __init__(
        self,
        server: McpServer,
        process: ServerProcess | None,
        *,
        report: Notifier,
        verbose: bool,
        form: ElicitationForm,
    ) -> None:
        self._server, self._process, self._report, self._form = server, process, report, form
        self._loop = asyncio.get_running_loop()
        self._lines = ServerLog(report if verbose else None, server.name)
        self._stop, self._ready = asyncio.Event(), self._loop.create_future()
        self._ended = asyncio.Event()
        self._failure, self._invalid_output, self.end_reason = "", "", ""
        self._dispatcher: JSONRPCDispatcher[Any]
        self._runner: asyncio.Task[None] | None = None
        self._calls: dict[str, _RunningCall] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tokens = itertools.count(1)
        self._questions = 0
        self.has_changed = self.is_suspect = False
        self.http = HttpState()

    async def open(self) -> Listing:
        """Start the session and return the tools; raise UsageError if that fails."""
        self._runner = asyncio.create_task(self._run())
        seconds = self._server.startup_timeout
        await asyncio.wait({self._ready}, timeout=seconds)
        if not self._ready.done():
            await self.close()
            raise UsageError(f"the MCP server {self._server.name} was not ready within {seconds:g} s{self._tail()}")
        listing: Listing = self._ready.result()
        return listing

    async def close(self) -> None:
        """End the session and the running calls."""
        self._failure = self._failure or "aiml closed it"
        self.cancel_calls()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.1)  # cancelled tasks notify the server
        self._stop.set()
        if self._runner:
            await asyncio.wait({self._runner}, timeout=0.2 if self._ready.done() else 0)
            self._runner.cancel()
            await asyncio.wait({self._runner}, timeout=0.2)

    async def _run(self) -> None:
        """Keep the session open until it ends."""
        problem: BaseException | None = None
        try:
            async with self._open_streams() as (inbox, outbox):
                self._dispatcher = JSONRPCDispatcher(inbox, outbox, on_stream_exception=self._note_invalid_output)
                async with ClientSession(dispatcher=self._dispatcher, elicitation_callback=self._elicit) as session:
                    problem = await self._begin(session)
                    if not problem:
                        await self._stop.wait()
                    if problem is None or _is_closed(problem):
                        await self._wait_for_exit()
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises ends this server only
            problem = error
        finally:
            self.end_reason = self._describe_end(problem)
            self._ended.set()
            if self._process:  # its pipes are closed, but the process may ignore that
                self._loop.run_in_executor(None, self._process.end)
            if not self._ready.done():
                self._ready.set_exception(UsageError(self.end_reason))
                self._ready.exception()  # marks the exception as retrieved if nothing waits for it

    async def _begin(self, session: ClientSession) -> Exception | None:
        """Initialize the session and list the tools; return the error, if any."""
        try:
            await self._initialize(session)
            listing = await self.list_tools(self._server.startup_timeout)
            if not listing.tools:
                raise StreamFailed("; ".join(["it has no tools", *listing.notices[:MAX_NOTICES]]))
        except Exception as error:  # noqa: BLE001
            return error
        self._invalid_output = ""  # earlier invalid output is no longer relevant
        self._ready.set_result(listing)
        return None

    async def _initialize(self, session: ClientSession) -> None:
        capabilities = ClientCapabilities(elicitation=ElicitationCapability(form=FormElicitationCapability()))
        params = InitializeRequestParams(
            protocol_version=LATEST_HANDSHAKE_VERSION,
            capabilities=capabilities,
            client_info=Implementation(name="aiml", version=__version__),
        )
        result = await session.send_request(InitializeRequest(params=params), InitializeResult)
        if result.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            known = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
            raise StreamFailed(f"it uses version {result.protocol_version[:40]!r} of MCP; aiml supports {known}")
        session.adopt(result)
        await session.send_notification(InitializedNotification())

    def _open_streams(self) -> AbstractAsyncContextManager[Any]:
        handlers = (self._handle_notification, self._note_end)
        if self._process is None:
            return open_http(self._server, handlers, self.http)
        return open_pipes(self._process, handlers, self._add_stderr)

    async def list_tools(self, seconds: float = LIST_S) -> Listing:
        """Return the tools from all pages of the list; raise MCPError if that fails."""
        self.has_changed = False
        tools: dict[str, ListedTool] = {}
        notices: list[str] = []
        cursors: list[object] = [None]
        while True:
            result = await self._request("tools/list", {"cursor": cursors[-1]} if cursors[-1] else {}, seconds)
            for tool in read_tools(result.get("tools"), self._server.name):
                if isinstance(tool, str):
                    notices.append(tool)
                elif tool.name in tools:
                    notices.append(f"a second tool named {tool.name} is left out")
                elif len(tools) < MAX_TOOLS:
                    tools[tool.name] = tool
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str) or not cursor or len(tools) >= MAX_TOOLS:
                break
            if cursor in cursors or len(cursors) >= MAX_PAGES:
                notices.insert(0, "its list of tools has too many pages and is incomplete")
                break
            cursors.append(cursor)
        if len(tools) >= MAX_TOOLS:
            notices.append(f"only its first {MAX_TOOLS:,} tools are used")
        return Listing([*tools.values()], notices)

    async def _request(self, method: str, params: dict[str, Any], seconds: float | None = None) -> Mapping[str, Any]:
        return await self._dispatcher.send_raw_request(method, params, {"timeout": seconds} if seconds else {})

    async def is_alive(self) -> bool:
        """True if the server responds to a ping; checked after a call that it did not answer."""
        if self.end_reason:
            return False
        try:
            await self._request("ping", {}, PING_S)
        except MCPError as error:
            if error.code in (REQUEST_TIMEOUT, CONNECTION_CLOSED):
                return False
        self.is_suspect = False
        return True

    async def call(self, name: str, arguments: Mapping[str, Any]) -> CallResult:
        """Call a tool and return its result; every failure is an error result, except SessionLost."""
        token = f"aiml-{next(self._tokens)}"
        params = {"name": name, "arguments": dict(arguments), "_meta": {"progressToken": token}}
        if not self._calls:
            self._form.begin()
        call = self._calls[token] = _RunningCall(self._loop.time())
        task = asyncio.create_task(self._request("tools/call", params))
        self._tasks.add(task)
        try:
            return read_result(await self._watch(task, call))
        except MCPError as error:
            return await self._explain(error)
        except TimeoutError:
            self.is_suspect = True
            return self._fail(f"sent nothing for {self._server.timeout:g} s; the call was ended")
        except asyncio.CancelledError:
            self.is_suspect = True
            if _is_cancelling() or not task.cancelled():
                raise
            if self.http.is_session_lost:
                raise SessionLost(f"HTTP {self.http.status}") from None
            return self._fail("had not answered before the call was stopped")
        finally:
            del self._calls[token]
            self._tasks.discard(task)
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=PROGRESS_S)

    async def _watch(self, task: "asyncio.Task[Mapping[str, Any]]", call: _RunningCall) -> Mapping[str, Any]:
        """Return the answer; raise TimeoutError if the server sends nothing for too long."""
        while True:
            now = self._loop.time()
            if self._questions:
                call.seen = now
            if now - call.seen >= self._server.timeout or now - call.started >= MAX_CALL_S:
                raise TimeoutError
            await asyncio.wait({task}, timeout=min(call.seen + self._server.timeout - now, MAX_CALL_S))
            if task.done():
                return task.result()

    async def _explain(self, error: MCPError) -> CallResult:
        if self.http.is_session_lost and error.code != INVALID_PARAMS:
            raise SessionLost(f"{_cut(error.message)}{self._describe_status()}")
        if error.code == CONNECTION_CLOSED:
            with suppress(TimeoutError):  # if it does not end, it sent the error itself
                await asyncio.wait_for(self._ended.wait(), 2 * EXIT_S)
        if self.end_reason:
            return CallResult(self.end_reason, is_error=True)
        return self._fail(f"refused the call: {_cut(error.message)}{self._describe_status()}")

    def _fail(self, words: str) -> CallResult:
        return CallResult(f"the MCP server {self._server.name} {words}", is_error=True)

    def cancel_calls(self) -> None:
        """End the running calls; each returns an error result."""
        for task in tuple(self._tasks):
            task.cancel()

    async def _elicit(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG002
        """Ask the user a question from the server while one of its calls runs."""
        if not isinstance(params, ElicitRequestFormParams) or not self._calls:
            return ElicitResult(action="decline")
        self._questions += 1
        try:
            schema = params.requested_schema
            raw = schema if isinstance(schema, dict) else schema.model_dump(by_alias=True, exclude_none=True)
            action, content = await self._form.ask(params.message, raw)
            return ElicitResult.model_validate({"action": action, "content": content})
        finally:
            self._questions -= 1

    def _handle_notification(self, method: str, params: Mapping[str, Any]) -> None:
        now = self._loop.time()
        if method == "notifications/progress":
            call = self._calls.get(str(params.get("progressToken")))
            if call:
                call.seen = now
                self._show_progress(call, params, now)
        elif method == "notifications/message":
            self._lines.show(f"{params.get('level')}: {_to_text(params.get('data'))}", now)
        elif method == "notifications/tools/list_changed":
            self.has_changed = True

    def _show_progress(self, call: _RunningCall, params: Mapping[str, Any], now: float) -> None:
        if self._report is None or now - call.reported < PROGRESS_S:
            return
        call.reported = now
        progress, total, message = params.get("progress"), params.get("total"), params.get("message")
        parts = [_format_number(progress)]
        if isinstance(total, int | float) and not isinstance(total, bool):
            parts[0] += f" of {_format_number(total)}"
        if isinstance(message, str) and message.strip():
            parts.append(" ".join(message.split())[:MAX_LINE])
        self._report(sanitize(f"{self._server.name}: {': '.join(parts)}"))

    def _add_stderr(self, data: bytes) -> None:
        if self._process:
            self._process.add_stderr(data)
        self._lines.feed(data, self._loop.time())

    async def _note_invalid_output(self, error: Exception) -> None:
        """Record output of a server that is not a message; it is shown with --verbose, and if the server fails."""
        if not self._ready.done():
            self._invalid_output = self._invalid_output or _cut(str(error).strip())
        self._lines.show(f"not a message: {error}", self._loop.time())

    def _note_end(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._stop.set()

    async def _wait_for_exit(self) -> None:
        """Wait for the exit code and the last lines of a process whose output has ended."""
        for _ in range(EXIT_CHECKS):
            if self._process is None or self._failure:
                return
            is_gone = self._process.poll() is not None
            await asyncio.sleep(EXIT_S / EXIT_CHECKS)
            if is_gone:
                return

    def _describe_end(self, problem: BaseException | None) -> str:
        """Return a sentence that says why the session has ended, with the last output of the server."""
        name = f"the MCP server {self._server.name}"
        problem = next(_list_leaves(problem), None) if problem else None
        closed = problem is None or _is_closed(problem)
        if self._failure:
            return f"{name} was ended: {self._failure}{self._tail()}"
        if closed and self._process:
            return f"{name} ended ({self._process.describe_end()}){self._tail()}"
        return f"{name} cannot be used: {_describe_error(problem)}{self._describe_status()}{self._tail()}"

    def _describe_status(self) -> str:
        return f" (HTTP {self.http.status})" if self.http.status >= 400 else ""  # noqa: PLR2004

    def _tail(self) -> str:
        """Return the last output of the server, to append to a sentence."""
        lines = self._process.stderr_lines() if self._process else []
        output = [f"it wrote to standard output: {sanitize(self._invalid_output)}"] if self._invalid_output else []
        return "".join(f"\n  {line}" for line in [*output, *lines])


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return bool(task and task.cancelling())


def _is_closed(error: BaseException) -> bool:
    return isinstance(error, MCPError) and error.code == CONNECTION_CLOSED


def _list_leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a group of errors."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _list_leaves(inner)
    else:
        yield error


def _describe_error(error: BaseException | None) -> str:
    match error:
        case MCPError(code=code) if code == METHOD_NOT_FOUND:
            return f"it does not support a method: {_cut(error.message)}"
        case MCPError():
            return f"it answered with an error: {_cut(error.message)}"
        case ValidationError():
            return f"its answer is not valid: {_cut(error.errors()[0]['msg'])}"
        case StreamFailed():
            return str(error)
        case _:
            return _cut(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}…"


def _to_text(data: object) -> str:
    return data if isinstance(data, str) else repr(data)


def _format_number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) and abs(value) < 1e15 else str(value)[:20]  # noqa: PLR2004


def silence_logs() -> None:
    """Keep the SDK's log messages off stderr; aiml reports failures itself."""
    for name in ("mcp", "client", "httpx2", "httpcore2", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())
