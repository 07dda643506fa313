"""Hold together what it takes to send a question, so that it can be sent in several ways."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from aiml_cli.api.messages import Conversation, Message, RawMessage
from aiml_cli.errors import RequestRejected, UsageError
from aiml_cli.settings.options import Options

GO_ON = "Your answer was cut off. Go on exactly where it stops, and repeat nothing of it."
REST = Conversation((Message("user", (GO_ON,)),))
CUT = "\n\n[The answer was cut off here.]"
# What servers say when they do not have, or no longer have, what a request refers to.
_UNKNOWN_RESPONSE = re.compile(
    r"previous.?response|\bresp_|\bresponse\b.*\b(not found|not exist|expired)", re.IGNORECASE | re.DOTALL
)
_UNKNOWN_ITEM = re.compile(r"\brs_|\bpersisted|\bitem\b.*\bnot found|'reasoning' item", re.IGNORECASE | re.DOTALL)
_OF_CHAT = ("message", "function_call", "function_call_output")


class HistoryMode(IntEnum):
    """How previous turns are sent: by the id of the stored response, in full, or in full without reasoning."""

    BY_ID = 0
    FULL = 1
    WITHOUT_REASONING = 2


@dataclass(frozen=True, slots=True)
class PreviousTurns:
    """Hold what was said before.

    `by_id` is the response that goes for all of it, where the server keeps it; `root` is the response that the
    conversation was begun behind, which is not here.
    """

    id: int | None
    messages: tuple[RawMessage, ...]
    system: str | None
    by_id: str | None
    is_cut: bool
    root: str | None = None

    def join(
        self, said: Conversation, options: Options, endpoint: str, how: HistoryMode
    ) -> tuple[Conversation, Options]:
        """Put what is said now behind it."""
        if self.by_id and endpoint == "responses" and how == HistoryMode.BY_ID:
            return said, replace(options, previous_response_id=self.by_id)
        turns = [_told(turn, how) for turn in self.messages if _is_sent(turn.item, endpoint, how)]
        if said.messages[:1] == REST.messages and turns:
            turns[-1] = RawMessage({**turns[-1].item, "content": turns[-1].item["content"].removesuffix(CUT)})
        if self.root and endpoint == "responses":
            options = replace(options, previous_response_id=self.root)
        return Conversation((*turns, *said.messages)), options

    def unsupported_items(self, endpoint: str) -> list[str]:
        """List the types of what an endpoint does not know."""
        types = [
            turn.item.get("type", "") for turn in self.messages if not _is_sent(turn.item, endpoint, HistoryMode.FULL)
        ]
        return list(dict.fromkeys([*([self.root] if self.root and endpoint != "responses" else []), *types]))

    def continue_request(self) -> Conversation:
        """Ask for the rest of an answer that was cut; raise UsageError where nothing was."""
        if not self.is_cut:
            raise UsageError("the last answer was not cut: there is no rest to ask for", "type what to say next")
        return REST

    def retry_reason(self, error: RequestRejected, endpoint: str, how: HistoryMode) -> str:
        """Say why another way to send it is tried after a refusal; "" where none would help."""
        if endpoint != "responses":
            return ""
        about = f"{error.message} {error.details.get('code')} {error.details.get('type')}"
        if how == HistoryMode.BY_ID and self.by_id and _UNKNOWN_RESPONSE.search(about):
            return "the server no longer has the last answer; sending the whole conversation instead"
        bare = any(_is_bare(turn.item) for turn in self.messages)
        if how < HistoryMode.WITHOUT_REASONING and bare and _UNKNOWN_ITEM.search(about):
            return "the server no longer has the reasoning of earlier answers; sending the rest of the conversation"
        return ""


def _is_sent(item: Mapping[str, Any], endpoint: str, how: HistoryMode) -> bool:
    """Say whether an item is sent: chat knows no reasoning items and no calls of the server's own tools."""
    if how == HistoryMode.WITHOUT_REASONING and _is_bare(item):
        return False
    return endpoint == "responses" or item.get("type", "message") in _OF_CHAT


def _told(turn: RawMessage, how: HistoryMode) -> RawMessage:
    """Take its id off what was said with reasoning that is left out: the server would ask for that."""
    if how != HistoryMode.WITHOUT_REASONING or turn.item.get("type") not in _OF_CHAT:
        return turn
    return RawMessage({name: value for name, value in turn.item.items() if name != "id"})


def _is_bare(item: Mapping[str, Any]) -> bool:
    """Say whether an item only names reasoning that the server had."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")
