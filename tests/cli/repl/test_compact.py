"""`/compact`, `/set fit=…` and `--fork` in the REPL, and how full the context is on the toolbar."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, stream_text
from support.catalogs import store_catalog
from support.console import Console
from support.history_file import read_messages, select
from support.loopback import HELLO, SILENCE, Loopback, delta, event, stream
from support.repl_lines import ReplDriver
from support.run_cli import Aiml

from aiml_cli.cli.repl.line_editor import render_toolbar

Capture = pytest.CaptureFixture[str]
ENDPOINTS = ("chat", "responses")
COMMANDS = {"chat": "chat", "responses": "respond"}
SUMMARY = "Summarize our conversation so far."
CALL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}


@pytest.fixture(autouse=True)
def name_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the terminal, so that -c finds what was said here."""
    monkeypatch.setenv("AIML_SESSION", "here")


def start_repl(server: Loopback, endpoint: str = "chat", *answers: str, **flags: str) -> ReplDriver:
    """Start a REPL whose answers are these texts; the last one serves all that follow."""
    for text in answers or ("a", "b", "c", "in short", "d"):
        server.answer_with(stream_text(endpoint, text))
    return ReplDriver(server, endpoint, **flags)


def get_message_texts(repl: ReplDriver) -> list[str]:
    """Return the texts of the last request's messages."""
    return ["".join(part["text"] for part in c) if isinstance(c, list) else str(c) for _, c in repl.sent_messages]


def replace_answers(server: Loopback, *answers: bytes) -> None:
    """Answer the next requests with these, whatever was queued before."""
    server.scripts, server._count = [[each] for each in answers], 0  # noqa: SLF001


@pytest.mark.parametrize("flags", [{}, {"stream": "off"}, {"no_log": "on"}, {"store": "on"}])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_older_turns_become_a_summary_and_undo_brings_them_back(
    endpoint: str, flags: dict[str, str], server: Loopback, capfd: Capture
) -> None:
    if endpoint == "chat":
        flags = {name: value for name, value in flags.items() if name != "store"}
    repl = start_repl(server, endpoint, **flags)
    repl.type_lines("1", "2", "3", "/compact")
    shown = capfd.readouterr()
    assert "in short" in shown.out
    assert "2 older turns are replaced by this summary: about " in shown.err
    (asked,) = get_message_texts(repl)
    assert asked.startswith("<conversation>\n<user>\n1\n</user>\n<assistant>\na\n</assistant>\n<user>\n2")
    assert "c" not in asked.partition("</conversation>")[0].splitlines()
    repl.type_lines("4")
    assert get_message_texts(repl) == [SUMMARY, "in short", "3", "c", "4"]
    assert "previous_response_id" not in repl.request_bodies[-1]
    repl.type_lines("5")
    if flags.get("store") == "on":
        assert (get_message_texts(repl), repl.request_bodies[-1]["previous_response_id"]) == (["5"], "resp_1")
    else:
        assert get_message_texts(repl) == [SUMMARY, "in short", "3", "c", "4", "d", "5"]
    repl.type_lines("/undo 2", "/undo")
    assert "the summary is undone; the turns before it are sent again" in capfd.readouterr().err
    repl.type_lines("6")
    if flags.get("store") != "on":
        assert get_message_texts(repl) == ["1", "a", "2", "b", "3", "c", "6"]


@pytest.mark.promise("shortened")
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "lines",
    [
        ["1", "2", "/compact"],
        ["1", "2", "3", "/compact", "4"],
        ["1", "2", "3", "/compact", "4", "5", "/compact"],
        ["1", "2", "3", "/compact", "4", "5", "/compact", "6", "/undo", "/undo"],
        ["1", "2", "3", "/compact", "4", "/retry"],
        ["1", "2", "3", "/compact", "/undo", "4"],
        ["1", "2", "3", "/compact keep the first", "/undo 2", "4"],
        ["/system be brief", "1", "2", "3", "/compact", "/fork", "4"],
    ],
)
def test_a_resumed_conversation_sends_the_same_as_the_one_in_memory(
    lines: list[str], endpoint: str, server: Loopback, aiml: Aiml
) -> None:
    repl = start_repl(server, endpoint, *(f"answer {number}" for number in range(12)))
    repl.type_lines(*lines, "/exit")
    other = ReplDriver(server, endpoint)
    other.type_lines("/resume last", "next", "/undo", "/exit")
    loaded = other.sent_messages
    aiml(COMMANDS[endpoint], "-c", "next")
    one_shot = other.sent_messages
    repl.session.conversation_id = None  # as it was in memory
    repl.session.is_over = False
    repl.type_lines("next")
    assert repl.sent_messages == loaded == one_shot


