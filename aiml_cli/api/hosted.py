"""Declare the tools that the server runs itself: web search, a code interpreter, MCP servers; pure."""

import re
from typing import Any
from urllib.parse import urlsplit

from aiml_cli.errors import Misuse
from aiml_cli.settings.options import Options

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_EXAMPLE = "for example: docs=https://mcp.example.com/mcp"


def tools(options: Options) -> list[dict[str, Any]]:
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
        raise Misuse(f"--mcp-server: {label!r} is not a label: a letter, then letters, digits, _ and -", _EXAMPLE)
    if not isinstance(url, str) or not _is_address(url):
        raise Misuse(f"--mcp-server {label}: {url!r} is not an address", _EXAMPLE)
    return {"type": "mcp", "server_label": label, "server_url": url, "require_approval": "never"}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", url)
