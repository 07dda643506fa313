"""Turn the signals that end a program into one exception, so that what came so far is kept."""

import signal
from types import FrameType

from aiml_cli.errors import AimlError, HungUp, Interrupted, Terminated

ENDINGS: dict[int, type[AimlError]] = {
    signal.SIGINT: Interrupted,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal went away"}


class Stopped(BaseException):
    """Stop whatever runs; no `except Exception` on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.error = ENDINGS[number](WORDS[signal.Signals(number)])


def listen() -> None:
    """Install the handlers; what the parent ignores (nohup, a job in the background) stays ignored."""
    for number in ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Raise once: while the answer is being kept a second signal changes nothing."""
    for other in ENDINGS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
