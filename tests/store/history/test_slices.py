"""Long work on a large history is done in short transactions, so others can write and a kill loses nothing."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any

import pytest
from bench.build_history import MARKS, build_history
from support.forked_process import CliProcess
from support.history_file import history_path, select, wait_until_equal
from support.paths import ROOT
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.store.history import database, edits, find_conversations, reader, word_index
from aiml_cli.store.history.database import MIGRATIONS, History

Capture = pytest.CaptureFixture[str]
CONVERSATION_COUNT = 600
GIRAFFE_COUNT = CONVERSATION_COUNT // 50
MAX_CHANGES = 1000  # rows that a transaction may change if no step takes longer than a slice
WRITER = ROOT / "scripts" / "bench" / "write_history.py"
OLD_INDEX_SQL = (
    "INSERT INTO words (rowid, text) SELECT id, text FROM messages WHERE id % 2; UPDATE messages SET indexed = id % 2"
)


def fill_history(count: int = CONVERSATION_COUNT, text_size: int = 1000, migrations: int = len(MIGRATIONS)) -> None:
    build_history(history_path(), count, text_size, MIGRATIONS[:migrations])


@contextmanager
def write_meanwhile(*, may_be_deleted: bool = False) -> Iterator[None]:
    """Write exchanges in another process during the block; all must be there at its end, unless they were deleted."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, WRITER, "0.005"], text=True, **pipes) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
        yield
        written, error = writer.communicate()
    assert (writer.returncode, error) == (0, "")
    query = "SELECT count(*) AS count FROM messages WHERE state = 'complete' AND text = 'an answer'"
    count = select(query)[0]["count"]
    assert 0 < len(written.split()) >= count
    assert may_be_deleted or count == len(written.split())


def count_changes(history: History, work: Callable[[], object]) -> list[int]:
    """Return how many rows each transaction of some work changes."""
    counts = [history.connection.total_changes]
    history.connection.set_trace_callback(
        lambda statement: counts.append(history.connection.total_changes) if statement == "COMMIT" else None
    )
    work()
    history.connection.set_trace_callback(None)
    return [after - before for before, after in pairwise(counts)]


@pytest.mark.promise("history-size")
@pytest.mark.parametrize("migrations", [1, 2, 3])
@pytest.mark.parametrize(
    "work",
    [
        lambda history: word_index.index_new_messages(history, database.ignore_progress),
        lambda history: list(reader.read_spending(history, 0)),
        lambda history: edits.delete_conversations(history, [7]),
        lambda history: edits.delete_conversations(history, find_conversations.list_ids(history)),
    ],
    ids=["index", "spending", "delete one", "delete all"],
)
def test_no_transaction_is_long(work: Callable[[History], object], migrations: int, monkeypatch: Any) -> None:
    fill_history(migrations=migrations)
    if migrations < len(MIGRATIONS):
        with closing(sqlite3.connect(history_path())) as db:
            db.executescript(OLD_INDEX_SQL)
    monkeypatch.setattr(database, "SLICE_S", 0.0)
    monkeypatch.setattr(database, "PAUSE_S", 0.0)
    with closing(database.open_history()) as history:
        counts = count_changes(history, lambda: work(history))
    assert counts
    assert max(counts) <= MAX_CHANGES


@pytest.mark.promise("history-rows")
@pytest.mark.parametrize("migrations", [2, 3])
def test_what_is_written_while_the_index_is_built_is_kept(migrations: int, capfd: Capture) -> None:
    fill_history(migrations=migrations)
    with write_meanwhile():
        assert count_hits(capfd, "giraffe") == GIRAFFE_COUNT
    assert count_hits(capfd, "meanwhile") > 0


@pytest.mark.promise("history-rows")
def test_what_is_written_while_everything_is_deleted_is_kept_or_deleted_as_a_whole(capfd: Capture) -> None:
    fill_history()
    assert count_hits(capfd, "giraffe") == GIRAFFE_COUNT
    with write_meanwhile(may_be_deleted=True):
        assert main(["history", "rm", "--all", "-y"]) in {0, 2}  # what is written at this moment stays
    assert count_hits(capfd, "giraffe") == 0
    assert select("SELECT count(*) AS count FROM block_words WHERE word = 'giraffe'")[0]["count"] == 0


@pytest.mark.promise("history-size")
def test_several_processes_build_the_index_at_once_and_find_everything() -> None:
    fill_history()
    command = build_command("history", "search", "giraffe", "-n", "0", "--json")
    searches = [CliProcess(command, stdout=subprocess.PIPE) for _ in range(4)]
    assert [len(json.loads(search.communicate()[0])) for search in searches] == [GIRAFFE_COUNT] * 4


