"""MCP servers that misbehave: each case has a clear outcome, and affects nothing else."""

import json
import os
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mcp.client.stdio import DEFAULT_INHERITED_ENV_VARS
from support.mcp_server import TOOLS
from support.mcp_sources import OpenServer, build_own_server, open_server
from support.processes import is_running, list_new_threads

from aiml_cli.api.messages import Image, Sound
from aiml_cli.errors import UsageError
from aiml_cli.tools import mcp_source
from aiml_cli.tools.mcp_config import McpServer
from aiml_cli.tools.mcp_content import MAX_DESCRIPTION, format_call
from aiml_cli.tools.mcp_process import default_environment
from aiml_cli.tools.tool import MAX_RESULT_BYTES, ToolError


@pytest.fixture
def fs_server() -> Iterator[OpenServer]:
    """Yield our own server, which waits three seconds for a sign of life."""
    with open_server(build_own_server(timeout=3.0)) as server:
        yield server


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("dies", "the MCP server fs ended (exit 1)\n  cannot open \\x1b[31mthe database"),
        ("usage", "the MCP server fs ended (exit 0)\n  it wrote to standard output: usage: server [options]"),
        ("silent", "the MCP server fs was not ready within 1 s\n  thinking"),
        ("floods", "the MCP server fs was not ready within 1 s\n  it wrote to standard output: no json"),
        ("old", "it uses version '2023-01-01' of MCP; aiml supports 2024-11-05,"),
        ("refuses", "it answered with an error: no licence"),
        ("half", "its answer is not valid: "),
        ("no_tools", "it has no tools"),
        ("no_list", "it has no tools"),
    ],
)
def test_a_server_that_fails_to_start_is_an_error_with_its_last_output(mode: str, message: str) -> None:
    before = set(threading.enumerate())
    with (
        pytest.raises(UsageError) as caught,
        open_server(build_own_server(mode, startup_timeout=1.0 if mode in ("silent", "floods") else 30.0)),
    ):
        pass
    assert message in caught.value.message
    assert len(caught.value.message) < 2000
    assert list_new_threads(before) == []


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (McpServer("fs", "no-such-program"), "there is no program 'no-such-program'"),
        (McpServer("fs", "/etc/passwd"), "cannot be started: Permission denied"),
        (McpServer("fs", "./missing"), "cannot be started: No such file"),
        (McpServer("fs", "ls", cwd="missing"), "there is no folder"),
        (McpServer("fs", "ls", env={"PATH": "."}), "there is no program 'ls'"),
        (McpServer("fs", "x" * 300_000), "fs"),
    ],
)
def test_a_program_that_cannot_be_started_is_an_error(server: McpServer, message: str) -> None:
    with pytest.raises(UsageError, match=message), open_server(server):
        pass


@pytest.mark.parametrize(
    ("mode", "count", "notice"),
    [
        ("normal", len(TOOLS), ""),
        ("chatty", len(TOOLS), ""),
        ("first", len(TOOLS), ""),
        ("pages", len(TOOLS), ""),
        ("duplicates", len(TOOLS), "a second tool named echo is left out"),
        ("thousand", 1000, "only its first 1,000 tools are used"),
        ("endless", len(TOOLS), "its list of tools has too many pages and is incomplete"),
        ("same_cursor", len(TOOLS), "its list of tools has too many pages and is incomplete"),
        ("strange", 4, "a tool without a valid name is left out"),
    ],
)
def test_any_list_of_tools_is_read(mode: str, count: int, notice: str) -> None:
    with open_server(mode) as fs_server:
        assert len(set(fs_server.list_names())) == len(fs_server.list_names()) == count
        assert notice in "\n".join(fs_server.notices)
        assert bool(notice) == bool(fs_server.notices)
        assert len(fs_server.notices) <= 6
        assert all(name.isprintable() for name in fs_server.list_names())


def test_the_description_of_a_tool_is_bounded() -> None:
    with open_server("strange") as fs_server:
        tools = {tool.definition.name: tool.definition for tool in fs_server.source.list_tools()}
    assert len(tools["fs.wordy"].description) < MAX_DESCRIPTION + 20
    assert tools["fs.bare"].parameters == {"type": "object"}
    assert tools["fs.hinted"].hints == ("it only reads", "it reaches other systems")


