"""Keep what a run may cost: no row begins that could exceed it."""

from threading import Condition


class Purse:
    """Hold the most that may be spent; `most` None is no bound. Amounts are US dollars."""

    def __init__(self, most: float | None) -> None:
        self._most = most
        self._spent = self._held = 0.0
        self._change = Condition()
        self._is_over = False

    def take(self, worst: float) -> bool:
        """Set aside what a row may cost at most, when it is known that it fits; say False when it never will."""
        if self._most is None:
            return True
        with self._change:
            while not self._is_over:
                if self._spent + self._held + worst <= self._most:
                    self._held += worst
                    return True
                if not self._held:
                    return False
                self._change.wait()
            return False

    def pay(self, worst: float, cost: float | None) -> None:
        """Put back what was set aside, and count what it cost; what nobody told may have cost the most."""
        with self._change:
            self._held = max(0.0, self._held - worst)
            self._spent += worst if cost is None else cost
            if self._held < 1e-12:  # noqa: PLR2004 - nothing, but for what adding up fractions leaves
                self._held = 0.0
            self._change.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._change:
            self._is_over = True
            self._change.notify_all()
