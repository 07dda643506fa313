"""Run programs for the user: an editor, a command whose output is read, a shell, a tool of the model."""

import os
import selectors
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, current_thread, main_thread
from time import monotonic
from typing import IO, Any, NamedTuple, Self

from aiml_cli.errors import UsageError
from aiml_cli.system.atomic_write import write_all
from aiml_cli.system.signals import Stopped
from aiml_cli.system.terminal import TERMINAL, is_terminal, leave_to_child

PIECE_BYTES = 64 * 1024
# A program that writes more than this is killed: it may never stop.
MAX_WRITTEN_BYTES = 16 * 1024 * 1024
MAX_ERROR_BYTES = 4 * 1024
# The interval of checks whether a program has ended while its children keep its output open.
POLL_S = 0.05
# How long a killed process may take to disappear.
KILL_S = 2.0


class ProgramFailed(Exception):
    """A program could not be started, ended with an error or did not end; `reason` says which."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.timed_out = reason, timed_out


def run_program(command: Sequence[str], *, data: bytes = b"", seconds: float, reads_output: bool = True) -> bytes:
    """Run a program without a shell, in the root directory; return its standard output.

    Raises ProgramFailed. Without `reads_output`, the output is discarded, so that a program that keeps running to serve
    the clipboard does not keep our pipes open.
    """
    out, err = (subprocess.PIPE, None) if reads_output else (subprocess.DEVNULL, subprocess.DEVNULL)
    try:
        with leave_to_child():
            result = subprocess.run(command, input=data, stdout=out, stderr=err, timeout=seconds, check=True, cwd="/")
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"did not end within {seconds:g} s", timed_out=True) from None
    except subprocess.CalledProcessError as error:
        raise ProgramFailed(f"ended with {error.returncode}") from None
    except (OSError, ValueError) as error:
        raise ProgramFailed(f"cannot be started: {getattr(error, 'strerror', None) or error}") from None
    return result.stdout or b""


def run_editor(path: Path, editor: str) -> None:
    """Open a file in an editor that uses the terminal; raise UsageError if the editor fails."""
    try:
        with _open_stream(0) as stdin, _open_stream(1) as stdout, leave_to_child():
            code = subprocess.run([*shlex.split(editor), str(path)], stdin=stdin, stdout=stdout, check=False).returncode
        reason = f"ended with {code}" if code else ""
    except (OSError, ValueError) as error:
        reason = f"cannot be started: {getattr(error, 'strerror', None) or error}"
    if reason:
        raise UsageError(f"the editor {editor!r} {reason}")


def run_shell(command: str, data: bytes | None = None) -> int:
    """Run a shell command on the terminal; return its exit code, negative for a signal that ended it.

    `data` is its standard input. As in a shell, Ctrl-C only affects the command.
    """
    stdin = None if data is None else subprocess.PIPE
    with leave_to_child(), _leave_interrupts_to_child():
        process = subprocess.Popen(command, shell=True, stdin=stdin, bufsize=0)  # noqa: S602 - typed by the user
        try:
            if process.stdin and data is not None:
                _feed(process.stdin, data)
            return process.wait()
        except BaseException:
            process.kill()
            raise


def _feed(stdin: IO[bytes], data: bytes) -> None:
    """Write all of the data and close the pipe; a program may end before it has read everything."""
    with suppress(BrokenPipeError), stdin:
        write_all(stdin.fileno(), data)


@contextmanager
def _leave_interrupts_to_child() -> Iterator[None]:
    """Ignore SIGINT and SIGQUIT during a block, but not in programs that are started in it."""

    def ignore(_number: int, _frame: Any) -> None:
        pass

    if current_thread() is not main_thread():
        yield
        return
    old = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            if signal.getsignal(number) is ignore:
                signal.signal(number, handler)


def run_on_terminal(command: Sequence[str]) -> int:
    """Run a program as a shell would, with the terminal as its standard input; return its exit code.

    If a signal ended it, the exit code is 128 plus the signal's number. Raises UsageError if it cannot be started.
    """
    with _open_stream(0) as stdin, leave_to_child(), _leave_interrupts_to_child():
        try:
            process = subprocess.Popen(command, stdin=stdin)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{command[0]} cannot be started: {reason}", "nothing was run") from None
        try:
            code = process.wait()
        except Stopped as stop:  # SIGTERM or SIGHUP: the program must not keep running alone
            process.send_signal(stop.number)
            raise
    return 128 - code if code < 0 else code


def describe_exit(code: int) -> str:
    """Return how a command ended: "ended with 3", "ended with SIGKILL"."""
    return f"ended with {code if code >= 0 else name_signal(-code)}"


def capture_shell(command: str) -> tuple[int, str]:
    """Run a shell command; return its exit code, and its standard output and standard error together."""
    with leave_to_child():
        result = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S602 - typed by the user
    return result.returncode, result.stdout.decode("utf-8", "replace")


class ProcessGroup:
    """A program in its own session, which the keys and signals of the terminal do not reach.

    All processes that it starts belong to its group, unless they leave it on purpose. Raises ProgramFailed if it cannot
    be started. Thread-safe.
    """

    def __init__(self, command: Sequence[str | bytes], env: Mapping[str, str], **streams: Any) -> None:
        self._lock, self._is_gone = Lock(), False
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command, env=env, start_new_session=True, bufsize=0, **streams
            )
        except (OSError, ValueError) as error:
            raise ProgramFailed(f"cannot be started: {getattr(error, 'strerror', None) or error}") from None

    def kill(self) -> None:
        """Kill the group, without waiting until it has ended."""
        with self._lock:
            if not self._is_gone:
                with suppress(OSError):
                    os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill the rest of the group, and return the exit code, negative for a signal."""
        self.kill()
        with self._lock:
            with suppress(subprocess.TimeoutExpired):  # it hangs in a system call
                self.process.wait(KILL_S)
            self._is_gone = True
        return self.process.returncode if self.process.returncode is not None else -signal.SIGKILL


