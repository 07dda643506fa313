"""Write to standard output and standard error, and report when that fails."""

import fcntl
import os
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar
from threading import Thread, current_thread, main_thread
from typing import Protocol

from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed
from aiml_cli.system.sanitize import Sanitizer, sanitize
from aiml_cli.system.signals import is_stopping
from aiml_cli.system.terminal import is_terminal, modes

# Prints a notice; None with --quiet.
Notifier = Callable[[str], None] | None
# How long the last output of the program may wait for a paused terminal.
PAUSE_TIMEOUT_S = 1.0
MAX_PIECE_CHARS = 1024 * 1024


class SpinnerLine(Protocol):
    """An animated line that is shown until something is written."""

    def stop(self) -> None:
        """Erase the line permanently."""

    def suspend(self) -> AbstractContextManager[None]:
        """Erase the line during a block."""


spinners: list[SpinnerLine] = []  # the spinner that is shown, if any


class LiveRegion(Protocol):
    """Lines at the end of the terminal that are redrawn."""

    def suspend(self, *, ends_line: bool) -> AbstractContextManager[None]:
        """Erase the lines while something else is written."""


_live_regions: list[LiveRegion] = []
# Called when standard input has been read, or has ended: another thread cannot see that.
input_hooks: list[Callable[[], object]] = []
_waiting: list[Thread] = []  # writes to a terminal that was paused when a signal arrived
_prefix: ContextVar[str] = ContextVar("prefix", default="")  # each thread has its own


def register_region(region: LiveRegion) -> None:
    """Suspend a region whenever something is written to standard error, if that is a terminal."""
    if is_terminal(2):
        _live_regions.append(region)


def unregister_region(region: LiveRegion) -> None:
    """Undo `register_region`."""
    if region in _live_regions:
        _live_regions.remove(region)


@contextmanager
def suspend_output() -> Iterator[None]:
    """Erase the spinner and the live regions during a block, which must leave the cursor at the start of a line."""
    with ExitStack() as stack:
        for spinner in tuple(spinners):
            stack.enter_context(spinner.suspend())
        for region in _live_regions:
            stack.enter_context(region.suspend(ends_line=True))
        yield


modes.suspend_output = suspend_output


def check_stdout() -> None:
    """Raise OutputFailed if standard output cannot be written; called before a request costs anything."""
    with suppress(OSError):
        if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            return
    raise OutputFailed("standard output is closed", "nothing was sent")


def write_out(data: bytes, fd: int = 1, name: str = "standard output") -> None:
    """Write all of the data immediately; raise ReaderClosed, or OutputFailed with the name of the output."""
    _hide_spinner()
    if _may_be_paused(fd):
        _run_briefly(lambda: _write_all(data, fd, name))
    else:
        _write_all(data, fd, name)


def _write_all(data: bytes, fd: int, name: str) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BrokenPipeError:
            raise ReaderClosed("the program that reads the output closed the pipe") from None
        except BlockingIOError:  # another process made the pipe non-blocking
            import select  # few pipes are non-blocking

            select.select([], [fd], [])
        except OSError as error:
            raise OutputFailed(f"{name}: {error.strerror}") from None


def _may_be_paused(fd: int) -> bool:
    """True if the program is stopping and must not wait for a paused terminal."""
    return is_stopping() and current_thread() is main_thread() and is_terminal(fd)


def _run_briefly(write: Callable[[], object]) -> None:
    """Write in a thread, and do not wait for it if the terminal is paused: a second signal would not end the wait."""

    def run() -> None:
        with suppress(AimlError):
            write()

    if any(thread.is_alive() for thread in _waiting):
        return
    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(PAUSE_TIMEOUT_S)
    _waiting.append(thread)


def _hide_spinner() -> None:
    for spinner in tuple(spinners):
        spinner.stop()


def make_sanitized_writer(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a writer that sanitizes raw bytes; the bytes of an incomplete character are held back."""
    decoder, sanitizer = getincrementaldecoder("utf-8")("replace"), Sanitizer()
    return lambda data: write(sanitizer.feed(decoder.decode(data)).encode("utf-8", "replace"))


@contextmanager
def prefix_lines(name: str) -> Iterator[None]:
    """Print a name before each line of this thread, to tell apart requests that run at the same time."""
    token = _prefix.set(name)
    try:
        yield
    finally:
        _prefix.reset(token)


def print_err(text: str, *, dim: bool = False) -> None:
    """Write a sanitized line to standard error; do nothing if standard error is closed."""
    if name := _prefix.get():
        text = f"aiml: {name}: {text.removeprefix('aiml: ').removeprefix(f'{name}: ')}"
    start, end = ("\x1b[2m", "\x1b[0m\n") if dim else ("", "\n")
    if len(text) <= MAX_PIECE_CHARS:
        write_err(f"{start}{sanitize(text)}{end}")
        return
    sanitizer = Sanitizer()
    for at in range(0, len(text), MAX_PIECE_CHARS):  # a copy of a very long text would use too much memory
        write_err(("" if at else start) + sanitizer.feed(text[at : at + MAX_PIECE_CHARS]))
    write_err(sanitizer.finish() + end)


def make_notifier(quiet: bool | None) -> Notifier:
    """Return a function that prints a notice, or None with --quiet."""
    return None if quiet else lambda text: print_err(f"aiml: {text}")


def write_err(text: str) -> None:
    """Write to standard error unchanged, with the spinner and the live regions erased."""
    if sys.stderr is None:
        return
    with ExitStack() as stack:
        for spinner in tuple(spinners):
            stack.enter_context(spinner.suspend())
        for region in _live_regions:
            stack.enter_context(region.suspend(ends_line=text.endswith("\n")))
        write_err_raw(text)


def write_err_raw(text: str) -> None:
    """Write to standard error without erasing anything, as the spinner itself does."""
    if sys.stderr is not None and _may_be_paused(2):
        _run_briefly(lambda: _write_err_now(text))
    else:
        _write_err_now(text)


def _write_err_now(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except UnicodeEncodeError:
        _write_err_now(text.encode("ascii", "backslashreplace").decode())
    except (OSError, ValueError):
        return


def print_out(text: str) -> int:
    """Write a text to standard output; return 0, as the exit code of the command."""
    write_out((sanitize(text) if is_terminal(1) else text).encode("utf-8", "replace"))
    return 0
