"""A command of the user becomes a tool: its file, its arguments, its result."""

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.tools import tool_files
from aiml_cli.tools.command_source import CommandSource, CommandTool, fill_placeholders
from aiml_cli.tools.tool import ToolError

ECHO_TABLE = {"description": "Repeat.", "params": "word, more?", "run": ["printf", "%s|", "{word}", "x{more}"]}
COUNT_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}


def open_tool(table: Mapping[str, Any], name: str = "sample") -> CommandTool:
    source = CommandSource.from_file(tool_files.parse_tool_file(name, Path("/made/up.toml"), table))
    source.start()
    source.wait_until_ready()
    return source.list_tools()[0]


def open_shell_tool(script: str, **table: Any) -> CommandTool:
    return open_tool({"run": ["sh", "-c", script], **table})


def write_tool_file(name: str, text: str) -> Path:
    path = tool_files.tool_path(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_tool_file_becomes_a_tool_that_can_be_called() -> None:
    write_tool_file(
        "hello", 'description = "Greets."\nparams = "name: who, count? int"\nrun = ["echo", "hello {name}"]\n'
    )
    source = CommandSource("hello")
    source.start()
    source.wait_until_ready()
    [tool] = source.list_tools()
    definition = tool.definition
    assert (definition.name, definition.description) == ("hello", "Greets.")
    assert definition.parameters["properties"] == {
        "name": {"type": "string", "description": "who"},
        "count": {"type": "integer"},
    }
    assert definition.parameters["required"] == ["name"]
    assert tool.call({"name": "Ada"}) == ("hello Ada\n", False, ())


@pytest.mark.promise("tool-arguments")
@pytest.mark.parametrize(
    ("run", "arguments", "printed"),
    [
        (["{a}"], {"a": "two words"}, "two words|"),
        (["{a}"], {"a": "$(id) `id` ; rm -rf / 'q' \"d\" \\ \n*"}, "$(id) `id` ; rm -rf / 'q' \"d\" \\ \n*|"),
        (["{a}"], {"a": "{b} {a} {{a}} {}"}, "{b} {a} {{a}} {}|"),
        (["{a}{b}"], {"a": "{b}", "b": "x"}, "{b}x|"),
        (["{{a}}", "{}", "{ a }", "{print $1}", "a{{b}}c"], {}, "{a}|{}|{ a }|{print $1}|a{b}c|"),
        (["{a}", "--b={b}", "end"], {"b": "1"}, "--b=1|end|"),
        (["{a}{b}", "end"], {"a": "1"}, "end|"),
        (["x{a}"], {"a": ""}, "x|"),
        (["{a}"], {"a": ""}, "|"),
        (["{n}", "{f}", "{t}", "{l}", "{o}"], {"n": 5, "f": 1.5, "t": True, "l": [1, "é"], "o": {"k": None}}, '5|1.5|true|[1, "é"]|{"k": null}|'),
        (["{n}"], {"n": 3.0}, "3|"),
        (["{n}"], {"n": None}, None),
        (["{a}"], {"a": "日本 ☂️ \u202e"}, "日本 ☂️ \u202e|"),
        (["--x={a}"], {"a": "-rf"}, "--x=-rf|"),
        (["x", "--", "{a}"], {"a": "--help"}, "x|--|--help|"),
        (["{a}"], {"a": "a" * 100_000}, "a" * 65_536 + "\n[cut here: the first 64 KiB of 97 KiB]"),
    ],
)  # fmt: skip
def test_an_argument_is_passed_as_one_unchanged_word(
    run: list[str], arguments: dict[str, Any], printed: str | None
) -> None:
    params = {"properties": {name: {} for name in "abnftlo"}}
    script = "import sys; sys.stdout.write(''.join(word + '|' for word in sys.argv[1:]))"
    tool = open_tool({"params": params, "run": [sys.executable, "-X", "utf8", "-c", script, *run]})
    assert tool.call(arguments) == (printed or "", False, ())


@pytest.mark.promise("tool-arguments")
@pytest.mark.parametrize(
    ("run", "arguments", "reason"),
    [
        (["{a}"], {"a": "-rf"}, "'-rf' begins with -"),
        (["{a}"], {"a": "--"}, "'--' begins with -"),
        (["{a}{b}"], {"a": "", "b": "-x"}, "'-x' begins with -"),
        (["{n}"], {"n": -5}, "'-5' begins with -"),
        (["{a}", "--", "{b}"], {"a": "-x", "b": "y"}, "'-x' begins with -"),
        (["{b}", "{a}"], {"b": "--", "a": "-x"}, "begins with -"),
        (["{a}"], {"a": "x\0y"}, "a zero byte"),
        (["{a}"], {"a": "\ud800"}, "half of a surrogate pair"),
        (["{a}"], {"a": 5}, "5 is not of type 'string'"),
        (["{a}"], {"n": True}, "True is not of type 'integer'"),
        (["{a}"], {"q": "x"}, "'q' was unexpected"),
        (["{a}"], {"a": ["x"]}, "is not of type 'string'"),
    ],
)
def test_invalid_arguments_are_reported_to_the_model_and_nothing_runs(
    run: list[str], arguments: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    tool = open_tool({"params": "a?, b?, n? int", "run": ["sh", "-c", f"touch {tmp_path}/ran", "sh", *run]})
    with pytest.raises(ToolError, match=reason.replace("[", r"\[")):
        tool.preview(arguments)
    result = tool.call(arguments)
    assert result.is_error
    assert reason in result.text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"word": "a b"}, "/printf '%s|' 'a b'"),
        ({"word": "it's", "more": "$HOME\n"}, "/printf '%s|' 'it'\"'\"'s' 'x$HOME\n'"),
    ],
)
def test_the_preview_shows_the_whole_command_with_the_full_path_of_the_program(
    arguments: dict[str, Any], expected: str
) -> None:
    preview = open_tool(ECHO_TABLE).preview(arguments)
    assert preview.startswith("/")
    assert preview.endswith(expected)


