"""The parts of a request that a demo model answers, whichever endpoint received it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = Any
# The types of a message's parts that carry text, on either endpoint.
_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class DemoTool:
    """A function that may be called; `parameters` is its JSON Schema."""

    name: str
    parameters: Json


class DemoServer(NamedTuple):
    """A server whose tools the gateway would run; the model knows one of them."""

    label: str
    tool: str
    needs_approval: bool


class DemoResult(NamedTuple):
    """What a function returned."""

    name: str
    output: str


class DemoApproval(NamedTuple):
    """The answer to a request for approval, with what was requested."""

    label: str
    name: str
    arguments: str
    request_id: str
    approve: bool


class ToolHistory(NamedTuple):
    """The last prompt, and what followed it; `round_count` counts the rounds of calls."""

    prompt: str = ""
    results: tuple[DemoResult, ...] = ()
    approvals: tuple[DemoApproval, ...] = ()
    round_count: int = 0


_NO_HISTORY = ToolHistory()


class FunctionCall(NamedTuple):
    """A request to call a function; the arguments are JSON text."""

    name: str
    arguments: str


class HostedCall(NamedTuple):
    """A call on a server that the gateway would run; without an output it waits for approval."""

    label: str
    name: str
    arguments: str
    request_id: str = ""  # of the request that was approved
    output: str | None = None


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """Everything that an answer depends on."""

    model: str
    prompt: str = ""
    system: str = ""
    message_count: int = 1
    input_chars: int = 0  # of all messages
    attachments: tuple[str, ...] = ()
    tools: tuple[DemoTool, ...] = ()
    tool_choice: str = ""
    tool_result: str | None = None  # if that is the last message
    schema: Json | None = None  # {} for any JSON object, None for text
    max_tokens: int | None = None
    choice_count: int = 1
    logprobs: bool = False
    top_logprobs: int = 0
    is_parallel: bool = True  # whether one answer may have several calls
    has_effort: bool = False
    servers: tuple[DemoServer, ...] = ()
    history: ToolHistory = _NO_HISTORY


def join_text(content: Json) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") in _TEXT_PARTS)
    return content if isinstance(content, str) else ""


def list_attachments(content: Json) -> tuple[str, ...]:
    """Return the names of the parts of a message's content that are not text."""
    parts = content if isinstance(content, list) else []
    return tuple(_name_part(part) for part in parts if part.get("type") not in (*_TEXT_PARTS, "refusal"))


def parse_choice(choice: Json, key: str = "") -> str:
    """Return the function that must be called, "none", or ""; on the chat endpoint, a key holds the function."""
    if isinstance(choice, dict):
        return str((choice[key] if key else choice).get("name", ""))
    return "none" if choice == "none" else ""


def parse_schema(answer_format: Json, key: str = "") -> Json:
    """Return the schema, {} for any JSON object or None for text; on the chat endpoint, a key holds the schema."""
    if answer_format.get("type") == "json_schema":
        return (answer_format[key] if key else answer_format).get("schema", {})
    return {} if answer_format.get("type") == "json_object" else None


def _name_part(part: Mapping[str, Json]) -> str:
    """Name a part by its file name, format or URL, in the spelling of either endpoint."""
    part_type = str(part["type"]).removeprefix("input_").removesuffix("_url")
    inner = part.get(part["type"])
    details = inner if isinstance(inner, dict) else part
    url = details.get("url") or details.get("image_url")
    label = details.get("filename") or details.get("format") or _shorten_url(url)
    return f"{part_type} {label}" if label else part_type


def _shorten_url(value: Json) -> str:
    """Reduce a data URL to its media type."""
    url = value if isinstance(value, str) else ""
    return url.removeprefix("data:").partition(";")[0] if url.startswith("data:") else url
