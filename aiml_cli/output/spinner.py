"""Show on standard error how long an answer is waited for."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from threading import Event, RLock, Thread
from time import monotonic

from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import spinner_hooks, write_spinner

FIRST_S, NEXT_S = 0.3, 0.1
SIGNS, PLAIN_SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


class Spinner:
    """Be begun when the question is sent; whatever is written then, to either output, ends it."""

    def __init__(self) -> None:
        self._over, self._screen = Event(), RLock()
        self._width = 0

    def start(self) -> None:
        """Show the seconds from now on, if it takes long enough to be worth it."""
        with defer_signals():  # a start that is broken off leaves a thread that nobody can wait for
            spinner_hooks.append(self.stop)
            Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Take the sign away for good."""
        with self._screen:
            self._over.set()
            if self._width:
                write_spinner("\r" + " " * self._width + "\r")
                self._width = 0
            if self.stop in spinner_hooks:
                spinner_hooks.remove(self.stop)

    def _run(self) -> None:
        signs = cycle(SIGNS if "utf" in (sys.stderr.encoding or "").lower() else PLAIN_SIGNS)
        began, pause = monotonic(), FIRST_S
        while not self._over.wait(pause):
            with self._screen:
                if self._over.is_set():
                    return
                sign = f"{next(signs)} {monotonic() - began:.0f} s"
                self._width = len(sign)
                write_spinner("\r" + sign)
            pause = NEXT_S


@contextmanager
def show_spinner(environ: Mapping[str, str]) -> Iterator[Spinner | None]:
    """Give what shows the sign, where a terminal can; it is gone in the end."""
    if environ.get("TERM", "") in ("", "dumb"):
        yield None
        return
    waits = Spinner()
    try:
        yield waits
    finally:
        waits.stop()
