"""The history file is private, can be written by many processes, and survives killed writers and disk errors."""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.store import paths
from aiml_cli.store.history import database, find_conversations, locks, reader, word_index, writer
from aiml_cli.store.history.database import MIGRATIONS, History
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage

# What a process of its own runs; it imports the store alone.
SCRIPT_START = """
import os, sys
from aiml_cli.store.history import writer as exchange, database as history
from aiml_cli.store.history.writer import NewExchange, AnswerEnd, AnswerDelta, NewMessage
def make_exchange(words):
    return NewExchange(None, words, "place", None, [NewMessage("user", words, [])], "chat", "host", "model", {})
"""
WRITE_20_EXCHANGES = (
    SCRIPT_START
    + """
found = history.open_history()
for n in range(20):
    words = f"w{sys.argv[1]}n{n}"
    row = exchange.begin_exchange(found, make_exchange(words))
    exchange.append_deltas(found, row, [AnswerDelta("text", 0, words)])
    exchange.finish_answer(found, row, AnswerEnd("complete", words))
"""
)
WRITE_ENDLESSLY = (
    SCRIPT_START
    + """
found = history.open_history()
row = exchange.begin_exchange(found, make_exchange("go on"))
os.write(1, f"{row.message}\\n".encode())
n = 0
while True:
    exchange.append_deltas(found, row, [AnswerDelta("text", 0, f"{n} ")])
    os.write(1, b".")
    n += 1
"""
)
BEGIN_ONE_ANSWER = (
    SCRIPT_START
    + """
found = history.open_history()
row = exchange.begin_exchange(found, make_exchange("hold"))
exchange.append_deltas(found, row, [AnswerDelta("text", 0, "so far")])
print("ready", flush=True)
sys.stdin.read()
"""
)


WRITE_AFTER_DAMAGE = (
    SCRIPT_START
    + """
sys.stdin.read()
found = history.open_history()
exchange.begin_exchange(found, make_exchange(sys.argv[1]))
print(found.damaged_copy)
"""
)


def get_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def get_history_file() -> Path:
    return paths.require_path(paths.history_file())


def build_python_command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def make_exchange(words: str) -> NewExchange:
    return NewExchange(None, words, "place", None, [NewMessage("user", words, [])], "chat", "host", "model", {})


def write(history: History, words: str, answer: str = "answer") -> None:
    row = writer.begin_exchange(history, make_exchange(words))
    writer.finish_answer(history, row, AnswerEnd(writer.COMPLETE, answer))
    locks.release(history.lock_file, row.conversation)


def query_rows(history: History, query: str, *values: Any) -> list[Any]:
    return history.connection.execute(query, values).fetchall()


