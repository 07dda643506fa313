"""Count what came of the rows, and tell it."""

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.model_list import find_model
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog.pricing import bound_tokens, estimate_cost
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output.format_money import round_dollars
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from aiml_cli.api.model_list import Price

REFUSED = 400
# A model, and whose word its price is.
Payee = tuple[str, str | None]


class RunCost(NamedTuple):
    """Hold what requests used, in US dollars where that is known."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def plus(self, requests: int, into: int, out: int, cost: float) -> "RunCost":
        """Add what another one used."""
        return RunCost(
            self.requests + requests, self.input_tokens + into, self.output_tokens + out, self.cost_usd + cost
        )


class RunStats:
    """Count, for all workers; `spent` is by model and by whose word the price is, None where nobody knows it.

    `lost` are those that we hung up on: nobody knows what they cost.
    """

    def __init__(self) -> None:
        self._lock, self.began = Lock(), monotonic()
        self.whole = self.failed = self.skipped = self.lost = 0
        self.spent: dict[Payee, RunCost] = {}
        self._not_taken: dict[Payee, RunCost] = {}

    @property
    def done(self) -> int:
        """Count the rows that are through."""
        return self.whole + self.failed + self.skipped

    def lose(self, count: int) -> None:
        """Note how many rows were aborted."""
        self.lost = count

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
                    sums[payee] = sums.get(payee, RunCost()).plus(*used)

    def take(self) -> dict[Payee, RunCost]:
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
            return f"${round_dollars(cost)} and what is not known" if cost else "cost unknown"
        return f"{'about ' if 'estimate' in sources else ''}${round_dollars(cost)}"


def cost_at_most(answer: Answer) -> float | None:
    """Give what an answer cost; nothing where it was refused, None where that is not known."""
    first = answer.completion.first
    is_empty = not (first.text or first.reasoning or first.refusal)
    is_refused = (answer.status or REFUSED) >= REFUSED or bool(answer.completion.reported_error and is_empty)
    return 0.0 if answer.cost_usd is None and answer.error and is_refused else answer.cost_usd


class CostTracker:
    """Know the prices of a run; the stored catalogue is read once for each model."""

    def __init__(self, settings: Settings, question: ChatRequest) -> None:
        self._settings, self._options, self._endpoint = settings, settings.options, question.endpoint.name
        self._known: dict[str, tuple[Price, ...]] = {}
        self._has_told, self._guard = False, Lock()

    def add_estimate(self, answer: Answer, model: str) -> Answer:
        """Add what a model's answer cost by the catalogue, where the gateway told nothing."""
        usage = answer.completion.usage
        if usage is None or answer.reported_cost_usd is not None or answer.estimate_usd is not None:
            return answer
        return replace(answer, estimate_usd=estimate_cost(self._prices(model), usage))

    def max_cost_of(self, body: Mapping[str, Any]) -> float:
        """Give the most that a row may cost, 0 where nobody set a bound; raise UsageError where that is unknown."""
        if self._options.max_cost is None or self._options.replay:
            return 0.0
        from aiml_cli.core import budget  # few set a bound

        found = budget.max_cost_of(self._settings, body)
        if found is None:
            model = self._options.model
            raise UsageError(f"--max-cost: what a row may cost is not known for {model}", "aiml models shows prices")
        self._tell_what_is_open(body)
        asks = 1 + (self._options.schema_retries or 0) + (self._options.auto_continue or 0)
        return found * asks

    def write_down(self, tally: RunStats) -> None:
        """Add what was spent since the last time to this machine's sums, unless nothing shall be kept."""
        if self._options.no_log or self._options.replay or not (spent := tally.take()):
            return
        from aiml_cli.store.history import spending  # SQLite costs 10 ms

        for (model, source), each in spent.items():
            cost = None if source is None else each.cost_usd
            try:
                moved = spending.add_spending(
                    model, self._endpoint, each.requests, each.input_tokens, each.output_tokens, cost, source,
                )  # fmt: skip
                if moved and not self._options.quiet:
                    print_err(f"aiml: the history was damaged and is kept as {moved}; a new one is begun")
            except AimlError as fault:
                if not self._options.quiet:
                    print_err(f"aiml: aiml usage will not know what this cost: {fault.message}")
                return

    def _tell_what_is_open(self, body: Mapping[str, Any]) -> None:
        """Say once that without a length cap the answers may go beyond the bound."""
        if self._options.quiet or bound_tokens(body).out is not None:
            return
        with self._guard:
            is_new, self._has_told = not self._has_told, True
        if is_new:
            print_err(
                "aiml: --max-cost ends the run; the answers on their way may go beyond it: --max-tokens bounds them"
            )

    def _prices(self, name: str) -> "tuple[Price, ...]":
        if name not in self._known:
            from aiml_cli.catalog.find_models import load_stored_models

            model = find_model(load_stored_models(self._settings) or [], name)
            self._known[name] = model.prices if model else ()
        return self._known[name]
