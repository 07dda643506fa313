"""Stop, continue and start in the background, in real shells: the terminal modes stay right, and no key is lost."""

import os
import re
import shutil
import signal
import termios
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from support.console import SHELLS, Console
from support.loopback import SILENCE, STREAM, Loopback, chunk, delta, stream
from support.processes import count_runs, find_child, is_stopped

from aiml_cli.output.spinner import FRAMES

ANSWER_END = [chunk(each) for each in (delta(" and the end"), delta(finish="stop"))]
ANSWER_BEGINNING = STREAM + chunk(delta("the beginning"))
HELLO = stream(delta("the answer"), delta(finish="stop"))
ICANON = termios.ICANON
CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"

pytestmark = pytest.mark.promise("job-control")


# What depends on how a shell starts, stops and continues its jobs; all else runs in bash.
IN_EACH_SHELL = pytest.mark.parametrize("shell", SHELLS, indirect=True)


@pytest.fixture
def shell(request: pytest.FixtureRequest, server: Loopback) -> Iterator[Console]:
    """Yield a shell at its prompt: bash, or the one that the test names."""
    name = getattr(request, "param", "bash")
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    environ = {"AIML_BASE_URL": server.url, "EDITOR": "cat >/dev/null; true"}
    with Console.start_shell(shell=name, **environ) as console:
        console.wait_until("$")
        yield console


def wait_for_shell(console: Console) -> None:
    console.wait_until(lambda: console.read_cursor_line() == "$")


def stop_program(console: Console) -> None:
    """Stop the program, and check that the shell has its own modes."""
    terminal, shell = console.child.child_fd, console.child.pid
    console.wait_until(lambda: os.tcgetpgrp(terminal) != shell and console.read_cursor_line() != "$")
    # Pressed again because a signal before the one to continue is dropped.
    console.press_until(CTRL_Z, lambda: os.tcgetpgrp(terminal) == shell and console.read_cursor_line() == "$")
    check_modes(console)


def check_modes(console: Console) -> None:
    """Check that a program which the shell starts gets a terminal that echoes and edits lines."""
    shown = console.read_text().count("modes:")
    # The space, because Ctrl-Z was pressed again if the shell was slow, and with that the terminal may drop a key.
    console.type_line(" stty -a; echo mod''es:")
    console.wait_until(lambda: console.read_text().count("modes:") > shown)
    wait_for_shell(console)
    modes = re.findall(r"-?\b(?:echo|icanon|isig|icrnl|noflsh)\b", console.read_text().replace("\n", " "))[-5:]
    assert sorted(modes) == sorted(["icrnl", "isig", "icanon", "echo", "-noflsh"]), console.read_text()


def continue_in_foreground(console: Console) -> None:
    console.type_line("fg")


def continue_in_background_first(console: Console) -> None:
    shown = len(console.read_text())
    console.type_line("bg")
    console.wait_until(lambda: "[1]" in console.read_text()[shown:])
    console.type_line("fg")


WAYS_TO_CONTINUE = (continue_in_foreground, continue_in_background_first)


def send_and_leave(console: Console, server: Loopback, draft: str, count: int = 1) -> None:
    """Check the draft at the prompt, send it, leave, and check the terminal."""
    console.wait_until(lambda: console.read_cursor_line() == f"> {draft}".rstrip())
    console.type_line(" done")
    console.wait_until(lambda: len(server.requests) == count)
    assert server.requests[-1].json["messages"][-1]["content"].strip() == f"{draft} done".strip()
    console.wait_until("the answer")
    console.wait_until(lambda: console.read_cursor_line() == ">")
    console.press(CTRL_D)
    wait_for_shell(console)
    check_modes(console)


@IN_EACH_SHELL
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_stop_at_the_prompt_keeps_the_draft(term: str, shell: Console, server: Loopback) -> None:
    server.answer_with(HELLO)
    shell.run("chat", before=f"TERM={term} ")
    shell.wait_for_prompt()
    shell.press("half")
    for proceed in WAYS_TO_CONTINUE:
        shell.wait_until(lambda: shell.read_cursor_line() == "> half")
        stop_program(shell)
        proceed(shell)
    send_and_leave(shell, server, "half")


@pytest.mark.parametrize("beginning", [[ANSWER_BEGINNING], []], ids=["streaming", "waiting"])
def test_a_stop_during_an_answer_keeps_what_is_typed_ahead(
    beginning: list[bytes], shell: Console, server: Loopback
) -> None:
    goes_on = Event()
    server.answer_with(beginning or STREAM, goes_on, *ANSWER_END)
    server.answer_with(HELLO)
    shell.run("chat")
    shell.wait_for_prompt()
    shell.type_line("one")
    shell.wait_until("the beginning" if beginning else lambda: server.requests)
    shell.press("ahead")
    for proceed in WAYS_TO_CONTINUE:
        stop_program(shell)
        proceed(shell)
    goes_on.set()
    shell.wait_until("and the end")
    send_and_leave(shell, server, "ahead", 2)
    assert shell.read_text().count("the end") == 1


