"""Show on stderr how many seconds the request has taken so far."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from threading import Event, RLock, Thread
from time import monotonic

from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import spinners, write_err_raw
from aiml_cli.system.terminal import modes

START_DELAY_S, FRAME_S = 0.3, 0.1
FRAMES, ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


class Spinner:
    """A spinner that starts when the request is sent, and stops at the first output to stdout or stderr."""

    def __init__(self) -> None:
        self._stopped, self._terminal_lock = Event(), RLock()
        self._width = 0

    def start(self) -> None:
        """Start the thread that shows the seconds; a request that ends within 0.3 seconds shows nothing."""
        with defer_signals():  # an interrupted start would leave a thread that cannot be joined
            spinners.append(self)
            Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Erase the spinner and stop it permanently."""
        with self._terminal_lock:
            self._stopped.set()
            self._erase()
            if self in spinners:
                spinners.remove(self)

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Erase the spinner for a block, such as the time in which the program is stopped."""
        with self._terminal_lock:
            self._erase()
            yield

    def _erase(self) -> None:
        if self._width:
            write_err_raw("\r" + " " * self._width + "\r")
            self._width = 0

    def _run(self) -> None:
        frames = cycle(FRAMES if "utf" in (sys.stderr.encoding or "").lower() else ASCII_FRAMES)
        started, delay = monotonic(), START_DELAY_S
        while not self._stopped.wait(delay):
            with self._terminal_lock:
                if self._stopped.is_set():
                    return
                if modes.is_foreground():  # in the background it would overwrite the shell's output
                    line = f"{next(frames)} {monotonic() - started:.0f} s"
                    self._width = len(line)
                    write_err_raw("\r" + line)
            delay = FRAME_S


@contextmanager
def show_spinner(environ: Mapping[str, str]) -> Iterator[Spinner | None]:
    """Yield a spinner, or None on a dumb terminal, and stop it at the end."""
    if environ.get("TERM", "") in ("", "dumb"):
        yield None
        return
    spinner = Spinner()
    try:
        yield spinner
    finally:
        spinner.stop()
