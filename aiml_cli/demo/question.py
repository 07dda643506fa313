"""What a request asks, whichever endpoint it came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Any
# What holds the text of a message's part, on either endpoint.
_TEXTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """Name a function that may be called; `parameters` is its JSON Schema."""

    name: str
    parameters: Json


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """Hold what an answer depends on.

    `schema` None asks for text, {} for any JSON object. `result` is what a tool gave back, when that came last.
    `heard` counts the characters of everything that was said.
    """

    model: str
    prompt: str = ""
    system: str = ""
    turns: int = 1
    heard: int = 0
    attachments: tuple[str, ...] = ()
    tools: tuple[DeclaredTool, ...] = ()
    tool_choice: str = ""
    result: str | None = None
    schema: Json | None = None
    cap: int | None = None
    choices: int = 1
    logprobs: bool = False
    top_logprobs: int = 0


def content_text(content: Json) -> str:
    """Join the text of a message's content, which is a text or a list of parts."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") in _TEXTS)
    return content if isinstance(content, str) else ""


def list_attachments(content: Json) -> tuple[str, ...]:
    """Name the parts of a message's content that are no text."""
    parts = content if isinstance(content, list) else []
    return tuple(_named(part) for part in parts if part.get("type") not in (*_TEXTS, "refusal"))


def _named(part: Mapping[str, Json]) -> str:
    """Name a part by its file name, its format or its address; both endpoints' spellings."""
    kind = str(part["type"]).removeprefix("input_").removesuffix("_url")
    inner = part.get(part["type"])
    details = inner if isinstance(inner, dict) else part
    label = details.get("filename") or details.get("format") or _address(details.get("url") or details.get("image_url"))
    return f"{kind} {label}" if label else kind


def _address(url: Json) -> str:
    """Shorten a data URL to its type."""
    address = url if isinstance(url, str) else ""
    return address.removeprefix("data:").partition(";")[0] if address.startswith("data:") else address