@pytest.mark.parametrize("flags", [[], ["-i"]], ids=["once", "conversation"])
def test_the_spinner_is_shown_in_the_foreground_only(flags: list[str], shell: Console, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(STREAM, goes_on, *ANSWER_END)
    shell.run("chat", "hi", *flags)
    shell.wait_until(lambda: is_spinning(shell))
    stop_program(shell)
    assert not any(char in shell.read_text() for char in FRAMES)
    shell.type_line("bg")
    check_modes(shell)
    assert not any(char in shell.read_text() for char in FRAMES)
    shell.type_line("fg")
    shell.wait_until(lambda: is_spinning(shell))
    goes_on.set()
    shell.wait_until("and the end")
    shell.wait_until(lambda: shell.read_cursor_line() == (">" if flags else "$"))
    assert not any(char in shell.read_text() for char in FRAMES)


def is_spinning(shell: Console) -> bool:
    return shell.read_cursor_line()[:1] in [*FRAMES]


@IN_EACH_SHELL
def test_an_answer_continues_after_a_stop(shell: Console, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(ANSWER_BEGINNING, goes_on, *ANSWER_END)
    shell.run("chat", "hi")
    shell.wait_until("the beginning")
    for proceed in WAYS_TO_CONTINUE:
        stop_program(shell)
        proceed(shell)
    goes_on.set()
    shell.wait_until("and the end")
    wait_for_shell(shell)
    check_modes(shell)


def answer_after_stop(shell: Console, question: str, answer: str) -> None:
    """Stop at a question, continue in the background first, and answer when it is asked again."""
    stop_program(shell)
    asked = shell.read_text().count(question)
    continue_in_background_first(shell)
    shell.wait_until(lambda: shell.read_text().count(question) > asked)
    shell.type_line(answer)


def test_a_question_is_asked_again_after_a_stop(shell: Console, server: Loopback, empty_home: Path) -> None:
    (empty_home / ".netrc").write_text("machine x login y password hunter2hunter2\nAKIAIOSFODNN7EXAMPLE\n")
    server.answer_with(HELLO)
    shell.run("chat", "hi", "-f", ".netrc")
    shell.wait_until("[y/N]")
    answer_after_stop(shell, "[y/N]", "y")
    shell.wait_until("the answer")
    wait_for_shell(shell)
    check_modes(shell)


def test_a_shell_command_in_the_repl_can_be_stopped(shell: Console, server: Loopback) -> None:
    server.answer_with(HELLO)
    shell.run("chat")
    shell.wait_for_prompt()
    shell.type_line("!echo beg''un; read x; echo got $x")
    shell.wait_until("begun")
    stop_program(shell)
    continue_in_background_first(shell)
    shell.wait_until(lambda: shell.read_cursor_line() != "$")
    shell.type_line("word")
    shell.wait_until("got word")
    send_and_leave(shell, server, "")


def test_the_editor_can_be_stopped(shell: Console, server: Loopback, empty_home: Path) -> None:
    editor = empty_home / "editor"
    editor.write_text('#!/bin/sh\necho editing; read word; printf "%s" "$word" > "$1"\n')
    editor.chmod(0o700)
    server.answer_with(HELLO)
    shell.run("chat", before=f"EDITOR={editor} ")
    shell.wait_for_prompt()
    shell.press("draft\x18\x05")
    shell.wait_until("editing")
    stop_program(shell)
    child = find_child(find_child(shell.child.pid))
    runs = count_runs(child)
    shell.type_line("bg")
    # It is stopped again because it reads. If `fg` came at that moment, it would be stopped in the foreground too.
    shell.wait_until(lambda: count_runs(child) > runs and is_stopped(child))
    shell.type_line("fg")
    shell.wait_until(lambda: shell.read_cursor_line() != "$")
    shell.type_line("word")
    send_and_leave(shell, server, "word")


@IN_EACH_SHELL
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_repl_started_in_the_background_waits_for_the_foreground(term: str, shell: Console, server: Loopback) -> None:
    server.answer_with(HELLO)
    shell.run("chat", "-i", before=f"TERM={term} ", after=" &")
    shell.press_until("\r", lambda: re.search(r"(?i)stopped|suspended", shell.read_text()))  # Enter shows the jobs
    check_modes(shell)
    shell.type_line("fg")
    send_and_leave(shell, server, "")


@IN_EACH_SHELL
def test_an_answer_in_the_background_is_printed(shell: Console, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(ANSWER_BEGINNING, goes_on, *ANSWER_END)
    shell.run("chat", "hi", after=" &")
    shell.wait_until("the beginning")
    check_line_modes(shell)
    goes_on.set()
    shell.wait_until("and the end")


def check_line_modes(shell: Console) -> None:
    """Check that the shell echoes while something else writes to the terminal."""
    shell.type_line("echo sh''own")
    shell.wait_until("shown")


def test_an_answer_brought_to_the_foreground_does_not_echo_keys(shell: Console, server: Loopback) -> None:
    goes_on = Event()
    server.answer_with(ANSWER_BEGINNING, goes_on, *ANSWER_END)
    shell.run("chat", "hi", after=" &")
    shell.wait_until("the beginning")
    shell.type_line("fg")
    child = shell.child.child_fd
    shell.wait_until(lambda: not termios.tcgetattr(child)[3] & termios.ECHO and termios.tcgetattr(child)[3] & ICANON)
    shell.press("\r" * 6)
    goes_on.set()
    shell.wait_until("and the end")
    check_modes(shell)
    assert shell.read_text().count("the beginning") <= 2  # once in the background, once in the foreground


@pytest.mark.parametrize("shell", ["bash", "zsh"], indirect=True)  # dash leaves the modes of a program that is killed
@pytest.mark.parametrize("is_asked", [False, True], ids=["prompt", "answer"])
def test_sigstop_loses_neither_text_nor_draft(is_asked: bool, shell: Console, server: Loopback) -> None:
    goes_on = Event()
    if is_asked:
        server.answer_with(ANSWER_BEGINNING, goes_on, *ANSWER_END)
    server.answer_with(HELLO)
    shell.run("chat")
    shell.wait_for_prompt()
    if is_asked:
        shell.type_line("one")
        shell.wait_until("the beginning")
    else:
        shell.press("half")
        shell.wait_until("> half")
    os.kill(os.tcgetpgrp(shell.child.child_fd), signal.SIGSTOP)
    wait_for_shell(shell)
    check_modes(shell)
    shell.type_line("fg")
    goes_on.set()
    if is_asked:
        shell.wait_until("and the end")
        shell.wait_for_prompt()
        shell.press("half")
    send_and_leave(shell, server, "half", 1 + is_asked)


def test_a_stop_signal_at_the_prompt_keeps_the_draft(shell: Console, server: Loopback) -> None:
    server.answer_with(HELLO)
    shell.run("chat")
    shell.wait_for_prompt()
    shell.press("half")
    shell.wait_until("> half")
    os.kill(os.tcgetpgrp(shell.child.child_fd), signal.SIGTSTP)
    wait_for_shell(shell)
    check_modes(shell)
    shell.type_line("fg")
    send_and_leave(shell, server, "half")


@pytest.mark.parametrize("ending", [CTRL_C, signal.SIGTERM, signal.SIGHUP, b"", b"data: {\n\n"])
@pytest.mark.parametrize("flags", [[], ["-i"]], ids=["once", "conversation"])
def test_every_ending_restores_the_terminal(
    flags: list[str], ending: str | int | bytes, shell: Console, server: Loopback
) -> None:
    goes_on = Event()
    server.answer_with(ANSWER_BEGINNING, goes_on, *([ending] if isinstance(ending, bytes) else ANSWER_END))
    shell.run("chat", "hi", *flags)
    shell.wait_until("the beginning")
    if isinstance(ending, str):
        shell.press(ending)
    elif isinstance(ending, int):
        os.kill(os.tcgetpgrp(shell.child.child_fd), ending)
    goes_on.set()
    if flags and not isinstance(ending, int):
        shell.wait_for_prompt()
        shell.press(CTRL_D)
    wait_for_shell(shell)
    check_modes(shell)


@IN_EACH_SHELL
@pytest.mark.parametrize("flags", [[], ["-i"]], ids=["once", "conversation"])
def test_quit_ends_an_answer_and_restores_the_terminal(flags: list[str], shell: Console, server: Loopback) -> None:
    server.answer_with(ANSWER_BEGINNING, SILENCE)
    shell.run("chat", "hi", *flags)
    shell.wait_until("the beginning")
    shell.press(CTRL_BACKSLASH)
    wait_for_shell(shell)
    check_modes(shell)


def test_quit_at_a_plain_prompt_restores_the_terminal(shell: Console, server: Loopback) -> None:
    shell.run("chat", before="TERM=dumb ")
    shell.wait_for_prompt()
    shell.press(CTRL_BACKSLASH)
    wait_for_shell(shell)
    check_modes(shell)


def test_quit_ends_only_the_running_command(shell: Console, server: Loopback) -> None:
    server.answer_with(HELLO)
    shell.run("chat")
    shell.wait_for_prompt()
    shell.type_line("!echo beg''un; exec cat")
    shell.wait_until("begun")
    shell.press(CTRL_BACKSLASH)
    shell.wait_until("the command ended with")
    shell.wait_for_prompt()
    send_and_leave(shell, server, "")


def test_a_key_is_asked_for_again_after_a_stop_and_never_shown(shell: Console, empty_home: Path) -> None:
    shell.run("config", "key")
    shell.wait_until("(not shown)")
    shell.press("half-a-key")
    answer_after_stop(shell, "(not shown)", "the-whole-key")
    shell.wait_until("stored the key")
    wait_for_shell(shell)
    check_modes(shell)
    assert "-key" not in shell.read_text()


@pytest.mark.parametrize("ending", [CTRL_C, CTRL_D])
def test_leaving_the_question_for_a_key_restores_the_terminal(ending: str, shell: Console, empty_home: Path) -> None:
    shell.run("config", "key")
    shell.wait_until("(not shown)")
    shell.press(ending)
    wait_for_shell(shell)
    check_modes(shell)
    assert "stored the key" not in shell.read_text()
