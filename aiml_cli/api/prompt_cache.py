"""Mark the parts of a chat request that a Claude model should cache for the next request, and read what that saved.

A mark means: cache everything up to here. Without one these models cache nothing; other models cache automatically, or
reject the mark. A request may have four; a mark with a long time to live must not follow one with a short
time to live.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from aiml_cli.api.json_values import as_dict, as_int, as_list
from aiml_cli.api.model_list import MILLION, Price, price_per_million
from aiml_cli.api.stream_events import Usage

MAX_MARKS = 4
NAME = "cache_control"
# The maximum price of writing to the cache, as a multiple of the input price, by the time to live.
WRITE_FACTORS = {"5m": 1.25, "1h": 2.0}
_FILE_END = re.compile(r"\n</(?:file|stdin)_*>(?=\s|\Z)")
_MARKABLE = ("text", "image_url", "file", "image")
_INSTRUCTIONS = ("system", "developer")
_WRITTEN_NAMES = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
Part = dict[str, Any]


class CacheTokens(NamedTuple):
    """The prompt tokens that the server read from its cache, and those that it wrote to it."""

    read: int
    written: int


def takes_marks(model: object) -> bool:
    """True for the models that cache only marked parts of a prompt."""
    return isinstance(model, str) and "claude" in model.lower()


def mark_prompt(body: Mapping[str, Any], ttl: str) -> dict[str, Any]:
    """Return a chat body with marks after the conversation, the system text and the files, or unchanged.

    Existing marks are kept and count towards the limit. If not all marks fit, they are added in the order above.
    """
    messages = body.get("messages")
    if not takes_marks(body.get("model")) or not isinstance(messages, list):
        return dict(body)
    copies = [_copy_message(message) for message in messages]
    room = MAX_MARKS - sum(NAME in each for each in _list_objects([messages, body.get("tools")]))
    for find in (_find_conversation_end, _find_system_end, _find_files_end):
        part = find(copies) if room > 0 else None
        if part is not None and NAME not in part:
            part[NAME] = {"type": "ephemeral", "ttl": ttl}
            room -= 1
    pairs = zip(messages, copies, strict=True)
    return {**body, "messages": [copy if _has_mark(copy) else message for message, copy in pairs]}


def _copy_message(message: Any) -> Any:
    """Return a copy of a message; if it is from the user or contains instructions, its content is a list of parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str) and message["role"] in ("user", *_INSTRUCTIONS):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return message
    return {**message, "content": [dict(part) if isinstance(part, dict) else part for part in content]}


def _has_mark(message: Any) -> bool:
    return any(NAME in each for each in _list_objects([message]))


def _find_conversation_end(messages: list[Any]) -> Part | None:
    """Return the last part of the user's last message; tool results are strings, which cannot have a mark."""
    return next(filter(None, (_find_last_part(each) for each in reversed(messages) if _is_from_user(each))), None)


def _find_system_end(messages: list[Any]) -> Part | None:
    """Return the last part of the instructions that the conversation begins with."""
    end = None
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _INSTRUCTIONS:
            break
        end = _find_last_part(message) or end
    return end


def _find_files_end(messages: list[Any]) -> Part | None:
    """Return the user's last part that is a file; text that continues after its last file is split there."""
    for message in filter(_is_from_user, reversed(messages)):
        content: list[Any] = message["content"]
        for index, part in reversed(list(enumerate(content))):
            if not _is_markable(part):
                continue
            if part["type"] != "text":
                return cast("Part", part)
            if ends := list(_FILE_END.finditer(part["text"])):
                return _split_text(content, index, ends[-1].end())
    return None


def _split_text(content: list[Any], index: int, end: int) -> Part:
    """Split the text of a part, and return the new part before `end`; the text after it keeps an existing mark."""
    part: Part = content[index]
    head, rest = part["text"][:end], part["text"][end:]
    if not rest.strip():
        return part
    part["text"] = rest
    first: Part = {"type": "text", "text": head}
    content.insert(index, first)
    return first


def _is_from_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), list)


def _find_last_part(message: Part) -> Part | None:
    parts = [part for part in as_list(message.get("content")) if _is_markable(part)]
    return parts[-1] if parts else None


def _is_markable(part: Any) -> bool:
    """True for a part that may have a mark; blank text may not."""
    if not isinstance(part, dict) or part.get("type") not in _MARKABLE:
        return False
    text = part.get("text")
    return part["type"] != "text" or (isinstance(text, str) and bool(text.strip()))


def _list_objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that may have a mark: messages, their parts, and tools."""
    for element in as_list(value):
        if isinstance(element, dict):
            yield element
            yield from _list_objects(element.get("content"))
        else:
            yield from _list_objects(element)


def find_write_factor(body: Mapping[str, Any]) -> float:
    """Return the factor by which writing the cache may raise the input price of a request; 1 if it does not."""
    marks = [as_dict(each.get(NAME)) for each in _list_objects([body.get("messages"), body.get("tools")])]
    return max((WRITE_FACTORS.get(str(mark.get("ttl")), 1.25) for mark in marks if mark), default=1.0)


def count_cache_tokens(usage: Usage) -> CacheTokens:
    """Return the tokens that were read and written, under any of the known names."""
    names = ("prompt_tokens_details", "input_tokens_details")
    details = [usage.details, *(as_dict(usage.details.get(name)) for name in names)]
    read = [usage.cached_tokens, as_int(usage.details.get("cache_read_input_tokens"))]
    written = [as_int(each.get(name)) for each in details for name in _WRITTEN_NAMES]
    return CacheTokens(max(0, *(count or 0 for count in read)), max(0, *(count or 0 for count in written)))


def estimate_savings(prices: Iterable[Price], usage: Usage) -> float | None:
    """Return what the cache saved in US dollars, negative if it cost more to write; None if a price is unknown."""
    tokens, prices = count_cache_tokens(usage), tuple(prices)
    normal, cached, write = (price_per_million(prices, kind) for kind in ("input", "cached", "cache_write"))
    if normal is None or (tokens.read and cached is None) or (tokens.written and write is None):
        return None
    saved = tokens.read * (normal - (cached or 0)) - tokens.written * ((write or 0) - normal)
    return round(saved / MILLION, 12)
