"""`aiml tools`: what it lists, starts, calls, writes and removes, and what it says when that fails."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.console import Console
from support.pty_run import HOSTILE_TEXT
from support.run_cli import Aiml

from aiml_cli.__main__ import main

PYTHON_FILE = '''
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b

def fail(text: str) -> str:
    raise ValueError(text)
'''
NEEDS_A_NAME = "for example: aiml tools add"


def run_tools(*words: str) -> int:
    return main(["tools", *words])


def get_config_folder(home: Path) -> Path:
    return home / "xdg_config_home" / "aiml"


@pytest.fixture
def files(empty_home: Path) -> Path:
    """A tool file, a server that cannot start, and a Python file; return the config folder."""
    assert (
        run_tools("add", "-q", "hello", "--description", "Greet somebody.", "--", "printf", "%s", "hello {name}") == 0
    )
    assert run_tools("add", "-q", "gone", "--mcp", "--", "/nonexistent/server", "--flag") == 0
    (empty_home / "sums.py").write_text(PYTHON_FILE)
    return get_config_folder(empty_home)


def test_without_tools_a_notice_says_how_to_add_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_tools() == run_tools("list") == run_tools("check") == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("aiml tools add NAME -- COMMAND") == 3


def test_tools_without_a_subcommand_lists_the_tools(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run_tools() == run_tools("list") == 0
    out = capfd.readouterr().out.splitlines()
    assert out[:3] == out[3:]
    assert out[1] == "hello\tcommand\tprintf %s 'hello {name}'\tGreet somebody."
    assert out[2] == "mcp:gone\tMCP server\t/nonexistent/server --flag\t"


def test_json_of_the_list_has_every_entry_and_no_secret(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    url = ("--url", "https://example.com/mcp", "--header", "Authorization: Bearer secret-1")
    assert run_tools("add", "-q", "remote", *url) == 0
    assert run_tools("add", "-q", "other", "--env", "TOKEN=secret-2", "--timeout", "5", "--", "date") == 0
    capfd.readouterr()
    assert run_tools("list", "--json") == 0
    text = capfd.readouterr().out
    entries = {entry["name"]: entry for entry in json.loads(text)}
    assert [*entries] == ["hello", "other", "mcp:gone", "mcp:remote"]
    assert (entries["other"]["env"], entries["other"]["timeout"]) == (["TOKEN"], 5)
    assert entries["mcp:remote"]["headers"] == ["Authorization"]
    assert entries["hello"]["run"] == ["printf", "%s", "hello {name}"]
    assert "secret" not in text


def test_a_damaged_file_is_reported_after_the_others(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (files / "tools" / "bad.toml").write_text("run = 5\n")
    (files / "mcp.json").write_text("{")
    capfd.readouterr()
    assert run_tools("list") == 2
    out, err = capfd.readouterr()
    assert "hello" in out
    assert "bad.toml" in err
    assert "mcp.json" in err


@pytest.mark.parametrize("is_json", [False, True])
def test_show_describes_commands_and_the_functions_of_a_file(
    files: Path, capfd: pytest.CaptureFixture[str], is_json: bool
) -> None:
    capfd.readouterr()
    flags = ["--json"] if is_json else []
    assert run_tools("show", "hello", *flags) == 0
    command = capfd.readouterr().out
    assert run_tools("show", "sums.py", *flags) == 0
    functions = capfd.readouterr().out
    if is_json:
        assert json.loads(command)["tools"][0]["parameters"]["properties"] == {"name": {"type": "string"}}
        assert [tool["name"] for tool in json.loads(functions)["tools"]] == ["add", "fail"]
    else:
        assert "Greet somebody." in command
        assert str(files / "tools" / "hello.toml") in command
        assert "Add two numbers." in functions


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["show"], 2, "one tool can be shown"), (["show", "a", "b"], 2, "one tool can be shown"),
        (["show", "helo"], 2, "did you mean hello?"), (["show", "mcp:gon"], 2, "did you mean gone?"),
        (["show", "nothing.py"], 2, "nothing.py"), (["show", "mcp:gone"], 2, "/nonexistent/server"),
        (["show", "gone"], 2, "/nonexistent/server"), (["call"], 2, "one tool is required"),
        (["call", "hello", "{}", "x"], 2, "one tool is required"), (["call", "hello", "{"], 2, "cannot be read"),
        (["call", "hello", "[1]"], 2, "not a JSON object"), (["call", "hello", "{}"], 9, "'name' is a required property"),
        (["call", "hello", '{"name": 5}'], 9, "5 is not of type 'string'"), (["call", "helo", "{}"], 2, "hello"),
        (["call", "sums.py", "{}"], 2, "add, fail"), (["call", "sums.py:ad", "{}"], 2, "did you mean add?"),
        (["call", "sums.py:fail", '{"text": "no luck"}'], 9, "ValueError: no luck"),
        (["check", "helo"], 2, "did you mean hello?"), (["check", "mcp:gone"], 2, "/nonexistent/server"),
        (["remove"], 2, "the name of a tool is required"), (["remove", "helo", "-y"], 2, "did you mean hello?"),
        (["remove", "hello"], 2, "add -y to do it"), (["shw"], 2, "did you mean aiml tools show?"),
        (["import"], 2, "a file is required"), (["import", "missing.json"], 2, "missing.json"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error(
    files: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    capfd.readouterr()
    assert run_tools(*words) == code
    out, err = capfd.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == "" or words[0] == "check"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hello", '{"name": "Ada"}'], "hello Ada"),
        (["sums.py:add", '{"a": 3}'], "5"),
        (["./sums.py:add", '{"a": 3, "b": 4}'], "7"),
    ],
)
def test_call_prints_the_result_unchanged(
    files: Path, capfd: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    capfd.readouterr()
    assert run_tools("call", *words) == 0
    assert capfd.readouterr() == (expected, "")


def test_a_file_with_one_function_can_be_called_without_its_name(
    empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (empty_home / "one.py").write_text("def only() -> str:\n    return 'x\\n'\n")
    assert run_tools("call", "one.py") == 0
    assert capfd.readouterr() == ("x\n", "")


def test_the_arguments_can_be_on_standard_input(files: Path, aiml: Aiml) -> None:
    done = aiml("tools", "call", "hello", "-", stdin='{"name": "Zoë"}'.encode())
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "hello Zoë", b"")


def test_call_can_print_the_result_as_json(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run_tools("call", "hello", '{"name": "Ada"}', "--json") == 0
    assert json.loads(capfd.readouterr().out) == {"text": "hello Ada", "is_error": False, "media": []}
    assert run_tools("call", "sums.py:fail", '{"text": "x"}', "--json") == 9
    assert json.loads(capfd.readouterr().out)["is_error"] is True


def test_check_starts_each_tool_once_and_reports_its_status(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run_tools("check", "hello", "sums.py", "hello") == 0
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    assert [(line[0], line[1]) for line in lines] == [("name", "status"), ("hello", "ready"), ("sums.py", "ready")]
    assert run_tools("check", "--json") == 2
    out, err = capfd.readouterr()
    checks = {check["name"]: check for check in json.loads(out)}
    assert {name: check["ready"] for name, check in checks.items()} == {"hello": True, "mcp:gone": False}
    assert "/nonexistent/server" in checks["mcp:gone"]["error"] + checks["mcp:gone"]["hint"]
    assert "not ready: mcp:gone" in err


@pytest.mark.parametrize(
    ("command", "params"),
    [
        (["echo", "{city}"], "city"), (["echo", "{city} {unit}", "{city}"], "city, unit"), (["date"], None),
        (["printf", "{{city}}"], None), (["awk", "{ print }"], None),
    ],
)  # fmt: skip
def test_placeholders_become_parameters(empty_home: Path, command: list[str], params: str | None) -> None:
    assert run_tools("add", "-q", "it", "--", *command) == 0
    text = (get_config_folder(empty_home) / "tools" / "it.toml").read_text()
    assert (f'params = "{params}"' in text) if params else ("params" not in text)


def test_the_tool_file_contains_the_values_of_the_flags(empty_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--description",
        "Look.",
        "--params",
        "city, days? int",
        "--timeout",
        "2.5",
        "--env",
        "A=b=c",
        "--env",
        "B=1",
    ]
    assert run_tools("add", "it", *flags, "--", "echo", "{city}", "--flag", "{days}") == 0
    assert run_tools("show", "it", "--json") == 0
    shown = json.loads(capfd.readouterr().out)
    assert (shown["timeout"], shown["env"], shown["run"]) == (2.5, ["A", "B"], ["echo", "{city}", "--flag", "{days}"])
    assert shown["tools"][0]["parameters"]["required"] == ["city"]
    path = get_config_folder(empty_home) / "tools" / "it.toml"
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0


def test_a_relative_program_becomes_absolute(empty_home: Path) -> None:
    assert run_tools("add", "-q", "it", "--", "./run.sh") == 0
    assert f'"{empty_home}/run.sh"' in (get_config_folder(empty_home) / "tools" / "it.toml").read_text()


def test_a_server_is_saved_in_the_common_format(empty_home: Path) -> None:
    assert (
        run_tools("add", "-q", "fs", "--mcp", "--env", "A=1", "--timeout", "9", "--", "npx", "-y", "server", "folder")
        == 0
    )
    url = ["--url", "https://example.com/mcp", "--header", "Authorization: Bearer ${TOKEN}"]
    assert run_tools("add", "-q", "mcp:remote", *url) == 0
    assert json.loads((get_config_folder(empty_home) / "mcp.json").read_text()) == {
        "mcpServers": {
            "fs": {"command": "npx", "args": ["-y", "server", "folder"], "env": {"A": "1"}, "timeout": 9},
            "remote": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        }
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], NEEDS_A_NAME), (["x"], NEEDS_A_NAME), (["x", "--mcp"], NEEDS_A_NAME), (["../x", "--", "ls"], "not a valid tool name"),
        (["x", "--url", "http://192.0.2.1/mcp"], "not encrypted"), (["x", "--url", "nonsense"], "nonsense"),
        (["x", "--url", ""], "'' is not"), (["x", "--url", "https://a.example", "--", "ls"], "--url cannot be used with"),
        (["x", "--url", "https://a.example", "--mcp"], "--url cannot be used with"),
        (["x", "https://a.example/mcp"], "aiml tools add x --url https://a.example/mcp"),
        (["x", "--mcp", "https://a.example/mcp"], "aiml tools add x --url https://a.example/mcp"),
        (["x", "--header", "A: b", "--", "ls"], "--header only works with"), (["x", "--header", "A"], "'A' is not"),
        (["x", "--env", "A", "--", "ls"], "'A' is not"), (["x", "--timeout", "0", "--", "ls"], "'0' is not"),
        (["x", "--mcp", "--params", "a", "--", "ls"], "describes its tools itself"),
        (["x", "--params", "a b c d", "--", "ls"], "params"), (["x", "--", "{program}"], "cannot choose the program"),
        (["x", "ls", "-l"], "after --"), (["x", "--env", "AIMLAPI_API_KEY=1", "--", "ls"], "API key"),
        (["x", "--params", "city", "--", "ls", "{town}"], "{town} is not a parameter"),
    ],
)  # fmt: skip
def test_an_invalid_tool_is_refused_and_no_file_is_created(
    empty_home: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run_tools("add", *words) == 2
    assert message in capfd.readouterr().err
    assert not [
        path
        for path in get_config_folder(empty_home).rglob("*")
        if path.suffix in (".toml", ".json") and path.is_file()
    ]


def test_add_gives_advice_about_servers_and_missing_programs(
    empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_tools("add", "a", "--", "npx", "-y", "@modelcontextprotocol/server-filesystem") == 0
    assert "--mcp" in capfd.readouterr().err
    assert run_tools("add", "b", "--", "no-such-program-anywhere") == 0
    err = capfd.readouterr().err
    assert "--description" in err
    assert "is not in PATH" in err


@pytest.mark.parametrize(
    "arguments",
    [["add", "hello", "--", "date"], ["add", "gone", "--mcp", "--", "date"], ["import", "foreign.json"]],
)
def test_nothing_is_replaced_without_yes(
    files: Path, empty_home: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (empty_home / "foreign.json").write_text(json.dumps({"mcpServers": {"gone": {"command": "date"}}}))
    before = [(files / "tools" / "hello.toml").read_text(), (files / "mcp.json").read_text()]
    assert run_tools(*arguments) == 2
    assert "add -y to replace" in capfd.readouterr().err
    assert [(files / "tools" / "hello.toml").read_text(), (files / "mcp.json").read_text()] == before
    words = [*arguments[:1], "-y", *arguments[1:]]
    assert run_tools(*words) == 0
    assert [(files / "tools" / "hello.toml").read_text(), (files / "mcp.json").read_text()] != before


def test_an_import_leaves_out_automatic_approvals(empty_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    servers = {
        "a": {"command": "date", "autoApprove": ["x"], "alwaysAllow": True, "trust": True},
        "b": {"url": "https://example.com"},
    }
    (empty_home / "foreign.json").write_text(json.dumps({"mcpServers": servers}))
    assert run_tools("import", "foreign.json", "c") == 2
    assert "available: a, b" in capfd.readouterr().err
    assert run_tools("import", "foreign.json", "a") == 0
    assert json.loads((get_config_folder(empty_home) / "mcp.json").read_text()) == {
        "mcpServers": {"a": {"command": "date"}}
    }
    assert run_tools("import", "foreign.json", "-y") == 0
    assert [*json.loads((get_config_folder(empty_home) / "mcp.json").read_text())["mcpServers"]] == ["a", "b"]


def test_remove_deletes_nothing_if_one_of_the_names_is_unknown(files: Path) -> None:
    assert run_tools("remove", "-y", "hello", "unknown") == 2
    assert (files / "tools" / "hello.toml").exists()
    assert run_tools("remove", "-y", "hello", "gone") == 0
    assert not (files / "tools" / "hello.toml").exists()
    assert json.loads((files / "mcp.json").read_text()) == {"mcpServers": {}}


def test_on_a_terminal_the_user_is_asked_before_a_tool_is_removed_or_replaced(files: Path) -> None:
    with Console("tools", "remove", "hello") as console:
        console.wait_until("remove hello? [y/N]")
        console.type_line("n")
        assert console.wait_for_exit() == 0
        assert "nothing was removed" in console.read_text()
    assert (files / "tools" / "hello.toml").exists()
    with Console("tools", "add", "hello", "--", "date") as console:
        console.wait_until("[y/N]")
        console.type_line("y")
        assert console.wait_for_exit() == 0
    assert "date" in (files / "tools" / "hello.toml").read_text()


@pytest.mark.parametrize("words", [["list"], ["show", "evil"], ["call", "evil", "{}"], ["check"]])
def test_control_sequences_are_escaped_on_a_terminal(files: Path, empty_home: Path, words: list[str]) -> None:
    (empty_home / "evil.txt").write_text(HOSTILE_TEXT)
    flags = ["--description", HOSTILE_TEXT]
    assert run_tools("add", "-q", "evil", *flags, "--", "cat", str(empty_home / "evil.txt")) == 0
    with Console("tools", *words) as console:
        console.wait_for_exit()
        assert b"\x1b]52" not in console.output
        assert b"\x1b[2J" not in console.output
        assert "\u202e".encode() not in console.output


def test_a_pipe_gets_the_result_unchanged(files: Path, empty_home: Path, aiml: Aiml) -> None:
    data = b"\x1b[2Jbytes\r\n\x00end"
    (empty_home / "data").write_bytes(data)
    assert run_tools("add", "-q", "raw", "--", "cat", str(empty_home / "data")) == 0
    assert aiml("tools", "call", "raw", "{}").stdout == data


def test_ctrl_c_ends_the_call_and_its_process(files: Path, empty_home: Path) -> None:
    started = empty_home / "started"
    assert (
        run_tools(
            "add", "-q", "hang", "--", sys.executable, "-c", f"open({str(started)!r}, 'w'); import time; time.sleep(60)"
        )
        == 0
    )
    with Console("tools", "call", "hang", "{}") as console:
        console.wait_until(started.exists)
        console.press("\x03")
        assert console.wait_for_exit() == 130
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(started) not in listed


def test_demo_tools_can_be_called_without_a_file(empty_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_tools("call", "weather", '{"city": "Paris"}') == 2
    assert run_tools("call", "weather", '{"city": "Paris"}', "--demo") == 0
    assert "in Paris" in capfd.readouterr().out
    assert run_tools("add", "-q", "weather", "--", "printf", "mine") == 0
    assert run_tools("call", "weather", "{}", "--demo") == 0
    assert capfd.readouterr().out == "mine"
    assert run_tools("list", "--demo", "--json") == 0
    assert [entry["name"] for entry in json.loads(capfd.readouterr().out)] == ["weather", "time"]


def test_the_key_is_not_in_the_environment_of_a_call(empty_home: Path, aiml: Aiml) -> None:
    assert run_tools("add", "-q", "env", "--", "env") == 0
    done = aiml("tools", "call", "env", "{}", AIMLAPI_API_KEY="sk-secret-123456")
    assert done.returncode == 0
    assert b"secret" not in done.stdout
