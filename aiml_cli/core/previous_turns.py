"""The previous turns of a conversation, the ways to send them, and results for tool calls that have none."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiml_cli.api.json_values import as_list
from aiml_cli.api.message_conversion import get_role_and_text
from aiml_cli.api.messages import AnyMessage, Conversation, HistoryMode, Message, RawMessage, ToolResult
from aiml_cli.errors import RequestRejected, UsageError
from aiml_cli.settings.options import Options

CONTINUE_PROMPT = "Your answer was cut off. Go on exactly where it stops, and repeat nothing of it."
CONTINUE_REQUEST = Conversation((Message("user", (CONTINUE_PROMPT,)),))
CUT_MARK = "\n\n[The answer was cut off here.]"
# What servers say about a reference to something that they do not have, or no longer have.
_UNKNOWN_RESPONSE = re.compile(
    r"previous.?response|\bresp_|\bresponse\b.{0,200}\b(not found|not exist|expired)", re.IGNORECASE | re.DOTALL
)
_UNKNOWN_ITEM = re.compile(r"\brs_|\bpersisted|\bitem\b.{0,200}\bnot found|'reasoning' item", re.IGNORECASE | re.DOTALL)
_CHAT_ITEM_TYPES = ("message", "function_call", "function_call_output")
MISSING_RESULT_TEXT = "There is no result of this call: it was stopped, or never run."
DECLINED_CALL_TEXT = "The user did not allow this call."
_APPROVAL_REQUEST, _APPROVAL_RESPONSE = "mcp_approval_request", "mcp_approval_response"
Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PreviousTurns:
    """The previous turns of a conversation.

    `response_id` refers to all of them on a server that stores responses. `root_response_id` is the response that
    the first turn followed; it is not among the messages. The first `head_count` messages are never left out: system
    messages, and the summary of older turns. `older_until` is the last message in the history that is older than the
    last turn, and `last_start` where that turn begins. With `copied_until` the next exchange is saved in a copy of the
    conversation that ends with that message.
    """

    id: int | None
    messages: tuple[RawMessage, ...]
    system: str | None
    response_id: str | None
    is_truncated: bool
    root_response_id: str | None = None
    head_count: int = 0
    last_start: int = 0
    older_until: int = 0
    copied_until: int = 0

    def join(
        self, conversation: Conversation, options: Options, endpoint: str, history: HistoryMode
    ) -> tuple[Conversation, Options]:
        """Return the previous and the new messages together, and the options that refer to a stored response."""
        if self.response_id and endpoint == "responses" and history == HistoryMode.BY_ID:
            missing = answer_last_calls(self.messages, conversation)
            conversation = Conversation((*missing, *conversation.messages))
            return conversation, replace(options, previous_response_id=self.response_id)
        turns = list(_drop_ids((turn for turn in self.messages if _is_sent(turn.item, endpoint, history)), history))
        turns = answer_calls(turns, conversation)
        if conversation.messages[:1] == CONTINUE_REQUEST.messages and turns:
            turns[-1] = RawMessage({**turns[-1].item, "content": turns[-1].item["content"].removesuffix(CUT_MARK)})
        if self.root_response_id and endpoint == "responses":
            options = replace(options, previous_response_id=self.root_response_id)
        return Conversation((*turns, *conversation.messages)), options

    def list_unsupported_items(self, endpoint: str) -> list[str]:
        """Return what the endpoint does not support: types of items, and the id of a stored response before them."""
        items = [turn.item for turn in self.messages]
        types = [item.get("type", "") for item in items if not _is_sent(item, endpoint, HistoryMode.FULL)]
        root = [self.root_response_id] if self.root_response_id and endpoint != "responses" else []
        return list(dict.fromkeys([*root, *types]))

    def continue_request(self) -> Conversation:
        """Return the message that asks to continue an answer; raise UsageError if the answer is complete."""
        if not self.is_truncated:
            raise UsageError("the last answer is complete; there is nothing to continue", "type the next message")
        return CONTINUE_REQUEST

    def retry_reason(self, error: RequestRejected, endpoint: str, history: HistoryMode) -> str:
        """Return why the turns should be sent in another way after a rejection, or "" if no other way would help."""
        if endpoint != "responses":
            return ""
        text = f"{error.message} {error.details.get('code')} {error.details.get('type')}"
        if history == HistoryMode.BY_ID and self.response_id and _UNKNOWN_RESPONSE.search(text):
            return "the server no longer has the last answer; the whole conversation is sent instead"
        has_references = any(_is_reference(turn.item) for turn in self.messages)
        if history < HistoryMode.WITHOUT_REASONING and has_references and _UNKNOWN_ITEM.search(text):
            return "the server no longer has the reasoning of earlier answers; the conversation is sent without it"
        return ""


def find_turn_starts(messages: Sequence[AnyMessage], first: int = 0) -> list[int]:
    """Return the indexes where turns begin, from `first` on.

    A turn lasts from the user's messages to the answer to the last tool call. The message that asks to continue a
    truncated answer does not begin a turn.
    """
    roles = [get_role_and_text(message)[0] for message in messages]
    starts = [
        index
        for index in range(first, len(messages))
        if roles[index] == "user" and (index == first or roles[index - 1] != "user")
    ]
    return [index for index in starts if index == first or get_role_and_text(messages[index])[1] != CONTINUE_PROMPT]


def is_instruction(message: AnyMessage) -> bool:
    """True for a system or developer message, which is not part of a turn but applies to all of them."""
    return get_role_and_text(message)[0] in ("system", "developer")


def _is_sent(item: Mapping[str, Any], endpoint: str, history: HistoryMode) -> bool:
    """True if an item is sent: chat does not support reasoning items or calls of the server's own tools."""
    if history == HistoryMode.WITHOUT_REASONING and _is_reference(item):
        return False
    return endpoint == "responses" or item.get("type", "message") in _CHAT_ITEM_TYPES


def _drop_ids(turns: Iterable[RawMessage], history: HistoryMode) -> Iterator[RawMessage]:
    """Yield the turns without ids, except where the server needs them to match reasoning with the items that follow.

    Some servers reject a message with an id that they assigned. If the reasoning is left out, the ids of the items
    that follow it must not be sent: the server would require the reasoning.
    """
    follows_reasoning = False
    for turn in turns:
        item_type = turn.item.get("type", "message")
        is_answer = item_type != "message" or turn.item.get("role") == "assistant"
        follows_reasoning = item_type == "reasoning" or (follows_reasoning and is_answer)
        is_plain = item_type == "message" and not follows_reasoning
        if is_plain or (history == HistoryMode.WITHOUT_REASONING and item_type in _CHAT_ITEM_TYPES):
            yield RawMessage({name: value for name, value in turn.item.items() if name != "id"})
        else:
            yield turn


def _is_reference(item: Mapping[str, Any]) -> bool:
    """True if an item only refers to reasoning that the server stores."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def answer_calls(turns: Sequence[RawMessage], conversation: Conversation) -> list[RawMessage]:
    """Return the turns with a result after each call that has none in them or in the new messages.

    A new result replaces one in the turns that was sent in a failed request. Some servers give calls of different
    answers the same id: a result belongs to the last call before it.
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
    """Return each turn with results for its calls that have none; `results` are the ids of results after the turns."""
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
    return RawMessage({"role": "tool", "tool_call_id": call_id, "content": MISSING_RESULT_TEXT})


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
