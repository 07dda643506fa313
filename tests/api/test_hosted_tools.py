"""Hosted tools are declared as the API requires; invalid ones are refused."""

import json
from typing import Any

import pytest

from aiml_cli.__main__ import main

SEARCH = {"type": "web_search_preview"}
FRANCE = {"type": "approximate", "city": "Paris", "country": "FR"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
DOCS = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.example/mcp", "require_approval": "never"}
INTERPRETER = {"type": "code_interpreter", "container": {"type": "auto"}}


def tools(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return the tools that a command line would send."""
    assert main(["respond", "hi", *arguments, "--dry-run"]) == 0
    return json.loads(capfd.readouterr().out)["body"].get("tools")


ASKED = [
    (["--web-search"], [SEARCH | {"search_context_size": "medium"}]),
    (["--web-search", "low"], [SEARCH | {"search_context_size": "low"}]),
    (["--location", "city=Paris,country=FR"], [SEARCH | {"user_location": FRANCE}]),
    (
        ["--web-search", "high", "--location", "city=Paris", "--location", "country=FR"],
        [SEARCH | {"search_context_size": "high", "user_location": FRANCE}],
    ),
    (["--code-interpreter"], [INTERPRETER]),
    (["--no-code-interpreter"], None),
    (["--mcp-server", "docs=https://docs.example/mcp"], [DOCS]),
    (["--tools", "[]"], []),
]


@pytest.mark.parametrize(("arguments", "expected"), ASKED)
def test_a_flag_declares_a_hosted_tool(arguments: list[str], expected: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert tools(capfd, *arguments) == expected


def test_hosted_tools_come_after_the_users_own(capfd: pytest.CaptureFixture[str]) -> None:
    servers = ["--mcp-server", "docs=https://docs.example/mcp", "--mcp-server", "local=http://[::1]:8000/mcp"]
    found = tools(capfd, "--code-interpreter", *servers, "--tools", json.dumps(FUNCTION))
    local = DOCS | {"server_label": "local", "server_url": "http://[::1]:8000/mcp"}
    assert found == [FUNCTION, INTERPRETER, DOCS, local]


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
