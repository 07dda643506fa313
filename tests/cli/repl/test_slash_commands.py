"""Slash commands: what they change, and what is sent then."""

import base64
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
from support.history_file import read_messages, select
from support.loopback import HELLO, HELLO_RESPONSE, USAGE, Loopback, json_response
from support.repl_lines import ReplDriver, alternate_roles, build_text_answer, build_truncated_answer, queue_answers

from aiml_cli.cli.repl import slash_commands
from aiml_cli.cli.repl.line_editor import render_toolbar
from aiml_cli.cli.repl.session import report_error
from aiml_cli.cli.repl.slash_commands import find_command, list_command_names
from aiml_cli.core.previous_turns import CONTINUE_PROMPT, CUT_MARK
from aiml_cli.errors import Terminated, UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def repl(server: Loopback) -> ReplDriver:
    server.answer_with(HELLO)
    return ReplDriver(server)


def test_every_command_is_named_after_its_file_and_has_a_help_sentence() -> None:
    wanted = "compact continue copy cost edit exit export file fork help history model models new pipe resume retry save search set"
    assert list_command_names() == [*wanted.split(), "show", "system", "template", "tools", "undo", "unset", "write"]
    for name in list_command_names():
        command = find_command(name)
        assert (command.name, command.help[-1]) == (name, "."), name


def test_help_lists_all_commands_and_describes_a_named_one(repl: ReplDriver, capsys: Capture) -> None:
    repl.type_lines("/help", "/help set")
    told = capsys.readouterr().err
    assert [name for name in list_command_names() if f"/{name}" not in told] == []
    assert "/unset undoes it." in told


SUGGESTIONS = [
    ("/hlep", "/help"), ("/modle x", "/model"), ("/clear", "/new"), ("/reset", "/new"), ("/load x", "/resume"),
    ("/regenerate", "/retry"), ("/again", "/retry"), ("/attach a.txt", "/file"), ("/exi", "/exit"), ("/his", "/history"),
    ("/settings", "/set"), ("/tokens", "/cost"), ("/find x", "/search"), ("/Histroy", "/history"), ("/copyall", "/copy"),
    ("/unde", "/undo"), ("/nonsense", "/help"), ("/quite", "/exit"), ("/clera", "/new"), ("/atach x", "/file"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "suggestion"), SUGGESTIONS)
def test_an_unknown_command_is_never_sent_and_gives_a_suggestion(
    repl: ReplDriver, line: str, suggestion: str, capsys: Capture
) -> None:
    repl.type_lines(line)
    told = capsys.readouterr().err
    assert (repl.request_bodies, "there is no command" in told) == ([], True)
    assert suggestion in told.partition("hint: ")[2].replace("?", " ").split()


@pytest.mark.parametrize(
    "line", ["/quit", "/q", "/exit", "/QUIT", "exit", "quit", "Exit", " exit ", "EXIT", "quit()", "exit()", ":q", ":wq"]
)
def test_several_words_leave_the_repl(repl: ReplDriver, line: str) -> None:
    repl.type_lines(line)
    assert (repl.session.is_over, repl.request_bodies) == (True, [])


@pytest.mark.parametrize("line", ["help", "?", "Help", "/h", "/?", "help()"])
def test_several_words_show_the_help(repl: ReplDriver, line: str, capsys: Capture) -> None:
    repl.type_lines(line)
    assert ("/help NAME" in capsys.readouterr().err, repl.request_bodies) == (True, [])


@pytest.mark.parametrize("line", ['"""exit"""', "exit codes of curl?", "help me", "?!", "quit it"])
def test_a_message_that_only_begins_like_a_command_is_sent(repl: ReplDriver, line: str) -> None:
    repl.type_lines(line)
    assert repl.sent_messages == [("user", line.strip('"'))]


def test_an_internal_error_in_a_command_does_not_end_the_repl(
    repl: ReplDriver, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slash_commands, "_COMMANDS", {**slash_commands._COMMANDS})  # noqa: SLF001
    module = ModuleType("broken")

    def broken(_session: object, words: str) -> None:
        raise KeyError(words)

    vars(module).update(GROUP="Broken", broken=slash_commands.slash()(broken))
    slash_commands.load_commands(module)
    repl.type_lines("/broken password", "hi")
    told = capsys.readouterr().err
    assert ("aiml: internal error: KeyError (" in told, "password" in told) == (True, False)
    assert repl.sent_messages == [("user", "hi")]