def test_the_preview_names_the_environment_variables_without_their_values() -> None:
    preview = open_tool({"run": ["true"], "env": {"UNITS": "metric", "TOKEN": "secret"}}).preview({})
    assert preview.endswith("/true\nwith the environment variables UNITS, TOKEN")
    assert "secret" not in preview


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_the_arguments_are_json_on_standard_input_too(size: int) -> None:
    tool = open_tool(
        {"params": "a", "run": [sys.executable, "-c", "import sys, json; print(len(json.load(sys.stdin)['a']))"]}
    )
    assert tool.call({"a": "é" * size}).text == f"{size}\n"


@pytest.mark.parametrize("script", ["echo done", "exec <&-; echo done", "head -c 1 >/dev/null; echo done"])
def test_a_command_that_does_not_read_its_input_does_not_fail(script: str) -> None:
    tool = open_shell_tool(script, params="a")
    assert tool.call({"a": "x" * 1_000_000}) == ("done\n", False, ())


def test_nulls_for_optional_parameters_are_left_out_and_defaults_filled_in() -> None:
    assert open_tool(ECHO_TABLE).call({"word": "w", "more": None}).text == "w|"
    assert open_tool({"params": COUNT_SCHEMA, "run": ["echo", "{n}"]}).call({}).text == "3\n"
    nullable = {"properties": {"n": {"type": ["integer", "null"]}}}
    assert json.loads(open_tool({"params": nullable, "run": ["cat"]}).call({"n": None}).text) == {"n": None}


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (
            "echo out; echo err >&2; exit 3",
            "the command ended with exit code 3\nstandard error:\nerr\nstandard output:\nout\n",
        ),
        ("exit 1", "the command ended with exit code 1"),
        ("kill -SEGV $$", "the command was ended by SIGSEGV"),
        ("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done >&2; exit 2", "line 2999"),
    ],
)
def test_a_failure_is_an_error_with_the_end_of_the_output(script: str, text: str) -> None:
    result = open_shell_tool(script).call({})
    assert result.is_error
    assert text in result.text
    assert len(result.text) < 6000


def test_standard_error_of_a_successful_command_is_not_part_of_the_result() -> None:
    assert open_shell_tool("echo noise >&2; echo fine; printf '\\377'").call({}) == ("fine\n\ufffd", False, ())


def test_a_command_starts_in_the_current_directory(tmp_path: Path) -> None:
    assert open_tool({"run": ["pwd"]}).call({}).text == f"{tmp_path}\n"


