"""The screens of -h and --help: what they show, in which groups, and that no sentence is cut."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from support.console import Console
from support.paths import ROOT

from aiml_cli.__main__ import main
from aiml_cli.cli import app
from aiml_cli.cli.flags import Command, Group
from aiml_cli.cli.help_screens import first_sentence
from aiml_cli.settings.options import ROWS, flags_of

Capture = pytest.CaptureFixture[str]
ROOT_COMMAND: Any = typer.main.get_command(app.build_command())
SCREEN_LINES = 40


def walk_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk_commands(below, (*path, name))


COMMANDS = dict(walk_commands(ROOT_COMMAND))


def run_help(capfd: Capture, monkeypatch: pytest.MonkeyPatch, *arguments: str, columns: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(list(arguments)) == 0
    return capfd.readouterr().out


def list_headings(text: str) -> list[str]:
    return re.findall(r"^(\S.*):$", text, re.MULTILINE)


def list_sentences(command: Any) -> Iterator[str]:
    """Yield the help texts of a command, its flags, arguments and subcommands."""
    yield command.help or ""
    yield from ((param.help or "") for param in command.params)
    yield from ((below.help or "").strip().partition("\n\n")[0] for below in getattr(command, "commands", {}).values())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_uses_the_help_of_aiml(path: tuple[str, ...]) -> None:
    assert isinstance(COMMANDS[path], Command | Group)


@pytest.mark.parametrize("columns", [60, 72, 80, 200])
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_sentence_is_shortened(
    path: tuple[str, ...], columns: int, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = " ".join(run_help(capfd, monkeypatch, *path, "--help", columns=columns).split())
    for text in list_sentences(COMMANDS[path]):
        assert " ".join(text.split()) in shown
    assert not re.search(r"\w\.\.\.( |$)", shown)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_short_help_fits_a_screen(path: tuple[str, ...], capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run_help(capfd, monkeypatch, *path, "-h").splitlines()
    assert len(lines) < SCREEN_LINES
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize(("command", "endpoint"), [("chat", "chat"), ("respond", "responses")])
def test_the_short_help_has_the_most_used_flags_in_groups(
    command: str, endpoint: str, columns: int, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run_help(capfd, monkeypatch, command, "-h", columns=columns)
    common = [row for row in flags_of(endpoint) if row.common]
    assert 15 <= len(common) <= 20
    assert re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE) == [
        row.flag for panel in dict.fromkeys(row.panel for row in common) for row in common if row.panel == panel
    ]
    assert list_headings(text)[:-1] == list(dict.fromkeys(row.panel for row in common))
    assert list_headings(text)[-1] == "Examples"
    assert text.count(f"  aiml {command} ") + text.count("| aiml chat") == 3
    assert f"All flags: aiml {command} --help" in text


@pytest.mark.parametrize(("command", "endpoint"), [("chat", "chat"), ("respond", "responses")])
def test_the_long_help_has_every_flag_in_its_group(
    command: str, endpoint: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run_help(capfd, monkeypatch, command, "--help")
    groups = dict(zip(list_headings(text), re.split(r"^\S.*:$", text, flags=re.MULTILINE)[1:], strict=True))
    assert [row.flag for row in flags_of(endpoint) if f"{row.flag}" not in groups[row.panel]] == []


def test_the_help_of_aiml_describes_tasks_and_not_the_api(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run_help(capfd, monkeypatch, "--help")
    assert "Ask a question or start a conversation (Chat Completions)." in text
    assert "POST" not in text
    assert text == run_help(capfd, monkeypatch, "-h")


def test_the_fast_top_level_help_equals_the_generated_one(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    context = typer.Context(ROOT_COMMAND, info_name="aiml", terminal_width=78, **ROOT_COMMAND.context_settings)
    assert run_help(capfd, monkeypatch, "--help").rstrip() == ROOT_COMMAND.get_help(context).rstrip()


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_the_short_help_fits_a_real_terminal(command: str) -> None:
    console = Console(command, "-h", columns=80, rows=SCREEN_LINES)
    console.wait_until(f"All flags: aiml {command} --help")
    assert console.read_lines()[0].startswith(f"Usage: aiml {command}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One."),
        ("No end", "No end"),
        ("A file.py of it. Two", "A file.py of it."),
        ("One. Two. [default: 5.1]", "One. [default: 5.1]"),
        ("", ""),
    ],
)
def test_the_first_sentence_includes_the_default(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_the_help_of_json_fits_commands_without_format(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["models"], ["usage"], ["history", "list"], ["config", "show"], ["tools", "list"]):
        assert "Print JSON instead of text." in run_help(capfd, monkeypatch, *command, "--help")
    assert ROWS["json"].help.split(".")[0] in " ".join(run_help(capfd, monkeypatch, "chat", "--help").split())


def test_the_manual_page_has_each_heading_once() -> None:
    headings = re.findall(r"^\.S[HS] .*", (ROOT / "docs/aiml.1").read_text("utf-8"), re.MULTILINE)
    assert sorted(set(headings)) == sorted(headings)


@pytest.mark.parametrize(
    ("bare", "full"), [(["history"], ["history", "list"]), (["templates"], ["config", "templates"])]
)
def test_a_group_without_a_command_lists_its_entries(bare: list[str], full: list[str], capfd: Capture) -> None:
    assert main(bare) == 0
    shown = capfd.readouterr()
    assert main(full) == 0
    assert shown == capfd.readouterr()
