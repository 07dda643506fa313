"""An MCP server as a source of tools: started early, shared by all of its tools, restarted once if it dies."""

import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from aiml_cli.errors import UsageError, build_install_command
from aiml_cli.settings.value_types import suggest
from aiml_cli.system.stdio import Notifier
from aiml_cli.tools.mcp_config import McpServer, config_path, expand_server
from aiml_cli.tools.mcp_content import ListedTool, format_call
from aiml_cli.tools.mcp_process import ServerProcess
from aiml_cli.tools.tool import Arguments, CallResult, Definition, ToolError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from aiml_cli.tools.mcp_connection import Connection, Listing

CLOSE_S, MAX_NOTICES = 1.0, 5


class LoopThread:
    """A thread with an event loop for the communication with all servers.

    It imports the SDK first, which takes about half a second, while the servers start.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: Any = None
        self._waiting: list[Callable[[], object]] = []  # to be called once there is a loop
        self._thread = Thread(target=self._run, name="mcp", daemon=True)
        self._thread.start()

    def submit(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> "Future[Any]":
        """Run a coroutine in the thread, as soon as its event loop runs."""
        from concurrent.futures import Future  # few calls have servers

        future: Future[Any] = Future()

        def begin() -> None:
            task = self._loop.create_task(make())
            task.add_done_callback(lambda _: _copy_outcome(task, future))
            future.add_done_callback(lambda _: self._call(task.cancel) if future.cancelled() else None)

        self._call(begin)
        return future

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine in the thread and return its result; cancel it if the wait is interrupted."""
        future = self.submit(make)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel everything that runs in the thread, and end the thread."""
        self._call(lambda: self._loop.stop())  # noqa: PLW0108 - there may be no loop yet
        self._thread.join(CLOSE_S)

    def _call(self, function: Callable[[], object]) -> None:
        with self._lock:
            if self._loop is None:
                self._waiting.append(function)
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        import asyncio

        with suppress(ImportError):  # connecting raises the same error
            from aiml_cli.tools import mcp_connection  # imports the SDK

            mcp_connection.silence_logs()
        loop = asyncio.new_event_loop()
        with self._lock:
            self._loop = loop
            for function in self._waiting:
                loop.call_soon(function)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(_cancel_all())
            loop.run_until_complete(loop.shutdown_default_executor())
            with self._lock:
                loop.close()


async def _cancel_all() -> None:
    import asyncio

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_S / 2)


def _copy_outcome(task: Any, future: "Future[Any]") -> None:
    from concurrent.futures import InvalidStateError

    if task.cancelled():
        future.cancel()
        return
    error = task.exception()
    with suppress(InvalidStateError):  # nothing waits for it any more
        if error:
            future.set_exception(error)
        else:
            future.set_result(task.result())


class _SharedThread:
    """The thread that all servers share while one of them is in use."""

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._thread: LoopThread | None = None

    def acquire(self) -> LoopThread:
        """Return the thread; start it for its first user."""
        with self._lock:
            self._users += 1
            self._thread = self._thread or LoopThread()
            return self._thread

    def release(self) -> None:
        """End the thread after its last user."""
        with self._lock:
            self._users -= 1
            thread = None if self._users else self._thread
            self._thread = self._thread if self._users else None
        if thread:
            thread.stop()


_shared_thread = _SharedThread()


class McpTool:
    """A tool of a server."""

    def __init__(self, source: "McpSource", listed: ListedTool) -> None:
        self._source, self._listed = source, listed

    @property
    def definition(self) -> Definition:
        """Return the definition that is sent to the model."""
        return self._listed.definition

    def preview(self, arguments: Arguments) -> str:
        """Return the call and the command or URL of its server; raise ToolError if the server is unusable."""
        self._source.require_usable()
        return f"{format_call(self.definition.name, arguments)}\nthrough {self._source.server.describe()}"

    def call(self, arguments: Arguments) -> CallResult:
        """Run the tool and return its result; a failure is a result with `is_error`."""
        return self._source.call(self._listed.name, arguments)


class McpSource:
    """The tools of a server, or those that `only` names. `asks`: the user can answer the server's questions.

    Raises UsageError if the SDK is missing or a variable of the server is not set, before anything is started.
    """

    def __init__(
        self, server: McpServer, only: frozenset[str] | None, *, report: Notifier, verbose: bool, asks: bool = True
    ) -> None:
        if not (find_spec("mcp") and find_spec("mcp_types")):  # the types are a separate package since 2.0
            command = build_install_command("mcp", "'mcp>=2.3,<3'")
            raise UsageError("MCP servers need the package mcp, which is not installed", command)
        self.label, self.server = f"mcp:{server.name}", server
        self._expanded = expand_server(server, os.environ)
        self._only, self._report, self._verbose, self._asks = only, report, verbose, asks
        self._process: ServerProcess | None = None
        self._connection: Connection | None = None
        self._start_error: UsageError | None = None
        self._opening: Future[Listing] | None = None
        self._tools: list[ListedTool] = []
        self._deaths, self._was_cancelled = 0, False
        self._reopening: Any = None
        self._is_started = self._is_closed = False

    def start(self) -> None:
        """Start the server, without waiting for it."""
        if self._is_started:
            return
        self._is_started = True
        try:
            self._start_process()
        except UsageError as error:
            self._start_error = error
            return
        self._thread = _shared_thread.acquire()
        self._opening = self._thread.submit(self._connect)

    def _start_process(self) -> None:
        if not self._expanded.url:
            self._process = ServerProcess(self._expanded, config_path().parent, os.environ)

    async def _connect(self) -> "Listing":
        from aiml_cli.tools.mcp_connection import Connection  # imported by the thread, which runs this
        from aiml_cli.tools.mcp_elicitation import ElicitationForm

        self._connection = Connection(
            self._expanded,
            self._process,
            report=self._report,
            verbose=self._verbose,
            form=ElicitationForm(self.server.name, can_ask=self._asks),
        )
        return await self._connection.open()

    def wait_until_ready(self) -> None:
        """Wait until the tools are known; raise UsageError if that takes too long, and for an unknown tool."""
        from concurrent.futures import CancelledError  # few calls have servers

        self.start()
        if self._start_error:
            raise self._start_error
        if self._opening is None or self._tools:
            return
        try:
            listing = self._opening.result()
        except ImportError as error:
            raise UsageError(f"the package mcp cannot be used: {error}") from None
        except CancelledError:
            raise UsageError(f"the MCP server {self.server.name} was closed before it was ready") from None
        self._take(listing)
        self._warn_unknown_only()

    def _take(self, listing: "Listing") -> None:
        self._tools = listing.tools
        for notice in listing.notices[:MAX_NOTICES]:
            self._report_notice(notice)
        if len(listing.notices) > MAX_NOTICES:
            self._report_notice(f"{len(listing.notices) - MAX_NOTICES:,} more of its tools are left out")

    def _report_notice(self, text: str) -> None:
        if self._report:
            self._report(f"{self.server.name}: {text}")

    def _warn_unknown_only(self) -> None:
        names = [tool.name for tool in self._tools]
        for name in sorted(self._only or ()):
            if name not in names:
                hint = f"{suggest(name, names)} available: {', '.join(names[:50])}".lstrip()
                raise UsageError(f"the MCP server {self.server.name} has no tool {name!r}", hint)

    def list_tools(self) -> Sequence[McpTool]:
        """Return the current tools; read the list again if the server has reported a change."""
        if self._connection and self._connection.has_changed and not self._is_closed:
            self._read_again()
        chosen = [tool for tool in self._tools if self._only is None or tool.name in self._only]
        return [McpTool(self, tool) for tool in chosen]

    def _read_again(self) -> None:
        connection = self._connection
        if connection is None or connection.end_reason:
            return
        try:
            self._take(self._thread.run(connection.list_tools))
        except Exception as error:  # noqa: BLE001 - the known tools remain
            self._report_notice(f"its tools changed but cannot be listed: {error}")

    def require_usable(self) -> None:
        """Raise ToolError if the server has ended and is not restarted."""
        reason = self._connection.end_reason if self._connection else ""
        if self._is_closed or (reason and not self._may_restart()):
            raise ToolError(reason or f"the MCP server {self.server.name} was closed")

    def _may_restart(self) -> bool:
        is_restarting = self._reopening is not None
        return bool(self._expanded.url) or self._deaths < 1 or self._was_cancelled or is_restarting

    def call(self, name: str, arguments: Arguments) -> CallResult:
        """Call a tool of the server and return its result; a failure is a result with `is_error`."""
        from concurrent.futures import CancelledError  # few calls have servers

        try:
            self.require_usable()
            result: CallResult = self._thread.run(lambda: self._call(name, arguments))
        except ToolError as error:
            return CallResult(str(error), is_error=True)
        except UsageError as error:  # it could not be restarted
            return CallResult(error.message, is_error=True)
        except CancelledError:
            return CallResult(f"the MCP server {self.server.name} was closed during the call", is_error=True)
        return result

    async def _call(self, name: str, arguments: Arguments) -> CallResult:
        connection = await self._ensure_connection()
        from aiml_cli.tools.mcp_connection import SessionLost  # imported by the thread, which runs this

        try:
            return await connection.call(name, arguments)
        except SessionLost:
            await connection.close()
        connection = await self._ensure_connection()
        try:
            return await connection.call(name, arguments)
        except SessionLost as error:
            return CallResult(f"the MCP server {self.server.name} refused the call: {error}", is_error=True)

    async def _ensure_connection(self) -> "Connection":
        """Return a usable session; restart the server if it has ended or hangs."""
        import asyncio  # loaded by the thread, which runs this

        connection = self._connection
        if connection is None:
            raise ToolError(f"the MCP server {self.server.name} is not started")
        if connection.is_suspect and not connection.end_reason:
            if await connection.is_alive():
                self._was_cancelled = False
            else:
                await self._end(connection)
        if connection.end_reason and connection is self._connection and self._may_restart():
            self._reopening = self._reopening or asyncio.create_task(self._restart(connection))
        if self._reopening:
            await asyncio.shield(self._reopening)
        if self._connection is None or self._connection.end_reason:
            raise ToolError(connection.end_reason)
        return self._connection

    async def _restart(self, connection: "Connection") -> None:
        """Restart the server; raise ToolError if it was closed, and UsageError if that fails."""
        try:
            await self._end(connection)
            if self._is_closed:
                raise ToolError(connection.end_reason)
            self._deaths += not self._was_cancelled
            self._was_cancelled = False
            self._start_process()
            self._take(await self._connect())
        finally:
            self._reopening = None

    async def _end(self, connection: "Connection") -> None:
        import asyncio

        await connection.close()
        if self._process:
            await asyncio.get_running_loop().run_in_executor(None, self._process.end)

    def cancel_calls(self) -> None:
        """End the running calls; the next call restarts a server that does not respond any more."""
        if self._connection and not self._is_closed:
            self._was_cancelled = not self._connection.end_reason
            self._thread.submit(self._cancel)

    async def _cancel(self) -> None:
        if self._connection:
            self._connection.cancel_calls()

    def close(self) -> None:
        """End the server and the running calls within a second."""
        if self._is_closed or not self._is_started:
            return
        self._is_closed = True
        process = self._process
        if self._opening:
            with suppress(Exception):  # the server must end in any case
                self._thread.submit(self._shut_down).result(CLOSE_S / 3)
        if process:
            process.end()
        if self._opening:
            self._opening.cancel()
            _shared_thread.release()
        if self._process and self._process is not process:  # a restart was in progress
            self._process.end()

    async def _shut_down(self) -> None:
        if self._reopening:
            self._reopening.cancel()
        if self._connection:
            await self._connection.close()
