"""Slash commands: what they change, and what is sent then."""

import base64
import json
import os
from pathlib import Path

import pytest
from support.history_file import messages, select
from support.loopback import HELLO, HELLO_RESPONSE, Loopback, as_json
from support.repl_lines import Lines, answer, answering, cut, talk

from aiml_cli.cli.repl.session import report_error
from aiml_cli.cli.repl.slash_commands import command_names, find_command
from aiml_cli.core.previous_turns import CUT, GO_ON
from aiml_cli.errors import Terminated, UsageError

Told = pytest.CaptureFixture[str]


@pytest.fixture
def lines(server: Loopback) -> Lines:
    server.answers(HELLO)
    return Lines(server)


def test_every_command_has_a_sentence_and_the_name_of_its_file() -> None:
    wanted = "continue copy cost edit exit export file fork help history model models new resume retry save search set"
    assert command_names() == [*wanted.split(), "system", "template", "undo", "unset", "write"]
    for name in command_names():
        command = find_command(name)
        assert (command.name, command.help[-1]) == (name, "."), name


def test_help_lists_all_and_tells_all_of_one(lines: Lines, capsys: Told) -> None:
    lines.type("/help", "/help set")
    told = capsys.readouterr().err
    assert [name for name in command_names() if f"/{name}" not in told] == []
    assert "/unset takes it back." in told


@pytest.mark.parametrize("line", ["/hlep", "/modle x", "/nonsense"])
def test_a_wrong_word_is_never_sent(lines: Lines, line: str, capsys: Told) -> None:
    lines.type(line)
    told = capsys.readouterr().err
    assert (lines.bodies, "there is no command" in told, "hint: " in told) == ([], True, True)


def test_two_slashes_send_one(lines: Lines) -> None:
    lines.type("//etc/hosts is what?")
    assert lines.said == [("user", "/etc/hosts is what?")]


def test_what_was_said_is_sent_again(lines: Lines) -> None:
    lines.type("hi", "more")
    assert lines.said == talk("hi", "Hello", "more")


def test_a_new_conversation_knows_nothing_of_the_old_one(lines: Lines) -> None:
    lines.type("hi", "/new", "more")
    assert lines.said == talk("more")
    assert len(select("SELECT * FROM conversations")) == 2


def test_a_setting_is_sent_from_now_on_and_outweighs_the_flag(server: Loopback) -> None:
    server.answers(HELLO)
    lines = Lines(server, temperature="1")
    lines.type("/set temperature=0", "a", "/unset temperature", "b")
    assert [body.get("temperature") for body in lines.bodies] == [0, None]


def test_settings_of_several_values_add_up(lines: Lines) -> None:
    lines.type("/set option=a.b=1", "/set option=c=x", "hi")
    assert (lines.bodies[0]["a"], lines.bodies[0]["c"]) == ({"b": 1}, "x")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/set temperature=9", "/set temperature: '9' is not a number from 0 to 2"),
        ("/set temprature=1", "did you mean temperature?"),
        ("/set temperature", "a value is missing"),
        ("/set api_key=sk-1", "store the key with: aiml config key"),
        ("/set file=x", "it is said with each call: --file"),
        ("/set truncation=auto", "this endpoint does not know it"),
        ("/unset", "which setting?"),
    ],
)
def test_a_bad_setting_is_told_and_changes_nothing(lines: Lines, line: str, told: str, capsys: Told) -> None:
    lines.type(line)
    assert told in capsys.readouterr().err
    assert lines.session.set == {}


def test_set_alone_shows_what_is_set(lines: Lines, capsys: Told) -> None:
    lines.type("/set", "/set max-tokens=5", "/set")
    assert "max_tokens = 5" in capsys.readouterr().err.splitlines()[-1]


def test_the_model_can_be_changed(lines: Lines) -> None:
    lines.type("/model a/b", "hi")
    assert lines.bodies[0]["model"] == "a/b"