def test_variables_in_env_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t0ken")
    env = {"A": "x-${MY_TOKEN}-y", "B": "${NOT_SET_ANYWHERE:-none}", "C": "$MY_TOKEN $(id)"}
    assert open_shell_tool('echo "$A|$B|$C"', env=env).call({}).text == "x-t0ken-y|none|$MY_TOKEN $(id)\n"
    with pytest.raises(UsageError, match="env: D: the variable NOT_SET_ANYWHERE is not set"):
        open_shell_tool("true", env={"D": "${NOT_SET_ANYWHERE}"})


@pytest.mark.promise("tool-arguments")
@pytest.mark.parametrize("path", [".", "", "::", ".:{here}/none", "bin", "{here}/none:", "./bin:../x"])
def test_a_program_is_never_found_in_the_current_directory(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, tmp_path / "bin"):
        folder.mkdir(exist_ok=True)
        (folder / "planted").write_text("#!/bin/sh\necho planted\n")
        (folder / "planted").chmod(0o755)
    monkeypatch.setenv("PATH", path.format(here=tmp_path))
    with pytest.raises(UsageError, match="planted is not in PATH"):
        open_tool({"run": ["planted"]})


def test_a_tool_gets_only_the_absolute_entries_of_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f".:bin::{os.environ['PATH']}:")
    assert open_tool({"run": ["sh", "-c", "echo $PATH"]}).call({}).text.startswith("/")
    assert ":." not in open_tool({"run": ["sh", "-c", "echo $PATH."]}).call({}).text.replace(".\n", "")


@pytest.mark.parametrize("name", ["{folder}/prog", "~/prog", "prog"])
def test_a_program_is_found_by_its_full_path_or_in_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "prog").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "prog").chmod(0o755)
    assert open_tool({"run": [name.format(folder=tmp_path)]}).call({}).text == "ran\n"


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (["sh", "-c", "{a}"], "1\n2\n"),
        (["sh", "-c", 'echo "$1"', "sh", "{a}"], "echo 1; echo 2\n"),
        (["sh", "-c", "echo {{a}}"], "{a}\n"),
        (["printf", "%s.", "-c", "is {a}"], "-c.is echo 1; echo 2."),
        (["sh", "script", "-c", "is {a}"], "-c is echo 1; echo 2\n"),
        (["sh", "-e", "script", "is {a}"], "is echo 1; echo 2\n"),
        (["env", "-i", "sh", "script", "-c", "is {a}"], "-c is echo 1; echo 2\n"),
    ],
)
def test_an_argument_cannot_become_part_of_shell_code(run: list[str], expected: str) -> None:
    Path("script").write_text('echo "$@"\n', encoding="utf-8")
    assert open_tool({"run": run, "params": "a"}).call({"a": "echo 1; echo 2"}).text == expected


