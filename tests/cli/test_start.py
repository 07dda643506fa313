"""What starting costs: which modules a command loads, seen from a process of its own."""

import json
import os
import subprocess
import sys

import pytest
from support.loopback import HELLO, HELLO_RESPONSE, Loopback

# `click` comes with tools of developers only; where it is, httpx loads a command line of its own with rich.
MODULES_SCRIPT = """
import json, os, sys
sys.modules["click"] = None
def leave(code):
    sys.stderr.write(json.dumps([name for name in sys.modules if sys.modules[name]]))
    sys.stderr.flush()
    real(code)
real, os._exit = os._exit, leave
from aiml_cli.__main__ import run
run()
"""
HEAVY_MODULES = ["httpx", "rich", "prompt_toolkit", "pydantic", "sqlite3", "click", "asyncio", "jsonschema", "tomlkit"]


MAX_OWN_MODULES = 65


def run_and_list_modules(url: str, *arguments: str) -> list[str]:
    """Run a command and return the modules that it has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES_SCRIPT, *arguments],
        env={**os.environ, "AIML_BASE_URL": url}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def run_and_list_heavy(url: str, *arguments: str) -> list[str]:
    """Run a command and return the heavy modules that it has loaded when it ends."""
    loaded = run_and_list_modules(url, *arguments)
    return [name for name in HEAVY_MODULES if name in loaded]


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["-V"], ["--help"], ["-h"], ["chat", "--help"], ["config", "--help"], ["config", "path"]],
)
def test_commands_that_need_no_network_load_no_heavy_module(arguments: list[str]) -> None:
    assert run_and_list_heavy("http://127.0.0.1:9", *arguments) == []


@pytest.mark.parametrize(("command", "reply"), [("chat", HELLO), ("respond", HELLO_RESPONSE)])
def test_a_piped_call_loads_httpx_and_sqlite3_only(command: str, reply: bytes, server: Loopback) -> None:
    server.answer_with(reply)
    assert run_and_list_heavy(server.url, command, "hi") == ["httpx", "sqlite3"]
    assert run_and_list_heavy(server.url, command, "hi", "--no-log") == ["httpx"]


@pytest.mark.parametrize("arguments", [["chat", "hi"], ["respond", "hi"], ["--help"], ["chat", "--help"]])
def test_a_call_without_tools_loads_no_tool_module(arguments: list[str], server: Loopback) -> None:
    server.answer_with(HELLO_RESPONSE if arguments[0] == "respond" else HELLO)
    loaded = run_and_list_modules(server.url, *arguments)
    assert [name for name in loaded if name.startswith("aiml_cli.tools") or name == "mcp"] == []


def test_a_piped_chat_loads_few_modules_of_aiml(server: Loopback) -> None:
    server.answer_with(HELLO)
    loaded = run_and_list_modules(server.url, "chat", "hi")
    assert sum(name.partition(".")[0] == "aiml_cli" for name in loaded) <= MAX_OWN_MODULES


def test_a_dry_run_loads_no_network(server: Loopback) -> None:
    assert run_and_list_heavy(server.url, "chat", "hi", "--dry-run") == []


def test_version_is_printed_without_loading_the_command_line() -> None:
    code = "import sys; sys.argv = ['aiml', '--version']; import aiml_cli.__main__ as m; print([*sys.modules])"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout
    assert b"typer" not in modules
    assert b"'typing'" not in modules
