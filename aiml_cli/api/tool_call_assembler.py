"""Assign the pieces of tool calls in chat deltas to their calls, whichever way a server numbers them."""

import json
from typing import Any, NamedTuple

from aiml_cli.api.json_values import MalformedError, as_str, require_dict, require_list, require_str
from aiml_cli.api.partial_text import PartialArguments, Piece
from aiml_cli.api.stream_events import ToolCallDelta

MAX_CALLS = 128


class _CallPiece(NamedTuple):
    number: int | None
    id: str
    name: str
    arguments: str
    is_custom: bool = False


class _Call:
    def __init__(self, slot: int, piece: _CallPiece) -> None:
        self.slot, self.id, self.name = slot, piece.id, piece.name
        self.arguments = PartialArguments(is_json=not piece.is_custom)
        self.next_header: _CallPiece | None = None  # of a call that may follow under the same index


class ToolCallAssembler:
    """The tool calls of one choice, and the assignment of pieces to them."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}

    def feed(self, delta: dict[str, Any], choice: int, *, is_whole: bool = False) -> list[ToolCallDelta]:
        """Return the pieces of calls in a delta, or with `is_whole` in a message that repeats the calls.

        The older `function_call` is a call without an id. Raises MalformedError for more than 128 calls.
        """
        events: list[ToolCallDelta] = []
        used: set[int] = set()
        for position, piece in enumerate(_parse_pieces(delta)):
            call, header = self._find_whole(piece, position) if is_whole else self._find_or_create(piece, used)
            used.add(call.slot)
            call.id, call.name = call.id or header.id, call.name or header.name
            part = call.arguments.complete(piece.arguments) if is_whole else call.arguments.add(piece.arguments)
            part = part or Piece("")
            events.append(ToolCallDelta(call.slot, header.id, header.name, part.arguments, choice, part.is_whole))
        return events

    def _find_whole(self, piece: _CallPiece, position: int) -> tuple[_Call, _CallPiece]:
        known = self._by_id.get(piece.id) if piece.id else None
        if known is None and position < len(self._calls):
            known = self._calls[position]
        return known or self._create(piece), piece

    def _find_or_create(self, piece: _CallPiece, used: set[int]) -> tuple[_Call, _CallPiece]:
        """Return the call of a piece, and the header that has the call's id and name."""
        call, header = self._find(piece), piece
        if call and piece.arguments and not piece.name and call.next_header:
            header, call.next_header = call.next_header, None
            if call.arguments.is_followed_by(piece.arguments):
                call = None
        if call is None or _begins_call(call, piece, used):
            call = self._create(header)
        elif piece.name and not piece.arguments and not call.arguments.is_placeholder():
            call.next_header = piece
        if piece.id:
            self._by_id[piece.id] = call
        if piece.number is not None:
            self._by_index[piece.number] = call
        return call, header

    def _find(self, piece: _CallPiece) -> _Call | None:
        """Find the call by its id, else by its index, else the last one."""
        if piece.id and (known := self._by_id.get(piece.id)):
            return known
        last = self._calls[-1] if self._calls else None
        return last if piece.number is None else self._by_index.get(piece.number)

    def _create(self, piece: _CallPiece) -> _Call:
        if len(self._calls) == MAX_CALLS:
            raise MalformedError(f"more than {MAX_CALLS} tool calls")
        call = _Call(len(self._calls), piece)
        self._calls.append(call)
        return call


def _begins_call(call: _Call, piece: _CallPiece, used: set[int]) -> bool:
    """True if the piece starts another call than the one that its id, its index or its order points to."""
    if not piece.name:
        return False
    is_same_id = piece.id != "" and piece.id == call.id
    if call.slot in used:  # a message has the pieces of one call only once
        return not (is_same_id and call.arguments.means(piece.arguments))
    if is_same_id or not call.name:
        return False
    if piece.id and call.id:
        return True
    if piece.name != call.name:
        return piece.number is None or bool(call.arguments)
    # The same function again, with other arguments after complete ones.
    is_repeated = call.arguments.is_placeholder() or call.arguments.means(piece.arguments)
    return not is_repeated and call.arguments.is_followed_by(piece.arguments)


def _parse_pieces(delta: dict[str, Any]) -> list[_CallPiece]:
    pieces = [_parse_piece(require_dict(call)) for call in require_list(delta.get("tool_calls"))]
    legacy = require_dict(delta.get("function_call"))
    if legacy.get("name") or legacy.get("arguments"):
        pieces.append(_CallPiece(None, "", require_str(legacy.get("name")), to_arguments(legacy.get("arguments"))))
    return pieces


def _parse_piece(call: dict[str, Any]) -> _CallPiece:
    function, custom = require_dict(call.get("function")), require_dict(call.get("custom"))
    index = call.get("index")
    index = index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None
    call_id = call.get("id")
    call_id = as_str(call_id) if call_id is None or isinstance(call_id, str) else str(call_id)
    if custom.get("name") or custom.get("input"):
        return _CallPiece(index, call_id, as_str(custom.get("name")), to_arguments(custom.get("input")), True)
    return _CallPiece(index, call_id, require_str(function.get("name")), to_arguments(function.get("arguments")))


def to_arguments(value: Any) -> str:
    """Return the arguments as text; some servers send them as an object."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else require_str(value)
