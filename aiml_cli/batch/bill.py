"""Say what an answer cost, what a request may cost, and write down what was spent."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.models import exact
from aiml_cli.api.prices import estimate
from aiml_cli.batch.tally import Tally
from aiml_cli.errors import AimlError, Misuse
from aiml_cli.question import Question
from aiml_cli.screen.output import say
from aiml_cli.settings.resolve import Settings

if TYPE_CHECKING:
    from aiml_cli.api.prices import Price


class Bill:
    """Know the prices of a run; the stored catalogue is read once for each model."""

    def __init__(self, settings: Settings, question: Question) -> None:
        self._settings, self._options, self._endpoint = settings, settings.options, question.endpoint.name
        self._known: dict[str, tuple[Price, ...]] = {}

    def priced(self, answer: Answer) -> Answer:
        """Add what an answer cost by the catalogue, where the gateway told nothing."""
        usage = answer.completion.usage
        if usage is None or answer.told_usd is not None or answer.estimate_usd is not None:
            return answer
        name = self._options.model or ""
        prices = self._prices((answer.completion.begun.model or "") if "," in name else name)
        return replace(answer, estimate_usd=estimate(prices, usage))

    def worst(self, body: Mapping[str, Any]) -> float:
        """Give the most that a row may cost, 0 where nobody set a bound; raise Misuse where that is unknown."""
        if self._options.max_cost is None or self._options.replay:
            return 0.0
        from aiml_cli import afford  # few set a bound

        found = afford.worst(self._settings, body)
        if found is None:
            model = self._options.model
            raise Misuse(f"--max-cost: what a row may cost is not known for {model}", "aiml models shows prices")
        asks = 1 + (self._options.schema_retries or 0) + (self._options.auto_continue or 0)
        return found * asks

    def write_down(self, tally: Tally) -> None:
        """Add what was spent since the last time to this machine's sums, unless nothing shall be kept."""
        if self._options.no_log or not (spent := tally.take()):
            return
        from aiml_cli.store import ledger  # SQLite costs 10 ms

        for source, each in spent.items():
            cost = None if source is None else each.cost_usd
            try:
                ledger.add(
                    self._options.model or "", self._endpoint, each.requests, each.input_tokens,
                    each.output_tokens, cost, source,
                )  # fmt: skip
            except AimlError as fault:
                if not self._options.quiet:
                    say(f"aiml: aiml usage will not know what this cost: {fault.message}")
                return

    def _prices(self, name: str) -> "tuple[Price, ...]":
        if name not in self._known:
            from aiml_cli.browse import known  # a catalogue of a thousand models takes 25 ms to read

            model = exact(known(self._settings) or [], name)
            self._known[name] = model.prices if model else ()
        return self._known[name]


def cost_at_most(answer: Answer) -> float | None:
    """Give what an answer cost; nothing where nothing came, None where that is not known."""
    first = answer.completion.first
    if answer.cost_usd is None and answer.error and not (first.text or first.reasoning or first.refusal):
        return 0.0
    return answer.cost_usd
