"""Convert a server's JSON to the types of aiml: definitions of tools, and results of calls."""

import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiml_cli.api.messages import Image, Sound
from aiml_cli.tools.tool import CallResult, Definition, cut_result

MEBIBYTE = 1024 * 1024
MAX_MEDIA_BYTES, MAX_ALL_MEDIA_BYTES = 5 * MEBIBYTE, 10 * MEBIBYTE
MAX_NAME, MAX_DESCRIPTION, MAX_SCHEMA = 128, 4096, 64 * 1024
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_SOUND_FORMATS = {
    "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3",
}  # fmt: skip
_HINTS = (
    ("readOnlyHint", "it only reads"),
    ("destructiveHint", "it may delete or overwrite data"),
    ("openWorldHint", "it reaches other systems"),
)
Raw = Mapping[str, Any]


class ListedTool(NamedTuple):
    """A tool of a server: its name on the server, and its definition in aiml."""

    name: str
    definition: Definition


def read_tools(items: object, server: str) -> Iterator[ListedTool | str]:
    """Yield the tools of a list; for each tool that cannot be used, yield a sentence that says why."""
    for item in items if isinstance(items, list) else []:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not _is_name(name):
            yield f"a tool without a valid name is left out: {_quote(name)}"
            continue
        schema = item.get("inputSchema", {"type": "object"})
        problem = _find_schema_problem(schema)
        yield f"the tool {name} is left out: {problem}" if problem else ListedTool(name, _define(item, name, server))


def _is_name(name: str) -> bool:
    """True for a name that can be shown and matched."""
    return 0 < len(name) <= MAX_NAME and name.isprintable() and not re.search(r"\s", name)


def _quote(name: object) -> str:
    return json.dumps(name, default=str)[:MAX_NAME]


def _find_schema_problem(schema: object) -> str:
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "its parameters are not a JSON Schema of an object"
    try:
        size = len(json.dumps(schema))
    except RecursionError:
        size = MAX_SCHEMA + 1
    return f"its JSON Schema is larger than {MAX_SCHEMA // 1024} KiB" if size > MAX_SCHEMA else ""


def _define(item: Raw, name: str, server: str) -> Definition:
    description, annotations = item.get("description"), item.get("annotations")
    text = _clean(description) if isinstance(description, str) else ""
    if len(text) > MAX_DESCRIPTION:
        text = f"{text[:MAX_DESCRIPTION]} [cut here]"
    given = annotations if isinstance(annotations, dict) else {}
    hints = tuple(words for key, words in _HINTS if given.get(key) is True)
    return Definition(f"{server}.{name}", text, {"type": "object", **item.get("inputSchema", {})}, hints)


def read_result(result: Raw) -> CallResult:
    """Return the result of a call; content that cannot be sent to the model is described in text."""
    reader = _ResultReader()
    content = result.get("content")
    for item in content if isinstance(content, list) else []:
        reader.add(item if isinstance(item, dict) else {})
    structured = result.get("structuredContent")
    if structured is not None and not reader.has_text:
        reader.texts.append(_clean(json.dumps(structured, ensure_ascii=False)))
    text = cut_result("\n".join(reader.texts))
    return CallResult(text, result.get("isError") is True, tuple(reader.media))


class _ResultReader:
    """Collects the parts of a result."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.media: list[Image | Sound] = []
        self.has_text = False
        self._media_bytes = 0

    def add(self, item: Raw) -> None:
        """Add one block of content."""
        match item:
            case {"type": "text", "text": str(text)}:
                self._add_text(text)
            case {"type": "image" | "audio" as kind, "data": str(data)}:
                self._add_data(kind, data, item.get("mimeType"))
            case {"type": "resource", "resource": {"text": str(text)} as resource}:
                self._add_text(f"[{_describe_resource(resource)}]\n{text}")
            case {"type": "resource", "resource": {"blob": str(data)} as resource}:
                self._add_data(_describe_resource(resource), data, resource.get("mimeType"))
            case {"type": "resource_link"}:
                words = [item.get("name"), item.get("uri"), item.get("description")]
                self.texts.append(_clean(f"[link: {' '.join(word for word in words if isinstance(word, str))}]"))
            case _:
                self.texts.append(_clean(f"[content of type {_quote(item.get('type'))}, which aiml does not support]"))

    def _add_text(self, text: str) -> None:
        self.texts.append(_clean(text))
        self.has_text = True

    def _add_data(self, kind: str, data: str, mime_type: object) -> None:
        """Add an image or audio, or a text that says why it is not sent to the model."""
        mime = mime_type.partition(";")[0].strip().lower() if isinstance(mime_type, str) else "unknown type"
        size = _measure(data)
        name = f"{kind}, {mime}"
        if size is None:
            self.texts.append(_clean(f"[{name}: left out, because it is not base64]"))
        elif mime not in (*_IMAGE_TYPES, *_SOUND_FORMATS):
            self.texts.append(_clean(f"[{name}, {size:,} bytes: left out, because a model cannot read it]"))
        elif size > MAX_MEDIA_BYTES or self._media_bytes + size > MAX_ALL_MEDIA_BYTES:
            self.texts.append(_clean(f"[{name}, {size:,} bytes: left out, because it is too large]"))
        else:
            self._media_bytes += size
            is_image = mime in _IMAGE_TYPES
            self.media.append(Image(f"data:{mime};base64,{data}") if is_image else Sound(data, _SOUND_FORMATS[mime]))
            self.texts.append(_clean(f"[{name}, {size:,} bytes]"))


def _measure(data: str) -> int | None:
    """Return the number of bytes in a base64 string, or None if it is not base64."""
    try:
        return len(binascii.a2b_base64(data.encode("ascii"), strict_mode=True))
    except ValueError:
        return None


def _describe_resource(resource: Raw) -> str:
    uri = resource.get("uri")
    return f"resource {uri}" if isinstance(uri, str) else "resource"


def _clean(text: str) -> str:
    """Return a string that can be encoded: an unpaired surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def format_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call with all of its arguments, one per line if they are long."""
    parts = [
        f"{key if key.isidentifier() else json.dumps(key)}={_format_value(value)}" for key, value in arguments.items()
    ]
    line = f"{name}({', '.join(parts)})"
    return line if len(line) <= 100 else "\n".join([f"{name}(", *(f"  {part}," for part in parts), ")"])  # noqa: PLR2004


def _format_value(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
