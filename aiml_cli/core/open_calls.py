"""Answer the tool calls and approval requests that nobody has answered: an open one would have a request rejected."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiml_cli.api.json_values import as_list
from aiml_cli.api.messages import Conversation, RawMessage, ToolResult

NO_RESULT = "There is no result of this call: it was stopped, or never run."
NOT_ALLOWED = "The user did not allow this call."
_APPROVAL_REQUEST, _APPROVAL_RESPONSE = "mcp_approval_request", "mcp_approval_response"
Item = Mapping[str, Any]


def answer_calls(turns: Sequence[RawMessage], conversation: Conversation) -> list[RawMessage]:
    """Return the turns with a result after each call that has none in them or in the new messages.

    A new result takes the place of one in the turns, which was sent in a request that failed. Some servers give the
    calls of several answers the same id: a result belongs to the last call before it.
    """
    new = _list_results(conversation)
    last_calls = {call_id: index for index, turn in enumerate(turns) for call_id in _list_calls(turn.item)}
    if not last_calls:
        return list(turns)

    def is_replaced(index: int, item: Item) -> bool:
        return _is_result(item) and (call_id := _result_id(item)) in new and index > last_calls.get(call_id, -1)

    kept = [turn for index, turn in enumerate(turns) if not is_replaced(index, turn.item)]
    return [message for turn, answers in _pair_with_answers(kept, new) for message in (turn, *answers)]


def answer_last_calls(turns: Sequence[RawMessage], conversation: Conversation) -> list[RawMessage]:
    """Return results for the open calls of the last answer, for a server that has all turns."""
    starts = [index for index, turn in enumerate(turns) if turn.item.get("role") == "user"]
    last = turns[starts[-1] if starts else 0 :]
    return [answer for _, answers in _pair_with_answers(last, _list_results(conversation)) for answer in answers]


def _pair_with_answers(turns: Sequence[RawMessage], results: set[str]) -> list[tuple[RawMessage, Sequence[RawMessage]]]:
    """Return each turn with the answers to its calls that have none; `results` are those that follow the turns."""
    answered, pairs = set(results), list[tuple[RawMessage, Sequence[RawMessage]]]()
    for turn in reversed(turns):
        if _is_result(turn.item):
            answered.add(_result_id(turn.item))
        calls = list(_list_calls(turn.item))
        pairs.append((turn, [_answer(turn.item, call_id) for call_id in calls if call_id not in answered]))
        answered -= set(calls)
    return pairs[::-1]


def _answer(item: Item, call_id: str) -> RawMessage:
    if item.get("type") == _APPROVAL_REQUEST:
        return RawMessage({"type": _APPROVAL_RESPONSE, "approval_request_id": call_id, "approve": False})
    return RawMessage({"role": "tool", "tool_call_id": call_id, "content": NO_RESULT})


def _list_calls(item: Item) -> Iterator[str]:
    if item.get("type") == "function_call":
        yield str(item.get("call_id"))
    if item.get("type") == _APPROVAL_REQUEST:
        yield str(item.get("id"))
    for call in as_list(item.get("tool_calls")):
        if isinstance(call, Mapping) and call.get("id"):
            yield str(call["id"])


def _list_results(conversation: Conversation) -> set[str]:
    items = (message.item for message in conversation.messages if isinstance(message, RawMessage))
    ids = {_result_id(item) for item in items if _is_result(item)}
    return ids | {message.call_id for message in conversation.messages if isinstance(message, ToolResult)}


def _result_id(item: Item) -> str:
    return str(item.get("tool_call_id") or item.get("call_id") or item.get("approval_request_id"))


def _is_result(item: Item) -> bool:
    item_type = str(item.get("type"))
    return item.get("role") == "tool" or item_type.endswith("_call_output") or item_type == _APPROVAL_RESPONSE
