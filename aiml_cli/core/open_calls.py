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

    A new result takes the place of one in the turns, which was sent in a request that failed.
    """
    open_ids = {call_id for turn in turns for call_id in _list_calls(turn.item)}
    if not open_ids:
        return list(turns)
    new = _list_results((), conversation)
    kept = [turn for turn in turns if not (_is_result(turn.item) and _result_id(turn.item) in new)]
    open_ids -= new | _list_results(kept, Conversation())
    answered: list[RawMessage] = []
    for turn in kept:
        answered.append(turn)
        answered += [_answer(turn.item, call_id) for call_id in _list_calls(turn.item) if call_id in open_ids]
    return answered


def answer_last_calls(turns: Sequence[RawMessage], conversation: Conversation) -> list[RawMessage]:
    """Return results for the open calls of the last answer, for a server that has all turns."""
    starts = [index for index, turn in enumerate(turns) if turn.item.get("role") == "user"]
    last = turns[starts[-1] if starts else 0 :]
    results = _list_results(last, conversation)
    return [
        _answer(turn.item, call_id) for turn in last for call_id in _list_calls(turn.item) if call_id not in results
    ]


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


def _list_results(turns: Sequence[RawMessage], conversation: Conversation) -> set[str]:
    items = [*turns, *(message for message in conversation.messages if isinstance(message, RawMessage))]
    ids = {_result_id(turn.item) for turn in items if _is_result(turn.item)}
    return ids | {message.call_id for message in conversation.messages if isinstance(message, ToolResult)}


def _result_id(item: Item) -> str:
    return str(item.get("tool_call_id") or item.get("call_id") or item.get("approval_request_id"))


def _is_result(item: Item) -> bool:
    item_type = str(item.get("type"))
    return item.get("role") == "tool" or item_type.endswith("_call_output") or item_type == _APPROVAL_RESPONSE
