"""`aiml usage --by`: what this machine spent, from its own history; tested through the command line."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_answer_with_cost
from support.catalogs import EXPECTED_COST, PRICES, store_catalog
from support.console import Console
from support.history_file import history_path
from support.loopback import HELLO, Loopback, json_response
from support.run_cli import Aiml

from aiml_cli.__main__ import main
from aiml_cli.store.history import reader

Capture = pytest.CaptureFixture[str]
TABLE_HEAD = "requests\tinput_tokens\toutput_tokens\tcost_usd\tcost_source\tunpriced\n"
ADD_SPENDING_SCRIPT = "from aiml_cli.store.history import reader as ledger\nfor _ in range(25): ledger.add_spending('m', 'chat', 1, 3, 5, 0.5)"


def run_usage(capfd: Capture, *arguments: str) -> str:
    """Return the output, by model unless other arguments are given."""
    capfd.readouterr()
    assert main(["usage", *(arguments or ("--by", "model"))]) == 0
    return capfd.readouterr().out


def change_database(statement: str) -> None:
    """Change the file of the history, bypassing the program."""
    with closing(sqlite3.connect(history_path())) as database, database:
        database.execute(statement)


def format_today() -> str:
    return time.strftime("%Y-%m-%d")


def test_local_usage_needs_neither_key_nor_network(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    assert [aiml("chat", "hi", "-m", "m").returncode for _ in range(2)] == [0, 0]
    assert run_usage(capfd) == f"model\tendpoint\t{TABLE_HEAD}m\tchat\t2\t6\t10\t0.5\tgateway\t0\n"
    assert run_usage(capfd, "--by", "day") == f"day\t{TABLE_HEAD}{format_today()}\t2\t6\t10\t0.5\tgateway\t0\n"
    assert len(server.requests) == 2


def test_a_missing_price_is_estimated_and_marked(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    assert [aiml("chat", "hi", "-m", "m").returncode for _ in range(2)] == [0, 0]
    row = run_usage(capfd, "--by", "model", "--base-url", server.url).splitlines()[1]
    assert row == f"m\tchat\t2\t6\t10\t{0.25 + EXPECTED_COST}\testimate\t0"
    change_database("UPDATE messages SET host = 'elsewhere'")
    row = run_usage(capfd, "--by", "model", "--base-url", server.url).splitlines()[1]
    assert row == "m\tchat\t2\t6\t10\t0.25\tgateway\t1"


def test_requests_without_a_price_are_counted_as_unpriced(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(HELLO)
    aiml("chat", "hi", "-m", "m")
    assert run_usage(capfd).splitlines()[1] == "m\tchat\t1\t3\t5\t\t\t1"


def test_refused_requests_are_not_counted(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(json_response({"error": {"message": "no"}}, "400 Bad Request"))
    aiml("chat", "hi", "-m", "m")
    assert run_usage(capfd) == f"model\tendpoint\t{TABLE_HEAD}"


@pytest.mark.promise("history-rows")
def test_concurrent_processes_lose_no_spending(capfd: Capture) -> None:
    several = [subprocess.Popen([sys.executable, "-c", ADD_SPENDING_SCRIPT]) for _ in range(4)]
    assert [each.wait(60) for each in several] == [0] * 4
    assert run_usage(capfd).splitlines()[1] == "m\tchat\t100\t300\t500\t50\tgateway\t0"


def test_spending_from_rows_and_from_conversations_is_added_up(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    aiml("chat", "hi", "-m", "m")
    reader.add_spending("m", "chat", 2, 30, 50, 0.5, "estimate")
    reader.add_spending("m", "chat", 1, 1, 1, None)
    reader.add_spending("dear", "responses", 1, 1, 1, 9.0)
    rows = run_usage(capfd).splitlines()[1:]
    assert rows == ["dear\tresponses\t1\t1\t1\t9\tgateway\t0", "m\tchat\t4\t34\t56\t0.75\testimate\t1"]


def test_a_period_excludes_older_spending(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    aiml("chat", "hi", "-m", "old")
    change_database("UPDATE messages SET at = at - 24 * 8 * 3600")
    reader.add_spending("m", "chat", 1, 3, 5, 0.5)
    change_database("UPDATE spent SET hour = hour - 24 * 8")
    reader.add_spending("new", "chat", 1, 3, 5, 0.25)
    assert [line.split("\t")[0] for line in run_usage(capfd).splitlines()] == ["model", "new"]
    found = run_usage(capfd, "--by", "day", "--period", "all").splitlines()[1:]
    assert [line.split("\t")[4] for line in found] == ["0.75", "0.25"]


def test_the_json_has_every_key(capfd: Capture) -> None:
    reader.add_spending("m", "chat", 1, 3, 5, 0.5)
    numbers: dict[str, Any] = {
        "requests": 1, "input_tokens": 3, "output_tokens": 5, "cost_usd": 0.5, "cost_source": "gateway", "unpriced": 0,
    }  # fmt: skip
    found = json.loads(run_usage(capfd, "--by", "model", "--json", "--period", "30d"))
    row = {"model": "m", "endpoint": "chat", "day": None, **numbers}
    assert found == {"by": "model", "period": "30d", "rows": [row]}
    found = json.loads(run_usage(capfd, "--by", "day", "--json"))
    assert found["rows"] == [{"model": None, "endpoint": None, "day": format_today(), **numbers}]


def test_spending_on_demo_models_is_shown_separately(capfd: Capture) -> None:
    reader.add_spending("m", "chat", 1, 3, 5, 0.5)
    reader.add_spending("demo/echo", "chat", 1, 3, 5, 9.0)
    assert "demo" not in run_usage(capfd)
    assert run_usage(capfd, "--by", "model", "--demo").splitlines()[1:] == ["demo/echo\tchat\t1\t3\t5\t9\tgateway\t0"]


def test_a_terminal_shows_a_table_with_totals_and_bars(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    reader.add_spending("a", "chat", 1000, 3, 5, 0.5)
    reader.add_spending("b", "chat", 1, 3, 5, 0.125, "estimate")
    monkeypatch.setattr("aiml_cli.cli.commands.usage.is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "53")
    assert run_usage(capfd).splitlines() == [
        "MODEL  ENDPOINT  REQUESTS  IN  OUT     COST",
        "a      chat         1,000   3    5     $0.5  ████████",
        "b      chat             1   3    5  ≈ $0.12  ██",
        "total               1,001   6   10  ≈ $0.62",
    ]


@pytest.mark.parametrize("width", [60, 61, 79, 80, 100, 132, 200])
@pytest.mark.parametrize("grouping", ["day", "model"])
@pytest.mark.parametrize("has_costs", [True, False])
def test_each_figure_has_a_bar_at_every_width(
    width: int, grouping: str, has_costs: bool, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    for number, model in enumerate(("anthropic/claude-sonnet-4.6-of-a-long-name", "openai/gpt-5-1", "small"), 1):
        cost = 100.123456 / number**2 if has_costs else None
        reader.add_spending(model, "responses", 120, 12_345_678 // number, 234_567, cost)
    change_database("UPDATE spent SET hour = hour - 24 * length(model)")
    monkeypatch.setattr("aiml_cli.cli.commands.usage.is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run_usage(capfd, "--by", grouping, "--period", "all").splitlines()
    bars = [len(line.split()[-1].strip("▏▎▍▌▋▊▉█")) == 0 for line in lines]
    assert (bars, max(map(len, lines)) <= width) == ([False, True, True, True, False], True)
    lengths = sorted(line.count("█") for line in lines)
    assert lengths[-1] >= 6 and lengths[-1] > lengths[-2]  # noqa: PT018 - one claim


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("PYTHONIOENCODING", "ascii")])
def test_a_terminal_without_unicode_gets_ascii_bars(name: str, value: str, capfd: Capture) -> None:
    reader.add_spending("a", "chat", 1, 3, 5, 0.5)
    reader.add_spending("b", "chat", 1, 3, 5, 0.000001)
    console = Console("usage", "--by", "model", columns=60, **{name: value})
    console.wait_until("total")
    lines = [line.rstrip() for line in console.read_lines()]
    assert (lines[1].split()[-1].strip("#"), lines[2].endswith("  #"), "█" in console.read_text()) == ("", True, False)


def test_without_a_history_nothing_is_shown_and_no_file_is_created(capfd: Capture) -> None:
    assert main(["usage", "--by", "day"]) == 0
    assert capfd.readouterr() == (f"day\t{TABLE_HEAD}", "aiml: no calls in the last 7 days\n")
    assert not history_path().exists()


def test_a_damaged_history_is_set_aside(capfd: Capture) -> None:
    reader.add_spending("m", "chat", 1, 3, 5, 0.5)
    history_path().write_bytes(b"no database at all" * 100)
    assert run_usage(capfd) == f"model\tendpoint\t{TABLE_HEAD}"
    assert len(list(history_path().parent.glob("history.db.damaged-*"))) == 1


def test_a_history_of_a_newer_version_is_an_error(capfd: Capture) -> None:
    reader.add_spending("m", "chat", 1, 3, 5, 0.5)
    change_database("PRAGMA user_version = 99")
    assert main(["usage", "--by", "model"]) == 2
    assert "was written by a newer aiml" in capfd.readouterr().err


@pytest.mark.parametrize("usage", ["{", "[]", "7", '{"input_tokens": "x", "output_tokens": -5}'])
def test_invalid_token_counts_count_as_zero(usage: str, server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    aiml("chat", "hi", "-m", "m")
    change_database(f"UPDATE messages SET usage = '{usage}'")  # noqa: S608 - of this table
    assert run_usage(capfd).splitlines()[1] == "m\tchat\t1\t0\t0\t0.25\tgateway\t0"


def test_without_by_only_the_periods_of_the_gateway_are_accepted(capfd: Capture) -> None:
    assert main(["usage", "--demo", "--period", "all"]) == 2
    assert "use one of 24h, 7d, 30d, or add --by" in capfd.readouterr().err


@pytest.mark.promise("private-files")
def test_the_file_of_local_usage_is_private(empty_home: Path) -> None:
    old = os.umask(0)
    try:
        reader.add_spending("m", "chat", 1, 3, 5, 0.5)
    finally:
        os.umask(old)
    assert history_path().stat().st_mode & 0o777 == 0o600


def test_a_replay_is_not_counted_as_spending(server: Loopback, aiml: Aiml, capfd: Capture) -> None:
    server.answer_with(build_answer_with_cost("Hi", "stop", 0.25))
    assert aiml("chat", "hi", "-m", "m", "--record", "tape").returncode == 0
    assert [aiml("chat", "hi", "-m", "m", "--replay", "tape").returncode for _ in range(2)] == [0, 0]
    assert run_usage(capfd) == f"model\tendpoint\t{TABLE_HEAD}m\tchat\t1\t3\t5\t0.25\tgateway\t0\n"


@pytest.mark.parametrize("model", ["demo/echo", "demo-echo"])
def test_demo_spending_is_kept_separate_for_any_model_name(model: str, aiml: Aiml, capfd: Capture) -> None:
    assert aiml("chat", "--demo", "-m", model, "hi").returncode == 0
    assert aiml("chat", "--demo", "-m", model, "--each", "line", stdin=b"hi\n").returncode == 0
    assert run_usage(capfd).count("\n") <= 1
    assert model in run_usage(capfd, "--by", "model", "--demo")
