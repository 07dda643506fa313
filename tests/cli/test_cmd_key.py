"""The key that turns the words on the line into a command, in real shells on a terminal; and how it is installed."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.answers import build_json_error, get_last_messages, stream_text
from support.console import SHELLS, Console
from support.forked_process import install_program
from support.loopback import SILENCE, Loopback
from support.paths import ROOT

from aiml_cli.__main__ import main

KEY, SCRIPTS = "\x1bi", ROOT / "completions"
FISH_SETUP = "set -g fish_autosuggestion_enabled 0; fish_default_key_bindings; function fish_prompt; echo '$ '; end"
IN_EACH_SHELL = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
# What is typed and what the model writes, with characters that mean something to a shell; what Enter then prints.
EXCHANGES = [
    ("list all files", "echo r''an", "ran"),
    ("-v begins with a dash", "echo 'single' \"double\" \\\\", "single double \\"),
    ("--help", "echo one\necho two", "one\ntwo"),
    ('what\'s "this" $HOME `id` $(id) \\ * ? ; | & > < ( ) { } [ ] ~ #', "for i in 1 2\ndo\n  echo $i\ndone", "1\n2"),
    ("wow! and !! and !x", "echo x -- --x", "x -- --x"),
    ("größte Dateien 世界", "echo grüße 世界", "grüße 世界"),
    ("two  blanks {stdin", "  echo    bl''anks   ", "blanks"),
    ("100%", "printf '%s\\n' 100%", "100%"),
]
OpenShell = Callable[..., Console]


@pytest.fixture
def open_shell(server: Loopback, tmp_path: Path) -> Iterator[OpenShell]:
    """Return a function that starts a shell that has read the script of its key, or another text."""
    programs = install_program(tmp_path / "bin")
    consoles: list[Console] = []

    def start(shell: str, setup: str = "", **environ: str) -> Console:
        if not shutil.which(shell):
            pytest.skip(f"{shell} is not installed")
        settings = {
            "PATH": programs, "AIML_BASE_URL": server.url,
            "HISTFILE": str(tmp_path / "histfile"), "LC_ALL": "C.UTF-8", **environ,
        }  # fmt: skip
        console = Console.start_shell(shell=shell, **settings)
        consoles.append(console)
        prompt = f"{FISH_SETUP}; " if shell == "fish" else ""
        console.type_line(f"{prompt}{setup or f'source {SCRIPTS}/aiml-key.{shell}'}; echo REA''DY")
        console.wait_until(lambda: "READY\n$" in console.read_text() and console.read_cursor_line() == "$")
        return console

    SHELLS["fish"] = ["--no-config", "-i"]
    yield start
    for console in consoles:
        console.__exit__()


def build_answer(command: str, risk: str = "low") -> bytes:
    return stream_text("chat", json.dumps({"command": command, "explanation": "It does it.", "risk": risk}))


def read_line(console: Console) -> str:
    """Return the command line as it is edited: what is after the last prompt, without trailing blanks."""
    return console.read_text().rpartition("\n$ ")[2].rstrip()


def type_words(console: Console, words: str) -> None:
    console.press(words)
    console.wait_until(lambda: read_line(console).endswith(words.rstrip()))


def interrupt(console: Console) -> None:
    """Press Ctrl-C until there is an empty prompt: a shell that is just about to read keys misses the first one."""
    console.press_until("\x03", lambda: console.read_cursor_line() == "$")


@IN_EACH_SHELL
def test_the_words_are_sent_and_the_command_is_inserted_unchanged(
    shell: str, open_shell: OpenShell, server: Loopback
) -> None:
    console = open_shell(shell)
    for words, command, printed in EXCHANGES:
        command = command.replace("do\n", "").replace("done", "end") if shell == "fish" else command  # noqa: PLW2901
        server.scripts = [[build_answer(command)]]
        type_words(console, words)
        console.press(KEY)
        shown = [line.strip() for line in command.strip().split("\n")]
        console.wait_until(lambda shown=shown: [each.strip() for each in read_line(console).split("\n")] == shown)
        assert get_last_messages(server)[-1]["content"] == words
        assert f"\nShell: {shell}\n" in get_last_messages(server)[0]["content"]
        console.type_line("")
        console.wait_until(lambda printed=printed: console.read_text().endswith(f"\n{printed}\n$"))


@IN_EACH_SHELL
def test_nothing_runs_before_enter(shell: str, open_shell: OpenShell, server: Loopback) -> None:
    server.answer_with(build_answer("echo r''an"))
    console = open_shell(shell)
    type_words(console, "words")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "echo r''an")
    console.press(" x")
    console.wait_until(lambda: read_line(console) == "echo r''an x")
    assert "\nran" not in console.read_text()
    console.type_line("")
    console.wait_until("\nran x")


@pytest.mark.parametrize(
    ("shell", "failure"),
    [
        *(
            ("bash", name)
            for name in ("401", "429", "no connection", "cut", "no command", "hidden characters", "no aiml")
        ),
        *((shell, name) for shell in ("zsh", "fish") for name in ("401", "hidden characters", "no aiml")),
    ],
)
def test_the_words_are_kept_after_a_failure(
    shell: str, failure: str, open_shell: OpenShell, server: Loopback, tmp_path: Path
) -> None:
    answers = {
        "401": build_json_error("the key is wrong", "401 Unauthorized"), "429": build_json_error("slow down", "429 Too Many"),
        "cut": build_answer("rm -rf x")[:-60], "no command": stream_text("chat", "ls"), "hidden characters": build_answer("ls \x1b[8m x"),
    }  # fmt: skip
    server.answer_with(answers.get(failure, b""))
    url = {"no connection": "http://127.0.0.1:9/v1"}.get(failure, server.url)
    console = open_shell(shell, AIML_BASE_URL=url)
    if failure == "no aiml":
        (tmp_path / "bin/aiml").write_text("#!/bin/sh\necho aiml: broken >&2; echo rm -rf x; exit 127\n")
    type_words(console, "my own words")
    console.press(KEY)
    console.wait_until(lambda: "aiml: " in console.read_text() and read_line(console) == "my own words")
    console.press("!")
    console.wait_until(lambda: read_line(console) == "my own words!")


@IN_EACH_SHELL
def test_the_words_are_restored_after_ctrl_c(shell: str, open_shell: OpenShell, server: Loopback) -> None:
    server.answer_with(SILENCE)
    server.answer_with(build_answer("echo second"))
    console = open_shell(shell)
    type_words(console, "my own words")
    console.press(KEY)
    console.wait_until(server.request_arrived.is_set)
    assert "my own words" in console.read_text()
    console.press("\x03")
    console.wait_until(server.client_left.is_set)
    console.wait_until(lambda: "aiml: interrupted" in console.read_text() and read_line(console) == "my own words")
    console.press(" again")
    console.wait_until(lambda: read_line(console) == "my own words again")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "echo second")


@IN_EACH_SHELL
def test_ctrl_c_still_works_in_the_shell_afterwards(shell: str, open_shell: OpenShell, server: Loopback) -> None:
    server.answer_with(build_answer("echo x"))
    console = open_shell(shell)
    type_words(console, "words")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "echo x")
    interrupt(console)
    console.type_line("sh -c 'echo sta\"\"rted; exec sleep 100'")
    console.wait_until("\nstarted")
    interrupt(console)
    console.type_line("echo ba''ck")
    console.wait_until("\nback")


@IN_EACH_SHELL
def test_the_history_of_the_shell_holds_the_command(shell: str, open_shell: OpenShell, server: Loopback) -> None:
    server.answer_with(build_answer("echo a''b"))
    console = open_shell(shell)
    type_words(console, "words")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "echo a''b")
    console.type_line("")
    console.wait_until("\nab")
    console.press("\x10")
    console.wait_until(lambda: read_line(console) == "echo a''b")


@IN_EACH_SHELL
def test_an_empty_line_sends_nothing(shell: str, open_shell: OpenShell, server: Loopback) -> None:
    console = open_shell(shell)
    for line in ("", "   "):
        console.press(f"{line}{KEY}echo o''k{len(line)}\r")
        console.wait_until(f"\nok{len(line)}")
    assert server.requests == []


@pytest.mark.promise("risky-commands")
@IN_EACH_SHELL
def test_a_risky_command_is_marked(shell: str, open_shell: OpenShell, server: Loopback) -> None:
    server.answer_with(build_answer("rm -rf x"))
    console = open_shell(shell)
    type_words(console, "words")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "rm -rf x")
    assert "aiml: risky: deletes files" in console.read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_notice_says_if_history_expansion_would_change_the_command(
    shell: str, open_shell: OpenShell, server: Loopback
) -> None:
    server.answer_with(build_answer('echo "x!echo"'))
    console = open_shell(shell)
    type_words(console, "words")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == 'echo "x!echo"')
    assert "Enter expands the ! in this command" in console.read_text()


OTHER_BINDINGS = {
    "bash": 'bind \'"\\ei": "taken"\'',
    "zsh": "bindkey -s '^[i' taken",
    "fish": "bind \\ei 'commandline -i taken'",
}


@IN_EACH_SHELL
def test_a_key_that_is_already_bound_is_rebound_only_if_it_was_named(
    shell: str, open_shell: OpenShell, server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    console = open_shell(shell, f"{OTHER_BINDINGS[shell]}; source {SCRIPTS}/aiml-key.{shell}")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "taken")
    assert main(["config", "completions", shell, "--key", "alt-i"]) == 0
    (tmp_path / "key").write_text(capfd.readouterr().out)
    server.answer_with(build_answer("echo x"))
    console = open_shell(shell, f"{OTHER_BINDINGS[shell]}; source {tmp_path}/key")
    type_words(console, "words")
    console.press(KEY)
    console.wait_until(lambda: read_line(console) == "echo x")


@IN_EACH_SHELL
def test_any_other_key_can_be_chosen(
    shell: str, open_shell: OpenShell, server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = {"ctrl-g": "\x07", "Ctrl-X i": "\x18i", "alt-j": "\x1bj", "ctrl-x ctrl-a": "\x18\x01"}
    for key in keys:
        assert main(["config", "completions", shell, "--key", key]) == 0
    (tmp_path / "key").write_text(capfd.readouterr().out)
    console = open_shell(shell, f"source {tmp_path}/key")
    for number, pressed in enumerate(keys.values()):
        server.scripts = [[build_answer(f"echo {number}")]]
        type_words(console, "words")
        console.press(pressed)
        console.wait_until(lambda number=number: read_line(console) == f"echo {number}")
        console.type_line("")
        console.wait_until(lambda number=number: console.read_text().endswith(f"\n{number}\n$"))


@IN_EACH_SHELL
def test_the_default_key_is_not_bound_in_a_new_shell(shell: str, open_shell: OpenShell) -> None:
    query = {
        "bash": "(bind -p; bind -s; bind -X) | grep '^\"\\\\ei\"'; echo end",
        "zsh": "bindkey '^[i' | grep -v undefined-key; echo end",
        "fish": "bind \\ei 2>/dev/null; echo end",
    }
    console = open_shell(shell, ":")
    console.type_line(query[shell])
    console.wait_until("\nend")
    assert console.read_text().rpartition("echo end\n")[2].startswith("end")


@pytest.mark.parametrize(
    "key",
    ["", "i", "enter", "ctrl-m", "ctrl-c", "ctrl-i", "alt-", "alt-$(x)", "alt-i; x", "i alt-i", "ctrl-é", "ctrl-1"],
)
def test_a_key_that_cannot_be_used_is_refused(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "completions", "bash", "--key", key]) == 2
    assert "--key" in capfd.readouterr().err


INSTALLED_FILES = {
    "bash": ("xdg_data_home/aiml/key.bash", "source {path}\n"),
    "zsh": ("xdg_data_home/aiml/key.zsh", "source {path}\n"),
    "fish": ("xdg_config_home/fish/conf.d/aiml.fish", ""),
}


@IN_EACH_SHELL
def test_the_key_is_installed_only_if_named_and_is_kept_by_later_installs(
    shell: str, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, line = INSTALLED_FILES[shell]
    path = empty_home / name
    assert main(["config", "completions", shell, "--install"]) == 0
    assert "--install --key alt-i" in capfd.readouterr().err
    assert not path.exists()
    assert main(["config", "completions", shell, "--install", "--key", "ctrl-g"]) == 0
    assert capfd.readouterr().out.endswith(line.format(path=path))
    before = path.read_bytes()
    assert main(["config", "completions", shell, "--install"]) == 0
    assert path.read_bytes() == before
    assert f"{path} is up to date" in capfd.readouterr().err
    path.write_text("# mine\n")
    assert main(["config", "completions", shell, "--install", "--key", "ctrl-g"]) == 2
    assert path.read_text() == "# mine\n"
    assert main(["config", "completions", shell, "--install", "--key", "ctrl-g", "-y"]) == 0
    assert path.read_bytes() == before


@IN_EACH_SHELL
@pytest.mark.parametrize(("user_input", "is_installed"), [("y", True), ("", False), ("n", False)])
def test_install_asks_whether_to_bind_the_key(
    shell: str, user_input: str, is_installed: bool, empty_home: Path
) -> None:
    name, _ = INSTALLED_FILES[shell]
    with Console("config", "completions", shell, "--install") as console:
        console.wait_until("[y/N]")
        console.type_line(user_input)
        assert console.wait_for_exit() == 0
    assert (empty_home / name).exists() == is_installed
