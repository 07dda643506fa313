"""The terminal: whether there is one, its size, and its modes."""

import errno
import fcntl
import os
import select
import signal
import stat
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, NamedTuple

from aiml_cli.errors import Interrupted
from aiml_cli.system.signals import Stopped, defer_signals, tick_hooks

TERMINAL = "/dev/tty"
# Nobody types the next key this soon after Enter, so keys that arrive then are a paste. It ends after a pause that is
# longer than the delays of a slow connection.
BURST_S, PASTE_END_S = 0.025, 0.15
READ_BYTES = 65536
# The only colors of text: of the terminal's sixteen, these can be read on light and on dark backgrounds, unlike yellow,
# cyan, white, black and the bright colors. Each is a parameter of an SGR sequence.
RED, GREEN, BLUE, MAGENTA = "31", "32", "34", "35"
# Colors off, cursor on, bracketed paste off, as a shell expects.
RESET_SCREEN = b"\x1b[0m\x1b[?25h\x1b[?2004l"
_INPUT, _LOCAL, _CHARS = 0, 3, 6  # indexes in the result of tcgetattr
Attributes = list[Any]


def is_terminal(fd: int) -> bool:
    """True if a file descriptor is a terminal."""
    return os.isatty(fd)


def get_terminal_size(fd: int) -> tuple[int, int]:
    """Return the columns and rows of a terminal, or 80 and 24 if unknown."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns = rows = 0
    return columns or 80, rows or 24


class Mode(NamedTuple):
    """A terminal mode, as changes to the shell's modes.

    - `reads`: wait until the program is in the foreground.
    - `collects`: keys are kept for the next prompt; `drafts`: an Enter among them does not send the message.
    - `is_child`: a child process owns the terminal and changes its modes itself.
    """

    off: int = 0
    on: int = 0
    input_off: int = 0
    input_on: int = 0
    reads: bool = False
    collects: bool = False
    drafts: bool = False
    is_child: bool = False

    def change(self, attributes: Attributes) -> Attributes:
        """Return the shell's attributes with the changes."""
        changed = [*attributes[:_CHARS], [*attributes[_CHARS]]]
        changed[_INPUT] = changed[_INPUT] & ~self.input_off | self.input_on
        changed[_LOCAL] = changed[_LOCAL] & ~self.off | self.on
        if self.off & termios.ICANON:
            changed[_CHARS][termios.VMIN], changed[_CHARS][termios.VTIME] = 1, 0
        return changed


# In canonical mode, the kernel truncates a line of more than 4,095 bytes, so messages are read without it.
_NO_LINES = termios.ECHO | termios.ICANON
_TRANSLATIONS = termios.ICRNL | termios.INLCR | termios.IGNCR
# A signal key must not discard keys that were typed before it, or output that is not on the screen yet.
SILENT_MODE = Mode(off=termios.ECHO, on=termios.NOFLSH)
COLLECT_MODE = Mode(off=_NO_LINES, on=termios.ISIG | termios.NOFLSH, input_off=_TRANSLATIONS, collects=True)
ANSWER_MODE = COLLECT_MODE._replace(drafts=True)
# The signal keys are read too: a signal would overtake keys that were typed before it.
CHARACTERS = Mode(off=_NO_LINES | termios.ISIG, input_off=_TRANSLATIONS, reads=True)
LINE_MODE = Mode(on=termios.ICANON | termios.ISIG, input_on=termios.ICRNL, reads=True)
SECRET_MODE = LINE_MODE._replace(off=termios.ECHO)
# Each key is read immediately and not shown; the signal keys work.
SINGLE_KEYS = Mode(off=_NO_LINES, on=termios.ISIG, input_on=termios.ICRNL, reads=True)
KEY_MODE = Mode(
    off=_NO_LINES | termios.IEXTEN | termios.ISIG,
    input_off=termios.IXON | termios.IXOFF | _TRANSLATIONS,
    reads=True,
)
CHILD_MODE = Mode(is_child=True)


class _Use:
    """A mode in use; `redraw` is called when the program continues after it was suspended."""

    redraw: Callable[[], None] | None = None

    def __init__(self, mode: Mode) -> None:
        self.mode = mode