@pytest.mark.promise("shortened")
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (build_json_error("bad"), "bad"),
        (stream(delta("in sh"), end=b""), "was cut"),
        (stream_text("chat", "in sh", "length"), "token limit"),
        (stream_text("chat", ""), "the summary is empty"),
        (stream_text("chat", " "), "the summary is empty"),
        (stream(delta("", tool_calls=[CALL]), delta(finish="tool_calls"), event("[DONE]")), "the summary is empty"),
        (stream(delta(refusal="No."), delta(finish="stop"), event("[DONE]")), ""),
    ],
)
@pytest.mark.parametrize("flags", [{}, {"no_log": "on"}])
def test_a_failed_summary_changes_nothing(
    failure: bytes, words: str, flags: dict[str, str], server: Loopback, capfd: Capture, aiml: Aiml
) -> None:
    repl = start_repl(server, "chat", "a", "b", **flags)
    repl.type_lines("1", "2")
    replace_answers(server, failure, stream_text("chat", "done"))
    repl.type_lines("/compact")
    told = capfd.readouterr().err
    assert (words in told, "the conversation was not changed" in told) == (True, True)
    repl.type_lines("3", "/exit")
    assert get_message_texts(repl) == ["1", "a", "2", "b", "3"]
    if not flags:
        aiml("chat", "-c", "4")
        assert get_message_texts(repl) == ["1", "a", "2", "b", "3", "done", "4"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["/compact"], "there are no older turns to summarize"),
        (["1", "/compact"], "there are no older turns to summarize"),
        (["1", "2", "/compact", "/compact"], "there are no older turns to summarize"),
        (["1", "2", "/compact", "/retry"], "the last turn is a summary"),
        (["1", "2", "/compact", "/continue"], "nothing to continue"),
    ],
)
def test_an_impossible_compact_explains_why_and_sends_nothing(
    lines: list[str], words: str, server: Loopback, capfd: Capture
) -> None:
    repl = start_repl(server)
    repl.type_lines(*lines[:-1])
    count = len(server.requests)
    capfd.readouterr()
    repl.type_lines(lines[-1])
    assert (words in capfd.readouterr().err, len(server.requests)) == (True, count)


def test_words_after_compact_say_what_the_summary_must_keep(server: Loopback) -> None:
    repl = start_repl(server)
    repl.type_lines("1", "2", "/compact the names  of all rivers")
    assert get_message_texts(repl)[0].endswith("\nKeep in particular: the names of all rivers")
    repl.type_lines("3")
    assert get_message_texts(repl)[0] == f"{SUMMARY} Keep in particular: the names of all rivers"


def test_options_for_the_answer_do_not_apply_to_the_summary(server: Loopback) -> None:
    repl = start_repl(
        server, schema="name", n="2", max_tokens="5", system="be brief", tool_choice="none", option="stop=x"
    )
    repl.type_lines("1", "2", "/compact")
    body = repl.request_bodies[-1]
    left = {"response_format", "n", "max_tokens", "max_completion_tokens", "tool_choice", "stop"} & body.keys()
    assert (left, [message["role"] for message in body["messages"]]) == (set(), ["user"])
    repl.type_lines("3")
    assert repl.sent_messages[0][0] == "system"


def test_turns_stored_on_the_server_are_summarized_too(server: Loopback, aiml: Aiml) -> None:
    repl = start_repl(server, "responses", previous_response_id="resp_0")
    repl.type_lines("1", "2", "/compact", "3")
    roots = [body.get("previous_response_id") for body in repl.request_bodies]
    assert roots == ["resp_0", "resp_0", "resp_0", None]
    repl.type_lines("/undo 2", "4", "/exit")
    assert repl.request_bodies[-1]["previous_response_id"] == "resp_0"
    aiml("respond", "-c", "5")
    assert repl.request_bodies[-1]["previous_response_id"] == "resp_0"


def test_a_truncated_answer_before_a_summary_can_be_continued(server: Loopback, aiml: Aiml) -> None:
    repl = start_repl(server, "chat", "a")
    repl.type_lines("1")
    replace_answers(server, stream(delta("Hel"), end=b""), stream_text("chat", "in short"), stream_text("chat", "lo"))
    repl.type_lines("2", "/compact", "/continue", "/exit")
    assert get_message_texts(repl)[:4] == [SUMMARY, "in short", "2", "Hel"]
    aiml("chat", "-c", "3")
    sent = get_message_texts(repl)
    repl.session.conversation_id = None
    repl.type_lines("3")
    assert get_message_texts(repl) == sent


