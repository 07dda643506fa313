"""/pipe: the last answer, or a block of it, on the standard input of a shell command; the conversation goes on."""

from pathlib import Path

import pytest
from support.console import Console
from support.loopback import Loopback
from support.repl_lines import ReplDriver, build_text_answer, queue_answers

ANSWER = "Two:\n\n```python\nprint(1)\n```\n\n```sh\necho two\n```\n"
HUGE_TEXT = "0123456789 word\n" * 70_000  # more than any pipe holds
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def repl(server: Loopback) -> ReplDriver:
    server.answer_with(build_text_answer(ANSWER))
    return ReplDriver(server)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/pipe cat > out", ANSWER),
        ("/pipe 1 cat > out", "print(1)\n"),
        ("/pipe 2 cat > out", "echo two\n"),
        ("/pipe   2   cat > out", "echo two\n"),
        ("/PIPE cat > out", ANSWER),
        ("/pipe tr a-z A-Z | head -1 > out", "TWO:\n"),
        ("/pipe 2 sh > out", "two\n"),
        ("/pipe cat > 'a b'; cp 'a b' out", ANSWER),
        ("/pipe echo \"$HOME\" 'it''s' > /dev/null; wc -l > out", "9\n"),
    ],
)
def test_a_command_gets_the_answer_or_a_block_of_it(repl: ReplDriver, line: str, expected: str, capfd: Capture) -> None:
    repl.type_lines("hi", line)
    assert Path("out").read_text().strip() == expected.strip()
    assert "the command" not in capfd.readouterr().err


def test_an_answer_without_a_final_newline_gets_one(server: Loopback) -> None:
    server.answer_with(build_text_answer("Hello"))
    ReplDriver(server).type_lines("hi", "/pipe cat > out")
    assert Path("out").read_bytes() == b"Hello\n"


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize(
    "command", ["true", "head -1 > out", "cat > out", "wc -c > out", "exec 0<&-; true", "sleep 0 &"]
)
def test_a_huge_answer_does_not_block_even_if_the_command_does_not_read_it(
    server: Loopback, endpoint: str, command: str, capfd: Capture
) -> None:
    server.answer_with(build_text_answer(HUGE_TEXT))
    repl = ReplDriver(server)
    repl.type_lines("hi", f"/pipe {command}", "/pipe echo then > then")
    assert Path("then").read_text() == "then\n"
    assert "error" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/pipe", "a command is required"),
        ("/pipe 2", "a command is required"),
        ("/pipe  ", "a command is required"),
        ("/pipe 3 cat", "the answer has 2 code blocks"),
        ("/pipe 0 cat", "'0' is not a whole number from 1"),
        ("/pipe exit 3", "the command ended with 3"),
        ("/pipe kill -9 $$", "the command ended with SIGKILL"),
        ("/pipe no-such-program-anywhere", "the command ended with 127"),
        ("/pipe cat |", "the command ended with 2"),
        ("/pipe /etc/passwd", "the command ended with 126"),
    ],
)
def test_a_failure_is_reported_and_the_conversation_continues(
    repl: ReplDriver, line: str, message: str, capfd: Capture
) -> None:
    repl.type_lines("hi", line, "more")
    assert message in capfd.readouterr().err
    assert len(repl.request_bodies) == 2


@pytest.mark.parametrize("line", ["/pipe cat", "/pipe 1 cat"])
def test_without_an_answer_no_command_runs(repl: ReplDriver, line: str, capfd: Capture) -> None:
    repl.type_lines(f"{line} > out")
    assert ("there is no answer yet" in capfd.readouterr().err, Path("out").exists()) == (True, False)


def test_an_answer_without_text_runs_no_command(server: Loopback, capfd: Capture) -> None:
    server.answer_with(build_text_answer(""))
    ReplDriver(server).type_lines("hi", "/pipe cat > out")
    assert Path("out").exists() is False


def test_a_similar_command_suggests_pipe(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("/less")
    assert "did you mean /pipe?" in capfd.readouterr().err


@pytest.mark.parametrize("line", ["/pipe touch made", "/pipe  touch made", "/PIPE touch made"])
def test_a_pasted_command_runs_only_after_confirmation(server: Loopback, line: str, tmp_path: Path) -> None:
    queue_answers(server, "Hello")
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("hi")
        console.wait_until("Hello")
        console.wait_for_prompt()
        console.press(f"\x1b[200~{line}\x1b[201~\r")
        console.wait_until("run it? [y/N]")
        console.type_line("n")
        console.wait_until("the pasted command was not run")
        console.wait_for_prompt()
        assert not (tmp_path / "made").exists()
        console.type_line("/pipe touch typed; echo do''ne")
        console.wait_until("done")
        console.wait_for_prompt()
        assert (tmp_path / "typed").exists()
        assert console.leave() == 0


@pytest.mark.parametrize(
    ("term", "command", "message"),
    [
        ("xterm-256color", "echo beg''un; exec sleep 60", "the command ended with SIGINT"),
        (
            "dumb",
            "trap 'echo trapp''ed; exit 5' INT; echo beg''un; while :; do sleep 1; done",
            "the command ended with 5",
        ),
    ],
)
def test_ctrl_c_ends_only_the_command(server: Loopback, term: str, command: str, message: str) -> None:
    queue_answers(server, HUGE_TEXT[:66_000], "again")  # more than a pipe holds, as the command does not read it
    with Console("chat", "-q", AIML_BASE_URL=server.url, TERM=term, rows=12) as console:
        console.wait_for_prompt()
        console.type_line("hi")
        console.wait_until(lambda: len(server.requests) == 1)
        console.wait_for_prompt()
        console.type_line(f"/pipe {command}")
        console.wait_until("begun")
        console.press("\x03")
        console.wait_until(message)
        console.wait_for_prompt()
        console.type_line("more")
        console.wait_until("again")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_a_pager_gets_keys_from_the_terminal(server: Loopback) -> None:
    queue_answers(server, "\n".join(f"line {number}" for number in range(300)))
    with Console("chat", "-q", AIML_BASE_URL=server.url, LESS="") as console:
        console.wait_for_prompt()
        console.type_line("hi")
        console.wait_until("line 299")
        console.wait_for_prompt()
        console.type_line("/pipe less")
        console.wait_until(lambda: console.read_cursor_line() == ":")
        console.press("\x03")
        console.press_until("G", "(END)")
        console.press("q")
        console.wait_for_prompt()
        assert console.leave() == 0
