"""The keys of the REPL, on a real terminal."""

from pathlib import Path

import pytest
from support.console import Console
from support.loopback import Loopback, delta, stream

SIZES = [(80, 24), (120, 40), (40, 10)]
PASTE = "\x1b[200~{}\x1b[201~"


@pytest.fixture
def repl(server: Loopback) -> "Console":
    """Yield a REPL at its first prompt, on the loopback server."""
    server.answer_with(stream(delta("the answer"), delta(finish="stop")))
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        yield console


def get_prompt(server: Loopback, turn: int = -1) -> str:
    return server.requests[turn].json["messages"][-1]["content"]


def wait_for_answer(console: Console) -> None:
    console.wait_until("the answer")
    console.wait_for_prompt()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("one\x1b\rtwo\r", "one\ntwo"),
        ("one\ntwo\r", "one\ntwo"),
        (PASTE.format("one\ntwo\n") + "three\r", "one\ntwo\nthree"),
        ("//help\r", "/help"),
        ("héllo 猫\r", "héllo 猫"),
        ("lost\x03kept\r", "kept"),
        ("a \x1b[31mred\r", "a red"),
        ("a \x1b[0;1;31mword\r", "a word"),
        ("a \x1b[<0;3;4Mclick\r", "a click"),
    ],
    ids=["alt-enter", "ctrl-j", "paste", "two-slashes", "wide", "ctrl-c", "color", "colors", "mouse"],
)
def test_keys_edit_the_line_and_enter_sends_it(keys: str, message: str, repl: Console, server: Loopback) -> None:
    repl.press(keys)
    wait_for_answer(repl)
    assert (get_prompt(server), len(server.requests), repl.leave()) == (message, 1, 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [(["one\\", "two"], "one\ntwo"), (['"""one', "two", '"""'], "one\ntwo")],
    ids=["backslash", "block"],
)
def test_a_backslash_or_triple_quotes_continue_a_message_on_the_next_line(
    lines: list[str], message: str, repl: Console, server: Loopback
) -> None:
    for row, line in enumerate(lines[:-1], start=repl.screen.cursor.y + 1):
        repl.type_line(line)
        repl.wait_until(lambda row=row: repl.screen.cursor.y == row)  # lines that arrive at once would be a paste
    repl.type_line(lines[-1])
    wait_for_answer(repl)
    assert (get_prompt(server), len(server.requests)) == (message, 1)


def test_a_paste_is_not_sent_before_enter(repl: Console, server: Loopback) -> None:
    repl.press(PASTE.format("one\r\ntwo\r\n"))
    repl.wait_until("  two")
    repl.press("\x03")
    repl.wait_for_prompt()
    assert (repl.leave(), server.requests) == (0, [])


def test_invalid_utf_8_is_sent_as_replacement_characters(repl: Console, server: Loopback) -> None:
    repl.child.send(b"a\xffb\r")
    wait_for_answer(repl)
    assert get_prompt(server) == "a\ufffdb"


def test_an_editor_changes_the_line_and_sends_nothing(server: Loopback, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf " and\\nedited" >> "$1"\n')
    editor.chmod(0o700)
    server.answer_with(stream(delta("the answer"), delta(finish="stop")))
    with Console("chat", AIML_BASE_URL=server.url, EDITOR=str(editor)) as console:
        console.wait_for_prompt()
        console.press("typed\x18\x05")
        console.wait_until("edited")
        assert server.requests == []
        console.press("\r")
        wait_for_answer(console)
        assert get_prompt(server) == "typed\n and\nedited"


def test_an_earlier_message_can_be_recalled_in_the_next_run(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(stream(delta("the answer"), delta(finish="stop")))
    for keys in ("first question\r", "\x1b[A\r", "\x12irst\r\r"):
        with Console("chat", AIML_BASE_URL=server.url) as console:
            console.wait_for_prompt()
            console.press(keys)
            wait_for_answer(console)
            assert (get_prompt(server), console.leave()) == ("first question", 0)


def test_ctrl_z_stops_and_fg_continues(server: Loopback) -> None:
    server.answer_with(stream(delta("the answer"), delta(finish="stop")))
    with Console.start_shell(AIML_BASE_URL=server.url) as console:
        console.wait_until("$")
        console.run("chat")
        console.wait_for_prompt()
        console.press("half\x1a")
        console.wait_until("Stopped")
        console.type_line("fg")
        console.wait_until(lambda: console.read_cursor_line() == "> half")
        console.type_line(" done")
        wait_for_answer(console)
        assert get_prompt(server) == "half done"


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_the_window_can_be_resized_while_typing(columns: int, rows: int, repl: Console, server: Loopback) -> None:
    repl.press("word " * 20)
    repl.wait_until("word word")
    repl.resize(columns, rows)
    repl.press("end\r")
    wait_for_answer(repl)
    assert get_prompt(server) == "word " * 20 + "end"
