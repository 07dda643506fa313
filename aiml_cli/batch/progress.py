"""Show the progress of a run as one line on the terminal."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from time import monotonic

from aiml_cli.batch.rows import Rows
from aiml_cli.batch.run_summary import RunStats
from aiml_cli.system.stdio import write_err_raw
from aiml_cli.system.terminal import get_terminal_size, is_terminal

DRAW_INTERVAL_S = 0.1
MINUTE, HOUR = 60, 3600


class Progress:
    """The last line of the terminal; it disappears while something else is written there."""

    def __init__(self, stats: RunStats, rows: Rows, shard_count: int) -> None:
        self._stats, self._rows, self._shard_count = stats, rows, shard_count
        self._lock, self._width = RLock(), 0

    def draw(self) -> None:
        """Draw the line with the current figures."""
        with self._lock:
            line = self._format_line()[: get_terminal_size(2)[0] - 1]
            write_err_raw("\r" + line + " " * (self._width - len(line)))
            self._width = len(line)

    def erase(self) -> None:
        """Remove the line."""
        with self.suspend():
            pass

    @contextmanager
    def suspend(self, *, ends_line: bool = True) -> Iterator[None]:  # noqa: ARG002 - notices here end their line
        """Remove the line while something else is written."""
        with self._lock:
            if self._width:
                write_err_raw("\r" + " " * self._width + "\r")
                self._width = 0
            yield

    def wrap_writer(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return a writer to the same terminal that removes the line first."""

        def write_suspended(data: bytes) -> None:
            with self.suspend():
                write(data)

        return write_suspended

    def _format_line(self) -> str:
        stats, seconds = self._stats, max(monotonic() - self._stats.began, 1e-3)
        sent = stats.succeeded + stats.failed
        total = max(stats.done, self._rows.estimate_total() // self._shard_count)
        parts = [f"{stats.done:,}/~{total:,} rows" if total > stats.done else f"{stats.done:,} rows"]
        parts.append(f"{sent / seconds:.1f}/s")
        parts += [f"{stats.failed:,} failed"] if stats.failed else []
        parts.append(stats.format_cost())
        if total > stats.done and sent:
            parts.append(f"{_format_duration((total - stats.done) * seconds / sent)} left")
        return " · ".join(parts)


def _format_duration(seconds: float) -> str:
    whole = round(seconds)
    if whole >= HOUR:
        return f"{whole // HOUR}:{whole % HOUR // MINUTE:02}:{whole % MINUTE:02}"
    return f"{whole // MINUTE}:{whole % MINUTE:02}"


def start_progress(
    stats: RunStats, rows: Rows, shard_count: int, environ: Mapping[str, str], *, quiet: bool | None
) -> Progress | None:
    """Return the progress line, or None if stderr is no terminal that can go back in a line."""
    if quiet or not is_terminal(2) or environ.get("TERM", "") in ("", "dumb"):
        return None
    return Progress(stats, rows, shard_count)
