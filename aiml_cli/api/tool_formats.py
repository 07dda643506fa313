"""Turn tools, tool choices and answer formats into the form of either endpoint: nested on chat, flat on responses."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options

Form = Callable[[Mapping[str, Any]], dict[str, Any]]
MOST_TOOLS = 128
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAMING = "a name is up to 64 of the characters a-z A-Z 0-9 _ -"
WORDS = ("none", "auto", "required")
HOSTED = (
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "computer_use_preview",
    "code_interpreter",
    "file_search",
    "mcp",
)
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_EXAMPLE = "for example: docs=https://mcp.example.com/mcp"


def convert_tools(found: Any, form: Form) -> list[dict[str, Any]] | None:
    """Give each tool in an endpoint's form: of a list, of `{"tools": […]}`, or one alone.

    Raises UsageError for what is no tool, for names that no function can have, and for too many.
    """
    if found is None:
        return None
    if isinstance(found, dict) and isinstance(found.get("tools"), list):
        found = found["tools"]
    listed = found if isinstance(found, list) else [found]
    if len(listed) > MOST_TOOLS:
        raise UsageError(f"--tools: {len(listed)} tools are too many", f"the API takes {MOST_TOOLS}")
    return [form(_tool(tool)) for tool in listed]


def _tool(tool: Any) -> dict[str, Any]:
    """See that this is a tool, and that a function is one that can be called."""
    if not isinstance(tool, dict) or not isinstance(tool.get("type", "function"), str):
        raise _no_tool(tool)
    given: dict[str, Any] = {"type": "function", **tool}
    facts = given.get("function", given)
    if given["type"] != "function":
        return given
    if not isinstance(facts, dict) or not isinstance(facts.get("name"), str):
        raise _no_tool(tool)
    if not FUNCTION_NAME.fullmatch(facts["name"]):
        raise UsageError(f"--tools: {facts['name'][:80]!r} is not a function's name", NAMING)
    if not isinstance(facts.get("parameters", {}), dict | None):
        raise UsageError(f"--tools: the parameters of {facts['name']} are no JSON Schema object")
    return given


def _no_tool(tool: Any) -> UsageError:
    words = json.dumps(tool, ensure_ascii=False)[:60]
    return UsageError(f"--tools: {words} is no tool", 'a tool is {"type": "function", "name": …, "parameters": {…}}')


def to_chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Give a function in chat's form: its facts under `function`, with `parameters` always there."""
    if tool.get("type") != "function":
        return dict(tool)
    facts = tool.get("function") or {name: value for name, value in tool.items() if name != "type"}
    return {"type": "function", "function": {**facts, "parameters": facts.get("parameters") or _anything()}}


def to_responses_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Give a function in the form of responses, with `parameters` and `strict` always there."""
    if tool.get("type") != "function":
        return dict(tool)
    facts = tool.get("function") or tool
    required = {"parameters": facts.get("parameters") or _anything(), "strict": bool(facts.get("strict"))}
    return {**facts, **required, "type": "function"}


def _anything() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


def to_chat_choice(chosen: Any) -> Any:
    """Give a tool choice in chat's form; a word that is none of the API's own names a function."""
    if isinstance(chosen, str):
        return chosen if chosen in WORDS else {"type": "function", "function": {"name": _name(chosen)}}
    if isinstance(chosen, dict) and chosen.get("type") == "function" and "name" in chosen:
        return {"type": "function", "function": {"name": chosen["name"]}}
    return chosen


def to_responses_choice(chosen: Any) -> Any:
    """Give a tool choice in the form of responses; hosted tools are chosen by their type."""
    if isinstance(chosen, str):
        if chosen in WORDS:
            return chosen
        return {"type": chosen} if chosen in HOSTED else {"type": "function", "name": _name(chosen)}
    if isinstance(chosen, dict) and isinstance(chosen.get("function"), dict):
        return {"type": "function", **chosen["function"]}
    return chosen


def _name(word: str) -> str:
    if not FUNCTION_NAME.fullmatch(word):
        raise UsageError(f"--tool-choice: {word[:80]!r} is not a function's name", NAMING)
    return word


def to_chat_format(wanted: Any) -> Any:
    """Give an answer format in chat's form."""
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and "json_schema" not in wanted:
        return {"type": "json_schema", "json_schema": {k: v for k, v in wanted.items() if k != "type"}}
    return wanted


def to_responses_format(wanted: Any) -> Any:
    """Give an answer format in the form of responses."""
    if isinstance(wanted, dict) and isinstance(wanted.get("json_schema"), dict):
        return {"type": "json_schema", **wanted["json_schema"]}
    return wanted


def build_hosted_tools(options: Options) -> list[dict[str, Any]]:
    """List the tools asked for, in the form of responses, the only endpoint that has them."""
    search = [_search(options)] if options.web_search or options.location else []
    interpreter = [{"type": "code_interpreter", "container": {"type": "auto"}}] if options.code_interpreter else []
    servers = [_mcp(label, url) for label, url in (options.mcp_server or {}).items()]
    return [*search, *interpreter, *servers]


def _search(options: Options) -> dict[str, Any]:
    """Declare a search; a location alone asks for one, and leaves its size to the server."""
    search: dict[str, Any] = {"type": "web_search_preview"}
    if options.web_search:
        search["search_context_size"] = options.web_search
    if options.location:
        search["user_location"] = {"type": "approximate", **options.location}
    return search


def _mcp(label: str, url: Any) -> dict[str, Any]:
    """Declare an MCP server that asks for no approval: in one call nobody could give it."""
    if not _LABEL.fullmatch(label):
        raise UsageError(f"--mcp-server: {label!r} is not a label: a letter, then letters, digits, _ and -", _EXAMPLE)
    if not isinstance(url, str) or not _is_address(url):
        raise UsageError(f"--mcp-server {label}: {url!r} is not an address", _EXAMPLE)
    return {"type": "mcp", "server_label": label, "server_url": url, "require_approval": "never"}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", url)
