"""The turns of a conversation in memory, and which of their messages the next request contains."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.message_conversion import answer_to_items, get_role_and_text, to_raw_items
from aiml_cli.api.messages import Conversation, RawMessage
from aiml_cli.core.previous_turns import CUT_MARK, PreviousTurns, is_instruction
from aiml_cli.core.turn import TurnResult
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history.reader import SUMMARY


class Turn(NamedTuple):
    """A prompt and its answer: as text, and as the items to send again, with the tool calls before the answer.

    `response_id` is set if the server stores the answer; `answer_id` is its row in the history, 0 if it has none.
    `replaced_turns` is set for a summary: the number of turns that it replaces, from the first one on.
    """

    prompt: str
    text: str
    messages: tuple[RawMessage, ...]
    answer_messages: tuple[RawMessage, ...]
    is_truncated: bool = False
    response_id: str | None = None
    host: str = ""
    answer_id: int = 0
    model: str = ""
    replaced_turns: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """Return the facts that the history stores about a summary."""
        return {SUMMARY: {"until": 0, "turns": self.replaced_turns}} if self.replaced_turns else {}


class TurnCost(NamedTuple):
    """The tokens and the cost of an answer; None if unknown."""

    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost_usd: float | None = None


def to_turn(result: TurnResult) -> Turn | None:
    """Convert the result of a turn, or return None if there is no answer."""
    completion, conversation, request = result.answer.completion, result.conversation, result.request
    first = completion.first
    has_output = first.output_text or first.refusal or first.tool_calls or result.answer.rounds
    if conversation is None or not has_output:
        return None
    is_whole = completion.is_complete or bool(first.refusal)
    is_stored = request.options.store and request.endpoint.name == "responses" and completion.is_complete
    items = answer_to_items(request.endpoint.name, completion) if is_whole else _mark_truncated(first.output_text)
    items = [*_list_round_items(result.answer), *items]
    return Turn(
        "\n\n".join(get_role_and_text(message)[1] for message in conversation.messages),
        first.output_text,
        tuple(RawMessage(item) for message in conversation.messages for item in to_raw_items(message)),
        tuple(map(RawMessage, items)),
        not is_whole,
        completion.started.id if is_stored else None,
        host_of(request.url),
        result.row.message if result.row else 0,
        request.options.model or "",
    )


def to_summary_turn(result: TurnResult, replaced_turns: int) -> Turn:
    """Convert the result of a request for a summary, which replaces the first turns."""
    conversation, text = result.conversation or Conversation(), result.answer.completion.first.output_text
    return Turn(
        "\n\n".join(get_role_and_text(message)[1] for message in conversation.messages),
        text,
        tuple(RawMessage(item) for message in conversation.messages for item in to_raw_items(message)),
        (RawMessage({"role": "assistant", "content": text}),),
        answer_id=result.row.message if result.row else 0,
        model=result.request.options.model or "",
        replaced_turns=replaced_turns,
    )


def split_sent(turns: Sequence[Turn]) -> tuple[tuple[RawMessage, ...], list[Turn]]:
    """Return the messages of the last summary, after the instructions that it keeps, and the turns that follow it."""
    summary = next((turn for turn in reversed(turns) if turn.replaced_turns), None)
    if summary is None:
        return (), list(turns)
    replaced = (message for turn in turns[: summary.replaced_turns] for message in turn.messages)
    head = (*filter(is_instruction, replaced), *summary.messages, *summary.answer_messages)
    return head, [turn for turn in turns[summary.replaced_turns :] if not turn.replaced_turns]


def join_turns(truncated: Turn, continuation: Turn) -> Turn:
    """Join a truncated answer and its continuation; a continuation that calls tools stays a separate answer."""
    text = truncated.text + continuation.text
    if any(_calls_tools(message.item) for message in continuation.answer_messages):
        answer_messages = (*truncated.answer_messages, *continuation.messages, *continuation.answer_messages)
    else:
        items = _mark_truncated(text) if continuation.is_truncated else iter([{"role": "assistant", "content": text}])
        answer_messages = (*truncated.answer_messages[:-1], *map(RawMessage, items))
    return continuation._replace(
        prompt=truncated.prompt, text=text, messages=truncated.messages, answer_messages=answer_messages
    )


def build_previous_turns(
    turns: Sequence[Turn], conversation_id: int | None, system: str | None, host: str, root_response_id: str | None
) -> PreviousTurns | None:
    """Return the turns that precede the next request, or None at the beginning of a conversation."""
    if not turns and conversation_id is None and root_response_id is None:
        return None
    head, sent = split_sent(turns)
    last, older = sent[-1] if sent else None, [*head, *_list_messages(sent[:-1])]
    # A summary that no turn follows yet is sent before the last turn, but is not older.
    can_summarize = len(sent) > 1 and turns[-1] is last
    return PreviousTurns(
        conversation_id,
        (*head, *_list_messages(sent)),
        system,
        last.response_id if last and turns[-1] is last and last.host == host else None,
        bool(last and last.is_truncated and last.text),
        None if head else root_response_id,
        len(head),
        len(older) if can_summarize else len(head),
        max((turn.answer_id for turn in turns[:-1] if not turn.replaced_turns), default=0) if can_summarize else 0,
    )


def _list_messages(turns: Sequence[Turn]) -> Iterator[RawMessage]:
    for turn in turns:
        yield from (*turn.messages, *turn.answer_messages)


def compute_turn_cost(result: TurnResult, cost_usd: float | None) -> TurnCost | None:
    """Return the tokens and the cost of a turn; None if there is no answer to pay for."""
    usage = result.answer.completion.usage
    if usage is None and cost_usd is None and result.answer.completion.is_empty:
        return None
    counts = (usage.input_tokens, usage.output_tokens, usage.total_tokens) if usage else (None, None, None)
    return TurnCost(result.request.options.model or "", *counts, cost_usd)


def _list_round_items(answer: Answer) -> Iterator[Mapping[str, Any]]:
    """Yield the tool calls before the answer, and their results."""
    for tool_round in answer.rounds:
        yield from answer_to_items(answer.endpoint, tool_round.completion)
        for message in tool_round.results:
            yield from to_raw_items(message)


def _calls_tools(item: Mapping[str, Any]) -> bool:
    return bool(item.get("tool_calls")) or item.get("type") in ("function_call", "mcp_approval_request")


def _mark_truncated(text: str) -> Iterator[Mapping[str, Any]]:
    if text:
        yield {"role": "assistant", "content": text + CUT_MARK}
