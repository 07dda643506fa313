"""Assign the deltas of tool calls to their calls, and merge what a server sends more than once."""

import json
from typing import Any, NamedTuple

from aiml_cli.api.json_values import MalformedError, as_str, require_dict, require_list, require_str
from aiml_cli.api.stream_events import TEXT_ENCODING, ToolCallDelta

MAX_CALLS = 128
MAX_DOCUMENT_TESTS, MAX_END_BYTES = 8, 64
# The types of tool calls, and the property with their arguments.
CALL_ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}


class Piece(NamedTuple):
    """Arguments to append or, if `is_whole`, to replace those so far."""

    arguments: str
    is_whole: bool = False


class PartialArguments:
    """The arguments of a tool call so far: JSON, which may be invalid, or the free text of a custom tool."""

    __slots__ = ("_data", "_is_json", "_is_preview", "_tests")

    def __init__(self, *, is_json: bool = True) -> None:
        self._data = bytearray()
        self._is_json, self._is_preview = is_json, False
        self._tests = 0

    def __bool__(self) -> bool:
        return bool(self._data)

    def preview(self, arguments: str) -> Piece | None:
        """Add the arguments that a call starts with; the deltas that follow may repeat them."""
        piece = self.complete(arguments)
        self._is_preview = piece is not None
        return piece

    def add(self, arguments: str) -> Piece | None:
        """Add the next delta; JSON after complete JSON repeats it, or replaces a placeholder such as {}."""
        if not arguments:
            return None
        if not self._is_preview and arguments[0] not in "{[ \t\r\n":  # the fast path
            self._data += arguments.encode(*TEXT_ENCODING)
            return Piece(arguments)
        begins_again = self._data and (self._is_repeated_by(arguments) or self.is_followed_by(arguments))
        self._is_preview = False
        if begins_again:
            return None if self.equals_json(arguments) else self._replace(arguments)
        self._data += arguments.encode(*TEXT_ENCODING)
        return Piece(arguments)

    def complete(self, whole: str) -> Piece | None:
        """Add the complete arguments; return their end, or all of them if they differ from those so far."""
        data = whole.encode(*TEXT_ENCODING)
        if not data.strip() or data == self._data:
            return None
        if data.startswith(self._data):
            rest = data[len(self._data) :]
            self._data += rest
            return Piece(rest.decode(*TEXT_ENCODING))
        return None if self.equals_json(whole) else self._replace(whole)

    def is_prefix_of(self, arguments: str) -> bool:
        """True if a delta repeats all arguments so far, from the opening brace on: it can only be a longer copy."""
        return self._is_json and self._data[:1] == b"{" and arguments.encode(*TEXT_ENCODING).startswith(self._data)

    def is_continued_by(self, arguments: str) -> bool:
        """True if the arguments are incomplete, and the delta does not begin new ones."""
        begins_document = arguments.lstrip()[:1] in ("{", "[")
        return not self._data or (self._is_json and not begins_document and not self.is_complete_json())

    def is_followed_by(self, arguments: str) -> bool:
        """True if the delta cannot continue the arguments: they are complete, and it begins new JSON."""
        return self._is_json and arguments.lstrip()[:1] in ("{", "[") and self.is_complete_json()

    def is_complete_json(self) -> bool:
        """True if the arguments are complete JSON; tested only a few times, so that the total time is linear."""
        end = self._data[-MAX_END_BYTES:].rstrip()
        if not end.endswith((b"}", b"]", b"null", b'""')) or self._tests == MAX_DOCUMENT_TESTS:
            return False
        self._tests += 1
        return _is_json(self._data)

    def equals(self, arguments: str) -> bool:
        """True if the arguments are the same string, apart from whitespace around it."""
        return bytes(self._data.strip()) == arguments.strip().encode(*TEXT_ENCODING)

    def equals_json(self, arguments: str) -> bool:
        """True if the arguments are the same JSON value."""
        try:
            return bool(json.loads(self._data) == json.loads(arguments))
        except (ValueError, RecursionError):
            return False

    def is_placeholder(self) -> bool:
        """True for a placeholder for arguments that have not arrived yet."""
        return len(self._data) < MAX_END_BYTES and bytes(self._data.strip()) in (b"", b"{}", b"null", b'""')

    def _is_repeated_by(self, arguments: str) -> bool:
        data = arguments.encode(*TEXT_ENCODING)
        return self._is_preview and (self._data.startswith(data) or data.startswith(self._data))

    def _replace(self, arguments: str) -> Piece:
        self._data, self._tests = bytearray(arguments.encode(*TEXT_ENCODING)), 0
        return Piece(arguments, is_whole=True)


