"""The keys of vi in the line editor: the mode is shown, Enter sends, and nothing else of the REPL changes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.console import Console
from support.loopback import Loopback
from support.repl_lines import queue_answers

ESCAPE, CTRL_C, CTRL_D, CTRL_J, PASTE, PASTE_END = "\x1b", "\x03", "\x04", "\n", "\x1b[200~", "\x1b[201~"
StartConsole = Callable[..., Console]


@pytest.fixture
def start_console(server: Loopback) -> StartConsole:
    """Return a function that starts a conversation with the keys of vi."""
    queue_answers(server, "Hello")

    def start(*arguments: str, **environ: str) -> Console:
        console = Console(
            "chat", *arguments, **{"AIML_BASE_URL": server.url, "AIML_EDITING": "vi", "rows": 14, **environ}
        )  # type: ignore[arg-type]
        console.wait_for_prompt()
        console.wait_until(lambda: console.read_toolbar().startswith("INSERT"))  # all is drawn
        return console

    return start


def get_prompt(server: Loopback) -> str:
    return str(server.requests[-1].json["messages"][-1]["content"])


def enter_mode(console: Console, key: str, mode: str) -> None:
    console.press(key)
    console.wait_until(lambda: console.read_toolbar().startswith(mode))


def send_and_check(console: Console, server: Loopback, expected: str) -> None:
    """Press Enter when all is on the screen, and check what is sent; then leave."""
    console.wait_until(expected.rpartition("\n")[2])
    console.press("\r")
    console.wait_until(lambda: server.requests)
    console.wait_until("Hello")
    console.wait_for_prompt()
    assert get_prompt(server) == expected
    assert console.leave() == 0


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["hello"], "hello"),
        (["hello", ESCAPE], "hello"),
        (["helloo", ESCAPE, "x"], "hello"),
        (["hello world", ESCAPE, "0dw"], "world"),
        (["hello world", ESCAPE, "bD"], "hello"),
        (["hello", ESCAPE, "Ivery ", ESCAPE, "$"], "very hello"),
        (["hello", ESCAPE, "0", "Rj"], "jello"),
        (["hello", ESCAPE, "x", "u"], "hello"),
        (["one\x1b\rtwo"], "one\ntwo"),
        (["one", CTRL_J + "two"], "one\ntwo"),
        (["one", ESCAPE, CTRL_J, "two"], "one\ntwo"),
        (["one", ESCAPE, "\x1b\r", "two"], "one\ntwo"),
        (["one", CTRL_J + "two", ESCAPE, "ggdd"], "two"),
        (["one", CTRL_J + "two", ESCAPE, "k", "x"], "on\ntwo"),
        (["one\\", "\r", "two"], "one\ntwo"),
        ([f"{PASTE}one\ntwo{PASTE_END}"], "one\ntwo"),
        (["say ", ESCAPE, f"{PASTE}one\ntwo{PASTE_END}"], "sayone\ntwo"),
        (["one\rtwo\rthree"], "one\ntwo\nthree"),
        (["ab", "\x1b[D", "x"], "axb"),
        (["hello", ESCAPE, "V", "d", "ibye"], "bye"),
        (["日本語 ü", ESCAPE, "0x"], "本語 ü"),
    ],
)
def test_keys_edit_as_in_vi_and_enter_sends_in_both_modes(
    server: Loopback, start_console: StartConsole, keys: list[str], expected: str
) -> None:
    with start_console() as console:
        for key in keys:
            console.press(key)
            if key == ESCAPE:
                console.wait_until(lambda: console.read_toolbar().startswith("NORMAL"))
            else:
                size = len(console.output)
                console.wait_until(lambda size=size: len(console.output) > size)  # type: ignore[misc]
                if key.endswith("\\"):  # together with Enter, it would be a paste
                    console.wait_until(key)
        send_and_check(console, server, expected)


def test_the_toolbar_shows_the_mode(start_console: StartConsole) -> None:
    with start_console() as console:
        console.wait_until(lambda: console.read_toolbar().startswith("INSERT · openai/gpt-5-1"))
        console.press("one")
        for key, mode in [
            (ESCAPE, "NORMAL · "), ("R", "REPLACE · "), (ESCAPE, "NORMAL · "), ("V", "VISUAL LINE · "),
            (ESCAPE, "NORMAL · "), ("\x16", "VISUAL BLOCK · "), (ESCAPE, "NORMAL · "), ("a", "INSERT · "),
        ]:  # fmt: skip
            enter_mode(console, key, mode)
        console.press(CTRL_C)
        console.wait_for_prompt()
        console.wait_until(lambda: console.read_toolbar().startswith("INSERT"))
        assert console.leave() == 0


def test_no_mode_is_shown_by_default(server: Loopback) -> None:
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.wait_until(lambda: console.read_toolbar().startswith("openai/gpt-5-1"))
        assert console.leave() == 0


@pytest.mark.parametrize("escape", ["", ESCAPE])
def test_ctrl_c_clears_and_ctrl_d_leaves_in_both_modes(
    server: Loopback, start_console: StartConsole, escape: str
) -> None:
    with start_console() as console:
        console.press("hello")
        console.wait_until("> hello")
        if escape:
            enter_mode(console, escape, "NORMAL")
        console.press(CTRL_C)
        console.wait_for_prompt()
        if escape:
            enter_mode(console, escape, "NORMAL")
        console.press(CTRL_D)
        assert (console.wait_for_exit(), server.requests) == (0, [])


@pytest.mark.parametrize("keys", ["v", "\x18\x05"])
@pytest.mark.parametrize("escape", ["", ESCAPE])
def test_the_editor_opens_with_v_in_normal_mode_and_with_the_emacs_keys(
    server: Loopback, start_console: StartConsole, keys: str, escape: str, tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "$(cat "$1") edited" > "$1.new"; mv "$1.new" "$1"\n')
    editor.chmod(0o700)
    with start_console(VISUAL=str(editor)) as console:
        console.press("text")
        console.wait_until("> text")
        if escape:
            enter_mode(console, escape, "NORMAL")
        console.press(keys)
        console.wait_until("text edited" if escape or len(keys) > 1 else "textv")
        send_and_check(console, server, "text edited" if escape or len(keys) > 1 else "textv")


def test_set_editing_changes_the_keys_in_the_running_repl(start_console: StartConsole) -> None:
    with start_console() as console:
        console.press("/conti\t")
        console.wait_until("> /continue")
        console.press(CTRL_C)
        console.wait_for_prompt()
        for line, mode in [("/set editing emacs", "openai"), ("/set editing=vi", "INSERT")]:
            console.type_line(line)
            console.wait_until(lambda mode=mode: console.read_toolbar().startswith(mode))  # type: ignore[misc]
            console.wait_for_prompt()
        console.type_line("/set editing nano")
        console.wait_until("vi")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_k_and_j_in_normal_mode_go_through_the_history(server: Loopback, start_console: StartConsole) -> None:
    with start_console() as console:
        for text in ("first", "second"):
            console.type_line(text)
            console.wait_until(lambda: server.requests and get_prompt(server) == text)  # noqa: B023
            console.wait_for_prompt()
        enter_mode(console, ESCAPE, "NORMAL")
        console.press("kk")
        console.wait_until("> first")
        console.press(ESCAPE + "jj")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_ctrl_z_stops_and_fg_goes_on_in_normal_mode(server: Loopback) -> None:
    queue_answers(server, "Hello")
    with Console.start_shell(AIML_BASE_URL=server.url, AIML_EDITING="vi") as shell:
        shell.run("chat")
        shell.wait_for_prompt()
        shell.press("hello")
        shell.wait_until("> hello")
        enter_mode(shell, ESCAPE, "NORMAL")
        shell.press("\x1a")
        shell.wait_until("Stopped")
        shell.type_line("fg")
        shell.wait_until(lambda: shell.read_toolbar().startswith("NORMAL"))
        shell.press("\r")
        shell.wait_until(lambda: server.requests)
        shell.wait_for_prompt()
        assert get_prompt(server) == "hello"


def test_the_setting_is_ignored_on_a_dumb_terminal(server: Loopback) -> None:
    queue_answers(server, "Hello")
    with Console("chat", AIML_BASE_URL=server.url, AIML_EDITING="vi", TERM="dumb") as console:
        console.wait_for_prompt()
        console.type_line("hi")
        console.wait_until("Hello")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_the_config_file_chooses_the_keys(server: Loopback, start_console: StartConsole, empty_home: Path) -> None:
    folder = empty_home / "xdg_config_home" / "aiml"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('editing = "vi"\n')
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.wait_until(lambda: console.read_toolbar().startswith("INSERT"))
        assert console.leave() == 0
