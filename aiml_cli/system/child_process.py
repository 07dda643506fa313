"""Run programs of the user's choice: an editor, a command that prints something, a shell."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiml_cli.errors import UsageError
from aiml_cli.system.questions import TERMINAL
from aiml_cli.system.terminal import is_terminal


class ProgramFailed(Exception):
    """A program could not be started, ended with an error or did not end; `reason` says which in a few words."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.timed_out = reason, timed_out


def run_program(words: Sequence[str], *, data: bytes = b"", seconds: float, reads_output: bool = True) -> bytes:
    """Run a program without a shell, outside of the current directory; return what it printed.

    Raises ProgramFailed. Without `reads_output` its output is thrown away, and one that stays to serve the
    clipboard keeps none of our pipes.
    """
    out, err = (subprocess.PIPE, None) if reads_output else (subprocess.DEVNULL, subprocess.DEVNULL)
    try:
        done = subprocess.run(words, input=data, stdout=out, stderr=err, timeout=seconds, check=True, cwd="/")
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"did not end within {seconds:g} s", timed_out=True) from None
    except subprocess.CalledProcessError as error:
        raise ProgramFailed(f"ended with {error.returncode}") from None
    except (OSError, ValueError) as error:
        raise ProgramFailed(f"cannot be started: {getattr(error, 'strerror', None) or error}") from None
    return done.stdout or b""


def run_editor(path: Path, editor: str) -> None:
    """Open a file in an editor, which gets the terminal; raise UsageError if the editor fails."""
    try:
        with _terminal_or(0) as stdin, _terminal_or(1) as stdout:
            done = subprocess.run([*shlex.split(editor), str(path)], stdin=stdin, stdout=stdout, check=False)
        reason = f"ended with {done.returncode}" if done.returncode else ""
    except (OSError, ValueError) as error:
        reason = f"cannot be started: {getattr(error, 'strerror', None) or error}"
    if reason:
        raise UsageError(f"the editor {editor!r} {reason}")


def run_shell(command: str) -> int:
    """Run a shell command with the terminal; return its exit code."""
    return subprocess.call(command, shell=True)  # noqa: S602 - typed by the user


def capture_shell(command: str) -> tuple[int, str]:
    """Run a shell command; return its exit code, and what it wrote to both outputs."""
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S602 - typed by the user
    return done.returncode, done.stdout.decode("utf-8", "replace")


@contextmanager
def _terminal_or(fd: int) -> Iterator[int]:
    """Yield standard input or output if it is a terminal, else the terminal, else what harms neither."""
    if is_terminal(fd):
        yield fd
        return
    try:
        there = os.open(TERMINAL, (os.O_WRONLY if fd else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:  # a script without a terminal may have a script for an editor
        there = os.dup(2) if fd else os.open(os.devnull, os.O_RDONLY)
    try:
        yield there
    finally:
        os.close(there)