@pytest.mark.parametrize(
    ("tool", "is_error", "text"),
    [
        ("echo", False, "hi"),
        ("garbage", False, "after garbage"),
        ("batch", False, "from a batch"),
        ("twice", False, "first"),
        ("surrogate", False, "a?b"),
        ("structured", False, '{"a": [1]}'),
        ("nothing", False, ""),
        ("is_error", True, "no such file"),
        ("error", True, "the MCP server fs refused the call: no "),
        ("no_object", True, "the MCP server fs refused the call: the answer is not a JSON-RPC message"),
        ("deep", True, "the MCP server fs was ended: it sent a message that is nested too deeply"),
        ("die", True, "the MCP server fs ended (exit 3)\n  something \\x1b[31mbroke"),
        ("kill", True, "the MCP server fs ended (SIGKILL)"),
        ("hang", True, "the MCP server fs sent nothing for 3 s; the call was ended"),
        ("progress_flood", False, "done"),
        ("log_flood", False, "done"),
        ("stderr_flood", False, "done"),
        ("ping_flood", False, "done"),
        ("ask_url", False, '{"jsonrpc":"2.0","id":"ask","result":{"action":"decline"}}'),
    ],
)
def test_each_kind_of_answer_gives_a_result(fs_server: OpenServer, tool: str, is_error: bool, text: str) -> None:
    result = fs_server.call(tool, text="hi")
    assert (result.is_error, result.text[: len(text)]) == (is_error, text)
    assert len(result.text) < 2000
    assert fs_server.call("echo", text="still there").text == "still there"


@pytest.mark.promise("misbehaving-tools")
def test_a_huge_result_ends_the_server_without_filling_the_memory(fs_server: OpenServer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = fs_server.call("gigabyte")
    assert result == ("the MCP server fs was ended: it sent a message of more than 16 MiB", True, ())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    assert fs_server.call("echo", text="again").text == "again"


def test_a_long_text_is_cut(fs_server: OpenServer) -> None:
    text = fs_server.call("long").text
    assert text.endswith("[cut here: the first 64 KiB of 976 KiB]")
    assert len(text) < MAX_RESULT_BYTES + 100


def test_images_and_audio_are_passed_on_and_other_content_is_described(fs_server: OpenServer) -> None:
    result = fs_server.call("media")
    assert [type(part) for part in result.media] == [Image, Sound, Image, Image, Image]
    assert result.text.split("\n") == [
        "[image, image/png, 70 bytes]",
        "[image, image/svg+xml, 70 bytes: left out, because a model cannot read it]",
        "[image, image/png: left out, because it is not base64]",
        "[audio, audio/wav, 70 bytes]",
        "[audio, audio/flac, 70 bytes: left out, because a model cannot read it]",
        *["[image, image/png, 3,145,728 bytes]"] * 3,
        "[resource file:///a]",
        "inside",
        "[resource file:///b, application/pdf, 70 bytes: left out, because a model cannot read it]",
        "[link: see file:///c]",
        '[content of type "hologram", which aiml does not support]',
        '[content of type "text", which aiml does not support]',
        "[content of type null, which aiml does not support]",
    ]


def test_progress_is_shown_as_a_notice(fs_server: OpenServer) -> None:
    fs_server.call("progress")
    assert fs_server.notices == ["fs: 3 of 10: a \\x1b[31mred word"]


@pytest.mark.parametrize(("tool", "limit"), [("stderr_flood", 500), ("log_flood", 500), ("garbage", 20)])
def test_with_verbose_the_number_of_output_lines_is_bounded(tool: str, limit: int) -> None:
    with open_server(verbose=True) as fs_server:
        fs_server.call(tool)
    assert 0 < len(fs_server.notices) < limit
    assert all("\x1b" not in notice and len(notice) < 2100 for notice in fs_server.notices)


def test_the_tool_list_is_read_again_after_a_change(fs_server: OpenServer) -> None:
    assert fs_server.call("changed").text == "done"
    assert len(fs_server.list_names()) == len(TOOLS) + 1


def test_a_server_gets_only_the_sdks_default_variables_and_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("AIMLAPI_API_KEY", "sk-0123456789")
    with open_server(build_own_server(env={"OWN": "${SECRET}"})) as fs_server:
        seen = json.loads(fs_server.call("where").text)
    own = {name: os.environ[name] for name in DEFAULT_INHERITED_ENV_VARS if name in os.environ}
    assert default_environment(os.environ) == own
    assert {name: value for name, value in seen["env"].items() if name not in ("LC_CTYPE", "PWD")} == {
        **own,
        "OWN": "x",
    }
    assert seen["cwd"] == str(Path.cwd() / "xdg_config_home" / "aiml")
    assert seen["sid"] != os.getsid(0)


def test_neither_sampling_nor_roots_are_offered(fs_server: OpenServer) -> None:
    answers = [json.loads(line) for line in fs_server.call("sample").text.splitlines()]
    assert ["error" in answer for answer in answers] == [True, True]


def test_a_server_that_dies_is_restarted_only_once(fs_server: OpenServer) -> None:
    results = [
        fs_server.call(tool, text="hi").text.partition("\n")[0] for tool in ("die", "echo", "die", "echo", "echo")
    ]
    ended = "the MCP server fs ended (exit 3)"
    assert results == [ended, "hi", ended, ended, ended]
    with pytest.raises(ToolError, match="exit 3"):
        fs_server.source.list_tools()[0].preview({})


def test_concurrent_calls_restart_a_killed_server_only_once(fs_server: OpenServer) -> None:
    old = fs_server.call("pid").text
    assert fs_server.call("kill").is_error
    with ThreadPoolExecutor(20) as pool:
        pids = set(pool.map(lambda _: fs_server.call("pid").text, range(20)))
    assert len(pids) == 1
    assert old not in pids


def test_20_calls_run_at_the_same_time_and_get_their_own_answers(fs_server: OpenServer) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda n: fs_server.call("echo", text=str(n)).text, range(20))) == [
            str(n) for n in range(20)
        ]


