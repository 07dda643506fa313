"""Slash commands as a person sees them: the real program on a real terminal."""

from pathlib import Path

from support.console import Console
from support.loopback import SILENCE, STREAM, Loopback, chunk, delta
from support.repl_lines import alternate_roles, queue_answers, text_answer

from aiml_cli.core.previous_turns import CUT_MARK


def console(server: Loopback, *arguments: str) -> Console:
    return Console("chat", *arguments, AIML_BASE_URL=server.url)


def test_a_conversation_is_undone_named_and_gone_on_with(server: Loopback) -> None:
    queue_answers(server, "one", "two", "three")
    seen = console(server)
    seen.wait_for_prompt()
    for line, told in [
        ("hi", "one"),
        ("more", "two"),
        ("/undo", "taken back to before: more"),
        ("/save plan", "kept as"),
    ]:
        seen.type_line(line)
        seen.wait_until(told)
        seen.wait_for_prompt()
    seen.type_line("/exit")
    assert seen.wait_for_exit() == 0
    again = console(server, "-i", "-r", "plan")
    again.wait_until("going on with plan")
    again.wait_for_prompt()
    again.type_line("and?")
    again.wait_until("three")
    sent = server.requests[-1].json["messages"]
    assert [(each["role"], each["content"]) for each in sent] == alternate_roles("hi", "one", "and?")


def test_an_answer_that_was_stopped_stays_and_can_be_continued(server: Loopback) -> None:
    server.answer_with(STREAM + chunk(delta("Half of ")), SILENCE)
    server.answer_with(text_answer("it"))
    seen = console(server)
    seen.wait_for_prompt()
    seen.type_line("hi")
    seen.wait_until("Half of")
    seen.press("\x03")
    seen.wait_until("/continue asks for the rest")
    seen.wait_for_prompt()
    seen.type_line("/continue")
    seen.wait_until(lambda: len(server.requests) == 2)
    seen.wait_for_prompt()
    seen.type_line("/retry")
    seen.wait_until(lambda: len(server.requests) == 3)
    bodies = [request.json["messages"] for request in server.requests]
    assert bodies[1][1] == {"role": "assistant", "content": "Half of "}
    assert bodies[2] == bodies[0]
    assert CUT_MARK.strip() not in seen.read_text()


def test_a_file_is_replaced_after_a_yes(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    queue_answers(server, "new")
    seen = console(server)
    seen.wait_for_prompt()
    seen.type_line("hi")
    seen.wait_until("new")
    seen.wait_for_prompt()
    seen.type_line("/write a.txt")
    seen.wait_until("[y/N]")
    seen.type_line("y")
    seen.wait_until("bytes are in a.txt")
    assert (tmp_path / "a.txt").read_text() == "new\n"


def test_the_toolbar_shows_what_waits_and_what_was_spent(server: Loopback) -> None:
    queue_answers(server, "one")
    seen = console(server)
    seen.wait_for_prompt()
    seen.type_line("!!echo out")
    seen.wait_until("sends along $ echo out")
    seen.type_line("hi")
    seen.wait_until("8 tokens")
    assert "sends along" not in seen.read_toolbar()