def _is_json(data: bytearray) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


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
    """The tool calls of one choice; assigns deltas to them."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._latest: _Call | None = None
        self._latest_number: int | None = None

    def feed(self, delta: dict[str, Any], choice: int, *, is_whole: bool = False) -> list[ToolCallDelta]:
        """Return the call deltas in a delta, or with `is_whole` in a message that repeats the calls.

        The older `function_call` is a call without an id. Raises MalformedError for more than 128 calls.
        """
        if not is_whole and (again := self._feed_again(delta, choice)) is not None:
            return again
        events: list[ToolCallDelta] = []
        used: set[int] = set()
        for position, piece in enumerate(_parse_pieces(delta)):
            call, header = self._find_whole(piece, position) if is_whole else self._find_or_create(piece, used)
            used.add(call.slot)
            call.id, call.name = call.id or header.id, call.name or header.name
            is_snapshot = is_whole or (piece.name and call.arguments.is_prefix_of(piece.arguments))
            part = (call.arguments.complete if is_snapshot else call.arguments.add)(piece.arguments)
            part = part or Piece("")
            events.append(ToolCallDelta(call.slot, header.id, header.name, part.arguments, choice, part.is_whole))
        return events

    def _feed_again(self, delta: dict[str, Any], choice: int) -> list[ToolCallDelta] | None:
        """Return the events of a delta that can only belong to the latest call: the fast path."""
        pieces, latest = delta.get("tool_calls"), self._latest
        if latest is None or latest.next_header or type(pieces) is not list or len(pieces) != 1:
            return None
        piece = pieces[0] if type(pieces[0]) is dict else {}
        function, is_same = piece.get("function"), piece.get("index") == self._latest_number
        if not is_same or type(function) is not dict or piece.get("id") or function.get("name") or "custom" in piece:
            return None
        if type(arguments := function.get("arguments")) is not str or delta.get("function_call"):
            return None
        part = latest.arguments.add(arguments)
        return [ToolCallDelta(latest.slot, "", "", part.arguments, choice, part.is_whole)] if part else []

    def _find_whole(self, piece: _CallPiece, position: int) -> tuple[_Call, _CallPiece]:
        known = self._by_id.get(piece.id) if piece.id else None
        if known is None and position < len(self._calls):
            known = self._calls[position]
        return known or self._create(piece), piece

    def _find_or_create(self, piece: _CallPiece, used: set[int]) -> tuple[_Call, _CallPiece]:
        """Return the call of a delta, and the header with the call's id and name."""
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
        self._latest, self._latest_number = call, piece.number
        return call, header

    def _find(self, piece: _CallPiece) -> _Call | None:
        """Find the call by its id, else by its index; else return the last one."""
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
    """True if the delta starts a new call instead of continuing the one that its id, index or order refers to."""
    if not piece.name:
        return False
    is_same_id = piece.id != "" and piece.id == call.id
    if call.slot in used:  # a message contains each call only once
        return not (is_same_id and call.arguments.equals_json(piece.arguments))
    if is_same_id or not call.name:
        return False
    if piece.id and call.id:
        is_same = piece.number is not None and piece.name == call.name and piece.arguments
        return not (is_same and call.arguments.is_continued_by(piece.arguments))
    if piece.name != call.name:
        return piece.number is None or bool(call.arguments)
    # The same function again, with other arguments after complete ones.
    is_repeated = call.arguments.is_placeholder() or call.arguments.equals_json(piece.arguments)
    return not is_repeated and call.arguments.is_followed_by(piece.arguments)


def _parse_pieces(delta: dict[str, Any]) -> list[_CallPiece]:
    calls = delta.get("tool_calls")
    values = [calls] if isinstance(calls, dict) else require_list(calls)  # TGI sends a single call instead of a list
    pieces = [piece for value in values if any((piece := _parse_piece(require_dict(value)))[1:])]
    legacy = require_dict(delta.get("function_call"))
    if not pieces and (legacy.get("name") or legacy.get("arguments")):
        pieces.append(_CallPiece(None, "", require_str(legacy.get("name")), to_arguments(legacy.get("arguments"))))
    return pieces


