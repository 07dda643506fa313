"""A parsed request to the demo server, and its error responses."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import uuid4

Json = Any
# The types of a message's parts that contain text, on either endpoint.
_TEXT_PARTS = ("text", "input_text", "output_text")
# The statuses of the demo/status-… models. The message for 429 mentions only the rate, so that a client
# retries; the message for 403 mentions credits, like the gateway's.
STATUSES: Mapping[int, str] = {
    400: "Body validation error",
    401: "Unauthorized: the key is missing, expired or wrong",
    402: "Payment required: the balance is too low",
    403: "You've run out of credits. Please top up your balance or update your payment method to continue",
    404: "No endpoints found",
    413: "The request body is too large",
    422: "The request is well-formed but cannot be processed",
    429: "Too many requests, please slow down",
    500: "The model is under maintenance",
    502: "The provider gave no usable answer",
    503: "The model is not available at the moment",
    504: "The generation took too long",
}
# Python 3.13 renamed these two; the gateway did not.
_TITLES = {413: "Payload Too Large", 422: "Unprocessable Entity"}


@dataclass(frozen=True, slots=True)
class DemoTool:
    """A function that may be called; `parameters` is its JSON Schema."""

    name: str
    parameters: Json


class DemoServer(NamedTuple):
    """An MCP server whose tools the gateway would run; `tool` is the only one that the demo model calls."""

    label: str
    tool: str
    needs_approval: bool


class DemoResult(NamedTuple):
    """The result of a function call."""

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
    """The last prompt and the items after it; `round_count` is the number of rounds of calls."""

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
    """A call of a server-side tool; without an output it waits for approval."""

    label: str
    name: str
    arguments: str
    request_id: str = ""  # the id of the approval request
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
    tool_result: str | None = None  # None unless it is the last message
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
    """Return the function that must be called, "none", or ""; on the chat endpoint, it is nested under `key`."""
    if isinstance(choice, dict):
        return str((choice[key] if key else choice).get("name", ""))
    return "none" if choice == "none" else ""


def parse_schema(answer_format: Json, key: str = "") -> Json:
    """Return the schema, {} for any JSON object or None for text; on the chat endpoint, it is nested under `key`."""
    if answer_format.get("type") == "json_schema":
        return (answer_format[key] if key else answer_format).get("schema", {})
    return {} if answer_format.get("type") == "json_object" else None


def _name_part(part: Mapping[str, Json]) -> str:
    """Return the name of a part: its type with its file name, format or URL, on either endpoint."""
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


class GatewayError(Exception):
    """An error response of the gateway."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def build_error_body(status: int, message: str, path: str) -> Json:
    """Return the body of an error in the shape that the gateway sends (seen on 2026-08-30)."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    return {
        "title": title,
        "status": status,
        "message": message,
        "instance": path,
        "requestId": str(uuid4()),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "error": {"name": title.replace(" ", "") + "Exception", "message": message},
    }
