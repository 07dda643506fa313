"""Read JSON off the wire with care: wrong types are told, split characters are joined."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any, cast

from aiml_cli.api.events import Batch, Done, Event, Fault, Refusal, Text, Thought, ToolCall
from aiml_cli.api.faults import fault_in
from aiml_cli.api.sse import Sse

Spoken = Text | Thought | Refusal | ToolCall
_AMOUNT = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
Take = Callable[[str, dict[str, Any], Batch], None]


class MalformedError(ValueError):
    """Say that the server sent a value of the wrong type."""


def an_object(value: Any) -> dict[str, Any]:
    """Take a JSON object; null is an empty one."""
    return value if type(value) is dict else cast("dict[str, Any]", _typed(value, dict, {}))


def a_list(value: Any) -> list[Any]:
    """Take a JSON array; null is an empty one."""
    return value if type(value) is list else cast("list[Any]", _typed(value, list, []))


def a_text(value: Any) -> str:
    """Take a JSON string; null is an empty one."""
    return value if type(value) is str else cast("str", _typed(value, str, ""))


def a_count(value: Any) -> int | None:
    """Take a number of tokens; null stays None."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isfinite(number := _typed(value, float, 0.0)):
        raise MalformedError(f"{number} where a count belongs")
    return int(number)


def a_number(value: Any) -> float | None:
    """Take a number; null and what is none stay None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def an_amount(value: Any) -> float | None:
    """Take a number, or a text that writes one, which is finite and not negative; anything else is None.

    Headers write small ones as `5e-7`; `float` alone would take `1_0` and `nan`, too.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(_AMOUNT, value.strip(" \t")):
        return None
    try:
        amount = float(value)
    except OverflowError:  # a whole number beyond the range of floats
        return None
    return amount if 0 <= amount < float("inf") else None


def _typed(value: Any, kind: type, empty: Any) -> Any:
    if value is None:
        return empty
    if not isinstance(value, kind):
        found = _NAMES.get(type(value), "number")
        raise MalformedError(f"JSON of type {found} where {_NAMES.get(kind, 'number')} belongs")
    return value


_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean"}


def listen(stream: Iterable[list[Sse]], take: Take, *, done_is_whole: bool = True) -> Iterator[Batch]:
    """Hand each event's JSON object to `take`, which adds to the batch what it means.

    Ends at `[DONE]`, which says that the answer is whole where `done_is_whole`, or after a Fault. An event
    that is no JSON object, or whose values have the wrong types, is a Fault too.
    """
    decode = json.JSONDecoder().decode
    halves = Halves()
    for events in stream:
        batch: Batch = []
        for sse in events:
            if sse.data == "[DONE]":
                batch.extend([Done()] if done_is_whole else [])
            else:
                start = len(batch)
                _take(sse, decode, take, batch)
                if "\\ud" in sse.data or "\\uD" in sse.data or halves.waiting:
                    batch[start:] = halves.join(batch[start:])
            if (batch and isinstance(batch[-1], Fault)) or sse.data == "[DONE]":
                yield [*batch, *halves.alone()]
                return
        if batch:
            yield batch
    if halves.waiting:
        yield halves.alone()


def _take(sse: Sse, decode: Callable[[str], Any], take: Take, batch: Batch) -> None:
    try:
        if sse.error:
            batch.append(_reported(sse.error))
            return
        found = decode(sse.data)
        if not isinstance(found, dict):
            raise MalformedError(f"{sse.data[:60]} where a JSON object belongs")
        take(sse.event, found, batch)
    except MalformedError as wrong:
        batch.append(malformed(wrong))
    except (ValueError, RecursionError):
        if sse.whole and (sse.data.strip() or sse.event == "error"):
            batch.append(_unreadable(sse))


def malformed(wrong: MalformedError) -> Fault:
    """Make the fault for values of the wrong type."""
    return Fault(f"the server sent an answer that cannot be read: {wrong}")


def _reported(text: str) -> Fault:
    """Read the non-standard field `error`."""
    try:
        found = json.loads(text)
    except ValueError:
        return Fault(text)
    return fault_in(found if isinstance(found, dict) and "error" in found else {"error": found}) or Fault(text)


def _unreadable(sse: Sse) -> Fault:
    if sse.event == "error":
        return Fault(sse.data)
    return Fault(f"the server sent an event that is not JSON: {sse.data[:100]}")


class Halves:
    """Join characters whose two UTF-16 halves came in two deltas; a half that stays alone becomes U+FFFD."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[Any, ...], tuple[Spoken, str]] = {}

    def join(self, events: Batch) -> Batch:
        """Give the events with whole characters."""
        return [self._joined(event) if isinstance(event, Spoken) else event for event in events]

    def alone(self) -> Batch:
        """Give what waited in vain."""
        left, self.waiting = self.waiting, {}
        return [_saying(event, whole(half)) for event, half in left.values()]

    def _joined(self, event: Spoken) -> Event:
        key = (type(event), event.choice, event.slot if isinstance(event, ToolCall) else 0)
        _, half = self.waiting.pop(key, (event, ""))
        text = half + (event.arguments if isinstance(event, ToolCall) else event.text)
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.waiting[key], text = (event, text[-1]), text[:-1]
        return _saying(event, whole(text))


def _saying(event: Spoken, text: str) -> Event:
    return event._replace(arguments=text) if isinstance(event, ToolCall) else event._replace(text=text)


def whole(text: str) -> str:
    """Join the halves within a text; replace those that stay alone."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