class ProgramOutput(NamedTuple):
    """The output of a program, and how it ended.

    `exit_code` is the negative number of a signal if the program was killed. `out` is the beginning of standard output,
    which had `size` bytes; `err` is the end of standard error.
    """

    exit_code: int
    out: bytes
    size: int
    err: bytes
    has_timed_out: bool = False
    has_flooded: bool = False


def collect_output(group: ProcessGroup, data: bytes, *, seconds: float, limit: int) -> ProgramOutput:
    """Write the input of a program, return its output when it ends, and kill the rest of its group.

    Its standard streams must be pipes. Memory is bounded: the first `limit` bytes of the output are kept. A program
    that does not end within `seconds`, or that writes more than 16 MiB, is killed.
    """
    deadline = monotonic() + seconds
    has_flooded = False
    with _PipeSet(group.process, data, limit) as pipes:
        try:
            # When the program has ended, the output of its children is not waited for.
            while group.process.poll() is None and monotonic() < deadline and not has_flooded:
                pipes.transfer(min(POLL_S, max(0.0, deadline - monotonic())))
                has_flooded = pipes.written > MAX_WRITTEN_BYTES
            has_timed_out = group.process.poll() is None and not has_flooded
        finally:
            exit_code = group.end()
        pipes.drain()
        return ProgramOutput(exit_code, bytes(pipes.out), pipes.size, bytes(pipes.err), has_timed_out, has_flooded)


def explain_failure(output: ProgramOutput, seconds: float) -> str:
    """Return how a command with this time limit failed, or "" if it succeeded."""
    if output.has_timed_out:
        return f"the command did not end within {seconds:g} s, and was killed"
    if output.has_flooded:
        return f"the command wrote more than {MAX_WRITTEN_BYTES // (1024 * 1024)} MiB, and was killed"
    if output.exit_code < 0:
        return f"the command was ended by {name_signal(-output.exit_code)}"
    return f"the command ended with exit code {output.exit_code}" if output.exit_code else ""


def find_program(name: str) -> str | None:
    """Return the path of a program, or None if it is not found; relative entries of PATH are ignored."""
    if name.startswith("~/"):
        with suppress(RuntimeError):  # without a home directory there is no such program
            name = str(Path(name).expanduser())
    search_path = os.pathsep.join(absolute_paths(os.environ.get("PATH", os.defpath)))
    return shutil.which(name, path=search_path) if search_path or "/" in name else None


def absolute_paths(path: str) -> list[str]:
    """Return the absolute entries of PATH, which do not depend on the current directory."""
    return [entry for entry in path.split(os.pathsep) if entry.startswith("/")]


def name_signal(number: int) -> str:
    """Return the name of a signal, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _PipeSet:
    """The pipes of a program's standard streams, which never block."""

    def __init__(self, process: "subprocess.Popen[bytes]", data: bytes, limit: int) -> None:
        self._process, self._rest, self._limit = process, memoryview(data), limit
        self.out, self.err = bytearray(), bytearray()
        self.size = self.written = 0
        self._selector = selectors.DefaultSelector()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None  # noqa: S101 - for mypy
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_WRITE if stream is process.stdin else selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in [key.fileobj for key in self._selector.get_map().values()]:
            self._close(stream)
        self._selector.close()

    def transfer(self, seconds: float) -> None:
        """Wait until a pipe is ready or the program has ended, then read and write without waiting."""
        if not self._selector.get_map():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._process.stdin:
                self._write(key.fileobj)
            else:
                self._read(key.fileobj)

    def drain(self) -> None:
        """Read the rest of the output of a program that has ended, without waiting."""
        is_done = False
        while not is_done and self.written <= MAX_WRITTEN_BYTES:
            before = self.written
            for key in list(self._selector.get_map().values()):
                if key.fileobj is not self._process.stdin:
                    self._read(key.fileobj)
            is_done = self.written == before

    def _write(self, stream: Any) -> None:
        """Write a piece; a program that does not read its input is not an error."""
        with suppress(BlockingIOError):
            try:
                self._rest = self._rest[os.write(stream.fileno(), self._rest[:PIECE_BYTES]) :]
            except BlockingIOError:
                raise
            except OSError:
                self._rest = self._rest[:0]
        if not self._rest:
            self._close(stream)

    def _read(self, stream: Any) -> None:
        try:
            piece = os.read(stream.fileno(), PIECE_BYTES)
        except BlockingIOError:
            return
        if not piece:
            self._close(stream)
        self.written += len(piece)
        if stream is self._process.stdout:
            self.size += len(piece)
            self.out += piece[: max(0, self._limit - len(self.out))]
        else:
            self.err = (self.err + piece)[-MAX_ERROR_BYTES:]

    def _close(self, stream: Any) -> None:
        self._selector.unregister(stream)
        with suppress(OSError):
            stream.close()


@contextmanager
def _open_stream(fd: int) -> Iterator[int]:
    """Yield standard input or output if it is a terminal, else the terminal, else stderr or /dev/null."""
    if is_terminal(fd):
        yield fd
        return
    try:
        stream = os.open(TERMINAL, (os.O_WRONLY if fd else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:  # a script without a terminal may use a script as its editor
        stream = os.dup(2) if fd else os.open(os.devnull, os.O_RDONLY)
    try:
        yield stream
    finally:
        os.close(stream)
