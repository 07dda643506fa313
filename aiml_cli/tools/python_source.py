"""Call the functions of a Python file, which runs in its own child process."""

import json
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import decode_source
from itertools import count
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, TimeoutExpired
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import MEBIBYTE, read_bounded
from aiml_cli.system.child_process import ProcessGroup, ProgramFailed, name_signal
from aiml_cli.system.stdio import Notifier
from aiml_cli.tools.tool import (
    MAX_RESULT_BYTES,
    ArgumentChecker,
    Arguments,
    CallResult,
    Definition,
    ToolError,
    build_environment,
    cut_result,
)

# The package is in the path only while this is imported: the file's own modules come after the installed ones.
BOOTSTRAP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from aiml_cli.tools.python_worker import main
del sys.path[0]
main()
"""
LOAD_S, TIMEOUT_S = 30.0, 30.0
MAX_SOURCE_BYTES = 4 * MEBIBYTE
MAX_LINE_BYTES = MEBIBYTE
# Limits for printed output: per line, and in total.
MAX_PRINTED_LINE, MAX_PRINTED = 1000, 64 * 1024
PIECE_BYTES = 64 * 1024
EXIT_S = 1.0  # how long a process may take to end once its connection is closed


class PythonTool:
    """A function of a Python file."""

    def __init__(self, source: "PythonSource", definition: Definition) -> None:
        self.definition = definition
        self._source = source
        self._checker = ArgumentChecker(definition.parameters)

    def preview(self, arguments: Arguments) -> str:
        """Return the call as Python."""
        given = self._checker.check(arguments)
        return f"{self.definition.name}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def call(self, arguments: Arguments) -> CallResult:
        """Call the function; an exception is a result with `is_error`."""
        try:
            return self._source.call(self.definition.name, self._checker.check(arguments))
        except ToolError as error:
            return CallResult(str(error), is_error=True)


class PythonSource:
    """The public functions of a Python file.

    The file is read once. If its process has ended, the next call starts a new one; data that the functions kept in
    memory is lost then.
    """

    def __init__(self, path: str, *, report: Notifier) -> None:
        """Raise UsageError for a path that cannot be made absolute. `report` receives what the file prints."""
        try:
            self._path = Path(path).expanduser().absolute()
        except (RuntimeError, OSError) as error:  # no such user, or no current directory
            raise UsageError(f"{path}: {error}") from None
        self.label = self._path.name
        self._report = report
        self._lock = Lock()
        self._process: PythonProcess | None = None
        self._start_error: UsageError | None = None
        self._tools: tuple[PythonTool, ...] = ()
        self._timeout_s = TIMEOUT_S
        self._is_closed = False
        self._command: PythonCommand | None = None

    def start(self) -> None:
        """Read the file and start its process."""
        try:
            self._command = self._command or PythonCommand(self._path, self._report)
            self._get_process()
        except (UsageError, ToolError) as error:
            self._start_error = error if isinstance(error, UsageError) else UsageError(f"{self.label}: {error}")

    def wait_until_ready(self) -> None:
        """Wait until the file is loaded; raise UsageError if it cannot be used."""
        if self._tools:
            return
        if self._process is None and self._start_error is None:
            self.start()
        if self._start_error is not None or self._process is None:
            raise self._start_error or UsageError(f"{self.label} is closed")
        try:
            ready = self._process.wait_until_ready()
        except UsageError:
            self.close()
            raise
        self._timeout_s = ready.timeout_s
        self._tools = tuple(PythonTool(self, definition) for definition in ready.definitions)

    def list_tools(self) -> Sequence[PythonTool]:
        """Return the functions."""
        return self._tools

    def call(self, name: str, arguments: Mapping[str, Any]) -> CallResult:
        """Call a function in the file's process; raise ToolError if there is none."""
        process = self._get_process()
        try:
            process.wait_until_ready()
        except UsageError as error:
            raise ToolError(error.message) from None
        return process.call(name, arguments, self._timeout_s)

    def cancel_calls(self) -> None:
        """End the process if it runs a call: a single thread cannot be stopped."""
        process = self._process
        if process is not None and process.is_busy:
            process.end("the call was stopped by the user")

    def close(self) -> None:
        """End the process, and start no more."""
        with self._lock:
            self._is_closed = True
            process = self._process
        if process is not None:
            process.end("the tools are closed")

    def _get_process(self) -> "PythonProcess":
        with self._lock:
            if self._is_closed or self._command is None:
                raise ToolError("the tools are closed")
            if self._process is None or self._process.has_ended:
                self._process = PythonProcess(self._command)
            return self._process


