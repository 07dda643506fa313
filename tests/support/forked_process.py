"""Start processes of the program in a tenth of the time: a process that has imported it forks one for each command.

A child is a process like any other: it has the given arguments, environment, folder, streams and terminal, runs
`aiml_cli.__main__.run`, and its parent is the process of the tests. What an interpreter does when it starts (its own
variables, imports, closed streams) is not repeated: where that matters, a test starts a real process.
"""

import ctypes
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pexpect
from ptyprocess import PtyProcess

# Read by the interpreter or by libraries of the system when a process starts: other values need a real process.
START_VARIABLES = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "TZ", "GLIBC_")
HARMLESS_VARIABLES = ("PYTHON_KEYRING_BACKEND", "PYTHONDONTWRITEBYTECODE", "LC_TERMINAL")
SET_CHILD_SUBREAPER = 36  # prctl(2)
SERVER = Path(__file__).with_name("fork_server.py")
LAUNCHER = Path(__file__).with_name("launcher.py")
ENVIRON_AT_START = dict(os.environ)
HAS_FORK_SERVER = sys.platform == "linux"
MAX_REQUEST = 1 << 17  # what a packet holds on every Linux


class CliProcess(subprocess.Popen[bytes]):
    """A process of the program, forked where that shows the same; `command` is what `build_command` returned."""

    def _execute_child(self, args: Any, *settings: Any) -> None:
        """Start the child; the settings are those that Popen of CPython 3.11 to 3.14 passes on."""
        executable, preexec_fn, close_fds, pass_fds, folder, environ, _info, _flags, shell, *more = settings
        streams, (_restore, gid, gids, uid, umask, new_session, *group) = more[:6], more[6:]
        is_plain = close_fds and not (preexec_fn or pass_fds or executable or shell)
        is_plain = is_plain and (gid, gids, uid, umask) == (None, None, None, -1) and group in ([], [-1])
        variables = os.environ if environ is None else environ
        if not (is_plain and can_fork(args, variables)):
            super()._execute_child(args, *settings)  # type: ignore[misc]
            return
        stdin, stdin_end, stdout_end, stdout, stderr_end, stderr = streams
        try:
            fds = [fd if fd != -1 else number for number, fd in enumerate((stdin, stdout, stderr))]
            self.pid = _server().start(args[3:], variables, folder, fds, new_session=new_session)
            self._child_created = True
        finally:
            self._close_pipe_fds(stdin, stdin_end, stdout_end, stdout, stderr_end, stderr)  # type: ignore[attr-defined]


class TerminalProcess(pexpect.spawn):  # type: ignore[type-arg]
    """A process of the program on a terminal of its own, forked where that shows the same."""

    def _spawnpty(self, args: list[Any], **settings: Any) -> PtyProcess:
        """Start the child; called by the constructor of pexpect.spawn."""
        command, environ = list(map(os.fsdecode, args)), settings.get("env") or os.environ
        if settings.get("preexec_fn") or not can_fork(command, environ):
            return super()._spawnpty(args, **settings)
        terminal, end = os.openpty()
        termios.tcsetwinsize(end, settings.get("dimensions", (24, 80)))
        try:
            pid = _server().start(command[3:], environ, settings.get("cwd"), [end] * 3, new_session=True)
        finally:
            os.close(end)
        return PtyProcess(pid, terminal)


def run_process(
    command: Sequence[str],
    *,
    input: bytes | None = None,  # noqa: A002 - as subprocess.run calls it
    capture_output: bool = False,
    check: bool = False,
    timeout: float = 60,
    **settings: Any,
) -> "subprocess.CompletedProcess[bytes]":
    """Run the program to its end, as `subprocess.run` does."""
    if input is not None:
        settings["stdin"] = PIPE
    if capture_output:
        settings["stdout"] = settings["stderr"] = PIPE
    with CliProcess(command, **settings) as process:
        try:
            output, errors = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


def install_program(folder: Path) -> str:
    """Write `aiml`, the program under test, into a folder, for shells; return a PATH that begins with the folder.

    Shells start it without its imports, but not as a job of their own: see launcher.py.
    """
    command = [sys.executable, "-m", "aiml_cli"]
    if HAS_FORK_SERVER:
        command = [sys.executable, "-IS", str(LAUNCHER), _server().address]
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "aiml"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def can_fork(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """True if a forked process does the same as a new one."""
    if not HAS_FORK_SERVER or list(command[:3]) != [sys.executable, "-m", "aiml_cli"]:
        return False
    if sum(map(len, (*command, *environ, *environ.values()))) > MAX_REQUEST // 8:
        return False
    return _select_start_variables(environ) == _select_start_variables(ENVIRON_AT_START)


def _select_start_variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(START_VARIABLES) and name not in HARMLESS_VARIABLES
    }


class ForkServer:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        self.address = tempfile.mkdtemp(prefix="aiml-tests-") + "/socket"  # the server removes it at its end
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address)
            listener.listen(64)
            fds = [theirs.fileno(), listener.fileno()]
            command = [sys.executable, str(SERVER), *map(str, fds)]
            environ = {**ENVIRON_AT_START, "HOME": "/nonexistent"}
            self._process = subprocess.Popen(command, env=environ, pass_fds=fds, stdin=subprocess.DEVNULL, cwd="/")

    def start(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        folder: Any,
        fds: Sequence[int],
        *,
        new_session: bool,
    ) -> int:
        """Start a process and return its id; `fds` become its standard streams."""
        folder = os.fspath(folder or Path.cwd())
        os.umask(umask := os.umask(0o077))
        request = json.dumps([list(map(os.fsdecode, arguments)), dict(environ), folder, umask, new_session]).encode()
        with _adopt_orphans():
            socket.send_fds(self._socket, [request], list(fds))
            return int(self._socket.recv(64))


@contextmanager
def _adopt_orphans() -> Iterator[None]:
    """Become the parent of processes that lose their own, as those of the fork server do."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@cache
def _server() -> ForkServer:
    return ForkServer()