def test_a_summary_is_shown_and_exported_as_a_summary(
    server: Loopback, capfd: Capture, empty_home: Path, aiml: Aiml
) -> None:
    for flags in ({}, {"no_log": "on"}):
        server._count = 0  # noqa: SLF001 - the same answers again
        repl = start_repl(server, **flags)
        server.scripts = server.scripts[:5]
        repl.type_lines("1", "2", "3", "/compact", "4")
        capfd.readouterr()
        repl.type_lines(
            "/show all", f"/export {empty_home}/x{len(flags)}.md", f"/export {empty_home}/x{len(flags)}.json"
        )
        shown = capfd.readouterr().out
        assert f"request for a summary> {SUMMARY}" in shown
        assert "[sent in place of the turns before the last one]" in shown
        page = (empty_home / f"x{len(flags)}.md").read_text()
        assert all(f"\n\n{text}\n\n" in page for text in ("1", "a", "2", "b", "3", "c", "in short", "4"))
        assert "> sent in place of the turns before the last one" in page
        (found,) = json.loads((empty_home / f"x{len(flags)}.json").read_text())
        assert [message["facts"].get("summary") for message in found["messages"]][6:8] == [{"turns": 2}] * 2
        repl.type_lines("/exit")
    assert b"[sent in place of the turns before the last one]" in aiml("history", "show").stdout


def test_the_cost_of_a_summary_is_counted(server: Loopback) -> None:
    for text in ("a", "b"):
        server.answer_with(stream_text("chat", text))
    server.answer_with(HELLO)
    repl = ReplDriver(server)
    repl.type_lines("1", "2", "/compact")
    assert repl.session.tokens == 8
    assert [row["usage"] is not None for row in read_messages() if row["role"] == "assistant"] == [False, False, True]


