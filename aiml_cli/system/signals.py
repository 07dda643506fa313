"""Turn the signals that end a program into an exception, so that the text received so far is kept."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from aiml_cli.errors import AimlError, HungUp, Interrupted, Terminated

SIGNAL_ERRORS: dict[int, tuple[type[AimlError], str]] = {
    signal.SIGINT: (Interrupted, "interrupted"),
    signal.SIGTERM: (Terminated, "terminated"),
    signal.SIGHUP: (HungUp, "the terminal was closed"),
}
# A signal that arrives just before a blocking call does not end it, and Python drops an exception raised in a
# finalizer or a weak reference callback. A periodic alarm covers both cases.
TICK_S = 0.25
INTERRUPTED_EXIT_CODE = Interrupted.exit_code
# Called at every tick, in the main thread.
tick_hooks: list[Callable[[], object]] = []
_lost_stops: list["Stopped"] = []
_handled: set[int] = set()
_is_stopping = False  # kept here, because asking the system for each row's result takes 20 µs


class Stopped(BaseException):
    """A signal to stop; not an Exception, so that no `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        error_class, message = SIGNAL_ERRORS[number]
        self.error = error_class(message)


def install_handlers() -> None:
    """Install the handlers, or restore them after a signal; signals that the parent ignores (nohup, …) stay ignored."""
    global _is_stopping  # noqa: PLW0603 - signals belong to the process
    _is_stopping = False
    for number in SIGNAL_ERRORS:
        if signal.getsignal(number) is not signal.SIG_IGN or number in _handled:
            signal.signal(number, _raise_stopped)
            _handled.add(number)
    sys.unraisablehook = _save_lost_stop
    signal.signal(signal.SIGALRM, _handle_tick)
    signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Handle signals only after the block, which must not be interrupted, such as replacing a file.

    The block must not wait for anything. Threads other than the main thread receive no signals.
    """
    if current_thread() is not main_thread():
        yield
        return
    received: list[int] = []
    handled = [number for number in SIGNAL_ERRORS if signal.getsignal(number) is _raise_stopped]
    for number in handled:
        signal.signal(number, lambda number, _frame: received.append(number))
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        for number in handled:
            signal.signal(number, _raise_stopped)
    if received:
        _raise_stopped(received[0], None)


@contextmanager
def allow_second_signal() -> Iterator[None]:
    """After a first signal that did not end the program, let a second one end the block with Stopped."""
    install_handlers()
    try:
        yield
    finally:
        _ignore_signals()


def is_stopping() -> bool:
    """True after a signal to stop, until the handlers are installed again."""
    return _is_stopping


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    """Raise Stopped once: a second signal is ignored while the answer is saved."""
    _ignore_signals()
    raise Stopped(number)


def _ignore_signals() -> None:
    global _is_stopping  # noqa: PLW0603 - as above
    _is_stopping = True
    for number in SIGNAL_ERRORS:
        signal.signal(number, signal.SIG_IGN)


def _save_lost_stop(lost: "sys.UnraisableHookArgs") -> None:
    """Keep a Stopped exception that Python could not raise where it occurred."""
    if isinstance(lost.exc_value, Stopped):
        _lost_stops.append(lost.exc_value)
    else:
        sys.__unraisablehook__(lost)


def _handle_tick(_number: int, _frame: FrameType | None) -> None:
    """Raise a lost Stopped exception; being called at all lets Python run the handlers of other signals."""
    for hook in tuple(tick_hooks):
        hook()
    if _lost_stops:
        raise _lost_stops.pop()
