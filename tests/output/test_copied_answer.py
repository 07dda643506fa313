"""--copy puts a complete answer on the clipboard as well; nothing else changes the clipboard."""

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, stream_text
from support.clipboards import FAILING_SCRIPT, Clipboard
from support.forked_process import run_process
from support.loopback import Loopback
from support.pty_run import run_on_pty
from support.run_cli import Aiml, build_command

ENDPOINTS = {"chat": "chat", "respond": "responses"}
MARKDOWN = "A **bold** word.\n\n```python\nprint(1)\n```\n"
X11_ENVIRON = {"DISPLAY": ":9"}


@pytest.fixture
def clipboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clipboard:
    """Return a clipboard with a fake xclip."""
    clipboard = Clipboard(tmp_path / "bin", monkeypatch)
    clipboard.add("xclip")
    return clipboard


@pytest.mark.parametrize("command", ENDPOINTS)
@pytest.mark.parametrize(
    ("flags", "text", "expected"),
    [
        ([], "Hello", "Hello\n"),
        ([], "Hello\n", "Hello\n"),
        ([], MARKDOWN, MARKDOWN),
        ([], "grüße 😀", "grüße 😀\n"),
        (["-x"], MARKDOWN, "print(1)\n"),
        (["--extract=python"], MARKDOWN, "print(1)\n"),
        (["--items"], '[{"a": 1}, 2]', '{"a":1}\n2\n'),
        (["--schema", "a int"], '{"a": 1}', '{"a": 1}\n'),
        (["--schema", "a int", "--schema-retries", "1"], '{"a": 1}', '{"a": 1}\n'),
        (["--format", "text"], MARKDOWN, MARKDOWN),
        (["-q"], "Hello", "Hello\n"),
    ],
)
def test_the_clipboard_gets_what_a_pipe_gets(
    command: str, flags: list[str], text: str, expected: str, server: Loopback, aiml: Aiml, clipboard: Clipboard
) -> None:
    server.answer_with(stream_text(ENDPOINTS[command], text))
    result = aiml(command, "--copy", *flags, "hi", **X11_ENVIRON)
    assert (result.returncode, result.stdout, clipboard.read("xclip")) == (0, expected.encode(), expected.encode())
    message = f"aiml: copied {len(expected)} characters (xclip)\n"
    assert result.stderr.decode() == ("" if "-q" in flags else message)


@pytest.mark.parametrize("command", ENDPOINTS)
def test_on_a_terminal_the_source_is_copied_and_not_what_is_drawn(
    command: str, server: Loopback, clipboard: Clipboard
) -> None:
    server.answer_with(stream_text(ENDPOINTS[command], MARKDOWN))
    _, code, screen = run_on_pty(server, command, "--copy", "hi", **X11_ENVIRON)
    assert (code, clipboard.read("xclip")) == (0, MARKDOWN.encode())
    assert "A bold word." in screen.display[0]


@pytest.mark.parametrize("flags", [["-o", "f.md"], ["-o", "f.json", "--json"], ["-o", "f.md", "-x", "1"]])
def test_a_file_and_the_clipboard_get_the_same(
    flags: list[str], server: Loopback, aiml: Aiml, clipboard: Clipboard
) -> None:
    server.answer_with(stream_text("chat", MARKDOWN))
    assert aiml("chat", "--copy", *flags, "hi", **X11_ENVIRON).returncode == 0
    assert clipboard.read("xclip") == Path(flags[1]).read_bytes() != b""


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize("command", ENDPOINTS)
@pytest.mark.parametrize(
    ("flags", "text", "finish", "code"),
    [
        ([], "Hello", "length", 8),
        (["-x"], MARKDOWN, "length", 8),
        (["--schema", "a int"], '{"b": 1}', "stop", 9),
        (["-x"], "no code", "stop", 9),
        ([], "", "stop", 9),
        ([], " \n", "stop", 0),
    ],
)
def test_an_answer_that_failed_or_has_no_text_does_not_change_the_clipboard(
    command: str,
    flags: list[str],
    text: str,
    finish: str,
    code: int,
    server: Loopback,
    aiml: Aiml,
    clipboard: Clipboard,
) -> None:
    server.answer_with(stream_text(ENDPOINTS[command], text, finish))
    result = aiml(command, "--copy", *flags, "hi", **X11_ENVIRON)
    assert (result.returncode, clipboard.read("xclip")) == (code, None)
    assert b"copied" not in result.stderr.replace(b"nothing was copied", b"")


def test_an_answer_with_an_accepted_length_limit_is_copied(server: Loopback, aiml: Aiml, clipboard: Clipboard) -> None:
    server.answer_with(stream_text("chat", "Hello", "length"))
    assert aiml("chat", "--copy", "--allow-cut", "hi", **X11_ENVIRON).returncode == 0
    assert clipboard.read("xclip") == b"Hello\n"


def test_a_failed_request_does_not_mention_the_clipboard(server: Loopback, aiml: Aiml, clipboard: Clipboard) -> None:
    server.answer_with(build_json_error("no"))
    result = aiml("chat", "--copy", "hi", **X11_ENVIRON)
    assert (result.returncode, b"copied" in result.stderr, clipboard.read("xclip")) == (4, False, None)


@pytest.mark.parametrize("command", ENDPOINTS)
def test_without_a_clipboard_nothing_is_sent(command: str, server: Loopback, aiml: Aiml, clipboard: Clipboard) -> None:
    result = aiml(command, "--copy", "-o", "f.md", "hi")  # no DISPLAY, and a dumb terminal
    assert (result.returncode, server.connections) == (2, 0)
    assert b"there is no clipboard" in result.stderr
    assert list(Path.cwd().glob("f.md*")) == []


