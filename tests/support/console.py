"""A program on an emulated terminal: type keys, and read the screen as a person sees it."""

import os
import select
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import pexpect
import pyte
from support.forked_process import TerminalProcess
from support.run_cli import build_command

TIMEOUT_S = 20.0
REST_TIMEOUT_S = 0.5  # if a process that outlives the program has the terminal open
# Each shell without the settings of its user.
SHELLS = {"bash": ["--norc", "--noprofile", "-i"], "dash": ["-i"], "zsh": ["-f", "-i", "+o", "prompt_sp"]}


class Console:
    """A program on a pty; the emulated terminal also answers queries for the cursor position."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **environ: str) -> None:
        program, *rest = build_command(*arguments)
        self.start(program, rest, columns, rows, environ)

    @classmethod
    def start_shell(cls, columns: int = 80, rows: int = 24, *, shell: str = "bash", **environ: str) -> "Console":
        """Start a shell instead; `run` starts the program in it."""
        console = cls.__new__(cls)
        console.start(shell, SHELLS[shell], columns, rows, {"PS1": "$ ", **environ})
        return console

    def run(self, *arguments: str, before: str = "", after: str = "") -> None:
        """Type the command line of the program into the shell."""
        self.type_line(before + shlex.join(build_command(*arguments)) + after)

    def start(self, program: str, arguments: list[str], columns: int, rows: int, environ: dict[str, str]) -> None:
        """Start any program on the terminal."""
        settings: Any = {**os.environ, "AIML_RETRIES": "0", "TERM": "xterm-256color", **environ}
        self.screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.5)
        self._unsent = b""
        self.screen.write_process_input = self._add_keys
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.child = TerminalProcess(program, arguments, env=settings, dimensions=(rows, columns), timeout=TIMEOUT_S)
        os.set_blocking(self.child.child_fd, False)

    def press(self, keys: str) -> None:
        """Type keys; read the output meanwhile, because a program whose output is not read may not read its keys."""
        self._add_keys(keys)
        end = time.monotonic() + TIMEOUT_S
        while not self._send_keys() and self.read_output():
            assert time.monotonic() < end, f"it does not read its keys:\n{self.read_text()}"

    def _add_keys(self, keys: str) -> None:
        self._unsent += keys.encode()

    def _send_keys(self) -> bool:
        """Send as much as the terminal accepts; return True if nothing is left."""
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self.child.child_fd, self._unsent) :]
        return not self._unsent

    def type_line(self, text: str) -> None:
        """Type a line and press Enter."""
        self.press(text + "\r")

    def read_output(self) -> bool:
        """Read the output of the program, and send the typed keys; return False at its end."""
        try:
            data = self.child.read_nonblocking(65536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            self._read_rest()
            return False
        self._show(data)
        self._send_keys()
        return True

    def _read_rest(self) -> None:
        """Read what the terminal still holds after the end: on a busy machine it may arrive late."""
        with suppress(OSError, ValueError):  # no process has the terminal open, or it is closed here
            while select.select([self.child.child_fd], [], [], REST_TIMEOUT_S)[0]:
                if not (data := os.read(self.child.child_fd, 65536)):
                    return
                self._show(data)

    def _show(self, data: bytes) -> None:
        self.output += data
        self._stream.feed(data)

    def read_lines(self) -> list[str]:
        """Return the lines of scrollback and screen, without empty ones at the end."""
        width = self.screen.columns
        above = ["".join(row[x].data for x in range(width)) for row in self.screen.history.top]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def read_text(self) -> str:
        """Return the text of scrollback and screen."""
        return "\n".join(self.read_lines())

    def wait_until(self, expected: str | Callable[[], object]) -> None:
        """Wait until a text is on the screen, or a condition is true."""
        is_met = expected if callable(expected) else lambda: expected in self.read_text()
        end = time.monotonic() + TIMEOUT_S
        while not is_met():
            is_running = self.read_output()
            if not is_met() and (not is_running or time.monotonic() > end):
                raise AssertionError(f"{expected!r} did not come:\n{self.read_text()}")

    def press_until(self, keys: str, expected: str | Callable[[], object]) -> None:
        """Type keys again and again until a text is on the screen, or a condition is true.

        For keys before or after Ctrl-C: with the signal, a terminal also drops all keys that are not read yet.
        """
        is_met = expected if callable(expected) else lambda: expected in self.read_text()
        for _ in range(20):
            self.press(keys)
            for _ in range(20):  # reads wait for output, a second in total
                self.read_output()
                if is_met():
                    return
        raise AssertionError(f"{expected!r} did not come:\n{self.read_text()}")

    def wait_for_prompt(self) -> None:
        """Wait for an empty prompt under the cursor."""
        self.wait_until(lambda: self.read_cursor_line() == ">")

    def read_cursor_line(self) -> str:
        """Return the line of the cursor."""
        return str(self.screen.display[self.screen.cursor.y]).rstrip()

    def read_toolbar(self) -> str:
        """Return the last line of the screen that is not empty."""
        return next((line for line in reversed(self.screen.display) if line.strip()), "").strip()

    def send_signal(self, number: int) -> None:
        """Send a signal to the program."""
        self.child.kill(number)

    def resize(self, columns: int, rows: int) -> None:
        """Resize the window."""
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def wait_for_exit(self, *, keep: bool = False) -> int:
        """Wait for the end and return the exit code; with `keep` the terminal stays open."""
        limit = time.monotonic() + TIMEOUT_S
        while self.read_output() and (not keep or self.child.isalive()):
            assert time.monotonic() < limit, f"it does not end:\n{self.read_text()}"
        if not keep:
            self.child.close()
        return self._read_exit_code()

    def hang_up(self) -> int:
        """Close the terminal; return the exit code of the program."""
        self.child.ptyproc.fileobj.close()
        self.child.ptyproc.fd = self.child.child_fd = -1
        self.child.ptyproc.closed = self.child.closed = True
        limit = time.monotonic() + TIMEOUT_S
        while time.monotonic() < limit:
            pid, status = os.waitpid(self.child.pid, os.WNOHANG)
            if pid:
                self.child.terminated = self.child.ptyproc.terminated = True
                return os.waitstatus_to_exitcode(status)
        os.kill(self.child.pid, signal.SIGKILL)
        raise AssertionError("it continues without a terminal")

    def _read_exit_code(self) -> int:
        self.child.wait() if self.child.isalive() else None
        return -self.child.signalstatus if self.child.signalstatus else int(self.child.exitstatus)

    def leave(self) -> int:
        """Press Ctrl-D at the prompt; return the exit code."""
        self.press("\x04")
        return self.wait_for_exit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.child.terminated:
            self.child.kill(signal.SIGKILL)
            self.child.close(force=True)
