"""The process of a stdio server and its child processes: started without waiting, ended within a second."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from aiml_cli.errors import UsageError
from aiml_cli.system.child_process import ProcessGroup, ProgramFailed
from aiml_cli.system.sanitize import sanitize
from aiml_cli.tools.mcp_config import McpServer

# How long the process may take to end after its standard input was closed, and after SIGTERM.
GRACE_S = 0.3
TAIL_BYTES, TAIL_LINES, TAIL_WIDTH = 4096, 5, 300
_INSTALL_HINTS = {"npx": "it comes with Node.js", "node": "it is Node.js", "uvx": "it comes with uv", "docker": ""}


def default_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every stdio server gets, the same as from the official SDK."""
    names = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
    return {name: environ[name] for name in names if not environ.get(name, "()").startswith("()")}


class ServerProcess:
    """A server process in its own session; other code reads and writes its pipes.

    Raises UsageError if it cannot be started. `folder` is where it starts unless the server has a `cwd`.
    """

    def __init__(self, server: McpServer, folder: Path, environ: Mapping[str, str]) -> None:
        where = f"the MCP server {server.name}"
        env = {**default_environment(environ), **server.env}
        cwd = Path(folder, os.path.expanduser(server.cwd))  # noqa: PTH111 - keeps ~NAME of an unknown user
        if not cwd.is_dir():
            raise UsageError(f"{where}: there is no folder {cwd}", "cwd in mcp.json names it")
        command = [_find_program(server.command, cwd, env, where), *server.args]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        try:
            self._group = ProcessGroup(command, env, cwd=cwd, **streams)
        except ProgramFailed as error:
            raise UsageError(f"{where} {error.reason}", f"the command is: {server.describe()}") from None
        process = self._group.process
        self._pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe]
        self.stdin, self.stdout, self.stderr = (pipe.fileno() for pipe in self._pipes)
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)
        self._tail = b""

    def add_stderr(self, data: bytes) -> None:
        """Keep the end of the process's standard error."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]

    def stderr_lines(self) -> list[str]:
        """Return the last lines of its standard error, sanitized and truncated."""
        lines = [line.strip() for line in self._tail.decode("utf-8", "replace").splitlines()]
        return [sanitize(line[:TAIL_WIDTH]) for line in lines if line][-TAIL_LINES:]

    def describe_end(self) -> str:
        """Return how it ended: `exit 1`, `SIGKILL`, or that it still runs."""
        code = self.poll()
        if code is None:
            return "it closed its output"
        return f"exit {code}" if code >= 0 else signal.Signals(-code).name

    def poll(self) -> int | None:
        """Return its exit code, None while it runs; its child processes end with it."""
        if self._group.process.poll() is None:
            return None
        return self._group.end()

    def close_pipes(self) -> None:
        """Close the pipes, which asks the process to end; nothing may wait for the pipes any more."""
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.close()

    def end(self) -> None:
        """End the process and its children: close its input, then send SIGTERM, then SIGKILL."""
        self.close_pipes()
        process = self._group.process
        for number in (None, signal.SIGTERM):
            if number and process.returncode is None:
                with suppress(OSError):
                    os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        self._group.end()


def _find_program(command: str, cwd: Path, env: Mapping[str, str], where: str) -> str:
    """Return the path of a program; relative entries of PATH are ignored: other users can write to some folders."""
    if "/" in command:
        return str(cwd / os.path.expanduser(command))  # noqa: PTH111
    folders = [folder for folder in env.get("PATH", os.defpath).split(os.pathsep) if folder.startswith("/")]
    program = shutil.which(command, path=os.pathsep.join(folders) or "/nonexistent")
    if program is None:
        raise UsageError(f"{where}: there is no program {command!r}", _INSTALL_HINTS.get(command, ""))
    return program
