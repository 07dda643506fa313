"""How an answer and the REPL end: keys, signals, and a terminal that goes away."""

import signal
import sqlite3
import termios
from contextlib import closing
from pathlib import Path

import pytest
from support.console import Console
from support.loopback import SILENCE, STREAM, Loopback, chunk, delta, json_response, stream

ANSWER_BEGINNING = STREAM + chunk(delta("the beginning"))
HELLO = stream(delta("the answer"), delta(finish="stop"))
ECHO, CANONICAL = termios.ECHO, termios.ICANON


def read_states(home: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(next(home.rglob("history.db")))) as store:
        return store.execute("SELECT text, state FROM messages WHERE role = 'assistant'").fetchall()


def is_terminal_restored(console: Console) -> bool:
    """True if the terminal echoes, is in line mode and shows its cursor."""
    modes = termios.tcgetattr(console.child.fileno())[3]
    return bool(modes & ECHO and modes & CANONICAL) and not console.screen.cursor.hidden


@pytest.mark.promise("stored-while-arriving")
def test_ctrl_c_stops_the_answer_and_keeps_it(server: Loopback, empty_home: Path) -> None:
    server.answer_with(ANSWER_BEGINNING, SILENCE)
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("one")
        console.wait_until("the beginning")
        console.press("\x03")
        console.wait_for_prompt()
        assert read_states(empty_home) == [("the beginning", "interrupted")]
        console.type_line("two")
        console.wait_until("the answer")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_ctrl_c_stops_the_wait_for_an_answer_too(server: Loopback) -> None:
    server.answer_with(SILENCE)
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("one")
        console.wait_until(lambda: server.requests)
        console.press("\x03")
        console.wait_for_prompt()
        console.type_line("two")
        console.wait_until("the answer")


@pytest.mark.promise("signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("is_streaming", [False, True])
def test_a_signal_ends_the_program_and_restores_the_terminal(
    number: int, code: int, is_streaming: bool, server: Loopback, empty_home: Path
) -> None:
    server.answer_with(ANSWER_BEGINNING, SILENCE)
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        if is_streaming:
            console.type_line("one")
            console.wait_until("the beginning")
        else:
            console.press("busy " * 200)  # raised while a key is dealt with, the event loop would swallow it
        console.send_signal(number)
        left = console.wait_for_exit(keep=True)
        assert (left, is_terminal_restored(console), "Traceback" in console.read_text()) == (code, True, False)
        if is_streaming:
            assert read_states(empty_home) == [("the beginning", "interrupted")]


@pytest.mark.promise("signals")
@pytest.mark.parametrize("is_streaming", [False, True])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_program_ends_if_the_terminal_goes_away(
    is_streaming: bool, term: str, server: Loopback, empty_home: Path
) -> None:
    server.answer_with(ANSWER_BEGINNING, SILENCE)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        if is_streaming:
            console.type_line("one")
            console.wait_until("the beginning")
        assert console.hang_up() == 129
        if is_streaming:
            assert read_states(empty_home) == [("the beginning", "interrupted")]


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([json_response({"message": "bad key"}, "401 Unauthorized")], "bad key"),
        ([b"", b""], "closed without an answer"),
    ],
)
def test_an_error_is_shown_and_the_next_message_is_answered(
    replies: list[bytes], message: str, server: Loopback
) -> None:
    server.answer_with(replies[0])
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("one")
        console.wait_until(message)
        console.wait_for_prompt()
        console.type_line("two")
        console.wait_until("the answer")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_text_typed_during_an_answer_waits_for_the_prompt(server: Loopback) -> None:
    server.answer_with(ANSWER_BEGINNING, SILENCE)
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("one")
        console.wait_until("the beginning")
        console.press("ahead")
        console.send_signal(signal.SIGINT)
        console.wait_until(lambda: console.read_cursor_line() == "> ahead")
        assert console.read_text().count("ahead") == 1


def test_no_connection_is_opened_before_the_first_message(server: Loopback) -> None:
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("/help")
        console.wait_until("/model")
        console.wait_for_prompt()
        assert (console.leave(), server.connections) == (0, 0)


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
def test_the_window_can_be_resized_during_an_answer(size: tuple[int, int], server: Loopback) -> None:
    server.answer_with(ANSWER_BEGINNING, SILENCE)
    with Console("chat", AIML_BASE_URL=server.url, columns=120, rows=40) as console:
        console.wait_for_prompt()
        console.type_line("one")
        console.wait_until("the beginning")
        console.resize(*size)
        console.press("\x03")
        console.wait_for_prompt()
        assert console.leave() == 0
