"""What differs on a terminal: a real pty, and the screen that a user would see."""

import pytest
from support.loopback import Loopback, delta, json_response, stream
from support.pty_run import HOSTILE_TEXT, run_on_pty


def test_the_answer_is_shown_on_the_screen(server: Loopback) -> None:
    server.answer_with(stream(delta("one\n\ntwo"), delta(finish="stop")))
    _, code, screen = run_on_pty(server, "chat", "hi")
    assert (code, [line.rstrip() for line in screen.display[:3]]) == (0, ["one", "", "two"])


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize("field", ["content", "reasoning_content", "refusal"])
def test_text_of_the_model_cannot_control_the_terminal(field: str, server: Loopback) -> None:
    pieces = [delta(**{field if field != "content" else "text": piece}) for piece in HOSTILE_TEXT]
    server.answer_with(stream(*pieces, delta(finish="stop")))
    wrote, _, screen = run_on_pty(server, "chat", "hi", "--color", "never")
    assert b"\x1b" not in wrote
    assert not set(wrote.decode()) & set("\x07\x08\x9b\u202e\U000e0041")
    assert "\\x1b]52;c;ZXZpbA==\\x07" in screen.display[0]


@pytest.mark.promise("terminal-control")
def test_an_error_of_the_server_cannot_control_the_terminal(server: Loopback) -> None:
    server.answer_with(b"HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\n\x1b[2J\x9b1mok")
    wrote, code, _ = run_on_pty(server, "chat", "hi", "--color", "never")
    assert code == 6
    assert b"\x1b" not in wrote


def test_reasoning_is_dim_and_separated_from_the_answer(server: Loopback) -> None:
    server.answer_with(stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop")))
    wrote, _, screen = run_on_pty(server, "chat", "hi")
    assert wrote.startswith(b"\x1b[2mHm\x1b[0m\r\n\r\nHi")
    assert [line.rstrip() for line in screen.display[:3]] == ["Hm", "", "Hi"]


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"AIML_COLOR": "never"}])
def test_color_can_be_switched_off(environ: dict[str, str], server: Loopback) -> None:
    server.answer_with(stream(delta(reasoning_content="Hm"), delta("Hi"), delta(finish="stop")))
    wrote, _, _ = run_on_pty(server, "chat", "hi", **environ)
    assert b"\x1b" not in wrote


def test_choices_are_separated(server: Loopback) -> None:
    server.answer_with(stream(delta("a"), delta("x", index=1), delta(finish="stop"), delta(finish="stop", index=1)))
    _, _, screen = run_on_pty(server, "chat", "hi", "-n", "2")
    assert [line.rstrip() for line in screen.display[:7]] == ["a", "", "─" * 79, "", "Choice 2:", "", "x"]


def test_without_a_prompt_the_terminal_is_not_read(server: Loopback) -> None:
    wrote, code, _ = run_on_pty(server, "chat", "-p")
    assert (code, server.requests) == (2, [])
    assert b"the prompt is empty" in wrote


def test_usage_is_a_table_on_a_terminal(server: Loopback) -> None:
    server.answer_with(json_response({"current_balance": 1234.5, "currency": "USD"}))
    models = [{"model": "a/b\x1b[2J", "spend": 0.0001, "requests": 1000}, {"model": "c", "spend": 2, "requests": 1}]
    server.answer_with(json_response({"spend": 2.0001, "currency": "USD", "requests": 1001, "models": models}))
    wrote, code, screen = run_on_pty(server, "usage")
    assert (code, b"\x1b" in wrote) == (0, False)
    assert [line.rstrip() for line in screen.display[:8]] == [
        "balance   $1234.50",
        "spent     $2.0001 in 7d",
        "requests  1,001",
        "",
        "MODEL         SPENT  REQUESTS",
        "a/b\\x1b[2J  $0.0001     1,000",
        "c             $2.00         1",
        "",
    ]
