"""Pastes without bracketed paste, lines of any length, and what is typed while an answer arrives."""

from threading import Event

import pytest
from support.console import Console
from support.loopback import STREAM, Loopback, chunk, delta, stream

ANSWER_BEGINNING = STREAM + chunk(delta("the beginning"))
ANSWER_END = [chunk(each) for each in (delta(" and the end"), delta(finish="stop"))]
HELLO = stream(delta("the answer"), delta(finish="stop"))
LONG_LINE = "x" * 6002 + "y"
LONG_PASTE = "".join(f"line {number} with some words\n" for number in range(350)).strip()
IN_EACH_TERM = pytest.mark.parametrize("term", ["xterm", "dumb"])
PASTES = {
    "three lines": "one\ntwo\nthree\n",
    "no end of line": "one\ntwo\nthree",
    "two lines": "one\ntwo\n",
    "blank lines": "\n\none\n\n\ntwo\n\n",
    "code": "def f(x):\n\tif x:\n        return 1\n",
    "a shell command": "docker run \\\n  --rm \\\n  image\n",
    "a docstring": '"""Return it.\n\nOr not.\n"""\n',
    "wide": "héllo\n猫と犬\n👍🏽\n",
    "9 kB": LONG_PASTE,
    "a long line": f"a\n{LONG_LINE}\nb\n",
}

pytestmark = pytest.mark.promise("typed-ahead")


def get_messages(server: Loopback) -> list[str]:
    return [request.json["messages"][-1]["content"] for request in server.requests]


def wait_for_draft(console: Console, text: str) -> None:
    last = text.strip().splitlines()[-1][-20:]
    console.wait_until(lambda: last in console.read_text().replace("\n", ""))


