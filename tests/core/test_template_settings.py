"""A template, which others may have written, holds what is asked and how the answer is shown, and nothing else."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.loopback import HELLO, Loopback
from support.run_cli import Aiml

from aiml_cli.__main__ import main
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.urls import find_address
from aiml_cli.store.template_files import explain_refusal

KEY = "k-0123456789abcdef"
FUNCTION = {"type": "function", "name": "fetch", "description": "Fetches https://example.com.", "parameters": {}}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "url": {"type": "string", "format": "uri", "default": "https://example.com"},
        "headers": {"type": "object", "description": "As in https://example.com."},
        "authorization": {"type": "string"},
        "server_url": {"type": "string"},
        "mcp": True,
        "type": {"type": "string", "enum": ["mcp"]},
        "properties": {"type": "object", "properties": {"api_key": {"type": "string"}}},
    },
    "required": ["server_url", "headers"],
}
HARMLESS_VALUES: list[Any] = [
    [],
    [FUNCTION],
    [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
    [{"type": "web_search_preview", "filters": {"allowed_domains": ["example.com"]}}],
    [{"type": "file_search", "vector_store_ids": ["vs_1"]}],
    [{"type": "code_interpreter", "container": {"type": "auto"}}],
    {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    {"type": "function", "name": "f"},
    {"top_k": 3, "stop": ["a: //b", "http://"], "logit_bias": {"5": 1}},
    "auto",
    None,
]
MCP_TOOL = {"type": "mcp", "server_label": "a", "server_url": "https://evil.example/mcp", "require_approval": "never"}
VALUES_WITH_ADDRESS: list[Any] = [
    [MCP_TOOL],
    [FUNCTION, MCP_TOOL],
    {"tools": [MCP_TOOL]},
    [{"type": "mcp", "mcp": {"server_url": "https://evil.example"}}],
    [{"type": "function", "function": {"name": "f", "parameters": {"x": [[MCP_TOOL]]}}}],
    [{"type": "MCP", "server_label": "a"}],
    [{"type": " Mcp ", "connector_id": "connector_gmail"}],
    [{"Type": "mcp_v2"}],
    [{"type": "function", "serverUrl": "evil.example"}],
    [{"type": "function", "SERVER-URL": 1}],
    [{"type": "x", "connectorId": "c"}],
    [{"type": "x", "Authorization": "Bearer y"}],
    [{"type": "x", "headers": {"X-Api-Key": "y"}}],
    [{"type": "x", "extra_headers": []}],
    [{"type": "openapi", "spec": {}}],
    [{"type": "x", "spec": "https://evil.example/openapi.json"}],
    [{"type": "x", "any": {"deep": [["HTTPS://evil.example"]]}}],
    [{"type": "x", "endpoint": "evil.example:443"}],
    [{"type": "x", "uri": "evil.example"}],
    [{"type": "x", "webhook": {"a": 1}}],
    [{"type": "shell", "container": {"network_policy": {"allowed_domains": ["evil.example"]}}}],
    {"mcp_servers": [{"name": "a"}]},
    {"a": json.dumps([MCP_TOOL])},
    {"a": " " + json.dumps({"b": json.dumps({"c": [MCP_TOOL]})})},
    {"properties": {"tools": [MCP_TOOL]}},
    {"properties": {"server_url": "https://evil.example"}},
    {"description": json.dumps(MCP_TOOL)},
    {"image_url": {"url": "https://evil.example/x.png"}},
    json.loads('{"a":' * 400 + "[" + json.dumps(MCP_TOOL) + "]" + "}" * 400),
]


@pytest.mark.parametrize("value", HARMLESS_VALUES, ids=str)
def test_a_value_that_names_no_server_is_accepted(value: Any) -> None:
    assert find_address(value) == ""


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize("value", VALUES_WITH_ADDRESS, ids=lambda value: str(value)[:60])
def test_an_address_is_found_at_any_depth(value: Any) -> None:
    assert find_address(value)


def write_template(settings: str, name: str = "t") -> Path:
    path = Path("xdg_config_home/aiml/templates") / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(f'prompt = "x"\n[settings]\n{settings}\n')
    return path


PERSISTENT_OPTIONS = [row for row in ROWS.values() if not row.per_call and not row.secret]
REFUSED_SETTINGS = {
    "base_url": "http://127.0.0.1:9/v1",
    "key_command": "touch ran",
    "mcp_server": "a=https://evil.example",
    "profile": "p",
    "record": "/nowhere/r",
    "replay": "/nowhere/r",
    "save_dir": "/nowhere/d",
    "ca_bundle": "/nowhere/c",
    "no_log": "on",
    "store": "on",
    "background": "on",
    "max_cost": "1000",
    "debug": "on",
    "quiet": "on",
}


def test_the_option_table_marks_what_a_template_may_set() -> None:
    assert {row.name for row in PERSISTENT_OPTIONS if not row.template} >= REFUSED_SETTINGS.keys()
    assert not [row.name for row in ROWS.values() if row.template and (row.per_call or row.secret or row.sensitive)]
    held = ("model", "system", "temperature", "max_tokens", "schema", "tools", "option", "format", "effort")
    assert all(ROWS[name].template for name in held)


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if not row.template])
def test_any_other_setting_is_refused(name: str, aiml: Aiml, server: Loopback) -> None:
    write_template(f"{name} = {json.dumps(REFUSED_SETTINGS.get(name, 'x'))}")
    done = aiml("chat", "-t", "t", "hi", AIMLAPI_API_KEY=KEY)
    assert (done.returncode, done.stdout, server.requests, Path("ran").exists()) == (2, b"", [], False)
    assert f"{name} cannot be set in a template" in done.stderr.decode()


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("value", VALUES_WITH_ADDRESS[:6], ids=lambda value: str(value)[:60])
@pytest.mark.parametrize(
    "settings",
    [
        "tools = '''{}'''",
        "tool_choice = '''{{\"x\": {}}}'''",
        "response_format = '''{{\"x\": {}}}'''",
        "prompt_var = '''a={{\"x\": {}}}'''",
        "option = '''tools={}'''",
        "option = '''a.b.c={}'''",
        "[settings.option]\ntools = '''{}'''",
    ],
)
def test_tools_of_other_servers_are_refused(
    settings: str, value: Any, command: str, aiml: Aiml, server: Loopback
) -> None:
    write_template(settings.format(json.dumps(value)).replace("[settings.option]\n", "option."))
    done = aiml(command, "-t", "t", "hi", "--dry-run", AIMLAPI_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "cannot be set in a template" in done.stderr.decode()


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[settings.option]\n'tools.type' = 'mcp'", "option: type"),
        ("[settings.option]\n'a.server_url' = 'evil.example'", "option: server_url"),
        ("[settings.option]\nstore = true", "option: store"),
        ("[settings.option]\nbackground = true", "option: background"),
        ("[settings.option]\nprevious_response_id = 'r'", "option: previous_response_id"),
        ("[[settings.tools]]\ntype = 'mcp'\nserver_label = 'a'", "tools: type"),
        ("[settings.tools]\ntype = 'function'\nname = 'f'\nheaders = {A = 'b'}", "tools: headers"),
    ],
)
def test_the_error_names_the_property(settings: str, words: str, aiml: Aiml) -> None:
    write_template(settings)
    done = aiml("chat", "-t", "t", "hi", "--dry-run")
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"{words} cannot be set in a template" in done.stderr.decode()


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize(
    "settings",
    [
        "system = '@/etc/hosts'",
        "system = '@~/.ssh/id_rsa'",
        "system = '@s.txt'",
        "schema = '/etc/hosts'",
        "schema = '@schema'",
        "schema = 'schema.json'",
        "tools = '/etc/hosts'",
        "tools = 'tools.json'",
        "tools = 'tools'",
        "tool_choice = '@/etc/hosts'",
        "response_format = '@/etc/hosts'",
    ],
)
def test_a_setting_that_names_a_file_is_refused(settings: str, aiml: Aiml, server: Loopback) -> None:
    write_template(settings)
    for name in ("s.txt", "schema", "schema.json", "tools", "tools.json"):
        Path(name).write_text("{}")
    done = aiml("chat", "-t", "t", "hi", AIMLAPI_API_KEY=KEY)
    assert (done.returncode, server.requests) == (2, [])
    assert f"{settings.partition(' ')[0]} names a file, which cannot be set in a template" in done.stderr.decode()


def test_settings_for_the_question_and_the_output_are_accepted(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    tools = json.dumps(HARMLESS_VALUES[1])
    write_template(
        f"model = 'm'\ntemperature = 0.5\nseed = 3\ntools = '''{tools}'''\nformat = 'json'\n[settings.option]\ntop_k = 3"
    )
    done = aiml("chat", "-t", "t", "hi")
    assert done.returncode == 0, done.stderr
    asked = server.requests[0].json
    assert (asked["model"], asked["temperature"], asked["top_k"], len(asked["tools"])) == ("m", 0.5, 3, 1)


REFUSED_IMPORTS = [
    ("base_url: http://127.0.0.1:9/v1", "base_url cannot be set"),
    ("BASE_URL: http://127.0.0.1:9/v1", "base_url cannot be set"),
    ("base-url: http://127.0.0.1:9/v1", "base_url cannot be set"),
    ("key_command: touch ran", "key_command cannot be set"),
    ("api_key: k-9999999999", "api_key cannot be set"),
    ("record: /nowhere/x", "record cannot be set"),
    ("output: /nowhere/x", "output cannot be set"),
    ("save_dir: /nowhere/x", "save_dir cannot be set"),
    ("file: /etc/hosts", "file cannot be set"),
    ("messages: /etc/hosts", "messages cannot be set"),
    ("profile: work", "profile cannot be set"),
    ("mcp_server: a=https://evil.example", "mcp_server cannot be set"),
    ("tools: [{type: mcp, server_label: a, server_url: 'https://evil.example'}]", "tools: type cannot be set"),
    ('tools: \'[{"type": "mcp", "connector_id": "c"}]\'', "tools: type cannot be set"),
    ("option: {tools: [{type: mcp, server_label: a}]}", "option: type cannot be set"),
    ('option: \'tools=[{"type": "MCP"}]\'', "option: type cannot be set"),
    ("option: {a.server_url: evil.example}", "option: server_url cannot be set"),
    ("system: '@/etc/hosts'", "system names a file"),
    ("schema: /etc/hosts", "schema names a file"),
    ("tools: /etc/hosts", "tools names a file"),
]


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize(("line", "words"), REFUSED_IMPORTS)
def test_an_imported_file_with_a_forbidden_setting_is_refused_completely(
    line: str, words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    Path("evil.yaml").write_text(f"prompt: hi\noptions:\n  temperature: 0.5\n  {line}\n")
    assert main(["config", "templates", "--import", "evil.yaml"]) == 2
    shown = capfd.readouterr()
    assert (words in shown.err, shown.out, "9999999999" in shown.err) == (True, "", False)
    assert not list(Path("xdg_config_home").rglob("*.toml"))
    assert not Path("ran").exists()


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize("name", ["role.md", "roles.yaml", "mods.yml", "llm.yaml"])
def test_an_imported_system_text_that_names_a_file_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    texts = {
        "role.md": "@/etc/hosts",
        "roles.yaml": "- {name: r, prompt: '@/etc/hosts'}",
        "mods.yml": "roles: {r: ['@/etc/hosts']}",
        "llm.yaml": "system: '@/etc/hosts'",
    }
    Path(name).write_text(texts[name])
    assert main(["config", "templates", "--import", name]) == 2
    assert "system names a file" in capfd.readouterr().err


@pytest.mark.promise("templates-are-data")
def test_forbidden_settings_are_not_saved_and_are_named_in_a_notice(aiml: Aiml) -> None:
    flags = ["--base-url", "https://h/v1", "--record", "r", "--max-cost", "1", "--timeout", "5", "--no-log"]
    flags += ["--tools", json.dumps([MCP_TOOL]), "-O", 'tools=[{"type":"mcp"}]', "--temperature", "0.5"]
    done = aiml("respond", "--save", "t", *flags, "hi")
    assert done.returncode == 0, done.stderr
    text = (Path("xdg_config_home/aiml/templates") / "t.toml").read_text()
    assert re.findall(r"^\w+", text, re.MULTILINE) == ["prompt", "temperature"]
    left_out = done.stderr.decode().partition("because they are set for each call: ")[2]
    assert set(left_out.strip().split(", ")) == {
        "--base-url", "--record", "--max-cost", "--timeout", "--no-log", "--tools", "--option",
    }  # fmt: skip
    assert aiml("respond", "-t", "t", "--dry-run", AIML_BASE_URL="https://h/v1").returncode == 0


def test_an_invalid_template_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    write_template("base_url = 'https://evil.example/v1'")
    assert main(["config", "templates", "t"]) == 2
    assert os.environ["XDG_CONFIG_HOME"] in capfd.readouterr().err


def test_an_unknown_setting_gives_another_error() -> None:
    assert explain_refusal("nowhere", 1) == ""
