"""A process that has imported the program and forks one for each request: see forked_process.py."""

import fcntl
import gc
import importlib
import json
import os
import pkgutil
import random
import select
import socket
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

MAX_REQUEST, MAX_FDS = 1 << 17, 3
# What is imported late, and not by a module of ours at its top.
PRELOADED = ("httpx", "jsonschema", "sqlite3", "tomlkit", "encodings.idna", "pygments.lexers.python")
# Needs an optional library, or is a program of its own.
NOT_PRELOADED = ("aiml_cli.tools.mcp_", "aiml_cli.tools.python_worker")


def serve(connection: socket.socket, listener: socket.socket) -> NoReturn:
    """Fork a process for each request of the tests, or of a launcher that connects, until the tests end."""
    _preload()
    while True:
        ready, _, _ = select.select([connection, listener], [], [])
        if connection in ready:
            _serve_tests(connection, listener)
        if listener in ready:
            _serve_launcher(connection, listener)
        _collect_ended_children()


def _serve_tests(connection: socket.socket, listener: socket.socket) -> None:
    request, fds, _, _ = socket.recv_fds(connection, MAX_REQUEST, MAX_FDS)
    if not request:
        address = Path(listener.getsockname())
        address.unlink(missing_ok=True)
        address.parent.rmdir()
        os._exit(0)
    connection.send(b"%d" % _fork_orphan(json.loads(request), fds, [connection, listener]))
    for fd in fds:
        os.close(fd)


def _serve_launcher(connection: socket.socket, listener: socket.socket) -> None:
    """Fork a process that runs the program and sends its process id and then its exit code to the launcher."""
    launcher, _ = listener.accept()
    with launcher:
        if os.fork():
            return
        request, fds, _, _ = socket.recv_fds(launcher, MAX_REQUEST, MAX_FDS)
        if not (child := os.fork()):
            _close_all([connection, listener, launcher])
            _run_child(*json.loads(request), fds)
        for fd in fds:
            os.close(fd)
        launcher.send(b"%d" % child)
        launcher.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)


def _close_all(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _collect_ended_children() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _preload() -> None:
    import aiml_cli

    modules = [module.name for module in pkgutil.walk_packages(aiml_cli.__path__, "aiml_cli.")]
    for name in (*PRELOADED, *modules):
        if not name.startswith(NOT_PRELOADED):
            importlib.import_module(name)
    gc.freeze()


def _fork_orphan(request: list[Any], fds: list[int], sockets: list[socket.socket]) -> int:
    """Fork twice, so that the child's parent is the process of the tests; return the id of the child."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        child = os.fork()
        if child:
            os.write(writer, b"%d" % child)
            os._exit(0)
        os.close(reader)
        os.close(writer)
        _close_all(sockets)
        _run_child(*request, fds)
    os.close(writer)
    os.waitpid(between, 0)
    pid = int(os.read(reader, 64))
    os.close(reader)
    return pid


def _run_child(
    arguments: list[str], environ: dict[str, str], folder: str, umask: int, is_leader: bool, fds: list[int]
) -> NoReturn:
    """Become the requested process; the leader of a session takes a terminal that it reads as its own."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    os.umask(umask)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    os.closerange(3, max(fds) + 1)
    if is_leader:
        os.setsid()
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _open_streams()
    random.seed()
    time.tzset()
    import aiml_cli.__main__ as program

    sys.argv = [program.__file__, *arguments]
    program.run()


def _open_streams() -> None:
    """Open the standard streams as the interpreter does."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
