"""Read the turns that a user's JSON file holds: messages, or input items."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from aiml_cli.api.messages import AnyMessage, Message, RawMessage
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.file_sources import read_input_file

LISTS = ("messages", "input")
HINT = 'it holds a list of messages or input items, or an object with "messages" or "input"'


def read_messages_file(
    path: str, tell: Callable[[str], None], see: Callable[[str, str], None] | None = None
) -> tuple[AnyMessage, ...]:
    """Read a file, `-` for standard input; `see` gets its text. Raise UsageError naming what in it is no turn."""
    name = "standard input" if path == "-" else path
    data = stdin.read_stdin(tell) if path == "-" else read_input_file(path)
    found = _json(data, name)
    if see:
        see(name, data.decode("utf-8-sig"))
    items = _items(found, name, tell)
    if isinstance(items, str):
        return (Message("user", (items,)),)
    if not isinstance(items, list) or not items:
        raise UsageError(f"--messages {name}: {_what(items)} is no list of messages", HINT)
    for index, item in enumerate(items):
        if wrong := _wrong(item):
            raise UsageError(f"--messages {name}: item {index} {wrong}", HINT)
    return tuple(map(RawMessage, items))


def collect_call_ids(given: Iterable[AnyMessage]) -> set[str]:
    """Collect the ids of the tool calls in the turns, in either endpoint's form."""
    items = [turn.item for turn in given if isinstance(turn, RawMessage)]
    calls = [call for item in items for call in item.get("tool_calls") or () if isinstance(call, dict)]
    found = [*(call.get("id") for call in calls), *(item.get("call_id") for item in items)]
    return {call_id for call_id in found if isinstance(call_id, str)}


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as fault:
        where = f"line {fault.lineno}, column {fault.colno}"
        raise UsageError(f"--messages {name}: not JSON: {fault.msg}, {where}", HINT) from None
    except UnicodeDecodeError:
        raise UsageError(f"--messages {name}: not JSON: it is not UTF-8 text", HINT) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        raise UsageError(f"--messages {name}: not JSON that can be read", HINT) from None


def _items(found: Any, name: str, tell: Callable[[str], None]) -> Any:
    """Take the list out of an object, and tell what else is in there, for it is not used."""
    key = next((key for key in LISTS if isinstance(found, dict) and key in found), None)
    if key is None:
        return found
    if others := ", ".join(each for each in found if each != key):
        tell(f"{name}: only {key} is taken from it, not {others}")
    return found[key]


def _wrong(item: Any) -> str:
    """Say what keeps an item from being a turn; "" when nothing does."""
    if not isinstance(item, dict):
        return f"is {_what(item)}, not an object"
    if not isinstance(item.get("role", item.get("type")), str):
        return "has neither a role nor a type" if not {"role", "type"} & set(item) else "has a role that is no text"
    content = item.get("content")
    if item.get("type") == "function":
        return "is a tool, which --tools takes"
    if content is None and item.get("role") in ("user", "system", "developer"):
        return "has no content"
    if not isinstance(content, str | list | None):
        return f"has a content that is {_what(content)}, not a text or a list of parts"
    parts = content if isinstance(content, list) else []
    wrong = next((part for part in parts if not isinstance(part, dict)), None)
    return "" if wrong is None else f"has a content with {_what(wrong)} in it, not only parts"


def _what(value: Any) -> str:
    match value:
        case bool() | int() | float():
            return "a number" if not isinstance(value, bool) else "a truth value"
        case None:
            return "null"
        case str():
            return "a text"
        case []:
            return "an empty list"
        case list():
            return "a list"
        case _:
            return "an object"
