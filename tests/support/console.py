"""A terminal with a program in it: what is typed goes in, and the screen is what a person sees."""

import os
import shlex
import signal
import time
from collections.abc import Callable
from typing import Any, Self

import pexpect
import pyte
from support.run_cli import command

PATIENCE_S = 20.0


class Console:
    """Run the program on a pty whose terminal is emulated, the cursor position that it asks for included."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **environ: str) -> None:
        program, *rest = command(*arguments)
        self.begin(program, rest, columns, rows, environ)

    @classmethod
    def shell(cls, columns: int = 80, rows: int = 24, **environ: str) -> "Console":
        """Run a shell instead, in which `run` starts the program."""
        console = cls.__new__(cls)
        console.begin("bash", ["--norc", "--noprofile", "-i"], columns, rows, {"PS1": "$ ", **environ})
        return console

    def run(self, *arguments: str, before: str = "", after: str = "") -> None:
        """Start the program from the shell."""
        self.line(before + shlex.join(command(*arguments)) + after)

    def begin(self, program: str, rest: list[str], columns: int, rows: int, environ: dict[str, str]) -> None:
        """Start any program."""
        settings: Any = {**os.environ, "AIML_RETRIES": "0", "TERM": "xterm-256color", **environ}
        self.screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.5)
        self.screen.write_process_input = self.keys
        self._stream = pyte.ByteStream(self.screen)
        self.wrote = b""
        self.child = pexpect.spawn(program, rest, env=settings, dimensions=(rows, columns), timeout=PATIENCE_S)
        self.child.delaybeforesend = None

    def keys(self, keys: str) -> None:
        """Press keys."""
        self.child.send(keys)

    def line(self, text: str) -> None:
        """Type a line, and Enter."""
        self.keys(text + "\r")

    def pump(self) -> bool:
        """Take what the program wrote; False at its end."""
        try:
            data = self.child.read_nonblocking(65536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.wrote += data
        self._stream.feed(data)
        return True

    def lines(self) -> list[str]:
        """Give the scrollback and the screen, without the empty rows at the end."""
        width = self.screen.columns
        above = ["".join(row[x].data for x in range(width)) for row in self.screen.history.top]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def text(self) -> str:
        """Give the scrollback and the screen."""
        return "\n".join(self.lines())

    def until(self, wanted: str | Callable[[], object]) -> None:
        """Wait until a text stands there, or something is true."""
        holds = wanted if callable(wanted) else lambda: wanted in self.text()
        end = time.monotonic() + PATIENCE_S
        while not holds():
            alive = self.pump()
            if not holds() and (not alive or time.monotonic() > end):
                raise AssertionError(f"{wanted!r} did not come:\n{self.text()}")

    def prompt(self) -> None:
        """Wait for an empty prompt under the cursor."""
        self.until(lambda: self.typed() == ">")

    def typed(self) -> str:
        """Give the line that the cursor stands on."""
        return str(self.screen.display[self.screen.cursor.y]).rstrip()

    def toolbar(self) -> str:
        """Give the last line of the screen that is not empty."""
        return next((line for line in reversed(self.screen.display) if line.strip()), "").strip()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.child.kill(number)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def end(self, *, keep: bool = False) -> int:
        """Wait for the end; give the exit code. The terminal can be looked at afterwards where it is kept."""
        limit = time.monotonic() + PATIENCE_S
        while self.pump() and (not keep or self.child.isalive()):
            assert time.monotonic() < limit, f"it does not end:\n{self.text()}"
        if not keep:
            self.child.close()
        return self._code()

    def hang_up(self) -> int:
        """Close the terminal; give the exit code."""
        self.child.ptyproc.fileobj.close()
        self.child.ptyproc.fd = self.child.child_fd = -1
        self.child.ptyproc.closed = self.child.closed = True
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            found, status = os.waitpid(self.child.pid, os.WNOHANG)
            if found:
                self.child.terminated = self.child.ptyproc.terminated = True
                return os.waitstatus_to_exitcode(status)
        os.kill(self.child.pid, signal.SIGKILL)
        raise AssertionError("it goes on without a terminal")

    def _code(self) -> int:
        self.child.wait() if self.child.isalive() else None
        return -self.child.signalstatus if self.child.signalstatus else int(self.child.exitstatus)

    def leave(self) -> int:
        """Press Ctrl-D at the prompt."""
        self.keys("\x04")
        return self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.child.terminated:
            self.child.kill(signal.SIGKILL)
            self.child.close(force=True)