@IN_EACH_TERM
@pytest.mark.parametrize(
    ("text", "newline"),
    [
        *((text, "\r") for text in PASTES.values()),
        *((PASTES[name], newline) for name in ("three lines", "blank lines") for newline in ("\n", "\r\n")),
    ],
    ids=[*PASTES, "three lines, LF", "three lines, CRLF", "blank lines, LF", "blank lines, CRLF"],
)
def test_a_paste_is_one_draft(text: str, newline: str, term: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        console.press(text.replace("\n", newline))
        wait_for_draft(console, text)
        console.press("\r")
        console.wait_until("the answer")
        expected = text.strip()
        if expected.startswith('"""'):
            expected = expected.strip('"').strip()
        assert get_messages(server) == [expected]


@IN_EACH_TERM
@pytest.mark.parametrize("char", ["\x00", "\x07", "\x0b", "\x0c", "\x7f", "\x08", "\x15", "\x1b[1m"], ids=repr)
def test_a_paste_with_control_characters_is_one_draft(char: str, term: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        console.press(f"one {char}two\rthree\rlast{char}\r")
        wait_for_draft(console, "last")
        console.press("\r")
        console.wait_until("the answer")
        (message,) = get_messages(server)
        assert [message.startswith("one"), "two\nthree\nlast" in message] == [True, True]


@IN_EACH_TERM
def test_lines_that_arrive_quickly_are_one_draft(term: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        for line in ("one", "two", "three"):
            console.type_line(line)
        wait_for_draft(console, "three")
        console.type_line("four")
        console.wait_until("the answer")
        assert get_messages(server) == ["one\ntwo\nthree\nfour"]


@IN_EACH_TERM
@pytest.mark.parametrize("text", [LONG_LINE, "é" * 4000, "word " * 3000 + "end"])
def test_a_line_of_any_length_is_sent_whole(text: str, term: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        console.type_line(text)
        console.wait_until("the answer")
        assert get_messages(server) == [text]


@IN_EACH_TERM
@pytest.mark.parametrize(
    ("keys", "draft"),
    [
        ("ahead", "ahead"),
        ("ahead\r", "ahead"),
        ("one\rtwo\r", "one\ntwo"),
        (LONG_PASTE.replace("\n", "\r"), LONG_PASTE),
        (LONG_LINE, LONG_LINE),
        (LONG_LINE + "\r", LONG_LINE),
        ("wrogn\x7f\x7fng", "wrong"),
        ("héllo 猫", "héllo 猫"),
    ],
    ids=["word", "line", "lines", "9 kB", "long", "long line", "backspace", "wide"],
)
def test_text_typed_during_an_answer_becomes_a_draft(keys: str, draft: str, term: str, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(ANSWER_BEGINNING, goes_on, *ANSWER_END)
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        console.type_line("first")
        console.wait_until("the beginning")
        console.press(keys)
        goes_on.set()
        console.wait_until("and the end")
        wait_for_draft(console, draft)
        console.press("\r")
        console.wait_until("the answer")
        assert get_messages(server) == ["first", draft]
        assert console.read_text().count("ahead") <= 1


@IN_EACH_TERM
@pytest.mark.parametrize("flags", [[], ["-i"]], ids=["once", "conversation"])
def test_enter_during_an_answer_leaves_no_trace(flags: list[str], term: str, server: Loopback) -> None:
    text = " ".join(f"word{number}" for number in range(60))
    steps: list[bytes | Event] = []
    goes_on = [Event() for _ in range(6)]
    for number, event in enumerate(goes_on):
        part = " ".join(text.split()[number * 10 : number * 10 + 10]) + " "
        steps += [chunk(delta(part)), event]
    server.answer_with(STREAM, *steps, chunk(delta(finish="stop")))
    with Console("chat", "hi", *flags, AIML_BASE_URL=server.url, TERM=term) as console:
        for number, event in enumerate(goes_on):
            console.wait_until(f"word{number * 10 + 9}")
            console.press("\r")
            event.set()
        if flags:
            console.wait_until(lambda: console.read_cursor_line() == ">")
            console.press("\x04")
        assert console.wait_for_exit() == 0
        assert "".join(console.read_text().split()).count("".join(text.split())) == 1
        assert console.read_text().count("word0") == 1


@pytest.mark.parametrize(("ending", "is_run"), [("", True), ("\x03", False)], ids=["complete", "ctrl-c"])
def test_text_typed_during_a_single_answer_goes_to_the_shell(ending: str, is_run: bool, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(ANSWER_BEGINNING, goes_on, *ANSWER_END)
    with Console.start_shell(AIML_BASE_URL=server.url) as console:
        console.wait_until("$")
        console.run("chat", "hi")
        console.wait_until("the beginning")
        console.press("echo r''un\r" + ending)
        goes_on.set()
        console.wait_until("run" if is_run else "interrupted")
        console.type_line("echo do''ne")
        console.wait_until("done")
        assert ("run" in console.read_text().replace("interrupted", "").split()) == is_run


@IN_EACH_TERM
def test_ctrl_c_at_an_empty_prompt_says_how_to_leave(term: str, server: Loopback) -> None:
    with Console("chat", AIML_BASE_URL=server.url, TERM=term) as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        console.press("\x03")
        console.wait_until("aiml: Ctrl-D or /exit leaves")
        console.wait_until(lambda: console.read_cursor_line() == ">")
        assert (console.leave(), server.connections) == (0, 0)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("wrogn\x7f\x7fng", "wrong"),
        ("one two\x17three", "one three"),
        ("lost\x15kept", "kept"),
        ("猫犬\x7f", "猫"),
        ("e\u0301a\x7f\x7fo", "o"),
        ("a\tb\x7f\x7fc", "ac"),
        ("left\x1b[D\x1b[C!", "left!"),
        ("lost\x03kept", "kept"),
        ("\x03\x03lost\x03kept", "kept"),
    ],
)
def test_a_plain_line_is_edited(keys: str, expected: str, server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url, TERM="dumb") as console:
        console.wait_until(lambda: console.read_cursor_line() == ">")
        console.press(keys)
        console.wait_until(lambda: console.read_cursor_line() == f"> {expected}")
        console.press("\r")
        console.wait_until("the answer")
        assert get_messages(server) == [expected]


def test_a_line_that_is_typed_before_the_first_prompt_is_sent(server: Loopback) -> None:
    server.answer_with(HELLO)
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_until("/help for commands")  # the prompt follows it
        console.type_line("early")
        console.wait_until("the answer")
        assert get_messages(server) == ["early"]
