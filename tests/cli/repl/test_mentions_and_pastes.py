"""Files that a message mentions, and what was pasted: attached or run only if the user typed it, or said yes."""

import os
from pathlib import Path

import pytest
from support.console import Console
from support.loopback import HELLO, Loopback, delta, stream
from support.repl_lines import ReplDriver, alternate_roles
from support.run_cli import Aiml

Capture = pytest.CaptureFixture[str]
PASTE = "\x1b[200~{}\x1b[201~"
HOSTILE = "+ see @secret.txt\n@secret.txt\n@http://127.0.0.1:9/x, {stdin} and {{stdin}}\n@nowhere.txt\n"


@pytest.fixture
def repl(server: Loopback, empty_home: Path) -> ReplDriver:
    server.answer_with(HELLO)
    (empty_home / "a.txt").write_text("inside a")
    (empty_home / "my file.txt").write_text("inside mine")
    (empty_home / "secret.txt").write_text("the secret")
    (empty_home / "diff.txt").write_text(HOSTILE)
    return ReplDriver(server)


@pytest.fixture
def template() -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
    folder.mkdir(parents=True)
    (folder / "rev.toml").write_text('prompt = "Review {code}"\n')
    (folder / "piped.toml").write_text('prompt = "Review {stdin}"\n')
    (folder / "any.toml").write_text('prompt = "Sum up: {prompt}"\n')


def get_sent_text(repl: ReplDriver) -> str:
    return str(repl.sent_messages[-1][1])


@pytest.mark.parametrize(
    ("line", "contents", "text"),
    [
        ("what is @a.txt, please?", ["inside a"], "what is a.txt, please?"),
        ('first line\n@a.txt\nand @"my file.txt".', ["inside a", "inside mine"], "first line\na.txt\nand my file.txt."),
        ("(see @my\\ file.txt)", ["inside mine"], "(see my file.txt)"),
        ("mail me@a.txt or @someone", [], "mail me@a.txt or @someone"),
        ("@@a.txt", [], "@a.txt"),
        ('"""\n@a.txt\n"""', ["inside a"], None),
    ],
)  # fmt: skip
def test_a_message_sends_the_files_that_it_mentions(
    repl: ReplDriver, line: str, contents: list[str], text: str | None
) -> None:
    repl.type_lines(line)
    sent = get_sent_text(repl)
    assert [content for content in ("inside a", "inside mine") if content in sent] == contents
    assert text is None or sent.endswith(text)


@pytest.mark.promise("mentions")
def test_a_mention_of_a_missing_file_is_an_error_and_nothing_is_sent(repl: ReplDriver, capsys: Capture) -> None:
    repl.type_lines("what is in @nowhere.txt?")
    assert (repl.request_bodies, "@nowhere.txt: no such file" in capsys.readouterr().err) == ([], True)
    repl.type_lines("what is @types/node?")
    assert get_sent_text(repl) == "what is @types/node?"
    assert "@types/node" in capsys.readouterr().err


@pytest.mark.promise("mentions")
@pytest.mark.parametrize("value", ["@diff.txt", f"'{HOSTILE}'"])
def test_a_mention_in_the_value_of_a_template_is_text(repl: ReplDriver, template: None, value: str) -> None:
    repl.type_lines(f"/template rev code={value}", "/edit", "more")
    assert repl.request_bodies[0]["messages"][0]["content"].rstrip("\n") == f"Review {HOSTILE}".rstrip("\n")


@pytest.mark.promise("mentions")
def test_a_mention_in_the_words_after_a_template_is_a_file(repl: ReplDriver, template: None) -> None:
    repl.type_lines("/template rev code=@diff.txt with @a.txt, {stdin}")
    sent = get_sent_text(repl)
    assert ("inside a" in sent, "the secret" in sent, sent.endswith("with a.txt, {stdin}")) == (True, False, True)


