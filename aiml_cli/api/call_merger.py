"""Merge what a response says about its tool calls: pieces of arguments, `.done` events, items, the final object."""

from typing import Any

from aiml_cli.api.json_values import MalformedError, as_str, require_str
from aiml_cli.api.tool_call_assembler import MAX_CALLS, to_arguments
from aiml_cli.api.partial_text import PartialArguments, Piece
from aiml_cli.api.stream_events import ToolCallDelta

# The types of tool calls, and the property that has their arguments.
CALL_ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}


class _ResponseCall:
    def __init__(self, slot: int, item_type: str) -> None:
        self.slot, self.call_id = slot, ""
        self.arguments = PartialArguments(is_json=item_type == "function_call")
        self.is_done = self.is_named = False


class CallMerger:
    """The tool calls of a response so far."""

    def __init__(self) -> None:
        self._calls: list[_ResponseCall] = []
        self._by_name: dict[str, _ResponseCall] = {}

    def begin(self, item: dict[str, Any], event: dict[str, Any]) -> list[ToolCallDelta]:
        """Start a call; the arguments that it may already have are repeated or replaced by what follows."""
        return self._take_item(item, event, is_done=False)

    def complete_item(self, item: dict[str, Any], event: dict[str, Any]) -> list[ToolCallDelta]:
        """Add what a complete item says of a call, and was not known."""
        return self._take_item(item, event, is_done=True)

    def add(self, event: dict[str, Any], arguments: str) -> list[ToolCallDelta]:
        """Add a piece of arguments to the call that the event names, or to the latest if it names no known call."""
        call, events = self._find_for_event(event)
        return [*events, *_build_events(call, call.arguments.add(arguments))]

    def complete(self, event: dict[str, Any], arguments: str) -> list[ToolCallDelta]:
        """Add what complete arguments have beyond the pieces."""
        call, events = self._find_for_event(event)
        return [*events, *_build_events(call, call.arguments.complete(arguments))]

    def _find_for_event(self, event: dict[str, Any]) -> tuple[_ResponseCall, list[ToolCallDelta]]:
        names = _list_names({"id": event.get("item_id"), "call_id": event.get("call_id")}, event)
        call = self._find(names) or (self._calls[-1] if self._calls else None)
        if call:
            return call, []
        call = self._create("function_call")
        self._by_name.update((name, call) for name in names)
        return call, [ToolCallDelta(call.slot, name=as_str(event.get("name")))]

    def _take_item(self, item: dict[str, Any], event: dict[str, Any], *, is_done: bool) -> list[ToolCallDelta]:
        item_type = as_str(item.get("type"))
        if item_type not in CALL_ARGUMENTS:
            return []
        call, is_new = self._find_or_create(item, event)
        arguments = to_arguments(item.get(CALL_ARGUMENTS[item_type]))
        piece = call.arguments.complete(arguments) if is_done else call.arguments.preview(arguments)
        call.is_done = call.is_done or is_done
        if not is_new:
            return _build_events(call, piece)
        call_id = as_str(item.get("call_id")) or as_str(item.get("id"))
        return _build_events(call, piece or Piece(""), call_id, require_str(item.get("name")))

    def _find_or_create(self, item: dict[str, Any], event: dict[str, Any]) -> tuple[_ResponseCall, bool]:
        """Return the call of an item, by its call id, item id or output index, and whether its name is news.

        A new call id is a new call, even at a known index: some servers send the same index for every item.
        """
        names, call_id = _list_names(item, event), as_str(item.get("call_id"))
        call = self._find(names)
        if call and call_id and call.call_id not in ("", call_id):
            call = None
        last = self._calls[-1] if self._calls else None
        if call is None and last and not last.is_done and (not names or not last.is_named):
            call = last
        is_new = call is None or not call.is_named
        call = call or self._create(as_str(item.get("type")))
        self._by_name.update((name, call) for name in names)
        call.call_id = call_id or call.call_id or as_str(item.get("id"))
        call.is_named = True
        return call, is_new

    def _find(self, names: list[str]) -> _ResponseCall | None:
        return next((self._by_name[name] for name in names if name in self._by_name), None)

    def _create(self, item_type: str) -> _ResponseCall:
        if len(self._calls) == MAX_CALLS:
            raise MalformedError(f"more than {MAX_CALLS} tool calls")
        self._calls.append(_ResponseCall(len(self._calls), item_type))
        return self._calls[-1]


def _build_events(call: _ResponseCall, piece: Piece | None, call_id: str = "", name: str = "") -> list[ToolCallDelta]:
    if piece is None:
        return []
    return [ToolCallDelta(call.slot, call_id, name, piece.arguments, is_whole=piece.is_whole)]


def _list_names(item: dict[str, Any], event: dict[str, Any]) -> list[str]:
    """List the names that a call may be known by, the most reliable first."""
    index = event.get("output_index")
    names = [f"{name} {as_str(item[name])}" for name in ("call_id", "id") if as_str(item.get(name))]
    return names + ([f"index {index}"] if type(index) is int and index >= 0 else [])