def _parse_piece(call: dict[str, Any]) -> _CallPiece:
    function, custom = require_dict(call.get("function")) or call, require_dict(call.get("custom"))
    index = call.get("index")
    index = index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None
    call_id = call.get("id")
    call_id = as_str(call_id) if call_id is None or isinstance(call_id, str) else str(call_id)
    if custom.get("name") or custom.get("input"):
        return _CallPiece(index, call_id, as_str(custom.get("name")), to_arguments(custom.get("input")), True)
    return _CallPiece(index, call_id, require_str(function.get("name")), to_arguments(function.get("arguments")))


def to_arguments(value: Any) -> str:
    """Return the arguments as a string; some servers send them as an object."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else require_str(value)


class _ResponseCall:
    def __init__(self, slot: int, item_type: str) -> None:
        self.slot, self.call_id, self.name = slot, "", ""
        self.arguments = PartialArguments(is_json=item_type == "function_call")
        self.is_done = self.is_named = self.is_final = False


class CallMerger:
    """The tool calls of a response so far."""

    def __init__(self) -> None:
        self._calls: list[_ResponseCall] = []
        self._by_name: dict[str, _ResponseCall] = {}

    def begin(self, item: dict[str, Any], event: dict[str, Any]) -> list[ToolCallDelta]:
        """Start a call; later events repeat or replace the arguments that it may already have."""
        return self._take_item(item, event, is_done=False)

    def complete_item(
        self, item: dict[str, Any], event: dict[str, Any], *, is_final: bool = False
    ) -> list[ToolCallDelta]:
        """Add what is new in the complete item of a call; with `is_final` it is part of the complete output."""
        return self._take_item(item, event, is_done=True, is_final=is_final)

    def add(self, event: dict[str, Any], arguments: str) -> list[ToolCallDelta]:
        """Add a delta of arguments to the call that the event names, or to the latest if it names no known call."""
        call, events = self._find_for_event(event)
        return [*events, *_build_events(call, call.arguments.add(arguments))]

    def complete(self, event: dict[str, Any], arguments: str) -> list[ToolCallDelta]:
        """Add what complete arguments contain beyond their deltas."""
        call, events = self._find_for_event(event)
        return [*events, *_build_events(call, call.arguments.complete(arguments))]

    def _find_for_event(self, event: dict[str, Any]) -> tuple[_ResponseCall, list[ToolCallDelta]]:
        item_id = event.get("item_id")
        names = _list_names({"id": item_id, "call_id": event.get("call_id") or item_id}, event)
        call = self._find(names) or (self._calls[-1] if self._calls else None)
        if call:
            return call, []
        call = self._create("function_call")
        self._by_name.update((name, call) for name in names)
        return call, [ToolCallDelta(call.slot, name=as_str(event.get("name")))]

    def _take_item(
        self, item: dict[str, Any], event: dict[str, Any], *, is_done: bool, is_final: bool = False
    ) -> list[ToolCallDelta]:
        item_type = as_str(item.get("type"))
        if item_type not in CALL_ARGUMENTS:
            return []
        arguments = to_arguments(item.get(CALL_ARGUMENTS[item_type]))
        known = self._find_repeated(item, arguments) if is_final else None
        call, is_new = (known, False) if known else self._find_or_create(item, event)
        call.is_final = is_final
        piece = call.arguments.complete(arguments) if is_done else call.arguments.preview(arguments)
        call.is_done = call.is_done or is_done
        if not is_new:
            return _build_events(call, piece)
        call_id, call.name = as_str(item.get("call_id")) or as_str(item.get("id")), require_str(item.get("name"))
        return _build_events(call, piece or Piece(""), call_id, call.name)

    def _find_repeated(self, item: dict[str, Any], arguments: str) -> _ResponseCall | None:
        """Return the call that an item without a known name repeats: the first one with the same content."""
        if self._find(_list_names(item, {})):
            return None
        name = as_str(item.get("name"))
        candidates = (call for call in self._calls if call.name == name and not call.is_final)
        return next((call for call in candidates if call.arguments.equals(arguments)), None)

    def _find_or_create(self, item: dict[str, Any], event: dict[str, Any]) -> tuple[_ResponseCall, bool]:
        """Return the call of an item, by its call id, item id or output index, and whether its name is new.

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