def fill_history(count: int = 200) -> None:
    with closing(database.open_history()) as history:
        for number in range(count):
            write(history, f"question {number}", "words " * 50)
        query_rows(history, "PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.fixture(params=[0, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_a_new_file_has_the_latest_schema_and_a_write_ahead_log() -> None:
    with closing(database.open_history()) as history:
        assert query_rows(history, "PRAGMA user_version") == [(len(MIGRATIONS),)]
        assert query_rows(history, "PRAGMA journal_mode") == [("wal",)]
        write(history, "hello")
    with closing(database.open_history()) as again:
        assert [each.title for each in find_conversations.list_conversations(again)] == ["hello"]


def test_a_file_of_an_older_version_gets_the_missing_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(database.open_history()) as history:
        write(history, "kept")
    monkeypatch.setattr(
        database, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE conversations ADD COLUMN later TEXT DEFAULT 'x'")
    )
    with closing(database.open_history()) as history:
        assert query_rows(history, "SELECT title, later FROM conversations") == [("kept", "x")]
        assert query_rows(history, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_history(1)
    with monkeypatch.context() as newer:
        newer.setattr(database, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE half (id); CREATE TABLE messages (id)"))
        with pytest.raises(OutputFailed, match="already exists"):
            database.open_history()
    with closing(sqlite3.connect(get_history_file())) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()


def test_a_file_of_a_newer_version_is_refused_and_not_changed() -> None:
    fill_history(1)
    with closing(sqlite3.connect(get_history_file())) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = get_history_file().read_bytes()
    with pytest.raises(UsageError, match="written by a newer aiml") as caught:
        database.open_history()
    assert "--no-log" in caught.value.hint
    assert (get_history_file().read_bytes(), database.list_damaged_copies(get_history_file())) == (before, [])


@pytest.mark.promise("private-files")
@pytest.mark.usefixtures("umask")
def test_all_files_of_the_history_are_private_whatever_the_umask() -> None:
    with closing(database.open_history()) as history:
        write(history, "hello")
        modes = {each.name: get_mode(each) for each in get_history_file().parent.iterdir()}
    assert modes == dict.fromkeys(("history.db", "history.db-wal", "history.db-shm", "history.db.lock"), 0o600)
    assert get_mode(get_history_file().parent) == 0o700


@pytest.mark.promise("private-files")
def test_a_file_that_others_could_read_is_private_once_it_is_opened() -> None:
    fill_history(1)
    get_history_file().chmod(0o666)
    get_history_file().parent.chmod(0o755)
    database.open_history().close()
    assert (get_mode(get_history_file()), get_mode(get_history_file().parent)) == (0o600, 0o700)


@pytest.mark.promise("private-files")
@pytest.mark.parametrize("name", ["history.db", "history.db.lock"])
def test_a_link_is_not_followed(name: str, tmp_path: Path) -> None:
    target = tmp_path / "theirs"
    target.write_bytes(b"")
    get_history_file().parent.mkdir(parents=True)
    (get_history_file().parent / name).symlink_to(target)
    with pytest.raises((UsageError, OutputFailed), match=r"symbolic link"):
        database.open_history()
    assert target.read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputFailed, match="Not a directory"):
        database.open_history()
    assert database.open_existing() is None


def test_a_folder_in_place_of_the_file_is_an_error() -> None:
    get_history_file().mkdir(parents=True)
    with pytest.raises(OutputFailed, match="unable to open database file"):
        database.open_history()


@pytest.mark.parametrize("size", [100, 512, 4096, 10_000])
def test_a_truncated_file_is_moved_aside(size: int) -> None:
    fill_history()
    data = get_history_file().read_bytes()[:size]
    get_history_file().write_bytes(data)
    with closing(database.open_history()) as history:
        assert history.damaged_copy
        assert history.damaged_copy.read_bytes() == data
        assert get_mode(history.damaged_copy) == 0o600
        write(history, "after")
        assert [each.title for each in find_conversations.list_conversations(history)] == ["after"]


@pytest.mark.parametrize("size", [100, 600, 100_000])
def test_a_file_that_is_not_a_database_is_moved_aside(size: int) -> None:
    get_history_file().parent.mkdir(parents=True)
    data = random.Random(7).randbytes(size)  # noqa: S311 - no secret
    get_history_file().write_bytes(data)
    with closing(database.open_history()) as history:
        assert history.damaged_copy
        assert history.damaged_copy.read_bytes() == data
        assert find_conversations.list_conversations(history) == []


def test_an_empty_file_becomes_a_history() -> None:
    get_history_file().parent.mkdir(parents=True)
    get_history_file().touch()
    with closing(database.open_history()) as history:
        assert history.damaged_copy is None
        write(history, "hello")


def test_a_second_process_that_finds_the_damage_moves_nothing() -> None:
    get_history_file().parent.mkdir(parents=True)
    get_history_file().write_bytes(b"no database")
    with closing(database.recreate_history()) as first, closing(database.recreate_history()) as second:
        write(first, "kept")
        assert first.damaged_copy
        assert second.damaged_copy is None
        assert [each.title for each in find_conversations.list_conversations(second)] == ["kept"]


@pytest.mark.promise("history-rows")
def test_one_of_many_processes_moves_a_damaged_file_aside_and_none_loses_a_row() -> None:
    get_history_file().parent.mkdir(parents=True)
    get_history_file().write_bytes(b"no database" * 1000)
    gate, opener = os.pipe()
    pipes: Any = {"stdin": gate, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(build_python_command(WRITE_AFTER_DAMAGE, name), **pipes) for name in range(8)]
    os.close(gate)
    os.close(opener)  # now all begin
    outputs = [writer.communicate(timeout=100)[0].strip() for writer in writers]
    (copy,) = database.list_damaged_copies(get_history_file())
    assert sorted(outputs) == sorted([str(copy), *["None"] * 7])
    with closing(database.open_history()) as history:
        assert {each.title for each in find_conversations.list_conversations(history)} == {
            str(name) for name in range(8)
        }


@pytest.mark.promise("history-rows")
def test_many_processes_at_once_lose_no_row() -> None:
    writers = [
        subprocess.Popen(build_python_command(WRITE_20_EXCHANGES, name), stderr=subprocess.PIPE) for name in range(16)
    ]
    outputs = [writer.communicate(timeout=100)[1] for writer in writers]
    assert outputs == [b""] * 16
    wanted = {f"w{name}n{n}" for name in range(16) for n in range(20)}
    with closing(database.open_history()) as history:
        assert {title for (title,) in query_rows(history, "SELECT title FROM conversations")} == wanted
        answers = query_rows(history, "SELECT text, state FROM messages WHERE role = 'assistant'")
        assert sorted(answers) == sorted((each, "complete") for each in wanted)
        assert query_rows(history, "SELECT count(*) FROM pieces") == [(0,)]
        word_index.index_new_messages(history, database.ignore_progress)
        assert len(word_index.find_candidates(history, word_index.Query("w15n19"))) == 2


@pytest.mark.promise("stored-while-arriving")
@pytest.mark.promise("history-rows")
def test_a_writer_that_is_killed_loses_nothing_that_was_written() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    written = dict(kill_while_writing(chance.randint(1, 60)) for _ in range(25))
    with closing(database.open_history()) as history:
        writer.recover_interrupted(history)
        assert query_rows(history, "PRAGMA integrity_check") == [("ok",)]
        kept = dict(query_rows(history, "SELECT id, text FROM messages WHERE state = 'interrupted'"))
        assert query_rows(history, "SELECT count(*) FROM pieces") == [(0,)]
    assert kept.keys() == written.keys()
    for message, count in written.items():
        words = kept[message].split()
        assert words == [str(number) for number in range(len(words))]
        assert len(words) >= count


def kill_while_writing(count: int) -> tuple[int, int]:
    """Kill a process in the middle of its writing; return its message, and how many pieces it reported as written."""
    with subprocess.Popen(build_python_command(WRITE_ENDLESSLY), stdout=subprocess.PIPE) as process:
        assert process.stdout
        message = int(process.stdout.readline())
        reported = process.stdout.read(count)
        process.kill()
        return message, len(reported + process.stdout.read())


def test_an_answer_that_is_still_being_written_is_not_marked_as_interrupted() -> None:
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(build_python_command(BEGIN_ONE_ANSWER), **pipes) as process,
        closing(database.open_history()) as history,
    ):
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        writer.recover_interrupted(history)
        (conversation,) = find_conversations.list_conversations(history)
        assert [(each.state, each.text) for each in reader.read_messages(history, conversation.id)][1:] == [
            ("streaming", "so far")
        ]
        process.kill()
        process.wait()
        writer.recover_interrupted(history)
        assert [each.state for each in reader.read_messages(history, conversation.id)] == ["complete", "interrupted"]


def test_the_number_of_a_deleted_conversation_is_not_used_again() -> None:
    with closing(database.open_history()) as history:
        write(history, "one")
        (first,) = find_conversations.list_conversations(history)
        query_rows(history, "DELETE FROM conversations")
        write(history, "two")
        assert find_conversations.list_conversations(history)[0].id > first.id
