"""Write to standard output and standard error, and tell when that fails."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import local
from typing import Protocol

from aiml_cli.errors import OutputFailed, ReaderClosed
from aiml_cli.system.sanitize import Sanitizer, sanitize
from aiml_cli.system.terminal import is_terminal

# What takes away the sign of waiting, while there is one.
spinner_hooks: list[Callable[[], None]] = []


class LiveRegion(Protocol):
    """Stand at the end of what is on the terminal."""

    def suspend(self, *, ends_line: bool) -> AbstractContextManager[None]:
        """Make room while something else is written."""


_standing: list[LiveRegion] = []


class _ThreadPrefix(local):
    """Hold of whom each thread tells."""

    name = ""


_whose = _ThreadPrefix()


def register_region(what: LiveRegion) -> None:
    """Have something make room for what is told, where both share a terminal."""
    if is_terminal(2):
        _standing.append(what)


def unregister_region(what: LiveRegion) -> None:
    """End that."""
    if what in _standing:
        _standing.remove(what)


def check_stdout() -> None:
    """Raise OutputFailed when nothing can be written to standard output; asked before anything is paid for."""
    try:
        can_write = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        can_write = False
    if not can_write:
        raise OutputFailed("standard output is closed", "nothing was sent")


def write_out(data: bytes, fd: int = 1) -> None:
    """Write all of it at once; raise ReaderClosed or OutputFailed."""
    _end_waiting()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BrokenPipeError:
            raise ReaderClosed("the reader went away") from None
        except BlockingIOError:
            _wait(fd)
        except OSError as fault:
            raise OutputFailed(f"standard output: {fault.strerror}") from None


def _end_waiting() -> None:
    for end in tuple(spinner_hooks):
        end()


def make_sanitized_writer(put: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Make a writer of raw bytes harmless: a character that is cut in two waits for its other half."""
    from codecs import getincrementaldecoder  # few want raw bytes on a terminal

    decoder, gate = getincrementaldecoder("utf-8")("replace"), Sanitizer()
    return lambda data: put(gate.feed(decoder.decode(data)).encode("utf-8", "replace"))


def _wait(fd: int) -> None:
    """Wait until a pipe that somebody set to non-blocking has room."""
    import select

    select.select([], [fd], [])


@contextmanager
def prefix_lines(name: str) -> Iterator[None]:
    """Say of whom a line is, where several are asked at once."""
    before, _whose.name = _whose.name, name
    try:
        yield
    finally:
        _whose.name = before


def print_err(text: str, *, dim: bool = False) -> None:
    """Write one line to standard error; when that is gone, nobody is left to tell."""
    if name := _whose.name:
        text = f"aiml: {name}: {text.removeprefix('aiml: ').removeprefix(f'{name}: ')}"
    write_err(f"\x1b[2m{sanitize(text)}\x1b[0m\n" if dim else f"{sanitize(text)}\n")


def make_notifier(quiet: bool | None) -> Callable[[str], None] | None:
    """Give what tells of something in passing, or None for a user who wants to know nothing."""
    return None if quiet else lambda words: print_err(f"aiml: {words}")


def write_err(text: str) -> None:
    """Write to standard error as it is."""
    if sys.stderr is None:
        return
    _end_waiting()
    with ExitStack() as room:
        for each in _standing:
            room.enter_context(each.suspend(ends_line=text.endswith("\n")))
        _tell(text)


def write_spinner(text: str) -> None:
    """Write the sign of waiting, which is no end of the waiting."""
    _tell(text)


def _tell(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except UnicodeEncodeError:
        _tell(text.encode("ascii", "backslashreplace").decode())
    except (OSError, ValueError):
        return


def print_out(text: str) -> int:
    """Write a text to standard output; give 0, the exit code of a command that has no more to do."""
    write_out((sanitize(text) if is_terminal(1) else text).encode("utf-8", "replace"))
    return 0