@pytest.mark.parametrize("fit", ["oldest", "compact"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_set_fit_shortens_the_conversation_automatically(
    fit: str, endpoint: str, server: Loopback, capfd: Capture, aiml: Aiml
) -> None:
    store_catalog(server, info={"contextLength": 900})
    words = "word " * 100
    answers = [f"a{words}", f"b{words}", *(["in short"] if fit == "compact" else []), "done"]
    repl = start_repl(server, endpoint, *answers, model="m", max_tokens="100")
    repl.type_lines(f"1{words}", f"2{words}", f"/set fit={fit}", f"3{words}")
    expected = [SUMMARY, "in short", f"2{words}"] if fit == "compact" else [f"2{words}"]
    assert [text.strip() for text in get_message_texts(repl)] == [
        text.strip() for text in (*expected, f"b{words}", f"3{words}")
    ]
    told = capfd.readouterr()
    assert ("leaves out the oldest turn of 2" in told.err) == (fit == "oldest")
    assert ("asks for a summary of an older turn" in told.err) == (fit == "compact")
    repl.type_lines("/unset fit", "/exit")
    aiml(COMMANDS[endpoint], "-m", "m", "-c", "4")
    sent = get_message_texts(repl)
    repl.session.conversation_id = None
    repl.type_lines("4")
    assert get_message_texts(repl) == sent
    assert (sent[0] == SUMMARY) == (fit == "compact")


def test_all_parts_of_a_summary_are_shown_and_the_last_one_is_used(
    server: Loopback, capfd: Capture, aiml: Aiml
) -> None:
    store_catalog(server, info={"contextLength": 1000})
    words = "word " * 100
    repl = start_repl(
        server, "chat", *(f"{letter}{words}" for letter in "abcde"), "part one", "in short", "d", model="m"
    )
    repl.type_lines(*(f"{number}{words}" for number in range(1, 6)), "/compact")
    shown = capfd.readouterr()
    assert ("part one" in shown.out, "in short" in shown.out) == (True, True)
    assert "4 older turns are replaced by this summary" in shown.err
    repl.type_lines("6", "/exit")
    texts = [text[:8] for text in get_message_texts(repl)]
    assert texts == [SUMMARY[:8], "in short", "5word wo", "eword wo", "6"]
    aiml("chat", "-m", "m", "-c", "7")
    assert [text[:8] for text in get_message_texts(repl)] == [*texts, "d", "7"]
    repl.type_lines("/resume last", "/undo 3", "8")
    assert [text[0] for text in get_message_texts(repl)] == [*"1a2b3c4d5e8"]


def test_retry_keeps_the_summary(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1000})
    words = "word " * 100
    repl = start_repl(server, "chat", f"a{words}", f"b{words}", "c", "in short", "d", model="m", max_tokens="100")
    repl.type_lines(f"1{words}", f"2{words}", "3", "/set fit=compact", "/set max_tokens=350", "/retry", "4", "/exit")
    texts = [text[:8] for text in get_message_texts(repl)]
    assert texts == [SUMMARY[:8], "in short", "2word wo", "bword wo", "3", "d", "4"]
    aiml("chat", "-m", "m", "-c", "5")
    assert [text[:8] for text in get_message_texts(repl)] == [*texts, "d", "5"]


def test_the_toolbar_shows_how_full_the_context_is_if_its_size_is_known(server: Loopback) -> None:
    repl = start_repl(server, "chat", "word " * 300, model="m")
    assert " of " not in get_toolbar_text(repl)
    repl.type_lines("1")
    assert " of " not in get_toolbar_text(repl)
    store_catalog(server, info={"contextLength": 4000})
    repl.type_lines("2")
    assert "m · 25% of 4k · " in get_toolbar_text(repl)
    assert ("% of" in get_toolbar_text(repl, 30), len(get_toolbar_text(repl, 30)) <= 30) == (False, True)
    repl.type_lines("/model other")
    assert " of " not in get_toolbar_text(repl)
    repl.type_lines("/model m", "/undo")
    assert "m · 12% of 4k · " in get_toolbar_text(repl)
    repl.type_lines("/new")
    assert " of " not in get_toolbar_text(repl)
    assert [request.request_line[:4] for request in server.requests] == ["POST"] * 2


def get_toolbar_text(repl: ReplDriver, width: int = 80) -> str:
    return str(render_toolbar(repl.session, width)[0][1])


@pytest.mark.parametrize(
    ("context", "expected"), [(128_000, "128k"), (1_048_576, "1.05M"), (200_000, "200k"), (900, "900")]
)
def test_the_toolbar_shortens_the_context_size(context: int, expected: str, server: Loopback) -> None:
    store_catalog(server, info={"contextLength": context})
    repl = start_repl(server, model="m")
    repl.type_lines("1")
    assert f"% of {expected} · " in get_toolbar_text(repl)


def test_the_catalog_is_read_once_and_not_for_each_key_press(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    store_catalog(server, info={"contextLength": 4000})
    repl = start_repl(server, model="m")
    repl.type_lines("1")
    before = get_toolbar_text(repl)
    for file in (Path(os.environ["XDG_CACHE_HOME"]) / "aiml").iterdir():
        file.unlink()
    assert get_toolbar_text(repl) == before


def test_compact_and_undo_update_the_toolbar_on_a_terminal(server: Loopback) -> None:
    with Console("chat", "--demo", "-m", "demo/small") as console:
        console.wait_for_prompt()
        assert "% of" not in console.read_toolbar()
        console.type_line("first")
        console.wait_until(lambda: "10% of 4k" in console.read_toolbar())
        console.type_line("second")
        console.wait_until(lambda: "20% of 4k" in console.read_toolbar() or "21% of 4k" in console.read_toolbar())
        before = console.read_toolbar().partition("%")[0]
        console.type_line("/compact the code")
        console.wait_until("an older turn is replaced by this summary")
        console.wait_for_prompt()
        console.type_line("/undo")
        console.wait_until("the summary is undone")
        console.wait_until(lambda: console.read_toolbar().startswith(before))
        console.type_line("/help compact")
        console.wait_until("/set fit=oldest leaves out the oldest turns")
        assert console.leave() == 0


def test_ctrl_c_during_a_summary_changes_nothing(server: Loopback) -> None:
    answers: list[Any] = [[stream_text("chat", "a")], [stream_text("chat", "b")]]
    server.scripts = [*answers, [stream(delta("in sh"), end=b""), SILENCE], [stream_text("chat", "done")]]
    with Console("chat", "--base-url", server.url, "-m", "m", AIML_SESSION="here") as console:
        console.wait_for_prompt()
        for text, number in (("1", 1), ("2", 2)):
            console.type_line(text)
            console.wait_until(lambda number=number: len(server.requests) == number)
            console.wait_for_prompt()
        console.type_line("/compact")
        console.wait_until("in sh")
        console.press("\x03")
        console.wait_until("the conversation was not changed")
        console.wait_for_prompt()
        console.type_line("3")
        console.wait_until("done")
        assert console.leave() == 0
    sent = [message["content"] for message in server.requests[-1].json["messages"]]
    assert sent == ["1", "a", "2", "b", "3"]


def test_a_fork_can_be_continued_in_the_repl(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "a"))
    aiml("chat", "-m", "m", "1")
    with Console("chat", "-i", "-c", "--fork", "--base-url", server.url, AIML_SESSION="here") as console:
        console.wait_until("continuing in the copy ")
        console.wait_for_prompt()
        console.type_line("2")
        console.wait_until(lambda: len(server.requests) == 2)
        console.wait_for_prompt()
        assert console.leave() == 0
    rows = read_messages()
    assert [row["text"] for row in rows if row["conversation"] == 1] == ["1", "a"]
    assert [row["text"] for row in rows if row["conversation"] == 2] == ["1", "a", "2", "a"]
    assert len(select("SELECT id FROM conversations")) == 2
