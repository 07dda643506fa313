"""When a command line starts the REPL, and when it sends a single question."""

from pathlib import Path

import pytest
from support.console import Console
from support.loopback import Loopback, delta, stream

from aiml_cli import __version__

HELLO = stream(delta("the answer"), delta(finish="stop"))


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_a_terminal_without_a_question_gets_a_prompt(command: str, server: Loopback) -> None:
    with Console(command, AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        assert (console.leave(), server.connections) == (0, 0)


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_first_line_names_the_model_and_the_help(server: Loopback, columns: int, term: str) -> None:
    with Console("chat", "-m", "some/model", AIML_BASE_URL=server.url, columns=columns, TERM=term) as console:
        console.wait_for_prompt()
        first = " ".join(console.read_text().partition(">")[0].split())
        assert first == f"aiml {__version__} · some/model · /help for commands, Ctrl-D to leave"
        assert console.leave() == 0


def test_quiet_shows_only_the_prompt(server: Loopback) -> None:
    with Console("chat", "-q", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        assert console.read_lines()[0] == ">"


def test_print_without_a_question_is_a_usage_error(server: Loopback) -> None:
    with Console("chat", "-p", AIML_BASE_URL=server.url) as console:
        assert (console.wait_for_exit(), server.connections) == (2, 0)


def test_a_question_on_the_command_line_does_not_start_the_repl(server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", "hi", AIML_BASE_URL=server.url) as console:
        assert (console.wait_for_exit(), console.read_lines()) == (0, ["the answer"])


def test_interactive_sends_the_words_and_their_file_first(server: Loopback, empty_home: Path) -> None:
    (empty_home / "notes.txt").write_text("the notes")
    server.answer_with(HELLO)
    with Console("chat", "-i", "sum", "up", "-f", "notes.txt", AIML_BASE_URL=server.url) as console:
        console.wait_until("the answer")
        console.wait_for_prompt()
        assert console.leave() == 0
    sent = server.requests[0].json["messages"][-1]["content"]
    assert "the notes" in sent
    assert sent.rstrip().endswith("sum up")


@pytest.mark.parametrize("words", ["", " sum up"])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_interactive_after_a_pipe_reads_the_terminal(words: str, term: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console.start_shell(AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until("$")
        console.run("chat", "-i", *words.split(), before="echo piped | ")
        console.wait_until(lambda: console.read_cursor_line() == ">" and "the answer" in console.read_text())
        console.type_line("more")
        console.wait_until(lambda: len(server.requests) == 2)
    first, second = (request.json["messages"][-1]["content"] for request in server.requests)
    assert ("piped" in first, first.rstrip().endswith(words.strip() or "piped"), second) == (True, True, "more")


def test_interactive_without_a_terminal_sends_nothing(server: Loopback) -> None:
    with Console.start_shell(AIML_BASE_URL=server.url) as console:
        console.wait_until("$")
        console.run("chat", "-i", "hi", before="echo piped | setsid -w ", after="; echo ended $?")
        console.wait_until("ended 2")
    assert server.connections == 0


@pytest.mark.parametrize("flag", ["-c", "-r"])
def test_a_continued_conversation_is_shown_first(flag: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", "first", "question", AIML_BASE_URL=server.url, AIML_SESSION="x") as console:
        console.wait_for_exit()
    named = [] if flag == "-c" else ["first question"]
    with Console("chat", "-i", flag, *named, AIML_BASE_URL=server.url, AIML_SESSION="x") as console:
        console.wait_until("first question")
        console.wait_for_prompt()
        console.type_line("and")
        console.wait_until(lambda: console.read_text().count("the answer") == 2)
    assert [each["content"] for each in server.requests[1].json["messages"]] == ["first question", "the answer", "and"]


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_reads_plain_lines(term: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_for_prompt()
        console.type_line('"""one')
        console.wait_until(lambda: console.read_cursor_line() == "")  # lines at once would be a paste
        console.type_line('two"""')
        console.wait_until("the answer")
        console.wait_for_prompt()
        console.type_line("three\\")
        console.wait_until(lambda: console.read_cursor_line() == "")
        console.type_line("four")
        console.wait_until(lambda: console.read_text().count("the answer") == 2)
        console.wait_for_prompt()
        assert (console.leave(), b"\x1b" in console.output) == (0, False)
    assert [each.json["messages"][-1]["content"] for each in server.requests] == ["one\ntwo", "three\nfour"]


def test_ctrl_c_clears_a_plain_line(server: Loopback) -> None:
    with Console("chat", AIML_BASE_URL=server.url, TERM="dumb") as console:
        console.wait_for_prompt()
        console.press("lost\x03")
        console.wait_until(lambda: console.read_text().count(">") == 2)
        assert (console.leave(), server.connections) == (0, 0)
