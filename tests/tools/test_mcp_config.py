"""mcp.json: what is read, written and imported, what is refused, and which variables a server gets."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.tools import mcp_config
from aiml_cli.tools.mcp_config import McpServer, expand_server

FULL_ENTRY = {
    "command": "npx",
    "args": ["-y", "x"],
    "env": {"A": "1"},
    "cwd": "sub",
    "timeout": 5.0,
    "startupTimeout": 9.0,
}


@pytest.fixture
def path(empty_home: Path) -> Path:
    """Return the path of mcp.json in an empty folder."""
    folder = empty_home / "xdg_config_home" / "aiml"
    folder.mkdir(mode=0o700)
    return folder / "mcp.json"


def write_config(path: Path, value: Any) -> None:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    path.chmod(0o600)


@pytest.mark.parametrize(
    "entry", [FULL_ENTRY, {"url": "https://x.y/mcp", "headers": {"A": "b"}}, {"command": "x", "type": "stdio"}]
)
def test_a_saved_server_equals_the_one_that_was_read(path: Path, entry: Any) -> None:
    server = mcp_config.parse_server("fs", entry, "here")
    assert server.to_json() == entry
    assert mcp_config.save_server(server, lambda _: False) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert mcp_config.load_server("fs") == server


def test_unknown_properties_are_kept(path: Path) -> None:
    write_config(path, {"other": 1, "mcpServers": {"a": {"command": "x", "autoApprove": ["*"]}, "b": {"command": "y"}}})
    mcp_config.save_server(McpServer("c", "z"), lambda _: False)
    assert mcp_config.remove_server("b")
    assert not mcp_config.remove_server("b")
    kept = {"a": {"command": "x", "autoApprove": ["*"]}, "c": {"command": "z"}}
    assert json.loads(path.read_text()) == {"other": 1, "mcpServers": kept}


def test_a_server_is_replaced_only_after_confirmation(path: Path) -> None:
    mcp_config.save_server(McpServer("a", "x"), lambda _: False)
    with pytest.raises(UsageError, match="already"):
        mcp_config.save_server(McpServer("a", "y"), lambda _: False)
    mcp_config.save_server(McpServer("a", "y"), lambda _: True)
    assert mcp_config.load_server("a").command == "y"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1, column 2: not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ({"mcpServers": []}, "mcpServers is not an object"),
        ({"servers": {}}, 'under "mcpServers"'),
        ('{"mcpServers": {"a": {}, "a": {}}}', "'a' appears twice"),
        ({"mcpServers": {"a b": {"command": "x"}}}, "not a valid server name"),
        ({"mcpServers": {"a": 3}}, "mcpServers.a is not an object"),
        ({"mcpServers": {"a": {}}}, "neither a command nor a url"),
        ({"mcpServers": {"a": {"command": "x", "url": "https://x"}}}, "both a command and a url"),
        ({"mcpServers": {"a": {"command": 3}}}, "mcpServers.a.command is not a string"),
        ({"mcpServers": {"a": {"command": "x", "args": "y"}}}, "mcpServers.a.args is not a list of strings"),
        ({"mcpServers": {"a": {"command": "x", "args": [1]}}}, "mcpServers.a.args is not a list of strings"),
        ({"mcpServers": {"a": {"command": "x\0"}}}, "command is not a string"),
        ({"mcpServers": {"a": {"command": "x", "env": []}}}, "env is not an object"),
        ({"mcpServers": {"a": {"command": "x", "env": {"B": {}}}}}, "env.B is not a string"),
        ({"mcpServers": {"a": {"url": "https://x", "headers": {"B": "1\r\nC: 2"}}}}, "headers.B is not a header"),
        ({"mcpServers": {"a": {"command": "x", "timeout": "1"}}}, "timeout is not a number of seconds"),
        ({"mcpServers": {"a": {"command": "x", "timeout": 0}}}, "timeout is not a number"),
        ('{"mcpServers": {"a": {"command": "x", "timeout": NaN}}}', "timeout is not a number"),
        ({"mcpServers": {"a": {"url": "https://x", "type": "sse"}}}, "old SSE transport"),
        ({"mcpServers": {"a": {"command": "x", "type": "http"}}}, "type is http, but it has a command"),
        ({"mcpServers": {"a": {"command": "x", "type": [1]}}}, "neither stdio nor http"),
    ],
)  # fmt: skip
def test_an_invalid_file_is_an_error_that_names_the_key(path: Path, content: Any, message: str) -> None:
    write_config(path, content)
    with pytest.raises(UsageError, match=message) as caught:
        mcp_config.load_servers()
    assert str(path) in caught.value.message


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666, 0o660])
def test_a_file_that_others_can_change_is_not_used(path: Path, mode: int) -> None:
    write_config(path, {"mcpServers": {}})
    path.chmod(mode)
    for use in (
        mcp_config.load_servers,
        lambda: mcp_config.remove_server("a"),
        lambda: mcp_config.save_server(McpServer("a", "x"), lambda _: True),
    ):
        with pytest.raises(UsageError, match="is not used"):
            use()


def test_an_unknown_server_is_an_error_that_lists_the_available_ones(path: Path) -> None:
    with pytest.raises(UsageError) as nothing:
        mcp_config.load_server("fs")
    assert "aiml tools add" in nothing.value.hint
    write_config(path, {"mcpServers": {"files": {"command": "x"}, "off": {"command": "x", "disabled": True}}})
    with pytest.raises(UsageError) as similar:
        mcp_config.load_server("file")
    assert similar.value.hint == "did you mean files? available: files, off"
    with pytest.raises(UsageError, match="disabled"):
        mcp_config.load_server("off")


@pytest.mark.parametrize(("value", "seconds"), [(1, 1), (0.5, 0.5), (3600, 3600), (5000, 5), (600_000, 600)])
def test_a_large_timeout_counts_as_milliseconds(value: float, seconds: float) -> None:
    assert mcp_config.parse_server("a", {"command": "x", "timeout": value}, "").timeout == seconds


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("a${X}b", "a1b"),
        ("${env:X}", "1"),
        ("${NO:-d}", "d"),
        ("${NO:-}", ""),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("$X", "$X"),
    ],
)
def test_variables_are_expanded_in_every_field(text: str, expanded: str) -> None:
    server = McpServer("a", text, (text,), {"A": text}, headers={"B": text})
    environ = {"X": "1", "EMPTY": ""}
    assert expand_server(server, environ) == McpServer(
        "a", expanded, (expanded,), {"A": expanded}, headers={"B": expanded}
    )


@pytest.mark.promise("key-not-for-tools")
@pytest.mark.parametrize(
    "text",
    [
        "${AIMLAPI_API_KEY}",
        "x${AIML_API_KEY}",
        "${AIMLAPI_KEY:-none}",
        "${env:AIML_KEY}",
        "${aimlapi_api_key}",
        "${OTHER}",
        "sk-0123456789",
    ],
)
@pytest.mark.parametrize("field", ["command", "args", "env", "url", "headers"])
def test_no_server_gets_the_api_key(text: str, field: str) -> None:
    value: Any = {"command": text, "args": (text,), "env": {"A": text}, "url": text, "headers": {"A": text}}[field]
    server = McpServer("a", **{"command": "x", field: value})
    environ = {"AIMLAPI_API_KEY": "sk-0123456789", "OTHER": "sk-0123456789", "AIML_KEY": "x"}
    with pytest.raises(UsageError, match="API key, which is never passed to a server") as caught:
        expand_server(server, environ)
    assert text == "sk-0123456789" or "sk-0123456789" not in caught.value.message


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (McpServer("a", "${NO}"), "the variable NO is not set"),
        (McpServer("a", "${input:key}"), "cannot be expanded"),
        (McpServer("a", "${" * 100_000), "cannot be expanded"),
        (McpServer("a", url="http://example.com/mcp"), "not encrypted"),
        (McpServer("a", url="ftp://example.com"), "not the URL of a server"),
        (McpServer("a", url="https://u:p@example.com"), "a user name or a password"),
    ],
)
def test_an_incomplete_server_is_an_error_before_anything_starts(server: McpServer, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expand_server(server, {})


EDITOR_CONFIG = """{ // of an editor
  "servers": {
    "fs": {"type": "stdio", "command": "npx", "args": ["https://a//b", "/*"], "autoApprove": ["*"], "trust": true,},
    "My Web": {"httpUrl": "https://x.y/mcp", "headers": {"T": "${env:TOK}", "K": "${input:api-key}"}},
    "old": {"type": "sse", "url": "https://x/sse"}, /* a
    comment */ "off": {"command": "x", "disabled": true}, "no": {"command": "x", "enabled": false},
  },
}"""


def test_automatic_approvals_in_files_of_other_programs_are_ignored(path: Path) -> None:
    path.write_text(EDITOR_CONFIG)
    notices: list[str] = []
    found = mcp_config.read_foreign_servers(path, notices.append)
    assert found == {
        "fs": McpServer("fs", "npx", ("https://a//b", "/*")),
        "My-Web": McpServer("My-Web", url="https://x.y/mcp", headers={"T": "${env:TOK}", "K": "${API_KEY}"}),
    }
    assert notices == [
        "fs: autoApprove, trust are left out",
        "My Web is renamed to My-Web",
        "My-Web: set the variable API_KEY, which replaces ${input:api-key}",
        "old is left out: aiml does not support the old SSE transport",
        "off is left out: it is disabled",
        "no is left out: it is disabled",
    ]


@pytest.mark.parametrize(
    "config_format", ['{"mcpServers": %s}', '{"servers": %s}', '{"mcp": {"servers": %s}, "theme": "x"}']
)
def test_servers_are_found_in_the_files_of_common_programs(path: Path, config_format: str) -> None:
    path.write_text(config_format % '{"a": {"command": "x"}}')
    assert list(mcp_config.read_foreign_servers(path, None)) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"a": 1}',
        "x",
        '{"mcpServers": {"a": 1}}',
        '{"mcpServers": {"a": {}}}',
        "/*" * 100_000,
        '"' + "\\" * 100_001,
    ],
)
def test_a_file_without_servers_is_an_error(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(UsageError, match=r"mcp\.json"):
        mcp_config.read_foreign_servers(path, None)
