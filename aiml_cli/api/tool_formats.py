"""Convert tools, tool choices and answer formats for each endpoint: nested for chat, flat for responses."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options

ConvertTool = Callable[[Mapping[str, Any]], dict[str, Any]]
MAX_TOOLS = 128
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_HINT = "a name has at most 64 characters: letters, digits, _ and -"
TOOL_CHOICE_MODES = ("none", "auto", "required")
HOSTED_TOOL_TYPES = (
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "computer_use_preview",
    "code_interpreter",
    "file_search",
    "mcp",
)
ANY_PARAMETERS = {"type": "object", "properties": {}}
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MCP_HINT = "for example: docs=https://mcp.example.com/mcp"


def convert_tools(value: Any, convert: ConvertTool) -> list[dict[str, Any]] | None:
    """Convert a list of tools, `{"tools": […]}` or a single tool; raise UsageError if one is invalid."""
    if value is None:
        return None
    tools = list_tools(value)
    if len(tools) > MAX_TOOLS:
        raise UsageError(f"--tools: {len(tools)} tools are too many", f"the API accepts at most {MAX_TOOLS}")
    return [convert(_check_tool(tool)) for tool in tools]


def list_tools(value: Any) -> list[Any]:
    """Return the tools of a list, of `{"tools": […]}`, or of a single tool."""
    if isinstance(value, dict) and isinstance(value.get("tools"), list):
        value = value["tools"]
    return value if isinstance(value, list) else [] if value is None else [value]


def list_function_names(value: Any) -> set[str]:
    """Return the names of the functions in a value of --tools, in either endpoint's form."""
    tools = convert_tools(value, to_responses_tool) or []
    return {str(tool.get("name")) for tool in tools if tool.get("type") == "function"}


def _check_tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("type", "function"), str):
        raise _build_tool_error(tool)
    typed_tool: dict[str, Any] = {"type": "function", **tool}
    function = typed_tool.get("function", typed_tool)
    if typed_tool["type"] != "function":
        return typed_tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _build_tool_error(tool)
    if not FUNCTION_NAME.fullmatch(function["name"]):
        raise UsageError(f"--tools: {function['name'][:80]!r} is not a valid function name", NAME_HINT)
    if not isinstance(function.get("parameters", {}), dict | None):
        raise UsageError(f"--tools: the parameters of {function['name']} are not a JSON Schema object")
    return typed_tool


def _build_tool_error(tool: Any) -> UsageError:
    text = json.dumps(tool, ensure_ascii=False)[:60]
    return UsageError(f"--tools: {text} is not a tool", 'a tool is {"type": "function", "name": …, "parameters": {…}}')


def to_chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a function for chat: nested under `function`, always with `parameters`."""
    if tool.get("type") != "function":
        return dict(tool)
    function = tool.get("function") or {name: value for name, value in tool.items() if name != "type"}
    return {"type": "function", "function": {**function, "parameters": function.get("parameters") or ANY_PARAMETERS}}


def to_responses_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a function for responses: flat, always with `parameters` and `strict`."""
    if tool.get("type") != "function":
        return dict(tool)
    function = tool.get("function") or tool
    required = {"parameters": function.get("parameters") or ANY_PARAMETERS, "strict": bool(function.get("strict"))}
    return {**function, **required, "type": "function"}


def to_chat_choice(choice: Any) -> Any:
    """Convert a tool choice for chat; a string that is not a mode of the API is the name of a function."""
    if isinstance(choice, str):
        is_mode = choice in TOOL_CHOICE_MODES
        return choice if is_mode else {"type": "function", "function": {"name": _check_name(choice)}}
    if isinstance(choice, dict) and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def to_responses_choice(choice: Any) -> Any:
    """Convert a tool choice for responses; hosted tools are chosen by their type."""
    if isinstance(choice, str):
        if choice in TOOL_CHOICE_MODES:
            return choice
        return {"type": choice} if choice in HOSTED_TOOL_TYPES else {"type": "function", "name": _check_name(choice)}
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return {"type": "function", **choice["function"]}
    return choice


def _check_name(name: str) -> str:
    if not FUNCTION_NAME.fullmatch(name):
        raise UsageError(f"--tool-choice: {name[:80]!r} is not a valid function name", NAME_HINT)
    return name


def to_chat_format(value: Any) -> Any:
    """Convert an answer format for chat."""
    if isinstance(value, dict) and value.get("type") == "json_schema" and "json_schema" not in value:
        return {"type": "json_schema", "json_schema": {k: v for k, v in value.items() if k != "type"}}
    return value


def to_responses_format(value: Any) -> Any:
    """Convert an answer format for responses."""
    if isinstance(value, dict) and isinstance(value.get("json_schema"), dict):
        return {"type": "json_schema", **value["json_schema"]}
    return value


def build_hosted_tools(options: Options) -> list[dict[str, Any]]:
    """Return the hosted tools that the options ask for; only the responses endpoint has them."""
    search = [_build_search(options)] if options.web_search or options.location else []
    interpreter = [{"type": "code_interpreter", "container": {"type": "auto"}}] if options.code_interpreter else []
    return [*search, *interpreter, *build_mcp_servers(options)]


def build_mcp_servers(options: Options) -> list[dict[str, Any]]:
    """Return the MCP servers whose tools the API's server calls."""
    return [_build_mcp_server(label, url) for label, url in (options.mcp_server or {}).items()]


def _build_search(options: Options) -> dict[str, Any]:
    search: dict[str, Any] = {"type": "web_search_preview"}
    if options.web_search:
        search["search_context_size"] = options.web_search
    if options.location:
        search["user_location"] = {"type": "approximate", **options.location}
    return search


def _build_mcp_server(label: str, url: Any) -> dict[str, Any]:
    """Build an MCP server that needs no approval, because a single request cannot approve its calls."""
    if not _LABEL.fullmatch(label):
        raise UsageError(
            f"--mcp-server: {label!r} is not a valid label: use a letter, then letters, digits, _ and -", _MCP_HINT
        )
    if not isinstance(url, str) or not _is_http_url(url):
        raise UsageError(f"--mcp-server {label}: {url!r} is not a URL", _MCP_HINT)
    return {"type": "mcp", "server_label": label, "server_url": url, "require_approval": "never"}


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and not re.search(r"\s", text)
