"""`aiml history`: stored questions and answers, tested through the command line."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.forked_process import TerminalProcess
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.core.transcript import close_code_block, fence_text
from aiml_cli.store import paths
from aiml_cli.store.history import database, find_conversations, locks, writer
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage

Capture = pytest.CaptureFixture[str]
CANARY = "xylophonquartz"
HOSTILE_TEXT = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202e"
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
PDF = {"type": "file", "file": {"filename": "report.pdf", "file_data": "data:application/pdf;base64," + "B" * 8000}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
WRITER_SCRIPT = """
import sys
from aiml_cli.store.history import writer as exchange, database as history
from aiml_cli.store.history.writer import NewExchange, AnswerDelta, NewMessage
found = history.open_history()
row = exchange.begin_exchange(found, NewExchange(None, "live", "p", None, [NewMessage("user", "live", [])], "chat", "h", "m", {}))
exchange.append_deltas(found, row, [AnswerDelta("text", 0, "xylophonquartz")])
print(flush=True)
sys.stdin.read()
"""


def write(words: str, answer: str = "The answer.", state: str = writer.COMPLETE, **more: Any) -> str:
    """Store an exchange; return the name of its conversation."""
    items, system = more.pop("asked", []), more.pop("system", None)
    model = more.pop("model", "some/model")
    asked = NewExchange(
        None, words[:60], "place", system, [NewMessage("user", words, items)], "chat", "host", model, {"n": 1}
    )
    with closing(database.open_history()) as found:
        row = writer.begin_exchange(found, asked)
        writer.finish_answer(found, row, AnswerEnd(state, answer, **more))
        locks.release(found.lock_file, row.conversation)
        return next(each.name for each in find_conversations.list_conversations(found) if each.id == row.conversation)


def make_older(name: str, seconds: float) -> None:
    with closing(database.open_history()) as found:
        found.connection.execute("UPDATE conversations SET changed = changed - ? WHERE name = ?", (seconds, name))


def get_history_path() -> Path:
    return paths.require_path(paths.history_file())


def run_history(capfd: Capture, *arguments: str, code: int = 0) -> str:
    """Run `aiml history`; return its standard output."""
    assert main(["history", *arguments]) == code
    return capfd.readouterr().out


def run_json(capfd: Capture, *arguments: str) -> Any:
    return json.loads(run_history(capfd, *arguments))


def list_titles(capfd: Capture, *arguments: str) -> list[str]:
    return [each["title"] for each in run_json(capfd, "list", "--json", *arguments)]


def run_on_terminal(*arguments: str, typed: str = "") -> tuple[str, int]:
    program, *rest = build_command("history", *arguments)
    settings: Any = {**os.environ, "TERM": "xterm"}
    child = TerminalProcess(program, rest, env=settings, dimensions=(24, 80), timeout=60, encoding="utf-8")
    if typed:
        child.expect_exact("[y/N] ")
        child.sendline(typed)
    child.expect(pexpect.EOF)
    child.close()
    return child.before, child.exitstatus


def read_bytes_on_disk() -> bytes:
    return b"".join(each.read_bytes() for each in get_history_path().parent.iterdir())


@pytest.fixture
def running_writer() -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a process that is writing a conversation."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER_SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        yield process
        process.kill()


@pytest.mark.parametrize("arguments", [["list"], ["show"], ["search", "x"], ["export"], ["rm", "--all"]])
def test_without_a_history_one_notice_is_printed_and_no_file_is_created(arguments: list[str], capfd: Capture) -> None:
    assert main(["history", *arguments]) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("aiml: ")
    assert told.err.count("\n") == 1
    assert not get_history_path().exists()


@pytest.mark.parametrize("arguments", [["list", "--json"], ["search", "x", "--json"], ["export", "--format", "json"]])
def test_without_a_history_json_is_an_empty_list(arguments: list[str], capfd: Capture) -> None:
    assert run_json(capfd, *arguments) == []


def test_list_shows_the_newest_first_in_aligned_columns(capfd: Capture) -> None:
    names = [write(words) for words in ("first", "second", "third")]
    make_older(names[1], 7300)
    make_older(names[0], 3 * 86400)
    lines = run_history(capfd, "list").splitlines()
    assert lines[0].split() == ["ID", "AGE", "MESSAGES", "MODEL", "TITLE"]
    assert [line.split()[0] for line in lines[1:]] == names[::-1]
    assert " 2 h " in lines[2]
    assert " 3 days " in lines[3]
    assert (
        len({line.index(title) for line, title in zip(lines, ("TITLE", "third", "second", "first"), strict=True)}) == 1
    )
    assert "\t" not in "".join(lines)


def test_list_shows_the_state_of_an_incomplete_answer(capfd: Capture) -> None:
    write("whole")
    assert "complete" not in run_history(capfd, "list")
    write("cut", state=writer.INTERRUPTED)
    assert "interrupted" in run_history(capfd, "list").splitlines()[1]


def test_list_can_be_limited_and_filtered_by_words(capfd: Capture) -> None:
    for number in range(22):
        write(f"number{number}")
    assert len(list_titles(capfd)) == 20
    assert list_titles(capfd, "-n", "2") == ["number21", "number20"]
    assert len(list_titles(capfd, "-n", "0")) == 22
    assert list_titles(capfd, "number7") == ["number7"]
    assert main(["history", "list", "-n", "-1"]) == 2
    assert main(["history", "list", "-n", "9" * 30]) == 2


def test_a_listed_object_has_every_key(capfd: Capture) -> None:
    name = write("hello")
    (found,) = run_json(capfd, "list", "--json")
    times = {"begun": found.pop("begun"), "changed": found.pop("changed")}
    assert all(isinstance(each, float) for each in times.values())
    facts = {"id": name, "title": "hello", "messages": 2, "state": "complete"}
    assert found == {**facts, "endpoint": "chat", "model": "some/model"}


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize(
    "arguments", [["list"], ["show"], ["search", "evil"], ["export"], ["show", "--json"], ["list", "--json"]]
)
def test_no_stored_text_controls_the_terminal(arguments: list[str]) -> None:
    write(f"evil {HOSTILE_TEXT}", HOSTILE_TEXT, system=HOSTILE_TEXT, model=HOSTILE_TEXT, thought=HOSTILE_TEXT)
    shown, code = run_on_terminal(*arguments)
    assert code == 0
    assert not set(shown) & set("\x1b\x07\x9b\u202e")


@pytest.mark.promise("pipe-bytes")
def test_a_pipe_gets_an_answer_unchanged(capfd: Capture) -> None:
    write("evil", f"{HOSTILE_TEXT}\tend")
    assert f"\n{HOSTILE_TEXT}\tend\n" in run_history(capfd, "show")


def test_a_table_fits_the_terminal() -> None:
    write("long " * 40)
    shown, _ = run_on_terminal("list")
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" in shown


def test_show_names_the_speaker_of_each_message(capfd: Capture) -> None:
    write("old")
    name = write("why?", "Because.", system="Be brief.", thought="Hm.", request_id="r1", usage={"input_tokens": 3})
    text = run_history(capfd, "show")
    assert text.startswith(f"{name} · why? · 20")
    assert [line.split(" · ")[0] for line in text.splitlines() if line.startswith("── ")] == [
        "── system",
        "── you",
        "── some/model",
    ]
    assert "Hm." not in text
    loud = run_history(capfd, "show", "-v")
    assert "[reasoning]\nHm.\n[end of the reasoning]\nBecause.\n[3 input tokens · request r1]\n" in loud


def test_show_accepts_an_id_the_beginning_of_one_or_words(capfd: Capture) -> None:
    name = write("about giraffes")
    write("about zebras")
    for words in ([name], [name[:4]], ["about", "giraffes"], ["giraf"]):
        assert run_json(capfd, "show", "--json", *words)["id"] == name
    assert main(["history", "show", "of", "lions"]) == 2
    assert "no conversation matches 'of lions'" in capfd.readouterr().err


@pytest.mark.promise("stored-while-arriving")
@pytest.mark.parametrize(
    ("state", "facts", "words"),
    [
        ("incomplete", {"finish_reason": "length"}, "[incomplete: length]"),
        ("interrupted", {"error": {"message": "the stream was cut"}}, "[interrupted: the stream was cut]"),
        ("interrupted", {}, "[interrupted: the program was killed]"),
        ("failed", {"error": {"message": "no such model"}}, "[failed: no such model]"),
    ],
)
def test_show_marks_an_incomplete_answer(state: str, facts: Any, words: str, capfd: Capture) -> None:
    write("why?", "Beca", state=state, facts=facts)
    assert run_history(capfd, "show").endswith(f"Beca\n{words}\n")
    assert f"Beca\n\n> {words[1:-1]}\n" in run_history(capfd, "export")


def test_show_names_attachments_and_calls_without_their_data(capfd: Capture) -> None:
    write(
        "look",
        "",
        asked=[{"role": "user", "content": [{"type": "text", "text": "look"}, PNG, PDF]}],
        items=[{"tool_calls": [CALL]}],
    )
    for text in (run_history(capfd, "show"), run_history(capfd, "export")):
        assert "image image/png, 3 kB" in text
        assert "file report.pdf, 6 kB" in text
        assert 'call weather {"city":"Oslo"}' in text
        assert "AAAA" not in text
    assert "AAAA" in run_history(capfd, "show", "--json")


def test_show_describes_items_of_responses_too(capfd: Capture) -> None:
    call = {"type": "function_call", "name": "weather", "arguments": "{}", "call_id": "c"}
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    write("q", "", items=[{"type": "reasoning"}, {"type": ["odd"]}, {"type": "web_search_call"}, call, refused])
    assert run_history(capfd, "show").endswith("[web search call]\n[call weather {}]\n[refusal: No.]\n")


def test_a_shown_object_has_every_key(capfd: Capture) -> None:
    name = write("why?", thought="Hm.", cost_usd=0.5, cost_source="gateway", response_id="resp", stored=True)
    found = run_json(capfd, "show", "--json")
    assert set(found) == {"id", "title", "system", "begun", "changed", "messages"}
    question, answer = found["messages"]
    assert set(question) == set(answer) == {
        "role", "state", "at", "text", "reasoning", "items", "endpoint", "host", "model", "options", "usage",
        "cost_usd", "cost_source", "request_id", "response_id", "stored", "facts",
    }  # fmt: skip
    assert (found["id"], answer["reasoning"], question["reasoning"]) == (name, "Hm.", None)
    assert (answer["stored"], answer["cost_usd"], answer["options"]) == (True, 0.5, {"n": 1})


@pytest.mark.promise("stored-while-arriving")
def test_an_answer_of_a_killed_process_is_shown_as_interrupted(
    running_writer: "subprocess.Popen[bytes]", capfd: Capture
) -> None:
    assert run_history(capfd, "show").endswith("xylophonquartz\n[another process is writing this answer]\n")
    running_writer.kill()
    running_writer.wait()
    assert run_history(capfd, "show").endswith("xylophonquartz\n[interrupted: the program was killed]\n")
    assert run_json(capfd, "search", CANARY, "--json")[0]["role"] == "assistant"


def test_search_finds_words_in_questions_and_answers(capfd: Capture) -> None:
    name = write("about birds", "An ostrich cannot fly. " + "More words. " * 40)
    write("about fish")
    line = run_history(capfd, "search", "fly", "ostrich").splitlines()[1]
    assert line.startswith(f"{name}  ")
    assert "ostrich cannot fly" in line
    assert len(run_json(capfd, "search", "about", "--json")) == 2
    assert len(run_json(capfd, "search", "about", "--json", "-n", "1")) == 1
    (found,) = run_json(capfd, "search", "ostri", "--json")
    assert set(found) == {"id", "title", "changed", "role", "at", "model", "snippet"}


@pytest.mark.parametrize(
    "words", ['"', "*", "AND", "a AND", "-x", "NEAR(", "🎉", "a*b", "text:a", "^", "'", "\udce9", "%"]
)
def test_no_search_word_is_an_operator(words: str, capfd: Capture) -> None:
    write("something else")
    assert main(["history", "search", "--", words]) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "no conversation contains" in told.err
    assert main(["history", "list", "--", words]) == 0
    assert main(["history", "show", "--", words]) == 2


@pytest.mark.parametrize("words", ["🎉", "本語"])
def test_search_finds_text_that_the_index_cannot_split_into_words(words: str, capfd: Capture) -> None:
    name = write("これは日本語です 🎉 fin")
    write("これは fin")
    assert [each["id"] for each in run_json(capfd, "search", words, "--json")] == [name]


def test_search_needs_words() -> None:
    assert main(["history", "search"]) == 2
    assert main(["history", "search", " "]) == 2


def test_export_writes_all_conversations_or_the_named_ones(capfd: Capture) -> None:
    names = [write(words) for words in ("one fish", "two fish", "red fish")]
    assert [each["id"] for each in run_json(capfd, "export", "--format", "json")] == names
    chosen = run_json(capfd, "export", names[2], names[0], "--format", "json")
    assert [each["id"] for each in chosen] == [names[2], names[0]]
    assert [each["id"] for each in run_json(capfd, "export", "two", "fish", "--format", "json")] == [names[1]]
    assert main(["history", "export", "nothing"]) == 2


def test_export_as_json_lines_has_one_message_per_line(capfd: Capture) -> None:
    name = write("q", "a")
    lines = [json.loads(line) for line in run_history(capfd, "export", "--format", "jsonl").splitlines()]
    assert [(each["id"], each["role"], each["text"]) for each in lines] == [
        (name, "user", "q"),
        (name, "assistant", "a"),
    ]


def test_markdown_has_a_heading_for_each_speaker_and_closes_every_block(capfd: Capture) -> None:
    name = write("~~~\nwhat is this", "```py\nprint(1)")
    lines = run_history(capfd, "export").splitlines()
    assert lines[0] == "# ~~~ what is this"
    assert lines[2].startswith("some/model · 20")
    assert lines[2].endswith(f" · conversation {name}")
    assert lines[4:] == [
        "## You",
        "",
        "~~~",
        "what is this",
        "~~~",
        "",
        "## some/model",
        "",
        "```py",
        "print(1)",
        "```",
    ]


@pytest.mark.parametrize(
    ("text", "end"),
    [("a", ""), ("```\na\n```", ""), ("````\n```", "\n````"), ("```\n~~~", "\n```"), ("```a`b", ""), ("    ```", "")],
)
def test_only_an_open_code_block_is_closed(text: str, end: str) -> None:
    assert close_code_block(text) == text + end


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert fence_text("a ```` b") == "`````\na ```` b\n`````"


@pytest.mark.promise("private-files")
def test_an_export_is_private_and_replaces_the_file_only_as_a_whole(tmp_path: Path, capfd: Capture) -> None:
    write("hello")
    before = os.umask(0)
    try:
        assert run_history(capfd, "export", "-o", "x.md") == ""
    finally:
        os.umask(before)
    target = tmp_path / "x.md"
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text().startswith("# hello\n")
    assert main(["history", "export", "no such", "-o", "x.md"]) == 2
    assert target.read_text().startswith("# hello\n")
    assert main(["history", "export", "-o", "none/x.md"]) == 2
    assert not [each.name for each in tmp_path.iterdir() if "part" in each.name]


def test_rm_deletes_nothing_if_one_of_the_names_is_wrong(capfd: Capture) -> None:
    names = [write(words) for words in ("one", "two", "three")]
    assert main(["history", "rm", names[0], "wrong"]) == 2
    assert len(list_titles(capfd)) == 3
    assert main(["history", "rm", names[0], names[1][:5]]) == 0
    assert capfd.readouterr().err.endswith("aiml: 2 conversations deleted\n")
    assert list_titles(capfd) == ["three"]


def test_rm_by_age_deletes_only_older_conversations(capfd: Capture) -> None:
    names = [write(words) for words in ("old", "new")]
    make_older(names[0], 31 * 86400)
    assert main(["history", "rm", "--older-than", "5w", "-y"]) == 0
    assert len(list_titles(capfd)) == 2
    assert main(["history", "rm", "--older-than", "30d", "-y"]) == 0
    assert list_titles(capfd) == ["new"]


@pytest.mark.parametrize("words", ["", "d", "30", "-3d", "3y", "1.5d"])
def test_an_invalid_age_is_refused(words: str, capfd: Capture) -> None:
    write("kept")
    assert main(["history", "rm", f"--older-than={words}", "-y"]) == 2
    assert list_titles(capfd) == ["kept"]


@pytest.mark.parametrize("arguments", [[], ["--all", "x"], ["--all", "--older-than", "1d"]])
def test_rm_requires_exactly_one_kind_of_selection(arguments: list[str]) -> None:
    assert main(["history", "rm", "-y", *arguments]) == 2


def test_rm_of_several_asks_on_a_terminal_and_requires_yes_in_scripts(capfd: Capture) -> None:
    write("one")
    write("two")
    assert main(["history", "rm", "--all"]) == 2
    assert capfd.readouterr().err == "aiml: this would delete 2 conversations\nhint: add -y to do it\n"
    assert run_on_terminal("rm", "--all", typed="n")[1] == 0
    assert len(list_titles(capfd)) == 2
    assert run_on_terminal("rm", "--all", typed="y")[1] == 0
    assert list_titles(capfd) == []


@pytest.mark.parametrize("selection", [["{}"], ["--all", "-y"], ["--older-than", "0h", "-y"]])
def test_deleted_text_is_gone_from_every_file(selection: list[str]) -> None:
    others = [write(f"other {number}", "text " * 200) for number in range(20)]
    name = write(f"say {CANARY}", f"{CANARY} " * 500, items=[CANARY], thought=CANARY)
    with closing(database.open_history()):  # so that the journal is there
        write("later")
        assert CANARY.encode() in read_bytes_on_disk()
        assert main(["history", "rm", *(each.format(name) for each in selection)]) == 0
        assert CANARY.encode() not in read_bytes_on_disk()
    assert (main(["history", "show", others[0]]) == 0) == (selection == ["{}"])


def test_the_file_shrinks_after_a_deletion() -> None:
    name = write("long", "text " * 100_000)
    before = get_history_path().stat().st_size
    assert main(["history", "rm", name]) == 0
    assert get_history_path().stat().st_size < before / 4


def test_rm_of_all_deletes_damaged_copies_too(capfd: Capture) -> None:
    get_history_path().parent.mkdir(parents=True)
    get_history_path().write_bytes(f"no database {CANARY}".encode())
    assert list_titles(capfd) == []
    assert CANARY.encode() in read_bytes_on_disk()
    assert main(["history", "rm", "--all", "-y"]) == 0
    assert capfd.readouterr().err.endswith("aiml: 1 damaged copy deleted\n")
    assert CANARY.encode() not in read_bytes_on_disk()


@pytest.mark.usefixtures("running_writer")
def test_a_conversation_that_is_being_written_is_not_deleted(capfd: Capture) -> None:
    name = run_json(capfd, "list", "--json")[0]["id"]
    write("another")
    assert main(["history", "rm", "--all", "-y"]) == 2
    assert f"not deleted, because another process is writing it: {name}" in capfd.readouterr().err
    assert list_titles(capfd) == ["live"]


@pytest.mark.parametrize("arguments", [["list"], ["show"], ["search", "x"], ["export"]])
def test_a_damaged_history_is_moved_aside_with_a_notice(arguments: list[str], capfd: Capture) -> None:
    get_history_path().parent.mkdir(parents=True)
    get_history_path().write_bytes(b"no database" * 100)
    assert main(["history", *arguments]) == 0
    (moved,) = database.list_damaged_copies(get_history_path())
    assert (
        f"aiml: the history was damaged; it was moved to {moved}, and a new one was started\n" in capfd.readouterr().err
    )
    assert moved.read_bytes() == b"no database" * 100


@pytest.mark.parametrize("arguments", [["export"], ["list", "-n", "0"]])
def test_a_history_damaged_in_the_middle_is_moved_aside_with_a_notice(arguments: list[str], capfd: Capture) -> None:
    for number in range(100):
        write(f"question {number}", "words " * 300)
    data = bytearray(get_history_path().read_bytes())
    data[8192 : len(data) - 8192] = b"\xa5" * (len(data) - 16384)
    get_history_path().write_bytes(data)
    assert main(["history", *arguments]) == 0
    told = capfd.readouterr()
    assert "the history was damaged; it was moved to" in told.err
    assert told.out == ""
    assert "there is no history yet" in told.err
    assert database.list_damaged_copies(get_history_path())[0].read_bytes() == data


def test_a_damaged_field_does_not_hide_the_rest(capfd: Capture) -> None:
    write("hello", "The answer.")
    with closing(sqlite3.connect(get_history_path())) as connection:
        connection.execute("UPDATE messages SET items = '[', facts = '7', usage = 'x'")
        connection.execute("UPDATE messages SET thought = CAST(x'ff41' AS TEXT)")
        connection.commit()
    assert "The answer." in run_history(capfd, "show", "-v")


def test_a_history_of_a_newer_version_is_an_error(capfd: Capture) -> None:
    write("hello")
    with closing(sqlite3.connect(get_history_path())) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert main(["history", "list"]) == 2
    assert "was written by a newer aiml" in capfd.readouterr().err