class TerminalModes:
    """The only owner of the terminal's modes: a stack of modes, on top of the shell's modes.

    They are only changed while the program is in the foreground. When it is suspended, the shell's modes are restored;
    when it continues, the modes that the shell has then are the ones to restore at the end.
    """

    def __init__(self) -> None:
        self._uses: list[_Use] = []
        self._fd, self._owns_fd = -1, False
        self._base: Attributes | None = None
        self._set: Attributes | None = None  # what was set last; the shell may have changed it unless _is_applied
        self._is_applied = False
        self._continued = 0
        self._typed, self._is_draft = bytearray(), False
        self._old_handlers: dict[int, Any] = {}
        self._is_collecting = False
        self._deferred: list[int] = []
        self.suspend_output: Callable[[], AbstractContextManager[None]] = nullcontext

    @contextmanager
    def use(self, mode: Mode, redraw: Callable[[], None] | None = None) -> Iterator[None]:
        """Set a mode for a block, then restore the previous one. If the mode reads, wait for the foreground first.

        Raises Stopped if the terminal was closed.
        """
        use = _Use(mode)
        with defer_signals():
            if not self._uses:
                self._open()
            self._uses.append(use)
        try:
            self._settle()
            use.redraw = redraw
            yield
        finally:
            with defer_signals():
                self._collect()
                self._uses.remove(use)
                if self._uses:
                    self._apply()
                else:
                    self._close()
            self._settle()

    @property
    def is_used(self) -> bool:
        """True while a mode is in use."""
        return bool(self._uses)

    def is_foreground(self) -> bool:
        """True if the program may change the terminal, which is always the case without job control."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True

    def read(self) -> bytes:
        """Wait for keys, and return all that arrive together; b"" if the terminal was closed.

        At the end of a line, wait a moment for more keys, to distinguish a paste from an Enter.
        """
        data = self._read_now()
        while (seconds := _seconds_to_wait(data)) and self._has_input(seconds) and (more := self._read_now()):
            data += more
        return data

    def take_typed(self) -> tuple[bytes, bool]:
        """Return the keys that were typed since the last prompt, and whether some were typed during an answer."""
        self._collect()
        while self._typed and self._has_input(_seconds_to_wait(self._typed) or BURST_S) and self._collect():
            pass
        typed = bytes(self._typed), self._is_draft
        self._typed, self._is_draft = bytearray(), False
        return typed

    def echo(self, text: str) -> None:
        """Show typed text, unless echo is off in the shell's modes."""
        if self._base is None or self._base[_LOCAL] & termios.ECHO:
            with suppress(OSError):
                os.write(self._fd, text.encode("utf-8", "replace"))

    def character(self, index: int) -> str:
        """Return the key for a function of the terminal such as termios.VERASE."""
        return str(self._base[_CHARS][index].decode("latin-1")) if self._base else ""

    def discard_typed(self) -> None:
        """Discard unread keys, except those that are kept for the next prompt."""
        self._collect()
        with suppress(termios.error, ValueError):  # there may be no terminal
            termios.tcflush(self._fd, termios.TCIFLUSH)

    def _open(self) -> None:
        """Find the terminal, and handle the signals of job control."""
        self._fd, self._owns_fd = _find_terminal()
        self._base = self._set = None
        self._is_applied = False
        if self._fd >= 0 and current_thread() is main_thread():
            tick_hooks.append(self._check)
            for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGQUIT):
                if signal.getsignal(number) is signal.SIG_DFL:  # signals that the parent ignores stay ignored
                    self._old_handlers[number] = signal.signal(number, self._handle_signal)

    def _close(self) -> None:
        """Restore the shell's modes, unless another program has changed them."""
        if self._is_applied and self._base and self.is_foreground() and _get(self._fd) == self._set:
            _set(self._fd, self._base)
        self._is_applied = False
        if self._check in tick_hooks and current_thread() is main_thread():
            tick_hooks.remove(self._check)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
            self._old_handlers = {}
        if self._owns_fd:
            os.close(self._fd)
        self._fd, self._owns_fd = -1, False

    def _settle(self) -> None:
        """Set the mode on top, after waiting for the foreground if it reads."""
        if self._uses and self._fd >= 0:
            if self._uses[-1].mode.reads:
                self._wait_for_foreground()
            with defer_signals():
                self._apply()

    def _apply(self) -> None:
        """Set the mode on top, if the program is in the foreground."""
        if self._fd < 0:
            return
        self._is_applied = self._is_applied and self.is_foreground()
        if not (self._is_applied or self.is_foreground()):
            return
        current = _get(self._fd)
        if current is None:
            return
        if not self._is_applied and current != self._set:
            self._base = current
        wanted = self._uses[-1].mode.change(self._base or current)
        if current != wanted:
            _set(self._fd, wanted)
        self._set = _get(self._fd)
        self._is_applied = True

    def _wait_for_foreground(self) -> None:
        """Let the kernel stop the program, as it does if a background process changes the terminal."""
        while not self.is_foreground():
            try:
                termios.tcsetattr(self._fd, termios.TCSANOW, termios.tcgetattr(self._fd))
            except termios.error as error:
                if error.args[0] != errno.EINTR:  # nobody can bring the program to the foreground any more
                    raise Stopped(signal.SIGHUP) from None
            else:
                return

    def _check(self) -> None:
        """Collect typed keys; set the mode if the shell brought the program to the foreground without a signal."""
        if not self._uses or self._uses[-1].mode.is_child:
            return
        if not self._is_applied:
            if not self._uses[-1].mode.reads:
                self._apply()
        elif self._uses[-1].mode.collects and self.is_foreground():
            self._collect()

    def _collect(self) -> bool:
        """Read typed keys without waiting; return True if there were any."""
        before = len(self._typed)
        with self._defer_job_control():
            while self._is_applied and self._uses and self._uses[-1].mode.collects and self._has_input(0):
                data = self._read_now()
                self._typed += data
                self._is_draft = self._is_draft or self._uses[-1].mode.drafts
                if not data:
                    break
        return len(self._typed) > before

    @contextmanager
    def _defer_job_control(self) -> Iterator[None]:
        """Handle job control signals after the block: their handler reads keys too, and would wait for the block."""
        outer, self._is_collecting = self._is_collecting, True
        try:
            yield
        finally:
            self._is_collecting = outer
            while self._deferred and not outer:
                self._handle_signal(self._deferred.pop(0), None)

    def _has_input(self, seconds: float) -> bool:
        with suppress(OSError, ValueError):
            return bool(select.select([self._fd], [], [], seconds)[0])
        return False

    def _read_now(self) -> bytes:
        try:
            return os.read(self._fd, READ_BYTES)
        except OSError:
            return b""

    def _handle_signal(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal of job control, or keep it while keys are read."""
        if self._is_collecting:
            self._deferred.append(number)
        elif number == signal.SIGTSTP:
            self._stop()
        elif number == signal.SIGCONT:
            self._continue()
        else:
            self._quit()

    def _stop(self) -> None:
        """Restore the shell's modes and suspend the program; Ctrl-Z has suspended the rest of the process group."""
        with _suspend_safely(self.suspend_output):
            if self._uses and not self._uses[-1].mode.is_child:
                self._release()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._handle_signal)
            if not self._is_applied:  # the kernel does not suspend a program that no shell could continue
                self._continue()

    def _quit(self) -> None:
        """Restore the shell's modes and quit; while a child process owns the terminal, SIGQUIT only ends the child."""
        if self._uses and self._uses[-1].mode.is_child:
            return
        with _suspend_safely(self.suspend_output):
            self._release()
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGQUIT)

    def _release(self) -> None:
        """Restore the shell's modes while the program is suspended."""
        self._collect()
        if self._is_applied and self._base and self.is_foreground():
            if os.environ.get("TERM", "") not in ("", "dumb"):
                with suppress(OSError):
                    os.write(self._fd, RESET_SCREEN)
            _set(self._fd, self._base)
        self._is_applied = False

    def _continue(self) -> None:
        """Set the mode again after the program was suspended, and redraw the prompt."""
        if not self._uses or self._uses[-1].mode.is_child:
            return
        self._is_applied = False
        self._continued += 1
        count = self._continued
        self._settle()
        # After bg and fg, this is called recursively, and the inner call has redrawn.
        if self._is_applied and self._continued == count and (redraw := self._uses[-1].redraw):
            redraw()


