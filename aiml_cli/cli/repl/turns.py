"""Keep the turns of a conversation while it goes on, and say what of them is sent again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.message_conversion import items, items_of, words_of
from aiml_cli.api.messages import Given
from aiml_cli.core.previous_turns import CUT, Before
from aiml_cli.core.turn import Turn
from aiml_cli.settings.urls import host_of


class Exchange(NamedTuple):
    """Hold a question and its answer: as a reader sees them, and as the items that say them again.

    `row` is the answer in the history, 0 where nothing was kept.
    """

    asked: str
    text: str
    said: tuple[Given, ...]
    answered: tuple[Given, ...]
    is_cut: bool = False
    by_id: str | None = None
    host: str = ""
    row: int = 0
    model: str = ""


class Spent(NamedTuple):
    """Hold what an answer took; None is what nobody told."""

    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost_usd: float | None = None


def exchange_of(turn: Turn) -> Exchange | None:
    """Give what a turn adds to the conversation; None where nothing was answered."""
    completion, said, question = turn.answer.completion, turn.said, turn.question
    if said is None or not _has_come(turn.answer):
        return None
    is_whole = completion.complete or bool(completion.first.refusal)
    stored = question.options.store and question.endpoint.name == "responses" and completion.complete
    answered = items(question.endpoint.name, completion) if is_whole else _marked(completion.first.words)
    return Exchange(
        "\n\n".join(words_of(each)[1] for each in said.turns),
        completion.first.words,
        tuple(Given(item) for each in said.turns for item in items_of(each)),
        tuple(map(Given, answered)),
        not is_whole,
        completion.begun.id if stored else None,
        host_of(question.url),
        turn.row.message if turn.row else 0,
        question.options.model or "",
    )


def joined(cut: Exchange, rest: Exchange) -> Exchange:
    """Put an answer that was cut and its rest together."""
    text = cut.text + rest.text
    said_again = _marked(text) if rest.is_cut else iter([{"role": "assistant", "content": text}])
    return rest._replace(asked=cut.asked, text=text, said=cut.said, answered=tuple(map(Given, said_again)))


def before(
    exchanges: Sequence[Exchange], row: int | None, system: str | None, host: str, root: str | None = None
) -> Before | None:
    """Give what goes before the next question; None at the beginning."""
    if not exchanges and row is None and root is None:
        return None
    last = exchanges[-1] if exchanges else None
    turns = tuple(given for each in exchanges for given in (*each.said, *each.answered))
    by_id = last.by_id if last and last.host == host else None
    return Before(row, turns, system, by_id, bool(last and last.is_cut and last.text), root)


def spent_of(turn: Turn, cost_usd: float | None) -> Spent | None:
    """Give what a turn took; None where nothing is known of that."""
    usage = turn.answer.completion.usage
    if usage is None and cost_usd is None:
        return None
    counts = (usage.input_tokens, usage.output_tokens, usage.total_tokens) if usage else (None, None, None)
    return Spent(turn.question.options.model or "", *counts, cost_usd)


def _has_come(answer: Answer) -> bool:
    first = answer.completion.first
    return bool(first.words or first.refusal or first.tool_calls)


def _marked(words: str) -> Iterator[Mapping[str, Any]]:
    if words:
        yield {"role": "assistant", "content": words + CUT}