class PythonCommand:
    """Starts the process of a Python file, with the file's text and an environment without the API key."""

    def __init__(self, path: Path, report: Notifier) -> None:
        """Read the file; raise UsageError if others can change it, or if it is not Python text."""
        self.label, self.report = path.name, report
        paths.require_trusted(path)
        self.environment = build_environment({}, self.label)
        self.first_message = {"source": read_source(path), "path": str(path), "folder": _find_import_folder(path)}

    def start(self, connection: socket.socket) -> ProcessGroup:
        """Start the process with its end of the connection; raise ToolError if that fails."""
        fd = connection.fileno()
        command = [sys.executable, "-I", "-X", "utf8", "-c", BOOTSTRAP, str(fd), str(MAX_RESULT_BYTES)]
        try:
            return ProcessGroup(command, self.environment, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, pass_fds=(fd,))
        except ProgramFailed as error:
            raise ToolError(f"Python {error.reason}") from None


def read_source(path: Path) -> str:
    """Return the text of a Python file; raise UsageError if it cannot be used."""
    try:
        return decode_source(read_bounded(path, MAX_SOURCE_BYTES))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a Python file: {error}") from None


def _find_import_folder(path: Path) -> str:
    """Return the file's folder if its modules can be trusted; a shared one, such as /tmp, may contain any."""
    with suppress(UsageError, OSError):
        if not path.parent.stat().st_mode & paths.WRITE_BY_EVERYONE:
            paths.require_trusted(path.parent)
            return str(path.parent)
    return ""