def test_a_message_after_two_slashes_is_sent_with_one(repl: ReplDriver) -> None:
    repl.type_lines("//etc/hosts is what?")
    assert repl.sent_messages == [("user", "/etc/hosts is what?")]


def test_earlier_turns_are_sent_with_each_message(repl: ReplDriver) -> None:
    repl.type_lines("hi", "more")
    assert repl.sent_messages == alternate_roles("hi", "Hello", "more")


def test_a_new_conversation_sends_no_earlier_turns(repl: ReplDriver) -> None:
    repl.type_lines("hi", "/new", "more")
    assert repl.sent_messages == alternate_roles("more")
    assert len(select("SELECT * FROM conversations")) == 2


def test_a_setting_applies_from_the_next_message_and_overrides_the_flag(server: Loopback) -> None:
    server.answer_with(HELLO)
    repl = ReplDriver(server, temperature="1")
    repl.type_lines("/set temperature=0", "a", "/unset temperature", "b")
    assert [body.get("temperature") for body in repl.request_bodies] == [0, None]


def test_settings_with_several_values_accumulate(repl: ReplDriver) -> None:
    repl.type_lines("/set option=a.b=1", "/set option=c=x", "hi")
    assert (repl.request_bodies[0]["a"], repl.request_bodies[0]["c"]) == ({"b": 1}, "x")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/set temperature=9", "/set temperature: '9' is not a number from 0 to 2"),
        ("/set temprature=1", "did you mean temperature?"),
        ("/set temperature", "a value is required"),
        ("/set api_key=sk-1", "store the key with: aiml config key"),
        ("/set file=x", "pass --file on each call"),
        ("/set truncation=auto", "this endpoint does not support it"),
        ("/unset", "a setting is required"),
    ],
)
def test_an_invalid_setting_is_an_error_and_changes_nothing(
    repl: ReplDriver, line: str, message: str, capsys: Capture
) -> None:
    repl.type_lines(line)
    assert message in capsys.readouterr().err
    assert repl.session.overrides == {}


def test_set_without_an_argument_shows_the_settings(repl: ReplDriver, capsys: Capture) -> None:
    repl.type_lines("/set", "/set max-tokens=5", "/set")
    assert "max_tokens = 5" in capsys.readouterr().err.splitlines()[-1]


def test_the_model_can_be_changed(repl: ReplDriver) -> None:
    repl.type_lines("/model a/b", "hi")
    assert repl.request_bodies[0]["model"] == "a/b"


def test_an_unknown_model_gives_a_suggestion_and_is_not_set(server: Loopback, capsys: Capture) -> None:
    listed = {"object": "list", "data": [{"id": "vendor/good-one", "type": "chat-completion"}]}
    server.answer_with(json_response(listed))
    repl = ReplDriver(server)
    repl.session.demo_url = server.url  # as the demo server's, whose models are asked for
    repl.type_lines("/model vendor/god-one")
    assert "did you mean vendor/good-one?" in capsys.readouterr().err
    assert "model" not in repl.session.overrides