BAD_TABLES = [
    ({}, "run: missing"),
    ({"run": "ls -l"}, "run: not a list of strings"),
    ({"run": ["ls", 5]}, "run: not a list of strings"),
    ({"run": []}, "run: it does not name a program"),
    ({"run": [" "]}, "run: it does not name a program"),
    ({"run": ["{a}"], "params": "a"}, "run: the model cannot choose the program"),
    ({"run": ["x{a}"], "params": "a"}, "run: the model cannot choose the program"),
    ({"run": ["./tool"]}, "run: './tool' depends on the current directory"),
    ({"run": ["bin/tool"]}, "run: 'bin/tool' depends on the current directory"),
    ({"run": ["../tool"]}, "depends on the current directory"),
    ({"run": ["ls", "{path}"]}, "run: {path} is not a parameter"),
    ({"run": ["ls", "{pth}"], "params": "path"}, "run: {pth} is not a parameter"),
    ({"run": ["ls", "a\0b"]}, "run: it has a zero byte"),
    ({"run": ["sh", "-c", "echo {a}"], "params": "a"}, "run: {a} would be a part of the code that sh runs"),
    ({"run": ["/bin/bash", "-ec", "{a}; ls"], "params": "a"}, "a part of the code that bash runs"),
    ({"run": ["bash", "-o", "pipefail", "-c", "{a} | wc"], "params": "a"}, "a part of the code that bash runs"),
    ({"run": ["env", "A=1", "sh", "-c", "'{a}'"], "params": "a"}, "a part of the code that sh runs"),
    ({"run": ["python3.11", "-X", "utf8", "-c", "print('{a}')"], "params": "a"}, "the code that python3.11 runs"),
    ({"run": ["perl", "-ne", "print if /{a}/"], "params": "a"}, "a part of the code that perl runs"),
    ({"run": ["sh", "-c", "{a}{b}"], "params": "a, b"}, "a part of the code that sh runs"),
    ({"run": ["ls"], "params": 5}, "params: neither a string nor a table"),
    ({"run": ["ls"], "params": ["a"]}, "params: neither a string nor a table"),
    ({"run": ["ls"], "params": "a inty"}, "params: 'a inty' is not a field"),
    ({"run": ["ls"], "params": "a, a"}, "params: the field 'a' appears twice"),
    ({"run": ["ls"], "params": "{not json"}, "params: not JSON"),
    ({"run": ["ls"], "params": '{"type": "array"}'}, "params: not the JSON Schema of an object"),
    ({"run": ["ls"], "params": {"city": "str"}}, "params: not the JSON Schema of an object"),
    ({"run": ["ls"], "params": {"properties": ["a"]}}, "params: not the JSON Schema of an object"),
    (
        {"run": ["ls"], "params": {"properties": {"a": {"type": "text"}}}},
        "params: not a valid JSON Schema: $.properties.a.type",
    ),
    (
        {"run": ["ls"], "params": {"properties": {"a": {"$ref": "https://example.com/x"}}}},
        "a reference cannot be resolved",
    ),
    ({"run": ["ls"], "params": '{"properties": {"a": {"const": NaN}}}'}, "params: it cannot be converted to JSON"),
    ({"run": ["ls"], "params": '{"properties":' * 5000}, "params: not JSON"),
    ({"run": ["ls"], "timeout": "30"}, "timeout is not a number"),
    ({"run": ["ls"], "timeout": True}, "timeout is not a number"),
    ({"run": ["ls"], "timeout": 0}, "timeout is not a number"),
    ({"run": ["ls"], "timeout": -1}, "timeout is not a number"),
    ({"run": ["ls"], "timeout": float("inf")}, "timeout is not a number"),
    ({"run": ["ls"], "timeout": float("nan")}, "timeout is not a number"),
    ({"run": ["ls"], "description": ["x"]}, "description is not a string"),
    ({"run": ["ls"], "env": "A=1"}, "env: not a table"),
    ({"run": ["ls"], "env": {"A": 1}}, "env: A is not a string"),
    ({"run": ["ls"], "env": {"A=B": "1"}}, "env: 'A=B' is not a valid variable name"),
    ({"run": ["ls"], "env": {"AIMLAPI_API_KEY": "x"}}, "env: AIMLAPI_API_KEY is the API key"),
    ({"run": ["ls"], "env": {"X": "${aiml_api_key}"}}, "env: X: aiml_api_key is the API key"),
    ({"run": ["ls"], "env": {"X": "a ${AIMLAPI_KEY:-x}"}}, "env: X: AIMLAPI_KEY is the API key"),
    ({"run": ["ls"], "comand": "x"}, "a tool cannot have 'comand'"),
]


