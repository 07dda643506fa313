"""The renderers follow from the settings and from what standard output and standard error are."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import CompletionBuilder
from aiml_cli.api.stream_events import EventBatch, Finished, Notice, ReasoningDelta, TextDelta, Usage
from aiml_cli.errors import AimlError, IncompleteAnswer, OutputFailed, ReaderClosed, UsageError
from aiml_cli.output.choose_renderer import choose_output, has_color
from aiml_cli.settings.resolve import resolve

Capture = pytest.CaptureFixture[str]
EVENTS: EventBatch = [
    ReasoningDelta("Hm"),
    Notice("searched"),
    TextDelta("\x1b[1mHi"),
    Usage(1, 2, 3),
    Finished("stop", 0),
]
RAW_PIECES = [b"data: {", b"}\n\n\x1b"]


def render(capfd: Capture, error: AimlError | None = None, **options: Any) -> tuple[str, str]:
    """Show an answer with the chosen renderers; return what reached standard output and error."""
    screen, fold = choose_output(replace(resolve({}).options, **options), {}), CompletionBuilder()
    assert list(screen.tee(iter(RAW_PIECES))) == RAW_PIECES
    screen.show(EVENTS)
    fold.add(EVENTS)
    screen.close(Answer("chat", fold.build(), error))
    captured = capfd.readouterr()
    return captured.out, captured.err


def test_the_text_goes_to_the_pipe_and_the_rest_to_standard_error(capfd: Capture) -> None:
    assert render(capfd) == ("\x1b[1mHi\n", "Hm\naiml: searched\n")


@pytest.mark.parametrize(
    ("options", "stderr"),
    [
        ({"hide_reasoning": True}, "aiml: searched\n"),
        ({"quiet": True}, ""),
        ({"usage": True, "quiet": True}, "aiml: 1 in · 2 out · 3 tokens\n"),
        ({"color": "always"}, "\x1b[2mHm\x1b[0m\naiml: searched\n"),
    ],
    ids=repr,
)
def test_the_settings_decide_what_goes_to_standard_error(capfd: Capture, options: dict[str, Any], stderr: str) -> None:
    assert render(capfd, **options) == ("\x1b[1mHi\n", stderr)


@pytest.mark.parametrize("options", [{"format": "json"}, {"json": True}, {"json": True, "format": "raw"}], ids=repr)
@pytest.mark.parametrize("error", [None, IncompleteAnswer("cut")])
def test_json_output_is_one_object_and_nothing_else(
    capfd: Capture, options: dict[str, Any], error: AimlError | None
) -> None:
    out, err = render(capfd, error, **options)
    assert json.loads(out)["text"] == "\x1b[1mHi"
    assert (json.loads(out)["error"] is None) == (error is None)
    assert err == ""


def test_json_lines_end_with_the_object(capfd: Capture) -> None:
    out, err = render(capfd, format="jsonl")
    assert [json.loads(row)["type"] for row in out.splitlines()] == ["thought", "notice", "text", "usage", "done"]
    assert err == ""


def test_raw_output_is_the_bytes_of_the_server(capfd: Capture) -> None:
    assert render(capfd, format="raw") == (b"".join(RAW_PIECES).decode(), "")


@pytest.mark.parametrize("error", [OutputFailed("disk full"), ReaderClosed("gone")])
def test_an_output_that_failed_is_not_written_again(capfd: Capture, error: AimlError) -> None:
    out, _ = render(capfd, error, format="json")
    assert out == ""


# ---- a file


def test_a_file_gets_the_answer_and_standard_output_nothing(capfd: Capture, tmp_path: Path) -> None:
    target = tmp_path / "answer.txt"
    out, err = render(capfd, output=str(target))
    assert (out, err) == ("", "Hm\naiml: searched\n")
    assert target.read_bytes() == b"\x1b[1mHi\n"


def test_an_incomplete_answer_is_kept_next_to_the_file(capfd: Capture, tmp_path: Path) -> None:
    target = tmp_path / "answer.txt"
    target.write_text("old")
    out, err = render(capfd, IncompleteAnswer("cut"), output=str(target))
    assert out == ""
    assert target.read_text() == "old"
    assert f"aiml: the incomplete answer is in {target}.part\n" in err


@pytest.mark.parametrize("format_", ["json", "raw"])
def test_every_format_can_be_written_to_a_file(capfd: Capture, tmp_path: Path, format_: str) -> None:
    target = tmp_path / "answer"
    assert render(capfd, output=str(target), format=format_)[0] == ""
    assert target.read_bytes().startswith(b"{" if format_ == "json" else RAW_PIECES[0])


def test_a_file_that_cannot_be_opened_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        choose_output(replace(resolve({}).options, output=str(tmp_path)), {})


def test_without_standard_output_nothing_is_sent() -> None:
    kept = os.dup(1)
    os.close(1)
    try:
        with pytest.raises(OutputFailed):
            choose_output(resolve({}).options, {})
    finally:
        os.dup2(kept, 1)
        os.close(kept)


# ---- color


@pytest.mark.parametrize(
    ("color_option", "environ", "color"),
    [
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("auto", {}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "3"}, True),
        ("auto", {"FORCE_COLOR": "0"}, False),
        ("auto", {"FORCE_COLOR": ""}, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
    ],
)
def test_color_without_a_terminal_depends_on_the_flag(
    color_option: str, environ: dict[str, str], *, color: bool, tmp_path: Path
) -> None:
    fd = os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT)
    assert has_color(fd, color_option, environ) is color
    os.close(fd)


@pytest.mark.parametrize(
    ("environ", "color"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": ""}, False),
        ({}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "FORCE_COLOR": "0"}, True),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_color_on_a_terminal_depends_on_what_it_supports(environ: dict[str, str], *, color: bool) -> None:
    leader, terminal = os.openpty()
    assert has_color(terminal, "auto", environ) is color
    os.close(terminal)
    os.close(leader)
