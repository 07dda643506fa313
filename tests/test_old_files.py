"""Files that version 0.1.0 wrote are read as before: config, keys, templates, history, recordings, results."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.paths import DATA

from aiml_cli.__main__ import main

OLD = DATA / "written_by_0_1_0"
REPLIES: dict[str, Any] = json.loads((OLD / "replies.json").read_text())
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command line in a home with the old files."""
    config, data = (Path(os.environ[name]) / "aiml" for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"))
    for folder in (config, data, config / "templates"):
        folder.mkdir(mode=0o700, parents=True)
    for name in ("config.toml", "keys.json", "templates/review.toml"):
        shutil.copy(OLD / name, config / name)
        (config / name).chmod(0o600)
    shutil.copy(OLD / "history.db", data / "history.db")
    (data / "history.db").chmod(0o600)
    monkeypatch.setenv("AIML_SESSION", "shell-1")
    monkeypatch.setenv("AIML_NO_STDIN", "1")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return code, *capfd.readouterr()

    return run


def test_the_config_file_and_its_profile_still_apply(run: Run) -> None:
    code, out, _ = run("chat", "hi", "--dry-run", "--profile", "work")
    body = json.loads(out)["body"]
    assert (code, body["model"], body["temperature"], body["top_k"], body["seed"]) == (0, "demo/echo", 0.5, 3, 3)


def test_each_key_is_found_for_its_host(run: Run) -> None:
    assert "keys.json" in run("config", "show")[1]
    for url in ("https://api.aimlapi.com/v1", "https://other.example/v1"):
        code, out, _ = run("chat", "hi", "--as", "curl", "--base-url", url)
        assert (code, "made-up-key" in out) == (0, False)


def test_a_template_is_read(run: Run) -> None:
    code, out, _ = run("config", "templates", "review", "--json")
    found = json.loads(out)
    assert (code, found["prompt"]) == (0, "Review this {lang=Python}: {stdin}")
    assert found["settings"] == {"system": ["You review code."], "temperature": ["0.2"]}


def test_the_history_is_listed_shown_and_searched(run: Run) -> None:
    found = json.loads(run("history", "list", "--json")[1])
    assert {each["title"]: each["state"] for each in found} == {
        "cut": "incomplete",
        "fail": "failed",
        "Record me": "complete",
        "long story": "incomplete",
        "Think about it": "complete",
        "What can you do?": "complete",
    }
    assert "You said “And more?” (2 words" in run("history", "show", "dbk4j6")[1]
    assert "7mwrnc" in run("history", "search", "think")[1]


def test_a_conversation_is_continued(run: Run) -> None:
    code, _, err = run("chat", "--demo", "-r", "dbk4j6", "Once more?")
    assert code == 0
    assert "continuing dbk4j6" in err
    shown = json.loads(run("history", "show", "dbk4j6", "--json")[1])
    assert [each["role"] for each in shown["messages"]] == ["user", "assistant"] * 3


def test_past_spending_is_added_up(run: Run) -> None:
    _, out, _ = run("usage", "--by", "model", "--period", "all", "--demo")
    assert "demo/echo\tchat\t5\t40\t114\t0.000496\tgateway\t0" in out.splitlines()


@pytest.mark.parametrize("model", REPLIES)
def test_a_recording_is_replayed_as_it_was_answered(model: str, run: Run) -> None:
    recording = str(OLD / "recording.jsonl")
    code, out, err = run(
        "chat", "--demo", "--replay", recording, "-m", f"demo/{model}", "--no-log", "-O", "top_k=3",
        "--retries", "0", f"Record {model}",
    )  # fmt: skip
    expected = REPLIES[model]
    assert (code, out) == (expected["code"], expected["stdout"])
    assert [line for line in err.splitlines() if "top_k" not in line] == [
        line for line in expected["stderr"] if "top_k" not in line
    ]


def test_a_recorded_failure_of_the_network_is_replayed(run: Run) -> None:
    recording = str(OLD / "recording.jsonl")
    code, _, err = run(
        "chat", "--base-url", "http://127.0.0.1:9/v1", "--replay", recording, "--retries", "0", "--no-log",
        "nobody listens",
    )  # fmt: skip
    assert (code, "Connection refused" in err) == (7, True)


def test_a_run_over_rows_can_be_resumed(run: Run, tmp_path: Path) -> None:
    shutil.copy(OLD / "rows.jsonl", tmp_path / "rows.jsonl")
    (tmp_path / "input").write_text("a\nb\n")
    code, _, err = run("chat", "--each", "line", "--demo", "-f", "input", "--resume-from", "rows.jsonl", "Say {row}")
    assert code == 0
    assert "2 rows: 0 succeeded, 0 failed, 2 skipped" in err
