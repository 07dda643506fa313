"""Show on standard error how far a run is: one line, drawn anew in its place."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from time import monotonic

from aiml_cli.batch.rows import Rows
from aiml_cli.batch.run_summary import RunStats
from aiml_cli.system.stdio import write_spinner
from aiml_cli.system.terminal import is_terminal, terminal_size

EVERY_S = 0.1
MINUTE, HOUR = 60, 3600


class Progress:
    """Stand on the last line of the terminal, and make room for what else is written there."""

    def __init__(self, tally: RunStats, rows: Rows, share: int) -> None:
        self._tally, self._rows, self._share = tally, rows, share
        self._lock, self._width = RLock(), 0

    def draw(self) -> None:
        """Draw it as it is now."""
        with self._lock:
            line = self._line()[: terminal_size(2)[0] - 1]
            write_spinner("\r" + line + " " * (self._width - len(line)))
            self._width = len(line)

    def erase(self) -> None:
        """Leave no trace of it."""
        with self.suspend():
            pass

    @contextmanager
    def suspend(self, *, ends_line: bool = True) -> Iterator[None]:  # noqa: ARG002 - what is told here ends its line
        """Make room while something else is written."""
        with self._lock:
            if self._width:
                write_spinner("\r" + " " * self._width + "\r")
                self._width = 0
            yield

    def wrap_writer(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Make room for what is written to the terminal."""

        def put(data: bytes) -> None:
            with self.suspend():
                write(data)

        return put

    def _line(self) -> str:
        tally, seconds = self._tally, max(monotonic() - self._tally.began, 1e-3)
        asked = tally.whole + tally.failed
        total = max(tally.done, self._rows.total() // self._share)
        parts = [
            f"{tally.done:,}/~{total:,} rows" if total > tally.done else f"{tally.done:,} rows",
            f"{asked / seconds:.1f}/s",
        ]
        parts += [f"{tally.failed:,} failed"] if tally.failed else []
        parts += [tally.cost()]
        if total > tally.done and asked:
            parts.append(f"{_clock(max(0, total - tally.done) * seconds / asked)} left")
        return " · ".join(parts)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= HOUR:
        return f"{whole // HOUR}:{whole % HOUR // MINUTE:02}:{whole % MINUTE:02}"
    return f"{whole // MINUTE}:{whole % MINUTE:02}"


def start_progress(
    tally: RunStats, rows: Rows, share: int, environ: Mapping[str, str], *, quiet: bool | None
) -> Progress | None:
    """Give it where somebody looks, and the terminal can go back in a line."""
    if quiet or not is_terminal(2) or environ.get("TERM", "") in ("", "dumb"):
        return None
    return Progress(tally, rows, share)