def test_a_clipboard_that_fails_does_not_lose_the_answer(server: Loopback, aiml: Aiml, clipboard: Clipboard) -> None:
    clipboard.add("xclip", FAILING_SCRIPT)
    server.answer_with(stream_text("chat", "Hello"))
    result = aiml("chat", "--copy", "-o", "f.md", "hi", **X11_ENVIRON)
    assert (result.returncode, Path("f.md").read_text()) == (1, "Hello\n")
    assert b"there is no clipboard that accepts this text" in result.stderr
    server.answer_with(stream_text("chat", "Hello"))
    result = aiml("chat", "--copy", "hi", **X11_ENVIRON)
    assert (result.returncode, result.stdout) == (1, b"Hello\n")
    assert b"Hello" in aiml("history", "show").stdout


@pytest.mark.parametrize(
    "flags",
    [
        ["--format", "jsonl"], ["--format", "raw"], ["--each", "line"], ["--chunk", "9"], ["-m", "a", "-m", "b"],
        ["-m", "a", "-m", "b", "--first"], ["--in-place", "f"], ["--dry-run"], ["--as", "curl"], ["--background"],
        ["--cancel", "resp_1"],
    ],
)  # fmt: skip
def test_flags_without_a_text_to_copy_are_refused(
    flags: list[str], server: Loopback, aiml: Aiml, clipboard: Clipboard
) -> None:
    Path("f").write_text("x\n")
    result = aiml("respond", "--copy", *flags, *([] if "--cancel" in flags else ["hi"]), **X11_ENVIRON)
    assert (result.returncode, server.connections) == (2, 0)
    assert b"--copy cannot be used with" in result.stderr or b"cannot be used with --copy" in result.stderr


def test_the_repl_refuses_copy_and_names_its_own_command(server: Loopback, clipboard: Clipboard) -> None:
    _, code, screen = run_on_pty(server, "chat", "-i", "--copy", **X11_ENVIRON)
    assert (code, any("/copy" in line for line in screen.display)) == (2, True)


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize("command", ENDPOINTS)
def test_a_terminal_copies_where_no_program_can(command: str, server: Loopback, clipboard: Clipboard) -> None:
    server.answer_with(stream_text(ENDPOINTS[command], "Hello\x1b]52;c;ZXZpbA==\x07"))
    wrote, code, screen = run_on_pty(server, command, "--copy", "hi")
    copied = base64.b64encode(b"Hello\x1b]52;c;ZXZpbA==\x07\n")
    assert (code, wrote.count(b"\x1b]52"), b"\x1b]52;c;" + copied + b"\x07" in wrote) == (0, 1, True)
    assert "copied 22 characters (OSC 52); if paste is empty, your terminal blocks it" in "\n".join(screen.display)


def test_a_pipe_gets_no_escape_sequence_of_the_clipboard(server: Loopback, clipboard: Clipboard) -> None:
    server.answer_with(stream_text("chat", "Hello"))
    master, slave = os.openpty()
    result = run_process(
        build_command("chat", "--copy", "hi"),
        env={**os.environ, "AIML_BASE_URL": server.url, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        check=False,
    )
    os.close(slave)
    shown = os.read(master, 4096)
    os.close(master)
    assert (result.returncode, result.stdout) == (0, b"Hello\n")
    assert b"\x1b]52;c;" + base64.b64encode(b"Hello\n") + b"\x07" in shown


def test_a_text_too_long_for_a_terminal_clipboard_is_an_error(server: Loopback, clipboard: Clipboard) -> None:
    server.answer_with(stream_text("chat", "word " * 12_000))
    wrote, code, screen = run_on_pty(server, "chat", "--copy", "hi")
    shown = " ".join(line.strip() for line in screen.display)
    assert (code, b"\x1b]52" in wrote) == (1, False)
    assert "60,001 bytes are too much for the clipboard of a terminal" in shown


@pytest.mark.parametrize(
    ("environ", "programs", "expected_programs"),
    [
        ({"WAYLAND_DISPLAY": "w", "DISPLAY": ":9"}, ["wl-copy", "xclip", "xsel"], "wl-copy"),
        ({"DISPLAY": ":9"}, ["wl-copy", "xclip", "xsel"], "xclip"),
        ({"DISPLAY": ":9"}, ["xsel"], "xsel"),
        ({}, ["xclip", "pbcopy"], "pbcopy"),
        ({}, ["clip.exe"], "clip.exe"),
        ({"TMUX": "/run/tmux,1,0"}, ["tmux"], "tmux"),
        ({"TMUX": "/run/tmux,1,0", "DISPLAY": ":9"}, ["tmux", "xsel"], "xsel and tmux"),
    ],
)
def test_the_first_program_that_fits_the_environment_copies(
    environ: dict[str, Any],
    programs: list[str],
    expected_programs: str,
    server: Loopback,
    aiml: Aiml,
    clipboard: Clipboard,
) -> None:
    (clipboard.folder / "xclip").unlink()
    for name in programs:
        clipboard.add(name)
    server.answer_with(stream_text("chat", "Hello"))
    result = aiml("chat", "--copy", "hi", **environ)
    assert result.stderr.decode() == f"aiml: copied 6 characters ({expected_programs})\n"
    expected = "Hello\n".encode("utf-16" if expected_programs == "clip.exe" else "utf-8")
    assert {name for name in programs if clipboard.read(name) is not None} == set(expected_programs.split(" and "))
    assert all(clipboard.read(name) == expected for name in expected_programs.split(" and "))