@pytest.mark.promise("history-size")
def test_an_index_whose_builder_was_killed_is_completed(capfd: Capture) -> None:
    fill_history()
    kill_when(["search", "giraffe"], "SELECT value > 0 AS done FROM positions WHERE name = 'words'")
    assert count_hits(capfd, "giraffe") == GIRAFFE_COUNT


@pytest.mark.promise("history-size")
def test_a_deletion_that_was_killed_is_completed_by_the_next_one(capfd: Capture) -> None:
    fill_history()
    assert count_hits(capfd, "giraffe") == GIRAFFE_COUNT
    kill_when(["rm", "--all", "-y"], "SELECT count(*) < 600 AS done FROM conversations")
    assert main(["history", "rm", "--all", "-y"]) == 0
    assert count_hits(capfd, "giraffe") == 0
    for table in ("conversations", "messages", "block_words", "stale_blocks", "not_indexed", "costs"):
        assert select(f"SELECT * FROM {table}") == []  # noqa: S608 - a name of ours


def kill_when(arguments: list[str], query: str) -> None:
    """Kill a history command as soon as a query returns a row that is true."""
    with CliProcess(build_command("history", *arguments), stdout=subprocess.PIPE) as process:
        assert wait_until_equal(lambda: select(query), [{"done": 1}])
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("migrations", [1, 2, 3])
def test_deleting_one_conversation_leaves_the_others_and_no_trace_of_its_text(migrations: int, capfd: Capture) -> None:
    fill_history(migrations=migrations)
    with closing(sqlite3.connect(history_path())) as db, db:
        db.execute("UPDATE messages SET text = 'xylophonquartz ' || text WHERE conversation = 50 AND role = 'user'")
        if migrations < len(MIGRATIONS):
            db.executescript(OLD_INDEX_SQL)
    if migrations == len(MIGRATIONS):
        assert count_hits(capfd, "giraffe") == GIRAFFE_COUNT
    assert main(["history", "rm", "xylophonquartz"]) == 0
    assert not [path for path in history_path().parent.iterdir() if b"xylophonquartz" in path.read_bytes()]
    assert count_hits(capfd, "giraffe") == GIRAFFE_COUNT - 1
    assert count_hits(capfd, "question", "51") > 0


@pytest.mark.parametrize("migrations", [1, 2])
def test_what_an_earlier_version_wrote_is_found_and_counted_in_usage(migrations: int, capfd: Capture) -> None:
    fill_history(100, migrations=migrations)
    with closing(sqlite3.connect(history_path())) as db:
        db.executescript(OLD_INDEX_SQL)
    for every, text in MARKS.items():
        assert count_hits(capfd, *text.split()) == 100 // every
    assert main(["usage", "--by", "model", "--period", "all"]) == 0
    assert "some/model\tchat\t100\t20000\t40000\t0.05\tgateway\t0\n" in capfd.readouterr().out
    assert select("SELECT name FROM sqlite_master WHERE name LIKE 'words%'") == []


def test_a_message_with_very_many_words_is_found_and_deleted(capfd: Capture) -> None:
    fill_history(3)
    with closing(sqlite3.connect(history_path())) as db, db:
        db.execute("UPDATE messages SET text = ? WHERE id = 6", (" ".join(f"n{n}" for n in range(20_000)),))
    assert count_hits(capfd, "n19999") == 1
    assert main(["history", "rm", "n19999"]) == 0
    assert select("SELECT count(*) AS count FROM block_words WHERE word = 'n19999'")[0]["count"] == 0


def test_what_is_written_after_a_search_is_found_too(capfd: Capture) -> None:
    fill_history(3)
    assert count_hits(capfd, "giraffe") == 0
    with closing(sqlite3.connect(history_path())) as db, db:
        db.execute("UPDATE messages SET text = 'a giraffe' WHERE id = 2")
        db.execute("DELETE FROM messages WHERE id = 6")  # its id is used again
        db.execute(
            "INSERT INTO messages (conversation, role, state, at, text, endpoint)"
            " VALUES (3, 'assistant', 'complete', 1.0, 'the last giraffe', 'chat')"
        )
    assert count_hits(capfd, "giraffe") == 2


def count_hits(capfd: Capture, *words: str) -> int:
    capfd.readouterr()
    assert main(["history", "search", "-n", "0", "--json", *words]) == 0
    return len(json.loads(capfd.readouterr().out))
