"""Lay out what several models took for their answers."""

from collections.abc import Sequence
from dataclasses import replace

from aiml_cli import estimate
from aiml_cli.api.answer import Answer
from aiml_cli.api.prices import about, dollars
from aiml_cli.compare.asked import Asked
from aiml_cli.screen import table
from aiml_cli.screen.output import size_of
from aiml_cli.screen.table import Column

COLUMNS = (
    Column("MODEL", 0, least=12),
    Column("FIRST", 3, right=True),
    Column("TOTAL", 1, right=True),
    Column("TOKENS", 4, right=True),
    Column("COST", 2, right=True),
    Column("ENDED", 5, least=10),
)
WHOLE = "whole"


def drawn(asked: Sequence[Asked]) -> str:
    """Draw a row for each model."""
    return "\n" + table.table(COLUMNS, [_row(each) for each in asked if each.answer], size_of(2)[0])


def _row(asked: Asked) -> list[str]:
    """Give the figures of a model, of several that were asked in turn those of who answered."""
    settings = asked.question.settings
    seen = replace(settings, options=replace(settings.options, usage=True))
    answer = estimate.priced(asked.answer or Answer(asked.question.endpoint.name), seen)
    usage, timing = answer.completion.usage, answer.timing
    name = asked.name if asked.name.partition(" (")[0] == settings.options.model else settings.options.model or ""
    return [
        name,
        _seconds(timing.first_token_s),
        _seconds(timing.total_s),
        "" if usage is None or usage.total_tokens is None else str(usage.total_tokens),
        _cost(answer),
        answer.error.message if answer.error else WHOLE,
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _cost(answer: Answer) -> str:
    if answer.cost_usd is None:
        return ""
    return f"${dollars(answer.cost_usd)}" if answer.cost_source == "gateway" else f"≈ ${about(answer.cost_usd)}"
