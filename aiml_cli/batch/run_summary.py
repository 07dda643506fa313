"""Count the rows, tokens and cost of a run, show its progress on the terminal, and summarize it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock, RLock
from time import monotonic
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.model_list import Price
from aiml_cli.api.stream_events import Usage
from aiml_cli.batch.rows import Rows
from aiml_cli.catalog.find_models import find_model, load_stored_models
from aiml_cli.catalog.pricing import bound_tokens, estimate_cost
from aiml_cli.core import budget
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output.format_money import round_dollars
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err, write_err_raw
from aiml_cli.system.terminal import get_terminal_size, is_terminal

CLIENT_ERROR = 400
# A model, and the source of the cost: None if the cost is unknown.
CostKey = tuple[str, str | None]
DRAW_INTERVAL_S = 0.1
MINUTE, HOUR = 60, 3600


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
    """The counts of a run; thread-safe. `aborted` counts requests that were aborted, so their cost is unknown."""

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
    """Return the cost of an answer: 0.0 if the request was rejected, None if unknown."""
    first = answer.completion.first
    is_empty = not (first.text or first.reasoning or first.refusal)
    is_rejected = (answer.status or CLIENT_ERROR) >= CLIENT_ERROR or (answer.completion.reported_error and is_empty)
    return 0.0 if answer.cost_usd is None and answer.error and is_rejected else answer.cost_usd


def count_requests(options: Options) -> int:
    """Return the maximum number of requests that a row may need, not counting retries."""
    return 1 + (options.schema_retries or 0) + (options.auto_continue or 0)


class CostTracker:
    """The prices of a run's models; the stored catalog is read once for each model."""

    def __init__(self, settings: Settings, request: ChatRequest) -> None:
        self._settings, self._options, self._endpoint = settings, settings.options, request.endpoint.name
        self._prices: dict[str, tuple[Price, ...]] = {}
        self._has_warned, self._lock = False, Lock()

    def add_estimate(self, answer: Answer, model: str) -> Answer:
        """Add an estimated cost from the catalog's prices if the gateway reported none."""
        usage = answer.completion.usage
        if usage is None or answer.reported_cost_usd is not None or answer.estimate_usd is not None:
            return answer
        estimate_usd = estimate_cost(self._find_prices(model), usage)
        return answer if estimate_usd is None else replace(answer, estimate_usd=estimate_usd)

    def max_cost_of(self, body: Mapping[str, Any]) -> float:
        """Return the most that a row may cost, or 0.0 without --max-cost; raise UsageError if it is unknown."""
        if self._options.max_cost is None or self._options.replay:
            return 0.0
        usd = budget.max_cost_of(self._settings, body)
        if usd is None:
            model = self._options.model
            raise UsageError(f"--max-cost: the cost of a row is unknown for {model}", "aiml models shows prices")
        self._warn_if_unbounded(body)
        return usd * count_requests(self._options)

    def flush_spending(self, stats: RunStats) -> None:
        """Add the costs since the last call to the spending in the history, unless --no-log is set."""
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


class Progress:
    """The progress line at the bottom of the terminal; it is removed while something else is written there."""

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
    """Return the progress line, or None if stderr is not a terminal that can redraw a line."""
    if quiet or not is_terminal(2) or environ.get("TERM", "") in ("", "dumb"):
        return None
    return Progress(stats, rows, shard_count)
