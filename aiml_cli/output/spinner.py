"""Show on standard error how long an answer is waited for."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from threading import Event, RLock, Thread
from time import monotonic

from aiml_cli.system.signals import held
from aiml_cli.system.stdio import tell_of_waiting, waiting

FIRST_S, NEXT_S = 0.3, 0.1
SIGNS, PLAIN_SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


class Waiting:
    """Be begun when the question is sent; whatever is written then, to either output, ends it."""

    def __init__(self) -> None:
        self._over, self._screen = Event(), RLock()
        self._width = 0

    def begin(self) -> None:
        """Show the seconds from now on, if it takes long enough to be worth it."""
        with held():  # a start that is broken off leaves a thread that nobody can wait for
            waiting.append(self.end)
            Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        """Take the sign away for good."""
        with self._screen:
            self._over.set()
            if self._width:
                tell_of_waiting("\r" + " " * self._width + "\r")
                self._width = 0
            if self.end in waiting:
                waiting.remove(self.end)

    def _run(self) -> None:
        signs = cycle(SIGNS if "utf" in (sys.stderr.encoding or "").lower() else PLAIN_SIGNS)
        began, pause = monotonic(), FIRST_S
        while not self._over.wait(pause):
            with self._screen:
                if self._over.is_set():
                    return
                sign = f"{next(signs)} {monotonic() - began:.0f} s"
                self._width = len(sign)
                tell_of_waiting("\r" + sign)
            pause = NEXT_S


@contextmanager
def sign(environ: Mapping[str, str]) -> Iterator[Waiting | None]:
    """Give what shows the sign, where a terminal can; it is gone in the end."""
    if environ.get("TERM", "") in ("", "dumb"):
        yield None
        return
    waits = Waiting()
    try:
        yield waits
    finally:
        waits.end()
