"""Tell apart the tool calls in a chat stream, whose pieces come by index, by id, or by neither."""

import json
from typing import Any

from aiml_cli.api.events import ToolCall
from aiml_cli.api.wire import a_list, a_text, an_object


class Calls:
    """Keep the calls of one choice."""

    def __init__(self) -> None:
        self._slots: list[tuple[Any, str]] = []
        self._named: dict[int, str] = {}

    def take(self, delta: dict[str, Any], choice: int) -> list[ToolCall]:
        """Read the pieces of a delta; the older `function_call` is a call without an id."""
        old = an_object(delta.get("function_call"))
        pieces = [_piece(an_object(call)) for call in a_list(delta.get("tool_calls"))]
        if old.get("name") or old.get("arguments"):
            pieces.append((None, "", a_text(old.get("name")), a_text(old.get("arguments"))))
        taken: set[int] = set()
        return [
            ToolCall(self._slot(index, call_id, name, taken), call_id, name, arguments, choice)
            for index, call_id, name, arguments in pieces
        ]

    def _slot(self, index: Any, call_id: str, name: str, taken: set[int]) -> int:
        """Find the call that a piece belongs to: the latest with its id, else with its index, else the last.

        One delta has no two pieces of a call: what is `taken` and comes without a number is the next call.
        """
        slot = self._known(index, call_id, name)
        if slot is None or (slot in taken and index is None and not call_id):
            self._slots.append((index, call_id))
            slot = len(self._slots) - 1
        elif call_id and not self._slots[slot][1]:
            self._slots[slot] = (index, call_id)
        taken.add(slot)
        self._named[slot] = self._named.get(slot) or name
        return slot

    def _known(self, index: Any, call_id: str, name: str) -> int | None:
        latest = range(len(self._slots) - 1, -1, -1)
        if call_id and any(self._slots[slot][1] == call_id for slot in latest):
            return next(slot for slot in latest if self._slots[slot][1] == call_id)
        for slot in latest:
            other_index, other_id = self._slots[slot]
            if (index is None or other_index == index) and not (call_id and other_id):
                is_new = index is None and name and self._named.get(slot) not in ("", name)
                return None if is_new else slot
        return None


def _piece(call: dict[str, Any]) -> tuple[Any, str, str, str]:
    function, custom = an_object(call.get("function")), an_object(call.get("custom"))
    if custom.get("name"):
        function = {"name": custom["name"], "arguments": custom.get("input")}
    arguments = function.get("arguments")
    return call.get("index"), a_text(call.get("id")), a_text(function.get("name")), _as_text(arguments)


def _as_text(arguments: Any) -> str:
    """Give arguments as the text they should have come as; some servers send the object itself."""
    if isinstance(arguments, dict | list):
        return json.dumps(arguments, ensure_ascii=False)
    return a_text(arguments)
