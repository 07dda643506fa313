"""Write results in the order of their rows, or as they come, each in one write."""

from collections.abc import Callable
from threading import Condition

# How far workers may run ahead of the first row that is still asked, in rows for each worker.
AHEAD = 16


class Results:
    """Hold the results that wait for an earlier one; `write` gets whole lines."""

    def __init__(self, write: Callable[[bytes], None], jobs: int, *, ordered: bool) -> None:
        self._write, self._most, self._ordered = write, AHEAD * jobs, ordered
        self._change = Condition()
        self._waiting: dict[int, bytes] = {}
        self._next = 0
        self._is_over = False

    def room(self, place: int) -> None:
        """Wait until a row may be begun; `place` counts those that were, from 0 on."""
        with self._change:
            while self._ordered and place >= self._next + self._most and not self._is_over:
                self._change.wait()

    def put(self, place: int, line: bytes) -> None:
        """Take a result, b"" for a row that has none; raise what writing raises."""
        with self._change:
            if self._is_over:
                return
            if not self._ordered:
                self._out(line)
                return
            self._waiting[place] = line
            while self._next in self._waiting:
                self._out(self._waiting.pop(self._next))
                self._next += 1
            self._change.notify_all()

    def end(self, *, is_gone: bool) -> None:
        """Write what still waits for rows that were not asked, unless nobody reads any more."""
        with self._change:
            self._is_over = True
            self._change.notify_all()
            if not is_gone:
                for place in sorted(self._waiting):
                    self._out(self._waiting[place])

    def let_go(self) -> None:
        """Let nobody wait for room any more."""
        with self._change:
            self._most = 1 << 60
            self._change.notify_all()

    def _out(self, line: bytes) -> None:
        if line:
            self._write(line)