def test_the_system_text_is_set_shown_and_removed(
    repl: ReplDriver, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIML_SYSTEM", "be kind")
    repl.type_lines("/system be brief", "hi", "/system", "/system -", "more", "/system")
    assert repl.request_bodies[0]["messages"][0] == {"role": "system", "content": "be brief"}
    assert repl.sent_messages == alternate_roles("hi", "Hello", "more")
    assert "system = be brief" in (told := capsys.readouterr().err)
    assert told.splitlines()[-1] == "aiml: there is no system text"


def test_a_file_is_sent_only_with_the_next_message(repl: ReplDriver, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("inside")
    repl.type_lines("/file a b.txt", "what?", "more")
    assert repl.request_bodies[0]["messages"][0]["content"] == '<file name="a b.txt">\ninside\n</file>\n\nwhat?'
    assert repl.sent_messages[-1] == ("user", "more")


@pytest.mark.parametrize("name", ["no.txt", "*.nothing", "a.txt no.txt"])
def test_a_missing_file_is_reported_at_once(repl: ReplDriver, name: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.txt").write_text("inside")
    repl.type_lines(f"/file {name}")
    assert "nothing was queued" in capsys.readouterr().err
    assert repl.session.queued == []


def test_several_files_can_be_queued_and_removed(repl: ReplDriver, tmp_path: Path) -> None:
    for name in ("a.txt", "b c.txt"):
        (tmp_path / name).write_text(name)
    repl.type_lines("/file a.txt 'b c.txt'", "!!echo out")
    assert repl.session.queued == ["a.txt", "b c.txt", "$ echo out"]
    repl.type_lines("/file -", "hi")
    assert repl.sent_messages == alternate_roles("hi")


def test_the_output_of_a_command_is_sent_in_a_tag_with_its_name(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("!!echo out; exit 3", "why?")
    assert repl.sent_messages == [("user", '<file name="$ echo out; exit 3">\nout\n</file>\n\nwhy?')]
    assert "ended with 3" in capfd.readouterr().err
    assert list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.txt")) == []


@pytest.mark.promise("secrets-confirmed")
def test_a_secret_in_the_output_of_a_command_is_not_sent(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines(
        "!!echo password=hunter22Abc9", "!!echo AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYzzzz1234abcd", "hi"
    )
    assert repl.request_bodies == []
    assert "a secret (AWS_SECRET_ACCESS_KEY)" in capfd.readouterr().err
    assert len(repl.session.queued) == 2


def test_the_output_of_a_command_with_one_exclamation_mark_is_not_sent(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("!echo out", "hi")
    assert repl.sent_messages == alternate_roles("hi")
    assert "out\n" in capfd.readouterr().out


def test_a_retry_replaces_the_last_answer(server: Loopback, tmp_path: Path) -> None:
    queue_answers(server, "one", "two", "three", "four")
    (tmp_path / "a.txt").write_text("inside")
    repl = ReplDriver(server)
    repl.type_lines("hi", "/file a.txt", "read", "/retry -m other/one", "more")
    asked = '<file name="a.txt">\ninside\n</file>\n\nread'
    assert repl.request_bodies[1]["messages"] == repl.request_bodies[2]["messages"]
    assert [body["model"] for body in repl.request_bodies][2:] == ["other/one", repl.request_bodies[0]["model"]]
    assert repl.sent_messages == alternate_roles("hi", "one", asked, "three", "more")
    assert [row["text"] for row in read_messages() if row["facts"].get("undone")] == [asked, "two"]


def test_a_failed_retry_keeps_the_answer(server: Loopback) -> None:
    server.answer_with(build_text_answer("one"))
    server.answer_with(json_response({"error": {"message": "no"}}, "400 Bad Request"))
    server.answer_with(build_text_answer("two"))
    repl = ReplDriver(server)
    repl.type_lines("hi", "/retry", "/new", "x")
    assert [row["text"] for row in read_messages() if row["facts"].get("undone")] == []
    assert repl.request_bodies[1]["messages"] == [{"role": "user", "content": "hi"}]


def test_a_retry_after_a_failure_sends_the_same_question_again(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("inside")
    server.answer_with(json_response({"error": {"message": "no"}}, "500 Oh"))
    server.answer_with(HELLO)
    repl = ReplDriver(server)
    repl.type_lines("/file a.txt", "read", "/retry", "more")
    assert repl.request_bodies[0]["messages"] == repl.request_bodies[1]["messages"]
    assert [role for role, _ in repl.sent_messages] == ["user", "assistant", "user"]


def test_a_truncated_answer_is_joined_with_its_continuation(server: Loopback, capsys: Capture) -> None:
    server.answer_with(build_truncated_answer("Hel"))
    server.answer_with(build_text_answer("lo"))
    repl = ReplDriver(server)
    repl.type_lines("hi", "/continue", "more")
    assert "/continue asks for the rest" in capsys.readouterr().err
    assert repl.request_bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": "Hel"},
        {"role": "user", "content": CONTINUE_PROMPT},
    ]
    assert repl.sent_messages == alternate_roles("hi", "Hello", "more")


def test_a_truncated_answer_that_is_not_continued_is_marked_as_truncated(server: Loopback) -> None:
    server.answer_with(build_truncated_answer("Hel"))
    server.answer_with(HELLO)
    repl = ReplDriver(server)
    repl.type_lines("hi", "more")
    assert repl.sent_messages == alternate_roles("hi", "Hel" + CUT_MARK, "more")


def test_a_complete_answer_cannot_be_continued(repl: ReplDriver, capsys: Capture) -> None:
    repl.type_lines("hi", "/continue")
    assert (len(repl.request_bodies), "nothing to continue" in capsys.readouterr().err) == (1, True)


def test_undone_turns_are_not_sent_again(repl: ReplDriver) -> None:
    repl.type_lines("a", "b", "c", "/undo 2", "d")
    assert repl.sent_messages == alternate_roles("a", "Hello", "d")
    assert [row["text"] for row in read_messages() if row["facts"].get("undone")] == ["b", "Hello", "c", "Hello"]


def test_all_turns_can_be_undone_without_starting_a_new_conversation(repl: ReplDriver) -> None:
    repl.type_lines("a", "/undo", "b")
    assert repl.sent_messages == alternate_roles("b")
    assert len(select("SELECT * FROM conversations")) == 1


@pytest.mark.parametrize("line", ["/undo 2", "/undo 0", "/undo x", "/undo -1"])
def test_undo_of_more_turns_than_there_are_changes_nothing(repl: ReplDriver, line: str) -> None:
    repl.type_lines("a", line, "b")
    assert repl.sent_messages == alternate_roles("a", "Hello", "b")


def test_the_editor_can_change_the_last_message(repl: ReplDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/hi/ho/")
    repl.type_lines("hi", "/edit")
    assert repl.sent_messages == alternate_roles("hi", "Hello", "ho")


def test_crlf_from_an_editor_becomes_a_newline(repl: ReplDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", r"""sh -c 'printf "one\r\ntwo\r\n" > "$1"' editor""")
    repl.type_lines("/edit")
    assert repl.sent_messages == alternate_roles("one\ntwo")


@pytest.mark.parametrize("editor", ["true", "touch", "sed -i s/x/x/"])
@pytest.mark.parametrize("line", ["/edit", "/edit some words", '/edit "some words"'])
def test_an_editor_that_changes_nothing_sends_nothing(
    repl: ReplDriver, editor: str, line: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    repl.type_lines("hi", line)
    assert (len(repl.request_bodies), "nothing was sent" in capsys.readouterr().err) == (1, True)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('/write "a b.txt"', "a b.txt"),
        ("/write 'a b.txt'", "a b.txt"),
        ("/write a\\ b.txt", "a b.txt"),
        ('/write 1 "a b.txt"', "a b.txt"),
        ("/write it's.txt", "it's.txt"),
        ('/export "a b.md"', "a b.md"),
        ("/write ~/home.txt", "~/home.txt"),
    ],
)
def test_arguments_follow_the_quoting_of_a_shell(server: Loopback, tmp_path: Path, line: str, name: str) -> None:
    server.answer_with(build_text_answer("x\n\n```\nblock\n```\n"))
    repl = ReplDriver(server)
    repl.type_lines("hi", line)
    assert Path(name).expanduser().exists()


def test_unquoted_spaces_in_a_file_name_are_an_error(repl: ReplDriver, tmp_path: Path, capsys: Capture) -> None:
    repl.type_lines("hi", "/write a b.txt", "/export a b.md")
    assert capsys.readouterr().err.count("put quotes around") == 2
    assert [*tmp_path.glob("*.txt"), *tmp_path.glob("*.md")] == []


@pytest.mark.parametrize(
    ("line", "setting", "text"),
    [
        ("/set system='be brief'", "system", "be brief"),
        ('/set "system=be brief"', "system", "be brief"),
        ("/set system=be brief", "system", "be brief"),
        ('/system "be brief"', "system", "be brief"),
        ('/system don\'t "shout"', "system", 'don\'t "shout"'),
        ('/set option=a={"b": 1}', "option", 'a={"b": 1}'),
        ("/model 'a/b'", "model", "a/b"),
    ],
)
def test_quotes_around_a_value_are_removed(repl: ReplDriver, line: str, setting: str, text: str) -> None:
    repl.type_lines(line)
    assert repl.session.overrides[setting].texts == (text,)


def test_a_code_block_is_written_and_no_file_is_replaced_without_confirmation(
    server: Loopback, tmp_path: Path, capsys: Capture
) -> None:
    server.answer_with(build_text_answer("x\n\n```py\nprint(1)\n```\n\n- a\n\n  ~~~\n  two\n  ~~~\n"))
    repl = ReplDriver(server)
    repl.type_lines("hi", "/write 2 b.txt", "/write 1 b.txt", "/write all.md", "/write 3 c.txt")
    assert (tmp_path / "b.txt").read_text() == "two\n"
    assert (tmp_path / "all.md").read_text().startswith("x\n\n```py")
    told = capsys.readouterr().err
    assert ("nothing was written" in told, "1: py print(1); 2: two" in told) == (True, True)


def test_an_answer_is_copied_by_a_clipboard_program(
    repl: ReplDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "xclip"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nexec cat > "$HOME/clip"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    repl.type_lines("hi", "/copy")
    assert (Path(os.environ["HOME"]) / "clip").read_text() == "Hello"


@pytest.mark.parametrize("display", ["", ":9"])
def test_in_tmux_an_answer_is_copied_to_the_tmux_buffer_too(
    repl: ReplDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, display: str, capsys: Capture
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("tmux", "xclip"):
        (folder / name).write_text(f'#!/bin/sh\necho "$@" > "$HOME/{name}.words"\nexec cat > "$HOME/{name}"\n')
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("TMUX", "/run/tmux/default,1,0")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    repl.type_lines("hi", "/copy")
    home = Path(os.environ["HOME"])
    assert ((home / "tmux").read_text(), (home / "tmux.words").read_text()) == ("Hello", "load-buffer -w -\n")
    assert (home / "xclip").exists() == bool(display)
    assert "tmux" in capsys.readouterr().err


def test_without_a_clipboard_write_is_suggested(
    repl: ReplDriver, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("TMUX", raising=False)
    repl.type_lines("hi", "/copy")
    told = capsys.readouterr().err
    assert ("no clipboard" in told, "/write FILE" in told) == (True, True)


def test_the_terminal_copies_if_there_is_no_clipboard_program(
    repl: ReplDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TMUX", raising=False)
    repl.type_lines("hi")
    master, slave = os.openpty()
    saved = os.dup(1)
    os.dup2(slave, 1)
    try:
        repl.type_lines("/copy")
    finally:
        os.dup2(saved, 1)
    assert os.read(master, 100) == b"\x1b]52;c;" + base64.b64encode(b"Hello") + b"\x07"
    for fd in (master, slave, saved):
        os.close(fd)


@pytest.mark.parametrize("no_log", ["off", "on"])
def test_the_file_extension_sets_the_export_format(server: Loopback, no_log: str, tmp_path: Path) -> None:
    server.answer_with(HELLO)
    repl = ReplDriver(server, no_log=no_log)
    repl.type_lines("hi", "bye", "/undo", "/export a.json", "/export a.md", "/export a.jsonl", "/export a.txt")
    found = json.loads((tmp_path / "a.json").read_text())
    assert [message["text"] for message in found[0]["messages"]] == ["hi", "Hello"]
    assert "## You\n\nhi" in (tmp_path / "a.md").read_text()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "a.txt").exists()


def test_cost_shows_the_total_and_the_cost_of_each_model(repl: ReplDriver, capsys: Capture) -> None:
    repl.type_lines("/cost", "hi", "/model other/one", "more", "/cost")
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "aiml: this conversation has no costs yet"
    assert "total: 2 answers, 6 tokens in, 10 tokens out" in told[-3]
    assert told[-1].startswith("aiml: other/one: 1 answer, 3 tokens in")
    assert repl.session.tokens == 16


def build_reply_with_cost(cost: float | None, *, usage: bool = True) -> bytes:
    meta = {} if cost is None else {"meta": {"usage": {"usd_spent": cost}}}
    body = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], **meta}
    return json_response({**body, **({"usage": USAGE} if usage else {})})


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([], "0 tokens · $0.0000"),
        ([build_reply_with_cost(0.5)], "8 tokens · $0.5000"),
        ([build_reply_with_cost(0.0)], "8 tokens · $0.0000"),
        ([build_reply_with_cost(0.0000123)], "8 tokens · $0.000012"),
        ([build_reply_with_cost(None)], "8 tokens · cost unknown"),
        ([build_reply_with_cost(None, usage=False)], "0 tokens · cost unknown"),
        ([build_reply_with_cost(0.5), build_reply_with_cost(None)], "16 tokens · $0.5000 + unknown"),
        ([json_response({"error": {"message": "no"}}, "401 Unauthorized")], "0 tokens · $0.0000"),
    ],
)
def test_the_toolbar_shows_only_known_prices(replies: list[bytes], expected: str, server: Loopback) -> None:
    for reply in replies:
        server.answer_with(reply)
    repl = ReplDriver(server)
    repl.type_lines(*["hi"] * len(replies))
    assert render_toolbar(repl.session, 80)[0][1].endswith(f" · {expected}")


def test_a_template_is_filled_and_sent(repl: ReplDriver, tmp_path: Path) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
    folder.mkdir(parents=True)
    (folder / "say.toml").write_text('prompt = "In {lang}: {words}"\n[settings]\ntemperature = 0.5\n')
    repl.type_lines("/template say lang='old Greek' good day", "more")
    assert repl.sent_messages == alternate_roles("In old Greek: good day", "Hello", "more")
    assert [body["temperature"] for body in repl.request_bodies] == [0.5, 0.5]


def test_a_template_given_at_the_start_applies_to_all_messages(server: Loopback) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
    folder.mkdir(parents=True)
    (folder / "cool.toml").write_text("[settings]\ntemperature = 0.5\nseed = 3\n")
    server.answer_with(HELLO)
    repl = ReplDriver(server, template="cool", seed="4")
    repl.session.ask_initial([])
    repl.type_lines("hi", "/set temperature=1", "more")
    assert [(body["temperature"], body["seed"]) for body in repl.request_bodies] == [(0.5, 4), (1, 4)]


@pytest.mark.parametrize(
    ("flag", "value"), [("dry_run", "on"), ("as", "curl"), ("wait", "resp_1"), ("cancel", "resp_1")]
)
def test_flags_that_send_no_request_are_refused_in_the_repl(server: Loopback, flag: str, value: str) -> None:
    with pytest.raises(UsageError, match="cannot be used with a conversation in the REPL"):
        ReplDriver(server, "responses", **{flag: value})


def test_a_conversation_stored_on_the_server_is_continued_by_its_id(server: Loopback) -> None:
    server.answer_with(HELLO_RESPONSE)
    repl = ReplDriver(server, "responses", store="on")
    repl.type_lines("hi", "more")
    assert (repl.sent_messages, repl.request_bodies[1]["previous_response_id"]) == (alternate_roles("more"), "resp_1")
    repl.type_lines("/undo 2", "again")
    assert (repl.sent_messages, repl.request_bodies[-1].get("previous_response_id")) == (
        alternate_roles("again"),
        None,
    )


def test_a_response_id_given_at_the_start_applies_until_a_new_conversation(server: Loopback) -> None:
    server.answer_with(HELLO_RESPONSE)
    repl = ReplDriver(server, "responses", previous_response_id="resp_0")
    repl.type_lines("hi", "/new", "more")
    assert [body.get("previous_response_id") for body in repl.request_bodies] == ["resp_0", None]


def test_a_schema_applies_in_the_repl_too(server: Loopback, capsys: Capture) -> None:
    server.answer_with(HELLO)
    repl = ReplDriver(server)
    repl.type_lines("/set schema=name", "hi")
    assert repl.request_bodies[0]["response_format"]["type"] == "json_schema"


def test_an_answer_without_items_is_an_error_in_the_repl_too(server: Loopback, capsys: Capture) -> None:
    server.answer_with(HELLO)
    ReplDriver(server, items="on").type_lines("hi")
    assert "aiml: the answer is not JSON" in capsys.readouterr().err


@pytest.mark.promise("signals")
def test_a_signal_that_ends_the_program_is_not_swallowed() -> None:
    with pytest.raises(Terminated):
        report_error(Terminated("terminated"))
