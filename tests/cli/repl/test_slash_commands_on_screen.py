"""Slash commands as a person sees them: the real program on a real terminal."""

from pathlib import Path

import pytest
from support.console import Console
from support.loopback import SILENCE, STREAM, Loopback, chunk, delta, event, stream
from support.repl_lines import alternate_roles, build_text_answer, queue_answers

from aiml_cli.cli.repl.slash_commands import list_commands
from aiml_cli.core.previous_turns import CUT_MARK


def start_console(server: Loopback, *arguments: str) -> Console:
    return Console("chat", *arguments, AIML_BASE_URL=server.url)


def test_a_conversation_can_be_undone_named_and_resumed(server: Loopback) -> None:
    queue_answers(server, "one", "two", "three")
    seen = start_console(server)
    seen.wait_for_prompt()
    for line, told in [
        ("hi", "one"),
        ("more", "two"),
        ("/undo", 'undone: "more" (1 question left)'),
        ("/save plan", "saved as"),
    ]:
        seen.type_line(line)
        seen.wait_until(told)
        seen.wait_for_prompt()
    seen.type_line("/exit")
    assert seen.wait_for_exit() == 0
    again = start_console(server, "-i", "-r", "plan")
    again.wait_until("continuing plan")
    again.wait_for_prompt()
    again.type_line("and?")
    again.wait_until("three")
    sent = server.requests[-1].json["messages"]
    assert [(each["role"], each["content"]) for each in sent] == alternate_roles("hi", "one", "and?")


@pytest.mark.parametrize(("columns", "most_lines"), [(40, 60), (60, 60), (80, 24), (120, 24)])
def test_help_breaks_lines_between_words(server: Loopback, columns: int, most_lines: int) -> None:
    with Console("chat", "-q", AIML_BASE_URL=server.url, columns=columns, rows=70) as seen:
        seen.wait_for_prompt()
        seen.type_line("/help")
        seen.wait_until("/help NAME")
        seen.wait_for_prompt()
        lines = seen.read_text().partition("/help\n")[2].partition("\n>")[0].splitlines()
        assert len(lines) <= most_lines
        words = {word.rstrip(":") for word in " ".join(lines).split()}
        for command in list_commands():
            assert f"/{command.name}" in {word.rstrip(",:") for word in words}
        unbroken = [
            command.help for command in list_commands() if command.synopsis.partition(" ")[0] in " ".join(lines)
        ]
        assert words >= {word for text in unbroken[:1] for word in text.split()}
        seen.type_line("/help template")
        seen.wait_until(lambda: "lists the templates." in " ".join(seen.read_text().split()))


def test_blank_lines_separate_question_reasoning_and_answer(server: Loopback) -> None:
    reasoning = event({"choices": [{"delta": {"reasoning_content": "\nI think.\n\n"}}]})
    server.answer_with(stream(reasoning, delta("So it is."), delta(finish="stop")))
    with Console("chat", AIML_BASE_URL=server.url) as seen:
        seen.wait_for_prompt()
        seen.type_line("why?")
        seen.wait_until("So it is.")
        seen.wait_for_prompt()
        assert seen.read_lines()[1:8] == ["> why?", "", "I think.", "", "So it is.", "", ">"]
        assert b"\x1b[2mI think." in seen.output


def read_above_prompt(console: Console) -> list[str]:
    return console.read_text().rpartition("\n>")[0].splitlines()


def test_a_resumed_conversation_is_drawn_and_cannot_control_the_terminal(server: Loopback) -> None:
    queue_answers(server, "# Title\n\nsome **bold** text\x1b]0;x\x07", "last")
    with Console("chat", "-q", AIML_BASE_URL=server.url) as seen:
        seen.wait_for_prompt()
        seen.type_line("hi")
        seen.wait_until("bold")
        seen.wait_for_prompt()
        before = read_above_prompt(seen)
    with Console("chat", "-q", "-i", "-r", "last", AIML_BASE_URL=server.url) as again:
        again.wait_until("continuing")
        again.wait_for_prompt()
        assert read_above_prompt(again)[2:] == before
        assert (b"\x1b]0;" in again.output, "**" in again.read_text()) == (False, False)


def test_the_menu_appears_while_typing_and_describes_its_entries(server: Loopback, empty_home: Path) -> None:
    (empty_home / "my notes.txt").write_text("x" * 42)
    (empty_home / "sub dir").mkdir()
    (empty_home / "sub dir" / "in it").write_text("")
    queue_answers(server, "one")
    with Console("chat", AIML_BASE_URL=server.url) as seen:
        seen.wait_for_prompt()
        seen.press("/re")
        seen.wait_until("Ask the last question again.")
        seen.press("s")
        seen.wait_until(lambda: "Continue another" in seen.read_text() and "Ask the last" not in seen.read_text())
        seen.press("\x15look at @my")
        seen.wait_until("42 bytes")
        seen.press("\t")
        seen.wait_until("@my\\ notes.txt")
        seen.press(' and @"su\t')
        seen.wait_until('"sub dir/')
        seen.wait_until("0 bytes")
        seen.press("\t")
        seen.wait_until('"sub dir/in it"')
        seen.type_line("?")
        seen.wait_until(lambda: len(server.requests) == 1)
    sent = server.requests[0].json["messages"][-1]["content"]
    assert ("x" * 42 in sent, '"sub dir/in it"' in sent) == (True, True)


def test_enter_sends_the_typed_text_while_the_menu_is_open(server: Loopback, empty_home: Path) -> None:
    (empty_home / "notes.txt").write_text("inside")
    queue_answers(server, "one")
    with Console("chat", AIML_BASE_URL=server.url) as seen:
        seen.wait_for_prompt()
        seen.press("see @n")
        seen.wait_until("6 bytes")
        seen.press("\r")
        seen.wait_until(lambda: len(server.requests) == 1)
    assert server.requests[0].json["messages"][-1]["content"] == "see @n"


def test_an_interrupted_answer_stays_and_can_be_continued(server: Loopback) -> None:
    server.answer_with(STREAM + chunk(delta("Half of ")), SILENCE)
    server.answer_with(build_text_answer("a cake"))
    seen = start_console(server)
    seen.wait_for_prompt()
    seen.type_line("hi")
    seen.wait_until("Half of")
    seen.press("\x03")
    seen.wait_until("/continue asks for the rest")
    seen.wait_for_prompt()
    seen.type_line("/continue")
    seen.wait_until("a cake")
    seen.wait_for_prompt()
    seen.type_line("/retry")
    seen.wait_until(lambda: len(server.requests) == 3)
    bodies = [request.json["messages"] for request in server.requests]
    assert bodies[1][1] == {"role": "assistant", "content": "Half of "}
    assert bodies[2] == bodies[0]
    assert CUT_MARK.strip() not in seen.read_text()


def test_a_file_is_replaced_after_confirmation(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    queue_answers(server, "new")
    seen = start_console(server)
    seen.wait_for_prompt()
    seen.type_line("hi")
    seen.wait_until("new")
    seen.wait_for_prompt()
    seen.type_line("/write a.txt")
    seen.wait_until("[y/N]")
    seen.type_line("y")
    seen.wait_until("bytes to a.txt")
    assert (tmp_path / "a.txt").read_text() == "new\n"


def test_the_toolbar_shows_queued_files_and_tokens(server: Loopback) -> None:
    queue_answers(server, "one")
    seen = start_console(server)
    seen.wait_for_prompt()
    seen.type_line("!!echo out")
    seen.wait_until("queued: $ echo out")
    seen.type_line("hi")
    seen.wait_until("8 tokens")
    assert "queued:" not in seen.read_toolbar()
