"""Keep the turns of a conversation while it goes on, and say what of them is sent again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.message_conversion import answer_to_items, role_and_text, to_items
from aiml_cli.api.messages import RawMessage
from aiml_cli.core.previous_turns import CUT, PreviousTurns
from aiml_cli.core.turn import TurnResult
from aiml_cli.settings.urls import host_of


class Turn(NamedTuple):
    """Hold a question and its answer: as a reader sees them, and as the items that say them again.

    `row` is the answer in the history, 0 where nothing was kept.
    """

    asked: str
    text: str
    messages: tuple[RawMessage, ...]
    answer_messages: tuple[RawMessage, ...]
    is_cut: bool = False
    by_id: str | None = None
    host: str = ""
    row: int = 0
    model: str = ""


class TurnCost(NamedTuple):
    """Hold what an answer took; None is what nobody told."""

    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost_usd: float | None = None


def to_turn(turn: TurnResult) -> Turn | None:
    """Give what a turn adds to the conversation; None where nothing was answered."""
    completion, said, question = turn.answer.completion, turn.conversation, turn.request
    if said is None or not _has_come(turn.answer):
        return None
    is_whole = completion.is_complete or bool(completion.first.refusal)
    stored = question.options.store and question.endpoint.name == "responses" and completion.is_complete
    answered = (
        answer_to_items(question.endpoint.name, completion) if is_whole else _marked(completion.first.output_text)
    )
    return Turn(
        "\n\n".join(role_and_text(each)[1] for each in said.messages),
        completion.first.output_text,
        tuple(RawMessage(item) for each in said.messages for item in to_items(each)),
        tuple(map(RawMessage, answered)),
        not is_whole,
        completion.started.id if stored else None,
        host_of(question.url),
        turn.row.message if turn.row else 0,
        question.options.model or "",
    )


def join_turns(cut: Turn, rest: Turn) -> Turn:
    """Put an answer that was cut and its rest together."""
    text = cut.text + rest.text
    said_again = _marked(text) if rest.is_cut else iter([{"role": "assistant", "content": text}])
    return rest._replace(
        asked=cut.asked, text=text, messages=cut.messages, answer_messages=tuple(map(RawMessage, said_again))
    )


def build_previous_turns(
    exchanges: Sequence[Turn], row: int | None, system: str | None, host: str, root: str | None = None
) -> PreviousTurns | None:
    """Give what goes before the next question; None at the beginning."""
    if not exchanges and row is None and root is None:
        return None
    last = exchanges[-1] if exchanges else None
    turns = tuple(given for each in exchanges for given in (*each.messages, *each.answer_messages))
    by_id = last.by_id if last and last.host == host else None
    return PreviousTurns(row, turns, system, by_id, bool(last and last.is_cut and last.text), root)


def turn_cost(turn: TurnResult, cost_usd: float | None) -> TurnCost | None:
    """Give what a turn took; None where nothing is known of that."""
    usage = turn.answer.completion.usage
    if usage is None and cost_usd is None:
        return None
    counts = (usage.input_tokens, usage.output_tokens, usage.total_tokens) if usage else (None, None, None)
    return TurnCost(turn.request.options.model or "", *counts, cost_usd)


def _has_come(answer: Answer) -> bool:
    first = answer.completion.first
    return bool(first.output_text or first.refusal or first.tool_calls)


def _marked(words: str) -> Iterator[Mapping[str, Any]]:
    if words:
        yield {"role": "assistant", "content": words + CUT}
