"""Run programs of the user's choice: an editor, a command that prints something, a shell."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiml_cli.errors import UsageError
from aiml_cli.system.terminal import TERMINAL, is_terminal, leave_to_child


class ProgramFailed(Exception):
    """A program that could not be started, ended with an error or did not end; `reason` says which."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.timed_out = reason, timed_out


def run_program(command: Sequence[str], *, data: bytes = b"", seconds: float, reads_output: bool = True) -> bytes:
    """Run a program without a shell, from the root directory; return its standard output.

    Raises ProgramFailed. Without `reads_output` its output is discarded: a program that stays to serve the
    clipboard then does not keep our pipes open.
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
    """Open a file in an editor that gets the terminal; raise UsageError if the editor fails."""
    try:
        with _open_stream(0) as stdin, _open_stream(1) as stdout, leave_to_child():
            code = subprocess.run([*shlex.split(editor), str(path)], stdin=stdin, stdout=stdout, check=False).returncode
        reason = f"ended with {code}" if code else ""
    except (OSError, ValueError) as error:
        reason = f"cannot be started: {getattr(error, 'strerror', None) or error}"
    if reason:
        raise UsageError(f"the editor {editor!r} {reason}")


def run_shell(command: str) -> int:
    """Run a shell command on the terminal; return its exit code."""
    with leave_to_child():
        return subprocess.call(command, shell=True)  # noqa: S602 - typed by the user


def capture_shell(command: str) -> tuple[int, str]:
    """Run a shell command; return its exit code and what it wrote to both outputs."""
    with leave_to_child():
        result = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S602 - typed by the user
    return result.returncode, result.stdout.decode("utf-8", "replace")


@contextmanager
def _open_stream(fd: int) -> Iterator[int]:
    """Yield standard input or output if it is a terminal, else the terminal, else a harmless substitute."""
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
