"""Count the rows, tokens and cost of a run, and summarize them."""

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.model_list import Price
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog.find_models import find_model, load_stored_models
from aiml_cli.catalog.pricing import bound_tokens, estimate_cost
from aiml_cli.core import budget
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output.format_money import round_dollars
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

CLIENT_ERROR = 400
# A model, and the source of the cost: None if it is unknown.
CostKey = tuple[str, str | None]


class RunCost(NamedTuple):
    """The tokens of some requests, and their cost as far as it is known."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, usage: Usage, cost_usd: float) -> "RunCost":
        """Return the sum with one more request."""
        into, out = self.input_tokens + (usage.input_tokens or 0), self.output_tokens + (usage.output_tokens or 0)
        return RunCost(self.requests + 1, into, out, self.cost_usd + cost_usd)


class RunStats:
    """The counts of a run, safe for threads; `aborted` counts requests of unknown cost that we aborted."""

    def __init__(self) -> None:
        self._lock, self.began = Lock(), monotonic()
        self.succeeded = self.failed = self.skipped = self.cached = self.aborted = 0
        self._costs: dict[CostKey, RunCost] = {}
        self._unsaved: dict[CostKey, RunCost] = {}

    @property
    def done(self) -> int:
        """Return how many rows are done."""
        return self.succeeded + self.failed + self.skipped

    def set_aborted(self, count: int) -> None:
        """Set how many requests were aborted."""
        self.aborted = count

    def add_skipped(self) -> None:
        """Count a row that an earlier run has done."""
        with self._lock:
            self.skipped += 1

    def add(self, answer: Answer, model: str) -> None:
        """Count a row's answer; one without usage costs nothing."""
        with self._lock:
            self.succeeded += answer.error is None
            self.failed += answer.error is not None
            self.cached += answer.is_cached
        if not answer.is_cached and (answer.completion.usage or cost_at_most(answer) != 0):
            self.add_cost(answer, model)

    def add_cost(self, answer: Answer, model: str) -> None:
        """Count what an answer cost."""
        usage, key = answer.completion.usage or Usage(), (model, answer.cost_source)
        with self._lock:
            for costs in (self._costs, self._unsaved):
                costs[key] = costs.get(key, RunCost()).add(usage, answer.cost_usd or 0.0)

    def pop_unsaved(self) -> dict[CostKey, RunCost]:
        """Return the costs since the last call."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
            return unsaved

    def format_summary(self) -> str:
        """Return the line that ends a run."""
        with self._lock:
            into = sum(cost.input_tokens for cost in self._costs.values())
            out = sum(cost.output_tokens for cost in self._costs.values())
        rows = f"{self.done:,} {'row' if self.done == 1 else 'rows'}"
        counts = f"{self.succeeded:,} succeeded, {self.failed:,} failed, {self.skipped:,} skipped"
        counts += f", {self.cached:,} from the cache" if self.cached else ""
        counts += f", {self.aborted:,} interrupted" if self.aborted else ""
        used = f"{into:,} tokens in, {out:,} out, {self.format_cost()}"
        return f"aiml: {rows}: {counts}; {used}; {monotonic() - self.began:.1f} s"

    def format_cost(self) -> str:
        """Return the cost as far as it is known."""
        with self._lock:
            usd, sources = sum(cost.cost_usd for cost in self._costs.values()), {source for _, source in self._costs}
        if None in sources or self.aborted:
            unfinished = f"{self.aborted:,} unfinished row{'' if self.aborted == 1 else 's'}"
            unknown = "rows" if None in sources else unfinished
            return f"${round_dollars(usd)} + {unknown} of unknown cost" if usd else "cost unknown"
        return f"{'about ' if 'estimate' in sources else ''}${round_dollars(usd)}"


def cost_at_most(answer: Answer) -> float | None:
    """Return what an answer cost: 0.0 if the request was rejected, None if it is unknown."""
    first = answer.completion.first
    is_empty = not (first.text or first.reasoning or first.refusal)
    is_rejected = (answer.status or CLIENT_ERROR) >= CLIENT_ERROR or (answer.completion.reported_error and is_empty)
    return 0.0 if answer.cost_usd is None and answer.error and is_rejected else answer.cost_usd


def count_requests(options: Options) -> int:
    """Return the most requests that a row may need, without those that failed."""
    return 1 + (options.schema_retries or 0) + (options.auto_continue or 0)


class CostTracker:
    """The prices of a run's models; the stored catalog is read once for each model."""

    def __init__(self, settings: Settings, request: ChatRequest) -> None:
        self._settings, self._options, self._endpoint = settings, settings.options, request.endpoint.name
        self._prices: dict[str, tuple[Price, ...]] = {}
        self._has_warned, self._lock = False, Lock()

    def add_estimate(self, answer: Answer, model: str) -> Answer:
        """Add the cost by the catalog's prices, if the gateway reported none."""
        usage = answer.completion.usage
        if usage is None or answer.reported_cost_usd is not None or answer.estimate_usd is not None:
            return answer
        estimate_usd = estimate_cost(self._find_prices(model), usage)
        return answer if estimate_usd is None else replace(answer, estimate_usd=estimate_usd)

    def max_cost_of(self, body: Mapping[str, Any]) -> float:
        """Return the most that a row may cost, 0.0 without --max-cost; raise UsageError if it is unknown."""
        if self._options.max_cost is None or self._options.replay:
            return 0.0
        usd = budget.max_cost_of(self._settings, body)
        if usd is None:
            model = self._options.model
            raise UsageError(f"--max-cost: the cost of a row is unknown for {model}", "aiml models shows prices")
        self._warn_if_unbounded(body)
        return usd * count_requests(self._options)

    def flush_spending(self, stats: RunStats) -> None:
        """Add the costs since the last call to this machine's history of spending, unless --no-log is set."""
        if self._options.no_log or self._options.replay or not (costs := stats.pop_unsaved()):
            return
        from aiml_cli.store.history import reader  # SQLite costs 10 ms

        for (model, source), cost in costs.items():
            usd = None if source is None else cost.cost_usd
            try:
                moved = reader.add_spending(
                    model, self._endpoint, cost.requests, cost.input_tokens, cost.output_tokens, usd, source,
                )  # fmt: skip
                if moved and not self._options.quiet:
                    print_err(f"aiml: the history was damaged; it was moved to {moved}, and a new one was started")
            except AimlError as error:
                if not self._options.quiet:
                    print_err(f"aiml: aiml usage will not include this cost: {error.message}")
                return

    def _warn_if_unbounded(self, body: Mapping[str, Any]) -> None:
        """Warn once that answers without a length limit may exceed --max-cost."""
        if self._options.quiet or bound_tokens(body).output_tokens is not None:
            return
        with self._lock:
            is_new, self._has_warned = not self._has_warned, True
        if is_new:
            print_err(
                "aiml: --max-cost ends the run, but the answers in progress may exceed it: --max-tokens limits them"
            )

    def _find_prices(self, name: str) -> tuple[Price, ...]:
        if name not in self._prices:
            model = find_model(load_stored_models(self._settings) or [], name)
            self._prices[name] = model.prices if model else ()
        return self._prices[name]
