"""Say what an answer cost, what a request may cost, and write down what was spent."""

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.bound import bound
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
        self._has_told, self._guard = False, Lock()

    def priced(self, answer: Answer, model: str) -> Answer:
        """Add what a model's answer cost by the catalogue, where the gateway told nothing."""
        usage = answer.completion.usage
        if usage is None or answer.told_usd is not None or answer.estimate_usd is not None:
            return answer
        return replace(answer, estimate_usd=estimate(self._prices(model), usage))

    def worst(self, body: Mapping[str, Any]) -> float:
        """Give the most that a row may cost, 0 where nobody set a bound; raise Misuse where that is unknown."""
        if self._options.max_cost is None or self._options.replay:
            return 0.0
        from aiml_cli import afford  # few set a bound

        found = afford.worst(self._settings, body)
        if found is None:
            model = self._options.model
            raise Misuse(f"--max-cost: what a row may cost is not known for {model}", "aiml models shows prices")
        self._tell_what_is_open(body)
        asks = 1 + (self._options.schema_retries or 0) + (self._options.auto_continue or 0)
        return found * asks

    def write_down(self, tally: Tally) -> None:
        """Add what was spent since the last time to this machine's sums, unless nothing shall be kept."""
        if self._options.no_log or self._options.replay or not (spent := tally.take()):
            return
        from aiml_cli.store import ledger  # SQLite costs 10 ms

        for (model, source), each in spent.items():
            cost = None if source is None else each.cost_usd
            try:
                moved = ledger.add(
                    model, self._endpoint, each.requests, each.input_tokens, each.output_tokens, cost, source,
                )  # fmt: skip
                if moved and not self._options.quiet:
                    say(f"aiml: the history was damaged and is kept as {moved}; a new one is begun")
            except AimlError as fault:
                if not self._options.quiet:
                    say(f"aiml: aiml usage will not know what this cost: {fault.message}")
                return

    def _tell_what_is_open(self, body: Mapping[str, Any]) -> None:
        """Say once that without a length cap the answers may go beyond the bound."""
        if self._options.quiet or bound(body).out is not None:
            return
        with self._guard:
            is_new, self._has_told = not self._has_told, True
        if is_new:
            say("aiml: --max-cost ends the run; the answers on their way may go beyond it: --max-tokens bounds them")

    def _prices(self, name: str) -> "tuple[Price, ...]":
        if name not in self._known:
            from aiml_cli.browse import known  # a catalogue of a thousand models takes 25 ms to read

            model = exact(known(self._settings) or [], name)
            self._known[name] = model.prices if model else ()
        return self._known[name]
