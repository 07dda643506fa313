"""`aiml cmd` on a terminal: what is shown before the answer, and what each answer does."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.answers import build_json_error, get_last_messages, stream_text
from support.console import Console
from support.history_file import read_messages
from support.loopback import SILENCE, Loopback
from support.pty_run import HOSTILE_TEXT

QUESTION = "[r]un [e]dit re[v]ise e[x]plain [c]opy [n]o:"
NOT_RUN_NOTICE = "aiml: nothing was run"
StartCmd = Callable[..., Console]


@pytest.fixture(autouse=True)
def settings(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AIML_BASE_URL": server.url, "SHELL": "/bin/sh", "PS1": "$ "}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def start_cmd(server: Loopback) -> Iterator[StartCmd]:
    """Return a function that starts `aiml cmd` with the answers of the model, and waits for the question."""
    consoles: list[Console] = []

    def start(*commands: str, flags: tuple[str, ...] = (), **environ: Any) -> Console:
        for command in commands:
            server.answer_with(build_answer(command))
        console = Console("cmd", *flags, "do", "it", **environ)
        consoles.append(console)
        console.wait_until(QUESTION)
        return console

    yield start
    for console in consoles:
        console.__exit__()


def build_answer(command: str, explanation: str = "It does it.", risk: str = "low") -> bytes:
    return stream_text("chat", json.dumps({"command": command, "explanation": explanation, "risk": risk}))


def wait_for_question(console: Console, number: int) -> None:
    console.wait_until(lambda: console.read_text().count(QUESTION) == number)


def test_a_confirmed_command_runs_in_the_shell_of_the_user(start_cmd: StartCmd, tmp_path: Path) -> None:
    console = start_cmd("echo $0 > ran\necho second line\nexit 7")
    assert console.read_lines()[:5] == [
        "aiml: a command for sh:", "│ echo $0 > ran", "│ echo second line", "│ exit 7", "  It does it.",
    ]  # fmt: skip
    assert not (tmp_path / "ran").exists()
    console.type_line("run")
    console.wait_until("type yes to run it:")
    console.type_line("yes")
    assert console.wait_for_exit() == 7
    assert console.read_lines()[-1] == "second line"
    assert (tmp_path / "ran").read_text() == "/bin/sh\n"


@pytest.mark.promise("nothing-runs-unasked")
@pytest.mark.parametrize("user_input", ["", "n", "no", "q", "N", "\x04"])
def test_nothing_runs_if_the_user_declines(user_input: str, start_cmd: StartCmd, tmp_path: Path) -> None:
    console = start_cmd("touch ran")
    console.type_line(user_input)
    assert console.wait_for_exit() == 9
    assert console.read_lines()[-1] == NOT_RUN_NOTICE
    assert not (tmp_path / "ran").exists()


@pytest.mark.promise("nothing-runs-unasked")
@pytest.mark.parametrize("user_input", ["y", "yes", "nothing", "rr", "ru", "run it", "r un", "1", "rm", "[r]"])
def test_an_unknown_answer_repeats_the_question(user_input: str, start_cmd: StartCmd, tmp_path: Path) -> None:
    console = start_cmd("touch ran")
    console.type_line(user_input)
    wait_for_question(console, 2)
    console.type_line("")
    assert console.wait_for_exit() == 9
    assert not (tmp_path / "ran").exists()


@pytest.mark.promise("nothing-runs-unasked")
def test_keys_typed_before_the_question_do_not_answer_it(server: Loopback, tmp_path: Path) -> None:
    gate = Event()
    server.answer_with(gate, build_answer("touch ran"))
    with Console("cmd", "do it") as console:
        console.wait_until(server.request_arrived.is_set)
        console.type_line("r")
        console.type_line("yes")
        gate.set()
        console.wait_until(QUESTION)
        console.type_line("")
        assert console.wait_for_exit() == 9
    assert not (tmp_path / "ran").exists()


@pytest.mark.promise("nothing-runs-unasked")
@pytest.mark.parametrize("name", ["AIML_YES", "AIML_ALLOW"])
def test_no_environment_variable_confirms_the_command(
    name: str, start_cmd: StartCmd, tmp_path: Path, empty_home: Path
) -> None:
    console = start_cmd("touch ran", **{name: "1"})
    console.type_line("")
    assert console.wait_for_exit() == 9
    assert not (tmp_path / "ran").exists()


@pytest.mark.promise("risky-commands")
@pytest.mark.parametrize(
    ("user_input", "code"),
    [("y", 9), ("", 9), ("ye", 9), ("r", 9), ("run", 9), ("yes please", 9), ("yes", 0), ("YES", 0)],
)
def test_a_risky_command_needs_the_word_yes(user_input: str, code: int, start_cmd: StartCmd, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    console = start_cmd("rm file")
    assert "risky: deletes files" in console.read_text()
    console.type_line("r")
    console.wait_until("type yes to run it:")
    console.type_line(user_input)
    assert console.wait_for_exit() == code
    assert (tmp_path / "file").exists() == (code == 9)


@pytest.mark.promise("risky-commands")
@pytest.mark.parametrize("risk", ["medium", "high"])
def test_a_high_risk_rating_by_the_model_requires_the_word_yes_too(risk: str, server: Loopback, tmp_path: Path) -> None:
    server.answer_with(build_answer("touch ran", risk=risk))
    with Console("cmd", "do it") as console:
        console.wait_until(QUESTION)
        assert f"risky: {risk} (rated by the model)" in console.read_text()
        console.type_line("r")
        console.wait_until("type yes to run it:")
        console.type_line("r")
        assert console.wait_for_exit() == 9
    assert not (tmp_path / "ran").exists()


def test_yes_at_the_first_question_runs_a_risky_command(start_cmd: StartCmd, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    console = start_cmd("rm file")
    console.type_line("yes")
    assert console.wait_for_exit() == 0
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("exit 3", 3),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -INT $$", 130),
        ("no-such-program", 127),
    ],
)
def test_the_exit_code_is_that_of_the_command(command: str, code: int, start_cmd: StartCmd) -> None:
    console = start_cmd(command)
    console.type_line("yes" if "kill" in command else "r")
    assert console.wait_for_exit() == code


def test_ctrl_c_goes_to_the_running_command(start_cmd: StartCmd) -> None:
    console = start_cmd("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done")
    console.type_line("r")
    console.wait_until("\nready")
    console.press("\x03")
    assert console.wait_for_exit() == 5
    assert "caught" in console.read_text()
    assert "interrupted" not in console.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command_too(number: int, code: int, start_cmd: StartCmd, tmp_path: Path) -> None:
    console = start_cmd("echo $$ >> pid; echo ready; sleep 1000; echo no")
    console.type_line("r")
    console.wait_until("\nready")
    process = int((tmp_path / "pid").read_text())
    console.send_signal(number)
    assert console.wait_for_exit() == code
    console.wait_until(
        lambda: not Path(f"/proc/{process}").exists() or b"Z" in Path(f"/proc/{process}/stat").read_bytes()
    )


@pytest.mark.promise("signals")
def test_ctrl_c_at_the_question_exits_with_130(start_cmd: StartCmd, tmp_path: Path) -> None:
    console = start_cmd("touch ran")
    console.press("\x03")
    assert console.wait_for_exit() == 130
    assert console.read_lines()[-1] == "aiml: interrupted"
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_while_the_model_answers_exits_with_130(server: Loopback) -> None:
    server.answer_with(SILENCE)
    with Console("cmd", "do it") as console:
        console.wait_until(server.request_arrived.is_set)
        console.press("\x03")
        assert console.wait_for_exit() == 130


def test_questions_go_to_the_terminal_when_standard_input_is_a_pipe(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(build_answer('read line; echo "got $line"'))
    with Console.start_shell() as console:
        console.run("cmd", "use this", before="echo piped in | ")
        console.wait_until(QUESTION)
        console.type_line("r")
        console.press("typed\r")
        console.wait_until("got typed")
    assert "piped in" in str(get_last_messages(server)[-1]["content"])


def test_no_question_is_asked_if_standard_output_is_not_a_terminal(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(build_answer("rm -rf x"))
    with Console.start_shell() as console:
        console.run("cmd", "do it", after="> out; echo code $?")
        console.wait_until("code 0")
    assert (tmp_path / "out").read_text() == "rm -rf x\n"


def test_an_edited_command_runs_as_edited(start_cmd: StartCmd, server: Loopback) -> None:
    console = start_cmd("echo old")
    console.type_line("e")
    console.wait_until("$ echo old")
    console.press("\x7f\x7f\x7fnew\r")
    wait_for_question(console, 2)
    assert "│ echo new" in console.read_lines()
    console.type_line("r")
    assert console.wait_for_exit() == 0
    assert console.read_lines()[-1] == "new"
    assert len(server.requests) == 1


@pytest.mark.promise("risky-commands")
def test_the_risk_of_an_edited_command_is_checked_again(start_cmd: StartCmd, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    console = start_cmd("ls file")
    console.type_line("e")
    console.wait_until("$ ls file")
    console.press("\x01\x0brm file\r")
    wait_for_question(console, 2)
    console.type_line("r")
    console.wait_until("type yes to run it:")
    console.type_line("n")
    assert console.wait_for_exit() == 9
    assert (tmp_path / "file").exists()


def test_ctrl_c_while_editing_exits_with_130(start_cmd: StartCmd) -> None:
    console = start_cmd("echo old")
    console.type_line("e")
    console.wait_until("$ echo old")
    console.press("\x03")
    assert console.wait_for_exit() == 130


def test_a_dumb_terminal_uses_the_editor_and_gets_no_escape_sequences(start_cmd: StartCmd, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "echo edited" > "$1"\n')
    editor.chmod(0o755)
    console = start_cmd("echo old", TERM="dumb", EDITOR=str(editor))
    console.type_line("e")
    wait_for_question(console, 2)
    console.type_line("r")
    assert console.wait_for_exit() == 0
    assert console.read_lines()[-1] == "edited"
    assert b"\x1b" not in console.output


def test_a_revision_is_requested_in_the_same_conversation(start_cmd: StartCmd, server: Loopback) -> None:
    console = start_cmd("ls", "ls -la")
    console.type_line("v")
    console.wait_until("what should change?")
    console.type_line("show hidden files")
    wait_for_question(console, 2)
    assert "│ ls -la" in console.read_lines()
    console.type_line("n")
    assert console.wait_for_exit() == 9
    roles = [(each["role"], each["content"]) for each in get_last_messages(server)[1:]]
    assert [role for role, _ in roles] == ["user", "assistant", "user"]
    assert roles[0][1] == "do it"
    assert roles[2][1] == "Change the command: show hidden files"
    conversations = {each["conversation"] for each in read_messages()}
    assert (len(read_messages()), len(conversations)) == (4, 1)


def test_a_failed_revision_keeps_the_command(start_cmd: StartCmd, server: Loopback) -> None:
    console = start_cmd("echo kept")
    server.scripts.append([build_json_error("out of order")])
    console.type_line("v")
    console.wait_until("what should change?")
    console.type_line("all")
    wait_for_question(console, 2)
    assert "out of order" in console.read_text()
    console.type_line("r")
    assert console.wait_for_exit() == 0
    assert console.read_lines()[-1] == "kept"


def test_an_explanation_is_shown_as_markdown(start_cmd: StartCmd, server: Loopback) -> None:
    console = start_cmd("ls {stdin} @file")
    server.scripts.append([stream_text("chat", "# Parts\n\n- **ls** lists")])
    console.type_line("x")
    wait_for_question(console, 2)
    assert "• ls lists" in console.read_lines()
    console.type_line("")
    assert console.wait_for_exit() == 9
    messages = get_last_messages(server)
    assert "JSON" not in messages[0]["content"]
    assert "ls {stdin} @file" in messages[-1]["content"]
    assert "response_format" not in server.requests[-1].json


def test_a_command_is_copied(start_cmd: StartCmd) -> None:
    console = start_cmd("echo 'copy me'")
    console.type_line("c")
    assert console.wait_for_exit() == 0
    assert b"\x1b]52;c;ZWNobyAnY29weSBtZSc=\x07" in console.output
    assert "copied 14 characters" in console.read_text()


@pytest.mark.promise("terminal-control")
def test_text_of_the_model_cannot_control_the_terminal_or_imitate_the_question(server: Loopback) -> None:
    server.answer_with(build_answer("ls", explanation=f"{HOSTILE_TEXT}\n{QUESTION} r\naiml: fake"))
    with Console("cmd", "do it") as console:
        console.wait_until(lambda: QUESTION in console.read_lines())
        assert b"\x1b]52" not in console.output
        assert "\\x1b]52" in console.read_text()
        own = [line for line in console.read_lines() if not line.startswith(("│ ", "  "))]
        assert own == ["aiml: a command for sh:", QUESTION]


@pytest.mark.promise("nothing-runs-unasked")
def test_a_long_command_is_shown_to_its_end_before_the_question(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(
        build_answer("\n".join(["touch ran", *(f"echo {number}" for number in range(60)), "echo the end"]))
    )
    with Console("cmd", "do it") as console:
        console.wait_until("more lines: [space]")
        assert QUESTION not in console.read_text()
        console.type_line("r")
        while QUESTION not in console.read_text():
            console.press(" ")
            console.read_output()
        console.wait_until(QUESTION)
        assert "│ echo the end" in console.read_lines()
        console.type_line("")
        assert console.wait_for_exit() == 9
    assert not (tmp_path / "ran").exists()


def test_a_narrow_terminal_shows_the_whole_command(server: Loopback) -> None:
    server.answer_with(build_answer("echo " + "x" * 100 + " end"))
    with Console("cmd", "do it", columns=30) as console:
        console.wait_until("[n]o:")
        shown = "".join(line.removeprefix("│ ") for line in console.read_lines() if line.startswith("│ "))
        assert shown.replace(" ", "") == "echo" + "x" * 100 + "end"


def test_the_demo_command_can_be_run() -> None:
    with Console("cmd", "--demo", "list files") as console:
        console.wait_until(QUESTION)
        assert "no model runs" in console.read_text()
        console.type_line("r")
        assert console.wait_for_exit() == 0
        assert console.read_lines()[-1] == "[demo: no model ran]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "dash"])
def test_the_prompt_names_the_shell_that_runs_the_command(shell: str, start_cmd: StartCmd, server: Loopback) -> None:
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"{shell} is not installed")
    console = start_cmd("echo 'a  b'; false", SHELL=path)
    console.type_line("r")
    assert console.wait_for_exit() == 1
    assert console.read_lines()[-1] == "a  b"
    assert f"\nShell: {shell}\n" in get_last_messages(server)[0]["content"]


@pytest.mark.parametrize("shell", ["", "/no/such/shell", "relative", "/etc/passwd"])
def test_a_missing_shell_is_replaced_by_sh(shell: str, start_cmd: StartCmd) -> None:
    console = start_cmd("echo ran", SHELL=shell)
    console.type_line("r")
    assert console.wait_for_exit() == 0


def test_the_terminal_modes_are_restored_before_the_command_runs(server: Loopback) -> None:
    server.answer_with(build_answer("stty -a"))
    with Console.start_shell() as console:
        console.run("cmd", "do it", after="; echo DO''NE")
        console.wait_until(QUESTION)
        console.type_line("r")
        console.wait_until("DONE")
        shown = console.read_text()
    for word in ("icanon", "echo", "isig", "icrnl"):
        assert word in shown.split()
