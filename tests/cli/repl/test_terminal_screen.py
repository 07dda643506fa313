"""What a person sees in the REPL: the prompt, the toolbar, what Tab offers, and whole sessions at three sizes."""

from pathlib import Path

import pytest
from support.console import Console
from support.loopback import Loopback, delta, event, stream
from support.paths import DATA

from aiml_cli import __version__

SIZES = [(80, 24), (120, 40), (40, 10)]
HELLO = stream(delta("the answer"), delta(finish="stop"))
HOSTILE_MODEL = "evil\x1b]0;x\x07\u202e\nmodel"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("/unde\t", "/unde"),
        ("/hel\t", "/help"),
        ("/set tempe\t", "/set temperature="),
        ("/file not\t", "/file notes.txt"),
        ("look at @not\t", "look at @notes.txt"),
        ("look (at @not\t", "look (at @notes.txt"),
        ("look (@not\t", "look (@notes.txt"),
        ('look at "@not\t', 'look at "@notes.txt'),
    ],
)
def test_tab_completes_commands_and_arguments(keys: str, expected: str, server: Loopback, empty_home: Path) -> None:
    (empty_home / "notes.txt").write_text("x")
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.press(keys)
        console.wait_until(lambda: console.read_cursor_line() == f"> {expected}")


@pytest.mark.promise("terminal-control")
def test_a_file_name_with_control_characters_is_not_offered(server: Loopback, empty_home: Path) -> None:
    (empty_home / "odd\u202ename").write_text("x")
    (empty_home / "odd-name").write_text("x")
    with Console("chat", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.press("/file od\t")
        console.wait_until(lambda: console.read_cursor_line() == "> /file odd-name")


@pytest.mark.promise("terminal-control")
def test_no_model_name_controls_the_terminal(server: Loopback) -> None:
    with Console("chat", "-m", HOSTILE_MODEL, AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.wait_until("evil\\x1b]0;x\\x07\\u202e\\nmodel · 0 tokens · $0.0000")
        assert not set(console.output.decode()) & set("\x07\u202e")


def test_the_toolbar_shows_queued_files_and_tokens(server: Loopback, empty_home: Path) -> None:
    (empty_home / "notes.txt").write_text("x")
    server.answer_with(stream(delta("the answer"), delta(finish="stop"), event({"choices": [], "usage": USAGE})))
    with Console("chat", "-m", "some/model", AIML_BASE_URL=server.url, columns=40, rows=10) as console:
        console.wait_for_prompt()
        console.type_line("/file notes.txt")
        console.wait_until("queued: notes.txt")
        console.type_line("go")
        console.wait_until("some/model · 8 tokens · cost unkn")
        assert "queued:" not in "\n".join(console.screen.display)


USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"AIML_COLOR": "never"}])
def test_colors_can_be_switched_off(environ: dict[str, str], server: Loopback) -> None:
    with Console("chat", AIML_BASE_URL=server.url, **environ) as console:
        console.wait_for_prompt()
        console.leave()
    assert not any(f"\x1b[{code}".encode() in console.output for code in ("0;3", "0;4", "38;", "48;", "0;38"))


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_a_session_looks_as_expected_at_each_size(columns: int, rows: int) -> None:
    with Console("chat", "--demo", columns=columns, rows=rows) as console:
        console.wait_for_prompt()
        console.type_line("hello")
        console.wait_until(lambda: "[demo: no model ran]" in console.read_text())
        console.wait_for_prompt()
        console.type_line("/hepl")
        console.wait_until("did you mean /help?")
        console.wait_for_prompt()
        assert console.leave() == 0
    golden = DATA / "sessions" / f"{columns}x{rows}.txt"
    lines = [line.replace(f"aiml {__version__} ", "aiml VERSION ") for line in console.read_lines()]
    assert lines == golden.read_text().splitlines()