@pytest.mark.promise("mentions")
def test_a_mention_in_a_file_command_output_or_answer_is_text(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("look at @diff.txt", "/new", "!!cat diff.txt", "hi", "/file diff.txt", "again", "/retry")
    assert [body for body in repl.request_bodies if "the secret" in str(body)] == []


@pytest.mark.promise("mentions")
def test_an_edited_message_attaches_only_files_that_the_user_typed(
    repl: ReplDriver, template: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i '$ s/$/ again/'")
    repl.type_lines("look at @a.txt", "/new", "/edit")
    assert "inside a" in get_sent_text(repl)
    repl.type_lines("look at @diff.txt", "/new", "/resume", "/edit", "/new", "/template rev code=@diff.txt", "/edit")
    assert len(repl.request_bodies) == 6
    assert [body for body in repl.request_bodies if "the secret" in str(body)] == []
    assert get_sent_text(repl) == f"Review {HOSTILE.rstrip()} again"


@pytest.mark.parametrize(
    "line", ["import {stdin} from 'process'", "what is {stdin}?", "{{stdin}}", "a {{{stdin}}} b {x} {{y}}"]
)
def test_braces_in_a_message_are_text(repl: ReplDriver, line: str) -> None:
    repl.type_lines(line)
    assert repl.sent_messages == alternate_roles(line)


@pytest.mark.parametrize("line", ["/template piped", "/template any"])
def test_a_template_that_needs_standard_input_is_an_error(
    repl: ReplDriver, template: None, line: str, capsys: Capture
) -> None:
    repl.type_lines(line)
    assert (repl.request_bodies, "of the template" in capsys.readouterr().err) == ([], True)


@pytest.mark.promise("mentions")
@pytest.mark.parametrize(
    ("arguments", "data", "contents"),
    [
        (["look at @a.txt, please"], "", ["inside a"]),
        (["first\n@a.txt"], "", ["inside a"]),
        (["look", "at", '@"my file.txt"'], "", ["inside mine"]),
        (["look at @@a.txt"], "", []),
        (["look"], "@a.txt", []),
        (["look at {stdin}"], " @a.txt ", []),
        (["-f", "diff.txt", "look"], "", []),
        (["-t", "rev", "-P", "code=@diff.txt"], "", []),
        (["-t", "rev", "-P", "code=see @a.txt @secret.txt"], "", []),
        (["-t", "rev", "-P", "code=x", "see @a.txt"], "", ["inside a"]),
        (["-t", "rev", "-P", "code=import {stdin} from"], "", []),
    ],
)
def test_mentions_in_a_single_call_are_attached_only_if_they_were_typed(
    repl: ReplDriver, template: None, aiml: Aiml, arguments: list[str], data: str, contents: list[str]
) -> None:
    assert aiml("chat", *arguments, stdin=data.encode() or None).returncode == 0
    sent = get_sent_text(repl)
    assert [each for each in ("inside a", "inside mine", "the secret") if each in sent] == contents


def test_a_mention_of_a_missing_file_in_a_single_call_is_a_usage_error(repl: ReplDriver, aiml: Aiml) -> None:
    done = aiml("chat", "what is in @nowhere.txt?")
    assert (done.returncode, repl.request_bodies, b"@nowhere.txt: no such file" in done.stderr) == (
        2,
        [],
        True,
    )


@pytest.mark.promise("mentions")
@pytest.mark.parametrize(
    ("keys", "answer", "is_attached"),
    [
        (PASTE.format("see\n@a.txt\n"), "y", True),
        (PASTE.format("see @a.txt,"), "n", False),
        (PASTE.format("see @a.txt"), "", False),
        ("typed " + PASTE.format("see @a.txt") + " typed", "n", False),
        ("see @" + PASTE.format("a.txt"), None, True),
        (PASTE.format("some words") + " and @a.txt", None, True),
    ],
)
def test_a_pasted_mention_is_attached_only_after_confirmation(
    repl: ReplDriver, server: Loopback, keys: str, answer: str | None, is_attached: bool
) -> None:
    server.answer_with(stream(delta("the answer"), delta(finish="stop")))
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.press(keys + "\r")
        if answer is not None:
            console.wait_until("[y/N]")
            assert server.requests == []
            console.type_line(answer)
        console.wait_until(lambda: len(server.requests) == 1)
        sent = server.requests[0].json["messages"][-1]["content"]
        assert ("inside a" in sent, "a.txt" in sent) == (is_attached, True)


@pytest.mark.parametrize("text", ["/help\n/exit", "/etc/hosts\n/etc/passwd", "/help"])
def test_several_pasted_lines_are_not_a_command(repl: ReplDriver, text: str) -> None:
    repl.session.pastes.add(text)
    repl.type_lines(text)
    assert len(repl.request_bodies) == ("\n" in text)


@pytest.mark.promise("mentions")
def test_a_pasted_mention_of_a_missing_file_is_sent_as_text_with_a_notice(repl: ReplDriver, capsys: Capture) -> None:
    text = "@nowhere.txt\n@app.get('/')\n@property.setter\n@@x"
    repl.session.pastes.add(text)
    repl.type_lines(text)
    assert get_sent_text(repl) == text
    assert "as text: @nowhere.txt\n" in capsys.readouterr().err


@pytest.mark.promise("mentions")
def test_pasted_text_from_the_input_history_is_asked_about_again(repl: ReplDriver, server: Loopback) -> None:
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.press(PASTE.format("see @a.txt") + "\r")
        console.wait_until("[y/N]")
        console.type_line("n")
        console.wait_until(lambda: len(server.requests) == 1)
        console.wait_for_prompt()
        console.press("\x1b[A\r")
        console.wait_until(lambda: console.read_text().count("[y/N]") == 2)
        console.type_line("n")
        console.wait_until(lambda: len(server.requests) == 2)
        assert "inside a" not in str(server.requests[-1].json)


@pytest.mark.promise("mentions")
@pytest.mark.parametrize("answer", ["y", "n"])
@pytest.mark.parametrize("line", ["/template rev code=@a.txt", "/template @team.toml", "/template rev -t '@team.toml'"])
def test_a_pasted_template_file_is_used_only_after_confirmation(
    repl: ReplDriver, server: Loopback, template: None, line: str, answer: str
) -> None:
    Path("team.toml").write_text('prompt = "inside a"\n')
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.press(PASTE.format(line) + "\r")
        console.wait_until("[y/N]")
        console.type_line(answer)
        console.wait_for_prompt()
    assert ["inside a" in str(request.json) for request in server.requests] == [True] * (answer == "y")


@pytest.mark.promise("mentions")
@pytest.mark.parametrize("answer", ["y", "n"])
@pytest.mark.parametrize("command", ["!touch made", "!!touch made", "  !touch made\n!rm a.txt"])
def test_a_pasted_command_is_a_draft_and_runs_only_after_confirmation(
    repl: ReplDriver, server: Loopback, empty_home: Path, command: str, answer: str
) -> None:
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.press(PASTE.format(command + "\n"))
        console.wait_until("touch made")
        console.press("\r")
        console.wait_until("[y/N]")
        assert not (empty_home / "made").exists()
        console.type_line(answer)
        console.wait_for_prompt()
        assert ((empty_home / "made").exists(), (empty_home / "a.txt").exists()) == (answer == "y", True)
        console.type_line("!touch typed")
        console.wait_until((empty_home / "typed").exists)
