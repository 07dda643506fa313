"""Count what came of the rows, and tell it."""

from threading import Lock
from time import monotonic
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.events import Usage
from aiml_cli.api.prices import about

REFUSED = 400
# A model, and whose word its price is.
Payee = tuple[str, str | None]


class Spent(NamedTuple):
    """Hold what requests used, in US dollars where that is known."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def plus(self, requests: int, into: int, out: int, cost: float) -> "Spent":
        """Add what another one used."""
        return Spent(self.requests + requests, self.input_tokens + into, self.output_tokens + out, self.cost_usd + cost)


class Tally:
    """Count, for all workers; `spent` is by model and by whose word the price is, None where nobody knows it.

    `lost` are those that we hung up on: nobody knows what they cost.
    """

    def __init__(self) -> None:
        self._lock, self.began = Lock(), monotonic()
        self.whole = self.failed = self.skipped = self.lost = 0
        self.spent: dict[Payee, Spent] = {}
        self._not_taken: dict[Payee, Spent] = {}

    @property
    def done(self) -> int:
        """Count the rows that are through."""
        return self.whole + self.failed + self.skipped

    def skip(self) -> None:
        """Count a row that was done before."""
        with self._lock:
            self.skipped += 1

    def add(self, answer: Answer, model: str) -> None:
        """Count a row's answer; one that used nothing costs nothing."""
        usage, payee = answer.completion.usage or Usage(), (model, answer.cost_source)
        used = (1, usage.input_tokens or 0, usage.output_tokens or 0, answer.cost_usd or 0.0)
        with self._lock:
            self.whole += answer.error is None
            self.failed += answer.error is not None
            if answer.completion.usage or cost_at_most(answer) != 0:
                for sums in (self.spent, self._not_taken):
                    sums[payee] = sums.get(payee, Spent()).plus(*used)

    def take(self) -> dict[Payee, Spent]:
        """Give what was spent since this was asked last."""
        with self._lock:
            taken, self._not_taken = self._not_taken, {}
            return taken

    def summary(self) -> str:
        """Tell all of it in a line."""
        with self._lock:
            into, out = (sum(each[place] for each in self.spent.values()) for place in (1, 2))
        rows = f"{self.done:,} {'row' if self.done == 1 else 'rows'}"
        counts = f"{self.whole:,} whole, {self.failed:,} failed, {self.skipped:,} skipped"
        counts += f", {self.lost:,} broken off" if self.lost else ""
        used = f"{into:,} tokens in, {out:,} out, {self.cost()}"
        return f"aiml: {rows}: {counts}; {used}; {monotonic() - self.began:.1f} s"

    def cost(self) -> str:
        """Tell what it cost, as far as that is known."""
        with self._lock:
            cost, sources = sum(each.cost_usd for each in self.spent.values()), {source for _, source in self.spent}
        if None in sources or self.lost:
            return f"${about(cost)} and what is not known" if cost else "cost unknown"
        return f"{'about ' if 'estimate' in sources else ''}${about(cost)}"


def cost_at_most(answer: Answer) -> float | None:
    """Give what an answer cost; nothing where it was refused, None where that is not known."""
    first = answer.completion.first
    is_empty = not (first.text or first.reasoning or first.refusal)
    is_refused = (answer.status or REFUSED) >= REFUSED or bool(answer.completion.fault and is_empty)
    return 0.0 if answer.cost_usd is None and answer.error and is_refused else answer.cost_usd
