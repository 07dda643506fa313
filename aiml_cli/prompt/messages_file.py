"""Read the messages, or input items, of a user's JSON file."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from aiml_cli.api.messages import AnyMessage, Message, RawMessage
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.file_sources import read_input_file

LIST_KEYS = ("messages", "input")
TYPE_NAMES = {type(None): "null", bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
HINT = 'it must be a list of messages or input items, or an object with "messages" or "input"'


def read_messages_file(
    path: str, notify: Callable[[str], None], check_text: Callable[[str, str], None] | None = None
) -> tuple[AnyMessage, ...]:
    """Read a file, or standard input for `-`; raise UsageError for the first invalid message.

    `check_text` is called with the name and the text of the file.
    """
    if path.lstrip().startswith(("{", "[")):
        raise UsageError(
            "--messages needs the name of a file, not JSON", "write the JSON to a file; ./NAME if that is its name"
        )
    name = "standard input" if path == "-" else path
    data = stdin.read_stdin(notify) if path == "-" else read_input_file(path)
    value = _parse_json(data, name)
    if check_text:
        check_text(name, data.decode("utf-8-sig"))
    items = _extract_items(value, name, notify)
    if isinstance(items, str):
        return (Message("user", (items,)),)
    if not isinstance(items, list) or not items:
        raise UsageError(f"--messages {name}: {_describe_type(items)} is not a list of messages", HINT)
    for index, item in enumerate(items):
        if problem := _find_problem(item):
            raise UsageError(f"--messages {name}: item {index} {problem}", HINT)
    return tuple(map(RawMessage, items))


def collect_call_ids(messages: Iterable[AnyMessage]) -> set[str]:
    """Return the ids of the tool calls in the messages of either endpoint."""
    items = [message.item for message in messages if isinstance(message, RawMessage)]
    calls = [call for item in items for call in item.get("tool_calls") or () if isinstance(call, dict)]
    values = [*(call.get("id") for call in calls), *(item.get("call_id") for item in items)]
    return {call_id for call_id in values if isinstance(call_id, str)}


def _parse_json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"--messages {name}: not JSON: {error.msg}, {where}", HINT) from None
    except UnicodeDecodeError:
        raise UsageError(f"--messages {name}: not JSON: it is not UTF-8 text", HINT) from None
    except (ValueError, RecursionError):  # a number with thousands of digits, or nested too deeply
        raise UsageError(f"--messages {name}: not JSON: nested too deeply, or a number is too long", HINT) from None


def _extract_items(value: Any, name: str, notify: Callable[[str], None]) -> Any:
    """Return the list in an object, and print a notice about other keys, which are ignored."""
    key = next((key for key in LIST_KEYS if isinstance(value, dict) and key in value), None)
    if key is None:
        return value
    if others := ", ".join(other for other in value if other != key):
        notify(f"{name}: only {key} is used, not {others}")
    return value[key]


def _find_problem(item: Any) -> str:
    """Return why an item is not a message or input item, "" if it is one."""
    if not isinstance(item, dict):
        return f"is {_describe_type(item)}, not an object"
    if not isinstance(item.get("role", item.get("type")), str):
        return (
            "has neither a role nor a type" if not {"role", "type"} & set(item) else "has a role that is not a string"
        )
    content = item.get("content")
    if item.get("type") == "function":
        return "is a tool; pass it with --tools"
    if content is None and item.get("role") in ("user", "system", "developer"):
        return "has no content"
    if not isinstance(content, str | list | None):
        return f"has content that is {_describe_type(content)}, not a string or a list of parts"
    parts = content if isinstance(content, list) else []
    wrong = [part for part in parts if not isinstance(part, dict)]
    return f"has content with {_describe_type(wrong[0])} in it, not only parts" if wrong else ""


def _describe_type(value: Any) -> str:
    return "an empty list" if value == [] else TYPE_NAMES.get(type(value), "a number")