def test_a_near_model_is_offered_and_none_is_asked(server: Loopback, capsys: Told) -> None:
    listed = {"object": "list", "data": [{"id": "vendor/good-one", "type": "chat-completion"}]}
    server.answers(as_json(listed))
    lines = Lines(server)
    lines.session.url = server.url  # as the embedded server's, whose models are asked for
    lines.type("/model vendor/god-one")
    assert "did you mean vendor/good-one?" in capsys.readouterr().err
    assert "model" not in lines.session.set


def test_the_system_text_is_set_shown_and_removed(lines: Lines, capsys: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIML_SYSTEM", "be kind")
    lines.type("/system be brief", "hi", "/system", "/system -", "more", "/system")
    assert lines.bodies[0]["messages"][0] == {"role": "system", "content": "be brief"}
    assert lines.said == talk("hi", "Hello", "more")
    assert "system = be brief" in (told := capsys.readouterr().err)
    assert told.splitlines()[-1] == "aiml: there is no system text"


def test_a_file_waits_for_the_next_message_and_goes_once(lines: Lines, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("inside")
    lines.type("/file a b.txt", "what?", "more")
    assert lines.bodies[0]["messages"][0]["content"] == '<file name="a b.txt">\ninside\n</file>\n\nwhat?'
    assert lines.said[-1] == ("user", "more")


@pytest.mark.parametrize("name", ["no.txt", "*.nothing", "a.txt no.txt"])
def test_a_file_that_is_not_there_is_told_at_once(lines: Lines, name: str, tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "a.txt").write_text("inside")
    lines.type(f"/file {name}")
    assert "nothing is queued" in capsys.readouterr().err
    assert lines.session.queued == []


def test_files_can_be_several_and_let_go(lines: Lines, tmp_path: Path) -> None:
    for name in ("a.txt", "b c.txt"):
        (tmp_path / name).write_text(name)
    lines.type("/file a.txt 'b c.txt'", "!!echo out")
    assert lines.session.queued == ["a.txt", "b c.txt", "$ echo out"]
    lines.type("/file -", "hi")
    assert lines.said == talk("hi")


def test_the_output_of_a_command_is_sent_under_its_name(lines: Lines, capfd: Told) -> None:
    lines.type("!!echo out; exit 3", "why?")
    assert lines.said == [("user", '<file name="$ echo out; exit 3">\nout\n</file>\n\nwhy?')]
    assert "ended with 3" in capfd.readouterr().err
    assert list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.txt")) == []


@pytest.mark.promise("secrets-held")
def test_a_secret_in_the_output_of_a_command_is_held_back(lines: Lines, capfd: Told) -> None:
    lines.type(
        "!!echo password=hunter22Abc9", "!!echo AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYzzzz1234abcd", "hi"
    )
    assert lines.bodies == []
    assert "seems" in capfd.readouterr().err
    assert len(lines.session.queued) == 2


def test_what_a_command_shows_is_not_sent(lines: Lines, capfd: Told) -> None:
    lines.type("!echo out", "hi")
    assert lines.said == talk("hi")
    assert "out\n" in capfd.readouterr().out


def test_a_retry_takes_the_place_of_the_last_answer(server: Loopback, tmp_path: Path) -> None:
    answering(server, "one", "two", "three", "four")
    (tmp_path / "a.txt").write_text("inside")
    lines = Lines(server)
    lines.type("hi", "/file a.txt", "read", "/retry -m other/one", "more")
    asked = '<file name="a.txt">\ninside\n</file>\n\nread'
    assert lines.bodies[1]["messages"] == lines.bodies[2]["messages"]
    assert [body["model"] for body in lines.bodies][2:] == ["other/one", lines.bodies[0]["model"]]
    assert lines.said == talk("hi", "one", asked, "three", "more")
    assert [row["text"] for row in messages() if row["facts"].get("undone")] == [asked, "two"]


def test_a_retry_that_fails_leaves_the_answer(server: Loopback) -> None:
    server.answers(answer("one"))
    server.answers(as_json({"error": {"message": "no"}}, "400 Bad Request"))
    server.answers(answer("two"))
    lines = Lines(server)
    lines.type("hi", "/retry", "/new", "x")
    assert [row["text"] for row in messages() if row["facts"].get("undone")] == []
    assert lines.bodies[1]["messages"] == [{"role": "user", "content": "hi"}]


def test_a_retry_after_a_failure_asks_what_was_asked_in_vain(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("inside")
    server.answers(as_json({"error": {"message": "no"}}, "500 Oh"))
    server.answers(HELLO)
    lines = Lines(server)
    lines.type("/file a.txt", "read", "/retry", "more")
    assert lines.bodies[0]["messages"] == lines.bodies[1]["messages"]
    assert [role for role, _ in lines.said] == ["user", "assistant", "user"]


def test_the_rest_of_a_cut_answer_is_joined(server: Loopback, capsys: Told) -> None:
    server.answers(cut("Hel"))
    server.answers(answer("lo"))
    lines = Lines(server)
    lines.type("hi", "/continue", "more")
    assert "/continue asks for the rest" in capsys.readouterr().err
    assert lines.bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": "Hel"},
        {"role": "user", "content": GO_ON},
    ]
    assert lines.said == talk("hi", "Hello", "more")


def test_a_cut_answer_that_is_left_is_marked_as_cut(server: Loopback) -> None:
    server.answers(cut("Hel"))
    server.answers(HELLO)
    lines = Lines(server)
    lines.type("hi", "more")
    assert lines.said == talk("hi", "Hel" + CUT, "more")


def test_there_is_no_rest_of_a_whole_answer(lines: Lines, capsys: Told) -> None:
    lines.type("hi", "/continue")
    assert (len(lines.bodies), "was not cut" in capsys.readouterr().err) == (1, True)


def test_what_is_undone_is_not_sent_again(lines: Lines) -> None:
    lines.type("a", "b", "c", "/undo 2", "d")
    assert lines.said == talk("a", "Hello", "d")
    assert [row["text"] for row in messages() if row["facts"].get("undone")] == ["b", "Hello", "c", "Hello"]


def test_all_can_be_undone_and_the_conversation_stays_the_same(lines: Lines) -> None:
    lines.type("a", "/undo", "b")
    assert lines.said == talk("b")
    assert len(select("SELECT * FROM conversations")) == 1


@pytest.mark.parametrize("line", ["/undo 2", "/undo 0", "/undo x", "/undo -1"])
def test_more_than_there_is_cannot_be_undone(lines: Lines, line: str) -> None:
    lines.type("a", line, "b")
    assert lines.said == talk("a", "Hello", "b")


def test_an_editor_writes_the_next_message(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/hi/ho/")
    lines.type("hi", "/edit")
    assert lines.said == talk("hi", "Hello", "ho")


def test_a_code_block_is_written_and_a_file_is_not_replaced_unasked(
    server: Loopback, tmp_path: Path, capsys: Told
) -> None:
    server.answers(answer("x\n\n```py\nprint(1)\n```\n\n- a\n\n  ~~~\n  two\n  ~~~\n"))
    lines = Lines(server)
    lines.type("hi", "/write 2 b.txt", "/write 1 b.txt", "/write all.md", "/write 3 c.txt")
    assert (tmp_path / "b.txt").read_text() == "two\n"
    assert (tmp_path / "all.md").read_text().startswith("x\n\n```py")
    told = capsys.readouterr().err
    assert ("nothing was written" in told, "1: py print(1); 2: two" in told) == (True, True)


def test_an_answer_is_copied_by_a_program_that_can(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "xclip"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nexec cat > "$HOME/clip"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    lines.type("hi", "/copy")
    assert (Path(os.environ["HOME"]) / "clip").read_text() == "Hello"


def test_a_terminal_is_asked_where_no_program_can(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    lines.type("hi")
    master, slave = os.openpty()
    saved = os.dup(1)
    os.dup2(slave, 1)
    try:
        lines.type("/copy")
    finally:
        os.dup2(saved, 1)
    assert os.read(master, 100) == b"\x1b]52;c;" + base64.b64encode(b"Hello") + b"\x07"
    for fd in (master, slave, saved):
        os.close(fd)


@pytest.mark.parametrize("no_log", ["off", "on"])
def test_a_conversation_is_exported_by_the_ending(server: Loopback, no_log: str, tmp_path: Path) -> None:
    server.answers(HELLO)
    lines = Lines(server, no_log=no_log)
    lines.type("hi", "bye", "/undo", "/export a.json", "/export a.md", "/export a.jsonl", "/export a.txt")
    found = json.loads((tmp_path / "a.json").read_text())
    assert [message["text"] for message in found[0]["messages"]] == ["hi", "Hello"]
    assert "## You\n\nhi" in (tmp_path / "a.md").read_text()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "a.txt").exists()


def test_cost_is_told_in_all_and_by_model(lines: Lines, capsys: Told) -> None:
    lines.type("/cost", "hi", "/model other/one", "more", "/cost")
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "aiml: nothing was spent in this conversation yet"
    assert "in all: 2 answers, 6 tokens in, 10 tokens out" in told[-3]
    assert told[-1].startswith("aiml: other/one: 1 answer, 3 tokens in")
    assert lines.session.tokens == 16


def test_a_template_is_filled_and_asked(lines: Lines, tmp_path: Path) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
    folder.mkdir(parents=True)
    (folder / "say.toml").write_text('prompt = "In {lang}: {words}"\n[settings]\ntemperature = 0.5\n')
    lines.type("/template say lang='old Greek' good day", "more")
    assert lines.said == talk("In old Greek: good day", "Hello", "more")
    assert [body["temperature"] for body in lines.bodies] == [0.5, 0.5]


def test_a_template_at_the_start_holds_for_all_that_follows(server: Loopback) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
    folder.mkdir(parents=True)
    (folder / "cool.toml").write_text("[settings]\ntemperature = 0.5\nseed = 3\n")
    server.answers(HELLO)
    lines = Lines(server, template="cool", seed="4")
    lines.session.ask_initial([])
    lines.type("hi", "/set temperature=1", "more")
    assert [(body["temperature"], body["seed"]) for body in lines.bodies] == [(0.5, 4), (1, 4)]


@pytest.mark.parametrize(
    ("flag", "value"), [("dry_run", "on"), ("as", "curl"), ("wait", "resp_1"), ("cancel", "resp_1")]
)
def test_what_sends_nothing_is_no_conversation(server: Loopback, flag: str, value: str) -> None:
    with pytest.raises(UsageError, match="cannot be used with a conversation in the REPL"):
        Lines(server, "responses", **{flag: value})


def test_a_stored_response_is_gone_on_with_by_its_id(server: Loopback) -> None:
    server.answers(HELLO_RESPONSE)
    lines = Lines(server, "responses", store="on")
    lines.type("hi", "more")
    assert (lines.said, lines.bodies[1]["previous_response_id"]) == (talk("more"), "resp_1")
    lines.type("/undo 2", "again")
    assert (lines.said, lines.bodies[-1].get("previous_response_id")) == (talk("again"), None)


def test_a_response_named_at_the_start_stands_before_all(server: Loopback) -> None:
    server.answers(HELLO_RESPONSE)
    lines = Lines(server, "responses", previous_response_id="resp_0")
    lines.type("hi", "/new", "more")
    assert [body.get("previous_response_id") for body in lines.bodies] == ["resp_0", None]


def test_a_schema_holds_in_turns_too(server: Loopback, capsys: Told) -> None:
    server.answers(HELLO)
    lines = Lines(server)
    lines.type("/set schema=name", "hi")
    assert lines.bodies[0]["response_format"]["type"] == "json_schema"


def test_items_that_are_none_are_told_in_turns_too(server: Loopback, capsys: Told) -> None:
    server.answers(HELLO)
    Lines(server, items="on").type("hi")
    assert "aiml: the answer is not JSON" in capsys.readouterr().err


@pytest.mark.promise("signals")
def test_a_signal_that_ends_the_program_is_passed_on() -> None:
    with pytest.raises(Terminated):
        report_error(Terminated("terminated"))
