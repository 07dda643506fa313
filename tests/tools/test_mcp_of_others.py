"""MCP servers that others wrote, if `make servers` has installed them; and the commands that use servers."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.forked_process import TerminalProcess
from support.mcp_sources import OTHER_SERVERS, build_own_server, open_server
from support.run_cli import Aiml, build_command

from aiml_cli.api.messages import Image
from aiml_cli.tools import mcp_config
from aiml_cli.tools.mcp_config import McpServer

EVERYTHING = OTHER_SERVERS / "node_modules/.bin/mcp-server-everything"
FILESYSTEM = OTHER_SERVERS / "node_modules/.bin/mcp-server-filesystem"
TIME, GIT = OTHER_SERVERS / "venv/bin/mcp-server-time", OTHER_SERVERS / "venv/bin/mcp-server-git"


def skip_without(program: Path) -> pytest.MarkDecorator:
    """Skip a test where a server is not installed."""
    return pytest.mark.skipif(not program.exists(), reason=f"{program.name} is not installed: make servers")


@skip_without(EVERYTHING)
def test_tools_of_the_everything_server_work_over_pipes() -> None:
    with open_server(McpServer("ev", str(EVERYTHING))) as server:
        assert server.call("echo", message="hi").text == "Echo: hi"
        image = server.call("get-tiny-image")
        assert isinstance(image.media[0], Image)
        assert json.loads(server.call("get-structured-content", location="New York").text)["temperature"]
        assert "demo://resource" in server.call("get-resource-links", count=2).text
        assert "demo://resource" in server.call("get-resource-reference", resourceType="Text", resourceId=1).text
        assert server.call("get-sum", a="x").is_error
        assert "completed" in server.call("trigger-long-running-operation", duration=1, steps=2).text
        assert server.notices[0] == "ev: 1 of 2"


@pytest.fixture
def everything_over_http() -> Iterator[str]:
    """Yield the URL of a server that runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command, env = [str(EVERYTHING), "streamableHttp"], {**os.environ, "PORT": str(port)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            if b"listening" in line.lower():
                break
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()


@skip_without(EVERYTHING)
def test_tools_of_the_everything_server_work_over_http(everything_over_http: str) -> None:
    with open_server(McpServer("ev", url=everything_over_http)) as server:
        assert server.call("echo", message="hi").text == "Echo: hi"
        assert "completed" in server.call("trigger-long-running-operation", duration=1, steps=2).text
        assert server.call("get-tiny-image").media


@skip_without(FILESYSTEM)
def test_the_filesystem_server_reads_only_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with open_server(McpServer("fs", str(FILESYSTEM), (str(tmp_path),))) as server:
        assert "hello" in server.call("read_text_file", path=str(tmp_path / "a.txt")).text
        assert server.call("read_text_file", path="/etc/passwd").is_error
        hints = {tool.definition.name: tool.definition.hints for tool in server.source.list_tools()}
        assert hints["fs.write_file"] == ("it may delete or overwrite data",)


@skip_without(TIME)
@skip_without(GIT)
def test_the_time_and_git_servers_can_be_called(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "r")], check=True)
    with open_server(McpServer("time", str(TIME))) as server:
        assert json.loads(server.call("get_current_time", timezone="UTC").text)["timezone"] == "UTC"
    with open_server(McpServer("git", str(GIT))) as server:
        assert "No commits yet" in server.call("git_status", repo_path=str(tmp_path / "r")).text


@pytest.fixture
def own_server_saved() -> None:
    """Save our own server as fs."""
    mcp_config.save_server(build_own_server(), lambda _: False)


@pytest.mark.usefixtures("own_server_saved")
def test_a_server_is_checked_and_called_without_a_model(aiml: Aiml) -> None:
    checked = aiml("tools", "check")
    assert checked.returncode == 0
    assert b"mcp:fs" in checked.stdout
    assert aiml("tools", "call", "mcp:fs.echo", '{"text": "hi"}').stdout.strip() == b"hi"
    died = aiml("tools", "call", "mcp:fs.die", "{}")
    assert died.returncode == 9
    assert b"the MCP server fs ended (exit 3)" in died.stderr
    assert b"\x1b" not in died.stderr
    assert aiml("tools", "call", "mcp:fs.ech", "{}").returncode == 2


@pytest.mark.usefixtures("own_server_saved")
def test_a_model_calls_a_tool_of_a_server(aiml: Aiml) -> None:
    done = aiml("chat", "--demo", "-m", "demo/tools", "-T", "mcp:fs.echo", "--allow", "fs.*", 'fs__echo {"text": "hi"}')
    assert done.returncode == 0
    assert b"fs.echo" in done.stderr


def start_on_terminal(*arguments: str) -> Any:
    program, *rest = build_command(*arguments)
    return TerminalProcess(program, rest, timeout=30, encoding="utf-8", dimensions=(40, 100))


@pytest.mark.usefixtures("own_server_saved")
def test_a_server_can_ask_the_user_for_several_fields() -> None:
    child = start_on_terminal("tools", "call", "mcp:fs.ask", "{}")
    answers = [
        ("text: ", "x"), ("the minimum is 2", None), ("text: ", "Ann"), ("an empty line means: 7", None),
        ("a whole number: ", "-1"), ("the minimum is 0", None), ("a whole number: ", ""), ("yes or no: ", "y"),
        ("2. green", None), ("from the list: ", "2"), ("commas: ", "1,c"), ("text: ", ""),
    ]  # fmt: skip
    for question, answer in answers:
        child.expect_exact(question)
        if answer is not None:
            child.sendline(answer)
    child.expect_exact('"result":')
    child.expect(pexpect.EOF)
    content = json.loads("{" + '"result":' + child.before.strip())["result"]
    assert content == {
        "action": "accept",
        "content": {"name": "Ann", "age": 7, "happy": True, "color": "g", "many": ["a", "c"]},
    }


@pytest.mark.usefixtures("own_server_saved")
def test_a_question_of_a_server_cannot_control_the_terminal_or_imitate_aiml() -> None:
    child = start_on_terminal("tools", "call", "mcp:fs.ask", "{}")
    child.expect_exact("text: ")
    shown = child.before.replace("\r", "")
    assert "aiml: the MCP server fs asks (1 of 6); Ctrl-D skips the question:\n│ who \\x1b[31mare" in shown
    assert "│ aiml: trust me" in shown
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


@pytest.mark.usefixtures("own_server_saved")
def test_one_ctrl_d_skips_all_questions_of_a_call() -> None:
    child = start_on_terminal("tools", "call", "mcp:fs.ask_flood", "{}")
    child.expect_exact("text: ")
    child.sendline("one")
    child.expect_exact("text: ")
    child.sendeof()
    child.expect("accept cancel[a-z ]*decline")
    child.expect(pexpect.EOF)
    assert "text: " not in child.before


@pytest.mark.usefixtures("own_server_saved")
def test_without_a_terminal_a_question_is_cancelled(aiml: Aiml) -> None:
    done = aiml("tools", "call", "mcp:fs.ask", "{}", before=["setsid", "-w"])
    assert json.loads(done.stdout)["result"] == {"action": "cancel"}
