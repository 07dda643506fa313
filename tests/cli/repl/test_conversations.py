"""Slash commands that resume, copy and name stored conversations, and which process may write them meanwhile."""

import os
import subprocess
from pathlib import Path

import pytest
from support.history_file import read_messages, select
from support.loopback import HELLO, Loopback
from support.repl_lines import ReplDriver, alternate_roles, build_text_answer, build_truncated_answer
from support.run_cli import Aiml, build_command

from aiml_cli.cli.repl.tab_completion import list_words
from aiml_cli.store.history import edits, locks

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def name_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the terminal, so that -c finds what was said here."""
    monkeypatch.setenv("AIML_SESSION", "here")


@pytest.fixture
def repl(server: Loopback) -> ReplDriver:
    server.answer_with(HELLO)
    return ReplDriver(server)


def list_names() -> list[str]:
    return [row["name"] for row in select("SELECT name FROM conversations ORDER BY id")]


def count_own_locks() -> int:
    return sum(locks._counts.values())  # noqa: SLF001 - how often a conversation is held shows nowhere else


def test_undone_turns_are_left_out_by_other_commands_and_marked_in_the_history(repl: ReplDriver, aiml: Aiml) -> None:
    repl.type_lines("a", "b", "/undo", "/exit")
    aiml("chat", "-c", "c")
    assert repl.sent_messages == alternate_roles("a", "Hello", "c")
    shown = aiml("history", "show").stdout.decode()
    assert shown.count("[undone]") == 2


def test_a_fork_continues_and_the_original_is_unchanged(repl: ReplDriver) -> None:
    repl.type_lines("a", "/fork", "b", "/undo", "/fork second", "c")
    assert repl.sent_messages == alternate_roles("a", "Hello", "c")
    rows = read_messages()
    per = [[row["text"] for row in rows if row["conversation"] == number] for number in (1, 2, 3)]
    assert per == [["a", "Hello"], ["a", "Hello", "b", "Hello"], ["a", "Hello", "b", "Hello", "c", "Hello"]]
    assert list_names()[2] == "second"


def test_a_fork_is_not_counted_as_spending(repl: ReplDriver) -> None:
    repl.type_lines("a", "/fork")
    assert [row["usage"] for row in read_messages() if row["role"] == "assistant"][1] is None


def test_a_conversation_can_be_found_by_its_saved_name(repl: ReplDriver, aiml: Aiml, capsys: Capture) -> None:
    repl.type_lines("a", "/save my-plan_2", "/save", "/exit")
    assert capsys.readouterr().err.count("saved as my-plan_2") == 2
    aiml("chat", "-r", "my-plan_2", "b")
    assert repl.sent_messages == alternate_roles("a", "Hello", "b")


@pytest.mark.promise("names-are-not-paths")
@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "-x", "last", "é", "x" * 65, "a\x1b[31m"])
def test_a_path_is_not_a_valid_name(repl: ReplDriver, name: str, capsys: Capture) -> None:
    repl.type_lines("a", f"/save {name}", f"/fork {name}")
    assert capsys.readouterr().err.count("is not a valid name for a conversation") == 2
    assert len(list_names()) == 1


def test_a_name_can_be_used_only_once(repl: ReplDriver, capsys: Capture) -> None:
    repl.type_lines("a", "/save one", "/new", "b", "/save one", "/fork one")
    assert capsys.readouterr().err.count("a conversation 'one' already exists") == 2
    assert len(list_names()) == 2


def test_resume_shows_the_conversation_and_continues_it(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("about giraffes", "/new", "b", "/resume giraffes", "c")
    assert "about giraffes" in capfd.readouterr().out
    assert repl.sent_messages == alternate_roles("about giraffes", "Hello", "c")
    assert repl.session.tokens > 8


def test_resume_shows_the_last_turns_and_show_prints_the_others(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("about giraffes", "second", "third", "fourth", "/new")
    capfd.readouterr()
    repl.type_lines("/resume giraffes")
    shown = capfd.readouterr()
    assert ("> third" in shown.out, "> fourth" in shown.out, "> second" in shown.out) == (True, True, False)
    assert "2 earlier turns are not shown; /show all shows them" in shown.err
    repl.type_lines("/show all", "/show 1")
    out = capfd.readouterr().out
    assert [out.count(f"> {word}") for word in ("about giraffes", "second", "third", "fourth")] == [1, 1, 1, 2]
    assert out.count("Hello") == 5


def test_a_long_question_is_shortened(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("first\n" + "line\n" * 40 + "end", "/show")
    out = capfd.readouterr().out
    assert ("… and 33 more lines" in out, out.count("line") < 12) == (True, True)


def test_resume_without_an_argument_continues_the_last_other_conversation(repl: ReplDriver) -> None:
    repl.type_lines("a", "/new", "b", "/resume", "c", "/resume", "d")
    assert repl.sent_messages == alternate_roles("b", "Hello", "d")


def test_resume_restores_the_model_of_the_conversation(repl: ReplDriver) -> None:
    usual = repl.session.get_model()
    repl.type_lines("/model old/one", "a", "/unset model", "/new", "/resume", "b", "/new", "c")
    assert [body["model"] for body in repl.request_bodies] == ["old/one", "old/one", usual]


@pytest.mark.parametrize("line", ["/resume", "/resume nothing", "/save x", "/fork", "/retry", "/copy", "/export a.md"])
def test_a_command_that_requires_a_conversation_says_that_there_is_none(
    repl: ReplDriver, line: str, capsys: Capture
) -> None:
    repl.type_lines(line)
    assert capsys.readouterr().err.startswith("aiml: ")
    assert (repl.request_bodies, repl.session.is_over) == ([], False)


def test_a_truncated_answer_and_its_continuation_are_one_answer_after_a_resume_too(server: Loopback) -> None:
    for each in (build_truncated_answer("Hel"), build_text_answer("lo"), HELLO):
        server.answer_with(each)
    repl = ReplDriver(server)
    repl.type_lines("hi", "/continue", "/new", "/resume last", "more")
    assert repl.sent_messages == alternate_roles("hi", "Hello", "more")
    repl.type_lines("/undo 2", "again")
    assert repl.sent_messages == alternate_roles("again")


def test_another_process_cannot_write_to_an_open_conversation(repl: ReplDriver, aiml: Aiml) -> None:
    repl.type_lines("a", "b")
    refused = aiml("chat", "-c", "c")
    assert (refused.returncode, b"another process is writing" in refused.stderr) == (2, True)
    repl.type_lines("/new")
    assert aiml("chat", "-c", "c").returncode == 0


def test_a_conversation_in_use_by_another_process_cannot_be_resumed(
    server: Loopback, tmp_path: Path, capsys: Capture
) -> None:
    server.answer_with(HELLO)
    repl = ReplDriver(server)
    repl.type_lines("a", "/save mine", "/new")
    code = (
        "import sys; from aiml_cli.store.history import database as history, locks; h = history.open_history(); locks.acquire(h.lock_file, 1);"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [build_command()[0], "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as other:
        assert other.stdout
        other.stdout.readline()
        repl.type_lines("/resume mine", "b")
        other.communicate()
    assert "another process is writing" in capsys.readouterr().err
    assert repl.sent_messages == alternate_roles("b")


def test_finishing_an_answer_releases_only_its_own_lock(repl: ReplDriver) -> None:
    before = count_own_locks()
    repl.type_lines("a")
    edits.relock_conversation(repl.session.conversation_id)
    assert count_own_locks() - before == 2
    edits.ensure_locked(repl.session.conversation_id)
    assert count_own_locks() - before == 1
    repl.type_lines("/exit")


@pytest.mark.parametrize("command", ["/new", "/exit", "/fork", "/resume"])
def test_leaving_a_conversation_releases_its_locks(repl: ReplDriver, command: str) -> None:
    before = count_own_locks()
    repl.type_lines("x", "/new", "a", "b", "/retry", "/undo", command)
    assert count_own_locks() - before == {"/new": 0, "/exit": 0, "/fork": 1, "/resume": 1}[command]
    repl.type_lines("/exit")
    assert count_own_locks() == before


@pytest.mark.parametrize("no_log", [{"no_log": "on"}, {}])
def test_without_a_history_everything_works_in_memory_and_one_notice_is_printed(
    server: Loopback, no_log: dict[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not no_log:
        monkeypatch.setenv("XDG_DATA_HOME", "/dev/null/none")
    server.answer_with(HELLO)
    repl = ReplDriver(server, **no_log)
    repl.type_lines("a", "b", "/undo", "/save x", "/fork", "c")
    assert repl.sent_messages == alternate_roles("a", "Hello", "c")
    assert capsys.readouterr().err.count("this conversation is not stored") == 1


def test_completion_offers_words_of_every_kind(repl: ReplDriver) -> None:
    repl.type_lines("a", "/save plan", "/set seed=3")
    offered = {
        kind: list_words(repl.session, kind) for kind in ("commands", "settings", "set", "conversations", "files")
    }
    assert {"color=auto", "no_log=on", "temperature="} <= {word.text for word in offered["settings"]}
    assert (offered["conversations"], offered["set"], offered["files"]) == ([("plan", "a")], [("seed", "3")], [])
    assert all(word.description for kind in ("commands", "settings") for word in offered[kind])


def test_history_and_search_show_stored_conversations(repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines("about giraffes", "/history", "/search giraffes", "/search zebras")
    told = capfd.readouterr()
    assert told.out.count("about giraffes") == 2
    assert "zebras" in told.err
