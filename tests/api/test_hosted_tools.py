"""Hosted tools are declared as the API requires; invalid ones are refused."""

import json
from typing import Any

import pytest

from aiml_cli.__main__ import main

SEARCH = {"type": "web_search_preview"}
LOCATION = {"type": "approximate", "city": "Paris", "country": "FR"}
FUNCTION_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
DOCS_SERVER = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://docs.example/mcp",
    "require_approval": "never",
}
INTERPRETER = {"type": "code_interpreter", "container": {"type": "auto"}}


def list_sent_tools(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return the tools that a command line would send."""
    assert main(["respond", "hi", *arguments, "--dry-run"]) == 0
    return json.loads(capfd.readouterr().out)["body"].get("tools")


FLAG_CASES = [
    (["--web-search"], [SEARCH | {"search_context_size": "medium"}]),
    (["--web-search", "low"], [SEARCH | {"search_context_size": "low"}]),
    (["--location", "city=Paris,country=FR"], [SEARCH | {"user_location": LOCATION}]),
    (
        ["--web-search", "high", "--location", "city=Paris", "--location", "country=FR"],
        [SEARCH | {"search_context_size": "high", "user_location": LOCATION}],
    ),
    (["--code-interpreter"], [INTERPRETER]),
    (["--no-code-interpreter"], None),
    (["--mcp-server", "docs=https://docs.example/mcp"], [DOCS_SERVER]),
    (["--tools", "[]"], []),
]


@pytest.mark.parametrize(("arguments", "expected"), FLAG_CASES)
def test_a_flag_declares_a_hosted_tool(arguments: list[str], expected: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert list_sent_tools(capfd, *arguments) == expected


def test_hosted_tools_come_after_the_users_own(capfd: pytest.CaptureFixture[str]) -> None:
    servers = ["--mcp-server", "docs=https://docs.example/mcp", "--mcp-server", "local=http://[::1]:8000/mcp"]
    found = list_sent_tools(capfd, "--code-interpreter", *servers, "--tools", json.dumps(FUNCTION_TOOL))
    local = DOCS_SERVER | {"server_label": "local", "server_url": "http://[::1]:8000/mcp"}
    assert found == [FUNCTION_TOOL, INTERPRETER, DOCS_SERVER, local]


@pytest.mark.parametrize(
    "server",
    [
        "docs",
        "=https://x.example",
        "my docs=https://x.example",
        "docs/1=https://x.example",
        "docs=ftp://x.example",
        "docs=x.example/mcp",
        "docs=https://",
        "docs=https://x.example/a b",
        "docs=",
        'docs={"server_url": "https://x.example"}',
    ],
)
def test_an_mcp_server_requires_a_label_and_a_url(server: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["respond", "hi", "--mcp-server", server, "--dry-run"]) == 2
    assert capfd.readouterr().out == ""


def test_chat_has_no_hosted_tools() -> None:
    assert main(["chat", "hi", "--web-search", "--dry-run"]) == 2
