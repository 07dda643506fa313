"""Price an answer by the stored catalogue, where the gateway told no price."""

from dataclasses import replace

from aiml_cli.api.answer import Answer
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings


def add_estimated_cost(answer: Answer, settings: Settings) -> Answer:
    """Add what the answer may have cost, where somebody will see it; the stored catalogue may not know."""
    usage = answer.completion.usage
    if usage is None or answer.reported_cost_usd is not None or not _is_seen(settings.options):
        return answer
    # A catalogue of a thousand models takes 25 ms to read: only who wants a price waits for it.
    from aiml_cli.api.model_list import find_model
    from aiml_cli.catalog.find_models import load_stored_models
    from aiml_cli.catalog.pricing import estimate_cost

    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    found = estimate_cost(model.prices, usage) if model else None
    # Of an answer in parts some of which were told a price, that is the least that it cost.
    return answer if found is None else replace(answer, estimate_usd=max(found, answer.estimate_usd or 0))


def _is_seen(options: Options) -> bool:
    return bool(options.usage or options.meta or options.json or options.format in {"json", "jsonl"})