@pytest.mark.parametrize("tool", ["hang", "freeze"])
def test_cancelled_calls_end_and_later_ones_work(tool: str) -> None:
    with open_server() as fs_server, ThreadPoolExecutor(3) as pool:
        pid = fs_server.call("pid").text
        waiting = [pool.submit(fs_server.call, tool) for _ in range(3)]
        while len(fs_server.source._connection._calls if fs_server.source._connection else ()) < 3:  # noqa: SLF001
            pass
        fs_server.source.cancel_calls()
        assert {future.result().text for future in waiting} == {
            "the MCP server fs had not answered before the call was stopped"
        }
        assert (fs_server.call("pid").text == pid) == (tool == "hang")
        assert len(json.loads(fs_server.call("cancelled").text)) == (3 if tool == "hang" else 0)


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize("mode", ["normal", "stubborn"])
@pytest.mark.parametrize("tool", ["fork", "hang", "freeze"])
def test_closing_ends_all_calls_processes_and_threads(mode: str, tool: str) -> None:
    before = set(threading.enumerate())
    with open_server(mode) as fs_server, ThreadPoolExecutor(1) as pool:
        pids = [int(fs_server.call("pid").text)]
        if tool == "fork":
            pids.append(int(fs_server.call("fork").text))
        else:
            waiting = pool.submit(fs_server.call, tool)
            while not (fs_server.source._connection and fs_server.source._connection._calls):  # noqa: SLF001
                pass
        fs_server.source.close()
        assert tool == "fork" or waiting.result().is_error
        assert fs_server.source.call("echo", {}).is_error
    while any(map(is_running, pids)):  # a killed process needs a moment; the test's own time limit ends this
        pass
    assert list_new_threads(before) == []


@pytest.mark.parametrize("mode", ["normal", "silent"])
def test_closing_during_the_start_leaves_nothing_behind(mode: str) -> None:
    Path("xdg_config_home/aiml").mkdir()
    source = mcp_source.McpSource(build_own_server(mode), None, report=None, verbose=False)
    source.close()  # never started
    source = mcp_source.McpSource(build_own_server(mode), None, report=None, verbose=False)
    source.start()
    source.close()
    source.close()
    with pytest.raises(UsageError, match=r"closed|ended"):
        source.wait_until_ready()


def test_only_the_named_tools_are_offered() -> None:
    with open_server(only=frozenset({"echo", "pid"})) as fs_server:
        assert fs_server.list_names() == ["fs.echo", "fs.pid"]
    with pytest.raises(UsageError, match="no tool 'ech'") as caught, open_server(only=frozenset({"ech"})):
        pass
    assert caught.value.hint.startswith("did you mean echo?")


def test_a_missing_sdk_is_an_error_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_source, "find_spec", lambda name: None if name == "mcp_types" else name)
    with pytest.raises(UsageError, match="need the package mcp") as caught:
        mcp_source.McpSource(build_own_server(), None, report=None, verbose=False)
    assert "install" in caught.value.hint or "inject" in caught.value.hint


def test_a_preview_shows_the_whole_call_and_the_command_of_the_server(fs_server: OpenServer) -> None:
    tool = fs_server.source.list_tools()[0]
    first, second = tool.preview({"text": "a\x1b[2J\nb", "n": [1]}).split("\n")
    assert first == r'fs.echo(text="a\u001b[2J\nb", n=[1])'
    assert second == f"through {fs_server.source.server.describe()}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "f()"),
        ({"a b": None, "ü": "ü"}, 'f("a b"=null, ü="ü")'),
        ({"a": "x" * 100, "b": 1}, f'f(\n  a="{"x" * 100}",\n  b=1,\n)'),
    ],
)
def test_a_call_is_shown_with_all_its_arguments(arguments: Any, text: str) -> None:
    assert format_call("f", arguments) == text
