"""Slash commands as a person sees them: the real program on a real terminal."""

from pathlib import Path

from support.console import Console
from support.loopback import SILENCE, STREAM, Loopback, chunk, delta
from support.repl_lines import answer, answering, talk

from aiml_cli.core.previous_turns import CUT


def console(server: Loopback, *arguments: str) -> Console:
    return Console("chat", *arguments, AIML_BASE_URL=server.url)


def test_a_conversation_is_undone_named_and_gone_on_with(server: Loopback) -> None:
    answering(server, "one", "two", "three")
    seen = console(server)
    seen.prompt()
    for line, told in [
        ("hi", "one"),
        ("more", "two"),
        ("/undo", "taken back to before: more"),
        ("/save plan", "kept as"),
    ]:
        seen.line(line)
        seen.until(told)
        seen.prompt()
    seen.line("/exit")
    assert seen.end() == 0
    again = console(server, "-i", "-r", "plan")
    again.until("going on with plan")
    again.prompt()
    again.line("and?")
    again.until("three")
    sent = server.requests[-1].json["messages"]
    assert [(each["role"], each["content"]) for each in sent] == talk("hi", "one", "and?")


def test_an_answer_that_was_stopped_stays_and_can_be_continued(server: Loopback) -> None:
    server.answers(STREAM + chunk(delta("Half of ")), SILENCE)
    server.answers(answer("it"))
    seen = console(server)
    seen.prompt()
    seen.line("hi")
    seen.until("Half of")
    seen.keys("\x03")
    seen.until("/continue asks for the rest")
    seen.prompt()
    seen.line("/continue")
    seen.until(lambda: len(server.requests) == 2)
    seen.prompt()
    seen.line("/retry")
    seen.until(lambda: len(server.requests) == 3)
    bodies = [request.json["messages"] for request in server.requests]
    assert bodies[1][1] == {"role": "assistant", "content": "Half of "}
    assert bodies[2] == bodies[0]
    assert CUT.strip() not in seen.text()


def test_a_file_is_replaced_after_a_yes(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    answering(server, "new")
    seen = console(server)
    seen.prompt()
    seen.line("hi")
    seen.until("new")
    seen.prompt()
    seen.line("/write a.txt")
    seen.until("[y/N]")
    seen.line("y")
    seen.until("bytes are in a.txt")
    assert (tmp_path / "a.txt").read_text() == "new\n"


def test_the_toolbar_shows_what_waits_and_what_was_spent(server: Loopback) -> None:
    answering(server, "one")
    seen = console(server)
    seen.prompt()
    seen.line("!!echo out")
    seen.until("sends along $ echo out")
    seen.line("hi")
    seen.until("8 tokens")
    assert "sends along" not in seen.toolbar()
