"""What a command costs does not grow with the size of the history."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.build_history import build_history, make_name
from support.forked_process import CliProcess, run_process
from support.history_file import history_path
from support.loopback import HELLO, Loopback
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main

Capture = pytest.CaptureFixture[str]
FEW_CONVERSATIONS, MANY_CONVERSATIONS = 500, 5_000
TEXT_SIZE = 500
STEP_INSTRUCTIONS = 1000  # instructions of SQLite's machine
MAX_RATIO = 2.0
ALLOWED_SCANS = (
    "conversations_by_change",  # in its order, until enough is found
    "stale_blocks", "not_indexed", "costs", "spent", "sqlite_master", "json_each", "wanted", "VIRTUAL TABLE", "blocks",
    "CONSTANT ROW",
)  # fmt: skip
COMMANDS = {
    "list": ["history", "list"],
    "list words": ["history", "list", "giraffe"],
    "search a word": ["history", "search", "giraffe"],
    "search two characters": ["history", "search", "评审"],
    "search a symbol": ["history", "search", "C++"],
    "search a letter": ["history", "search", "R"],
    "search a frequent word": ["history", "search", "question"],
    "search nothing": ["history", "search", "hippopotamus"],
    "show the latest": ["history", "show"],
    "show by id": ["history", "show", make_name(7)],
    "show by number": ["history", "show", "3"],
    "rm": ["history", "rm", make_name(8)],
    "usage": ["usage", "--by", "model"],
}


@pytest.fixture(scope="module")
def history_files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Build a small and a large history, and their indexes."""
    paths = {}
    for count in (FEW_CONVERSATIONS, MANY_CONVERSATIONS):
        home = tmp_path_factory.mktemp(f"history{count}")
        build_history(home / "aiml" / "history.db", count, TEXT_SIZE)
        environ = {**os.environ, "XDG_DATA_HOME": str(home)}
        for arguments in (["history", "search", "giraffe"], ["usage", "--by", "model", "--period", "all"]):
            run_process(build_command(*arguments), env=environ, check=True, capture_output=True)
        paths[count] = home / "aiml" / "history.db"
    return paths


def use_copy(file: Path) -> None:
    """Use a copy of a file as the history."""
    history_path().parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, history_path())


@contextmanager
def prepare_connections(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[sqlite3.Connection], object]
) -> Iterator[None]:
    """Prepare every connection to a database that is opened in the block."""
    connect = sqlite3.connect

    def connect_and_prepare(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **more)
        prepare(connection)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_and_prepare)
        yield


@pytest.mark.promise("history-size")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_costs_the_same_with_ten_times_as_many_conversations(
    name: str, history_files: dict[int, Path], capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {}
    for count, file in history_files.items():
        use_copy(file)
        steps = [1]
        with prepare_connections(
            monkeypatch, lambda db, steps=steps: db.set_progress_handler(lambda: steps.append(1), STEP_INSTRUCTIONS)
        ):
            assert main(COMMANDS[name]) == 0
        costs[count] = len(steps)
    capfd.readouterr()
    assert costs[MANY_CONVERSATIONS] <= costs[FEW_CONVERSATIONS] * MAX_RATIO + 20, costs


@pytest.mark.promise("history-size")
@pytest.mark.parametrize("count", [FEW_CONVERSATIONS, MANY_CONVERSATIONS])
def test_asking_costs_the_same_with_ten_times_as_many_conversations(
    count: int, history_files: dict[int, Path], server: Loopback, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer_with(HELLO)
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    use_copy(history_files[count])
    steps: list[int] = []
    with prepare_connections(
        monkeypatch, lambda db: db.set_progress_handler(lambda: steps.append(1), STEP_INSTRUCTIONS)
    ):
        assert main(["chat", "hi", "--no-stdin"]) == 0
        assert main(["chat", "-r", make_name(9), "more", "--no-stdin"]) == 0
    assert capfd.readouterr().out == "Hello\nHello\n"
    assert len(steps) <= 10


@pytest.mark.promise("history-size")
@pytest.mark.parametrize("name", COMMANDS)
def test_no_query_goes_through_all_messages(
    name: str, history_files: dict[int, Path], monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    use_copy(history_files[FEW_CONVERSATIONS])
    statements: list[str] = []
    with prepare_connections(monkeypatch, lambda db: db.set_trace_callback(statements.append)):
        assert main(COMMANDS[name]) == 0
    capfd.readouterr()
    queries = [each for each in dict.fromkeys(statements) if each.lstrip().startswith(("SELECT", "WITH", "UPDATE"))]
    assert queries
    with sqlite3.connect(history_path()) as db:
        plans = [(query, row[3]) for query in queries for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    db.close()
    scans = [(query, step) for query, step in plans if step.startswith("SCAN")]
    assert [each for each in scans if not any(allowed in each[1] for allowed in ALLOWED_SCANS)] == []


@pytest.mark.promise("history-size")
@pytest.mark.parametrize("export_format", ["md", "json", "jsonl"])
def test_an_export_takes_no_more_memory_for_more_conversations(
    export_format: str, history_files: dict[int, Path], tmp_path: Path
) -> None:
    peaks = {}
    for count, file in history_files.items():
        use_copy(file)
        peaks[count] = measure_memory("history", "export", "--format", export_format, "-o", f"{tmp_path}/out")
    assert peaks[MANY_CONVERSATIONS] <= peaks[FEW_CONVERSATIONS] * 1.3, peaks
    if export_format == "json":
        assert len(json.loads((tmp_path / "out").read_bytes())) == MANY_CONVERSATIONS


def measure_memory(*arguments: str) -> int:
    """Run the program, and return its peak memory in kilobytes."""
    script = (
        "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); _, status, used = os.wait4(pid, 0);"
        "print(used.ru_maxrss); sys.exit(status != 0)"
    )
    command = [sys.executable, "-I", "-S", "-c", script, *build_command(*arguments)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.promise("history-size")
@pytest.mark.timeout(1800)
def test_a_history_of_500_mb_keeps_what_others_write_and_needs_little_memory(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    build_history(history_path(), 100_000, 2_500)
    with CliProcess(build_command("history", "search", "giraffe", "-n", "0"), stdout=subprocess.PIPE) as search:
        asked = 0
        while search.stdout and search.poll() is None:
            assert aiml("chat", f"meanwhile {asked}").stderr == b""
            asked += 1
            if asked == 20:
                found = search.communicate()[0]
    assert found.count(b"giraffe") == 2_000
    assert json.loads(aiml("history", "list", "--json", "-n", "0", "meanwhile").stdout)[asked - 1 :]
    assert measure_memory("history", "rm", make_name(1)) < 60_000
    assert measure_memory("history", "export", "-o", "/dev/null") < 60_000
    assert measure_memory("history", "rm", "--all", "-y") < 60_000
