"""Name what a message holds besides its words: attachments, tool calls, a refusal."""

from collections.abc import Iterable, Iterator
from typing import Any

_SILENT = {"text", "input_text", "output_text", "message", "reasoning", "function_call_output", None}
KB = 1000


def enclosed(items: Iterable[Any]) -> Iterator[str]:
    """Name what the items of either endpoint hold besides text, each in a line; never the bytes themselves."""
    for item in items:
        if not isinstance(item, dict):
            continue
        yield from filter(None, map(_part, _list(item.get("content"))))
        yield from filter(None, map(_call, _list(item.get("tool_calls"))))
        yield from filter(None, [_call(item)])


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _part(part: Any) -> str:
    match part:
        case {"image_url": {"url": str(url)}} | {"type": "input_image", "image_url": str(url)}:
            return f"image {_source(url)}"
        case {"type": "file", "file": dict(facts)}:
            return _file(facts)
        case {"type": "input_file"}:
            return _file(part)
        case {"input_audio": {"data": str(data), "format": form}}:
            return f"sound {form}, {_size(data)}"
        case {"type": "refusal", "refusal": str(words)}:
            return f"refusal: {words}"
        case dict():
            return _other(part)
        case _:
            return ""


def _file(facts: dict[str, Any]) -> str:
    name = facts.get("filename") or facts.get("file_id") or facts.get("file_url") or "without a name"
    data = facts.get("file_data")
    return f"file {name}, {_size(data)}" if isinstance(data, str) else f"file {name}"


def _call(item: Any) -> str:
    match item:
        case {"function": {"name": name, "arguments": arguments}}:
            return f"call {name} {arguments}"
        case {"type": "function_call", "name": name, "arguments": arguments}:
            return f"call {name} {arguments}"
        case dict():
            return _other(item)
        case _:
            return ""


def _other(item: dict[str, Any]) -> str:
    """Give the API's own word for what has no words of ours: `web_search_call`."""
    kind = item.get("type")
    return "" if kind in _SILENT or not isinstance(kind, str) else kind.replace("_", " ")


def _source(url: str) -> str:
    """Name an image: its address, or type and size of one that is sent along."""
    if not url.startswith("data:"):
        return url
    return f"{url[5:].partition(';')[0] or 'data'}, {_size(url)}"


def _size(data: str) -> str:
    """Say how many bytes base64 text, with or without what stands before it, is."""
    count = (len(data) - data.find(",") - 1) * 3 // 4 - data[-2:].count("=")
    return f"{count} B" if count < KB else f"{count / KB:.0f} kB" if count < KB * KB else f"{count / KB / KB:.1f} MB"