@pytest.mark.parametrize(("table", "message"), BAD_TABLES)
def test_an_invalid_tool_file_is_an_error_with_its_path_and_key(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        tool_files.parse_tool_file("bad", Path("/x/bad.toml"), table)
    assert caught.value.message.startswith("/x/bad.toml: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("key", "hint"),
    [("parameters", "params"), ("parms", "params"), ("time_out", "timeout"), ("xyz", "it can have description")],
)
def test_an_unknown_key_gives_a_suggestion(key: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        tool_files.parse_tool_file("bad", Path("/x/bad.toml"), {"run": ["ls"], key: "x"})
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "-x", "x.y", "é", "a" * 65, "x\n"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid tool name"):
        tool_files.load_tool_file(name)


def test_an_unknown_tool_gives_a_suggestion() -> None:
    with pytest.raises(UsageError) as none:
        tool_files.load_tool_file("wether")
    assert "there are no tools yet" in none.value.hint
    write_tool_file("weather", 'run = ["true"]')
    with pytest.raises(UsageError) as caught:
        tool_files.load_tool_file("wether")
    assert caught.value.message == "there is no tool 'wether'"
    assert caught.value.hint == "did you mean weather? available: weather"


def test_invalid_toml_is_an_error_with_its_line() -> None:
    path = write_tool_file("broken", "run = [\n")
    with pytest.raises(UsageError) as caught:
        tool_files.load_tool_file("broken")
    assert f"{path}, line " in caught.value.message
    assert caught.value.hint == f"edit {path}"


MODES_AND_MESSAGES = [
    (0o600, ""),
    (0o644, ""),
    (0o620, "its group can change it"),
    (0o602, "everyone can change it"),
    (0o666, "everyone can change it"),
]


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize(("mode", "message"), MODES_AND_MESSAGES)
def test_a_file_that_others_can_change_is_refused(mode: int, message: str) -> None:
    write_tool_file("mine", 'run = ["true"]').chmod(mode)
    if not message:
        assert tool_files.load_tool_file("mine").run == ("true",)
        return
    with pytest.raises(UsageError, match=message):
        tool_files.load_tool_file("mine")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused() -> None:
    os.chown(write_tool_file("theirs", 'run = ["true"]'), 12345, -1)
    with pytest.raises(UsageError, match="it belongs to user 12345"):
        tool_files.load_tool_file("theirs")


def test_only_regular_small_files_are_read(tmp_path: Path) -> None:
    real = write_tool_file("real", 'run = ["true"]')
    real.with_name("link.toml").symlink_to(real)
    os.mkfifo(real.with_name("pipe.toml"), 0o600)
    real.with_name("folder.toml").mkdir()
    write_tool_file("large", "#" * 2_000_000)
    for name in ("link", "pipe", "folder", "large"):
        with pytest.raises(UsageError, match=f"{name}.toml: "):
            tool_files.load_tool_file(name)


def test_a_saved_tool_is_private_and_can_be_loaded_again() -> None:
    table = {
        "env": {"A": "${HOME}"},
        "timeout": 5,
        "run": ["echo", "{word}", 'q"\n'],
        "params": {"type": "object", "properties": {"word": {"type": "string"}}},
        "description": 'Says\n"it".',
    }
    path = tool_files.save_tool_file("mine", table, lambda _: False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    loaded = tool_files.load_tool_file("mine")
    assert (loaded.run, loaded.timeout_s, loaded.env) == (("echo", "{word}", 'q"\n'), 5.0, {"A": "${HOME}"})
    assert (loaded.description, loaded.parameters) == (table["description"], table["params"])
    assert tool_files.list_tool_files() == ["mine"]
    with pytest.raises(UsageError, match="a tool 'mine' already exists"):
        tool_files.save_tool_file("mine", {"run": ["false"]}, lambda _: False)
    tool_files.save_tool_file("mine", {"run": ["false"], "description": ""}, lambda _: True)
    assert tool_files.load_tool_file("mine").run == ("false",)
    assert tool_files.delete_tool_file("mine")
    assert not tool_files.delete_tool_file("mine")
    assert tool_files.list_tool_files() == []


def test_an_invalid_tool_is_not_saved() -> None:
    with pytest.raises(UsageError, match="is not a parameter"):
        tool_files.save_tool_file("bad", {"run": ["x", "{y}"]}, lambda _: True)
    assert tool_files.list_tool_files() == []


def test_without_a_folder_there_are_no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tool_files.list_tool_files() == []
    assert not tool_files.delete_tool_file("none")


@pytest.mark.skipif(os.geteuid() == 0, reason="file modes do not bind this user")
def test_an_unreadable_file_is_an_error() -> None:
    write_tool_file("secret", 'run = ["true"]').chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        tool_files.load_tool_file("secret")


def test_twenty_calls_run_at_the_same_time(tmp_path: Path) -> None:
    # Each call ends when all have started.
    script = f"touch {tmp_path}/in.$$; while [ $(ls {tmp_path} | grep -c '^in') -lt 20 ]; do sleep 0.02; done; echo ok"
    tool = open_shell_tool(script)
    texts: list[str] = []
    threads = [Thread(target=lambda: texts.append(tool.call({}).text)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["ok\n"] * 20


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.integers(0), st.booleans()
)


@given(VALUES, VALUES)
def test_any_value_is_one_word_and_never_expanded_or_an_option(first: Any, second: Any) -> None:
    words = ["x{a}", "{b}", "--c={a}{b}"]
    texts = [value if isinstance(value, str) else json.dumps(value) for value in (first, second)]
    try:
        filled = fill_placeholders(words, {"a": first, "b": second})
    except ToolError:
        assert texts[1].startswith("-")
    else:
        assert filled == [f"x{texts[0]}", texts[1], f"--c={texts[0]}{texts[1]}"]
        assert not texts[1].startswith("-")