class LoadedFile:
    """The message of a process when the file is loaded."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        """Read the message; raise KeyError, TypeError or ValueError if it is malformed."""
        self.definitions = [
            Definition(str(tool["name"]), str(tool["description"]), dict(tool["parameters"]))
            for tool in message["tools"]
        ]
        self.timeout_s = float(message["timeout"] or TIMEOUT_S)


class PendingCall:
    """A call that waits for its result."""

    def __init__(self) -> None:
        self._is_done = Event()
        self._result = CallResult("", is_error=True)

    def finish(self, result: CallResult) -> None:
        """Set the result."""
        self._result = result
        self._is_done.set()

    def wait(self, seconds: float) -> CallResult | None:
        """Return the result, or None after a timeout."""
        return self._result if self._is_done.wait(seconds) else None


class PythonProcess:
    """One process of a Python file; thread-safe. It is never restarted."""

    def __init__(self, command: PythonCommand) -> None:
        self._label, self._deadline = command.label, monotonic() + LOAD_S
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._group = command.start(theirs)
        self._lock, self._send_lock = Lock(), Lock()
        self._numbers = count()
        self._pending: dict[int, PendingCall] = {}
        self._end_reason = ""
        self._is_loaded = Event()
        self._ready: LoadedFile | UsageError | None = None
        for work in (lambda: self._receive(command.first_message), self._await_exit):
            Thread(target=work, daemon=True).start()
        Thread(target=report_lines, args=(self._group.process.stdout, command), daemon=True).start()

    @property
    def has_ended(self) -> bool:
        """True if its process has ended, or is being ended."""
        return bool(self._end_reason)

    @property
    def is_busy(self) -> bool:
        """True if a call runs."""
        return bool(self._pending)

    def wait_until_ready(self) -> LoadedFile:
        """Wait until the file is loaded; raise UsageError if that fails or takes more than 30 s."""
        if not self._is_loaded.wait(max(0.0, self._deadline - monotonic())):
            self.end(f"{self._label} was not loaded within {LOAD_S:g} s")
        if isinstance(self._ready, LoadedFile):
            return self._ready
        raise self._ready or UsageError(self._end_reason)

    def call(self, name: str, arguments: Mapping[str, Any], seconds: float) -> CallResult:
        """Call a function and wait for its result; a call that takes too long ends the process."""
        number, pending = next(self._numbers), PendingCall()
        with self._lock:
            if self._end_reason:
                return CallResult(self._end_reason, is_error=True)
            self._pending[number] = pending
        deadline = monotonic() + seconds
        self._send({"id": number, "name": name, "arguments": arguments}, seconds)
        result = pending.wait(max(0.0, deadline - monotonic()))
        if result is not None:
            return result
        with self._lock:
            self._pending.pop(number, None)
        self.end(f"the process of {self._label} was ended, because {name} did not return within {seconds:g} s")
        return CallResult(f"{name} did not return within {seconds:g} s, and was stopped", is_error=True)

    def end(self, reason: str) -> None:
        """Kill the process and its children; its calls end with the reason."""
        with self._lock:
            self._end_reason = self._end_reason or reason
            pending, self._pending = self._pending, {}
        self._group.kill()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        for call in pending.values():
            call.finish(CallResult(self._end_reason, is_error=True))
        self._is_loaded.set()
        self._group.end()

    def _send(self, message: Mapping[str, Any], seconds: float) -> None:
        """Send a message; end the process if it does not read it in time."""
        data = json.dumps(message).encode() + b"\n"
        if not self._send_lock.acquire(timeout=seconds):
            return
        try:
            whole, fraction = divmod(seconds, 1)
            limit = struct.pack("ll", int(whole), int(fraction * 1_000_000))
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._connection.sendall(data)
        except OSError:
            self.end(f"the process of {self._label} accepts no more calls")
        finally:
            self._send_lock.release()

    def _await_exit(self) -> None:
        """Close the connection when the process has ended: other processes may have inherited it."""
        self._group.process.wait()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _receive(self, first_message: Mapping[str, Any]) -> None:
        """Send the file to the process, and pass its results to the calls until it ends."""
        self._send(first_message, LOAD_S)
        try:
            for line in read_lines(self._connection):
                self._accept(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            self.end(f"the process of {self._label} was ended, because it sent a malformed result")
        self.end(self._explain_exit())
        self._connection.close()

    def _accept(self, message: Any) -> None:
        if "failure" in message:
            self._ready = UsageError(f"{self._label} cannot be used: {message['failure']}", str(message["hint"]))
            self._is_loaded.set()
        elif not self._is_loaded.is_set():
            self._ready = LoadedFile(message)
            self._is_loaded.set()
        else:
            text = str(message["text"]).encode("utf-8", "replace").decode()
            result = CallResult(cut_result(text, int(message["size"])), is_error=bool(message["is_error"]))
            with self._lock:
                pending = self._pending.pop(message["id"])
            pending.finish(result)

    def _explain_exit(self) -> str:
        """Return how the process ended, if it was not ended by `end`."""
        with suppress(TimeoutExpired):
            code = self._group.process.wait(EXIT_S)
            how = f"by {name_signal(-code)}" if code < 0 else f"with exit code {code}"
            return f"the process of {self._label} ended {how}"
        return f"the process of {self._label} closed its connection"


def read_lines(connection: socket.socket) -> Iterator[bytes]:
    """Yield the lines until the other end is closed; raise ValueError for one of more than 1 MiB."""
    rest = bytearray()
    with suppress(OSError):
        while piece := connection.recv(PIECE_BYTES):
            start = len(rest)
            rest += piece
            while (end := rest.find(b"\n", start)) >= 0:
                yield bytes(rest[:end])
                del rest[: end + 1]
                start = 0
            if len(rest) > MAX_LINE_BYTES:
                raise ValueError("an endless line")


def report_lines(stream: Any, command: PythonCommand) -> None:
    """Read the output of a file until its processes have ended, and report the beginning of it."""
    left, rest = MAX_PRINTED, b""
    with stream:
        while piece := stream.read(PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n") if left > 0 else [b""]
            rest = rest[:MAX_PRINTED_LINE]
            for line in lines if command.report else ():
                if left > 0 and command.report:
                    command.report(f"{command.label}: {line[:MAX_PRINTED_LINE].decode('utf-8', 'replace')}")
                left -= len(line) + 1
                if left <= 0 and command.report:
                    command.report(f"{command.label}: the rest of its output is not shown")
                    break
        if rest and command.report:
            command.report(f"{command.label}: {rest.decode('utf-8', 'replace')}")