def _seconds_to_wait(keys: bytes | bytearray) -> float:
    """Return how long to wait for more keys of a paste; 0 if no line has ended."""
    lines = keys.replace(b"\r", b"\n")
    if b"\n" not in lines:
        return 0
    return PASTE_END_S if b"\n" in lines[:-1] else BURST_S


@contextmanager
def _suspend_safely(suspend: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Suspend drawn output for a block, unless the signal interrupted a write, which cannot be nested."""
    suspended = suspend()
    try:
        suspended.__enter__()
    except RuntimeError:
        suspended = nullcontext()
    try:
        yield
    finally:
        with suppress(RuntimeError):
            suspended.__exit__(None, None, None)


def _find_terminal() -> tuple[int, bool]:
    """Return a descriptor to read and write the terminal, and whether to close it; -1 if there is no terminal."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            if os.isatty(fd) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
                return fd, False
    try:
        return os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), True
    except OSError:
        return -1, False


def _get(fd: int) -> Attributes | None:
    try:
        return termios.tcgetattr(fd)
    except termios.error:
        return None


def _set(fd: int, attributes: Attributes) -> None:
    """Set the modes, even if signals arrive; do nothing if the terminal was closed."""
    while True:
        try:
            return termios.tcsetattr(fd, termios.TCSANOW, attributes)
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                return None


modes = TerminalModes()


@contextmanager
def hide_keys() -> Iterator[None]:
    """Turn echo off while an answer is written; the shell then reads the typed keys, unless Ctrl-C discarded them."""
    if not _is_ours_to_write():
        yield
        return
    with modes.use(SILENT_MODE):
        try:
            yield
        except (Interrupted, Stopped):
            modes.discard_typed()
            raise


def _is_ours_to_write() -> bool:
    """True if no other program, such as a pager after a pipe, uses the terminal at the same time."""
    return is_terminal(1) or (is_terminal(2) and not stat.S_ISFIFO(os.fstat(1).st_mode))


def read_typed_lines() -> AbstractContextManager[None]:
    """Echo lines that are typed on standard input, if it is a terminal."""
    return modes.use(LINE_MODE) if is_terminal(0) else nullcontext()


def leave_to_child() -> AbstractContextManager[None]:
    """Leave the terminal to a child process during a block; do nothing if no mode is in use."""
    return modes.use(CHILD_MODE) if modes.is_used else nullcontext()


def collect_keys(*, is_answer: bool = False) -> AbstractContextManager[None]:
    """Keep keys that are typed while nothing is read, for the next prompt; during an answer, they become a draft."""
    return modes.use(ANSWER_MODE if is_answer else COLLECT_MODE)
