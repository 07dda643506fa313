"""Turn the signals that end a program into one exception, so that what came so far is kept."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from aiml_cli.errors import AimlError, HungUp, Interrupted, Terminated

ENDINGS: dict[int, type[AimlError]] = {
    signal.SIGINT: Interrupted,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal went away"}
# A signal that comes just before the program begins to wait for something does not end the waiting, and what is
# raised out of a finaliser or a weak reference is let pass: an alarm so often makes up for both.
TICK_S = 0.25
INTERRUPTED = Interrupted.exit_code
_lost: list["Stopped"] = []
_ours: set[int] = set()


class Stopped(BaseException):
    """Stop whatever runs; no `except Exception` on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.error = ENDINGS[number](WORDS[signal.Signals(number)])


def install_handlers() -> None:
    """Install the handlers, also anew after one came; what the parent ignores (nohup, …) stays ignored."""
    for number in ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN or number in _ours:
            signal.signal(number, _stop)
            _ours.add(number)
    sys.unraisablehook = _keep
    signal.signal(signal.SIGALRM, _tick)
    signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Finish what must not stay half done, such as putting a file in its place; a signal is obeyed after it.

    Nothing that can wait for somebody else belongs in here. Signals come to the main thread only.
    """
    if current_thread() is not main_thread():
        yield
        return
    late: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDINGS}
    ours = [number for number, handler in handlers.items() if handler is _stop]
    for number in ours:
        signal.signal(number, lambda came, _frame: late.append(came))
    ticking = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ticking)
        for number in ours:
            signal.signal(number, _stop)
    if late:
        _stop(late[0], None)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Raise once: while the answer is being kept a second signal changes nothing."""
    for other in ENDINGS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def _keep(lost: "sys.UnraisableHookArgs") -> None:
    """Keep a stop that Python could not raise where it came."""
    if isinstance(lost.exc_value, Stopped):
        _lost.append(lost.exc_value)
    else:
        sys.__unraisablehook__(lost)


def _tick(_number: int, _frame: FrameType | None) -> None:
    """Raise what could not be raised; that this is called at all has let the other signals in."""
    if _lost:
        raise _lost.pop()
