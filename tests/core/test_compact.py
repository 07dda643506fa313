"""Conversations beyond the model's context: `--fit oldest`, `--fit compact`, `--fork`, and what servers say of it."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_answer_with_cost, build_json_error, get_last_messages, queue_answers, stream_text
from support.catalogs import PRICES, store_catalog
from support.forked_process import CliProcess, install_program
from support.history_file import read_messages, read_streaming_text, select, wait_until_equal
from support.loopback import SILENCE, Loopback, delta, event, json_response, response_object, stream
from support.paths import ROOT
from support.run_cli import Aiml, build_command

from aiml_cli.api.model_list import parse_models
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history import database, writer
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage
from aiml_cli.store.model_cache import CachedModels, save_models

pytestmark = pytest.mark.in_process

HUNDRED_WORDS = "word " * 100  # about 167 tokens
SUMMARY = ["Summarize our conversation so far.", "in short"]
ASK_FLAGS = ("-m", "m", "--max-tokens", "100")
CALL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}
COMMANDS = ("chat", "respond")


@pytest.fixture(autouse=True)
def name_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the terminal, so that -c finds what was said here."""
    monkeypatch.setenv("AIML_SESSION", "here")


def get_message_texts(server: Loopback) -> list[str]:
    """Return the texts of the last request's messages, without the spaces at their ends."""
    messages = get_last_messages(server)
    if isinstance(messages, str):
        return [messages.strip()]
    return [join_content(message["content"]).strip() for message in messages if message.get("role") != "system"]


def join_content(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def build_answer(command: str, text: str) -> bytes:
    return stream_text("chat" if command == "chat" else "responses", text)


def write_turns(
    server: Loopback, command: str, count: int, *, system: str | None = None, is_stored: bool = False
) -> None:
    """Write a conversation of this terminal into the history: each text is a number and a hundred words."""
    conversation, host = None, host_of(server.url)
    endpoint = "chat" if command == "chat" else "responses"
    with closing(database.open_history()) as history:
        for number in range(1, count + 1):
            question, text = f"q{number} {HUNDRED_WORDS}", f"a{number} {HUNDRED_WORDS}"
            message = NewMessage("user", question, [{"role": "user", "content": question}])
            options = {"store": is_stored}
            exchange = NewExchange(
                conversation, "talk", "session here", system, [message], endpoint, host, "m", options
            )
            row = writer.begin_exchange(history, exchange)
            items = [{"role": "assistant", "content": text}]
            response_id = "resp_1" if is_stored else None
            end = AnswerEnd(writer.COMPLETE, text, items=items, response_id=response_id, stored=is_stored)
            writer.finish_answer(history, row, end)
            conversation = row.conversation
        writer.release_conversation(history, row.conversation)


def replace_answers(server: Loopback, *answers: bytes) -> None:
    """Answer the next requests with these, whatever was queued before."""
    server.scripts, server._count = [[each] for each in answers], 0  # noqa: SLF001


def join_first_words(texts: list[str]) -> str:
    """Return the first word of each text."""
    return " ".join(text.partition(" ")[0] for text in texts)


@pytest.mark.parametrize("flags", [[], ["-S"]])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("context", "expected", "notice"),
    [
        (9000, "q1 a1 q2 a2 q3 a3 q4 a4 more", ""),
        (
            1300,
            "q2 a2 q3 a3 q4 a4 more",
            "leaves out the oldest turn of 4, about 344 tokens: the context of m is 1,300",
        ),
        (700, "q4 a4 more", "leaves out the 3 oldest turns of 4, about 1,032 tokens: the context of m is 700"),
    ],
)
def test_the_oldest_turns_are_left_out(
    command: str, flags: list[str], context: int, expected: str, notice: str, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, info={"contextLength": context})
    write_turns(server, command, 4)
    server.answer_with(build_answer(command, "done"))
    result = aiml(command, *ASK_FLAGS, *flags, "-c", "--fit", "oldest", "more")
    assert (result.returncode, result.stdout, join_first_words(get_message_texts(server))) == (0, b"done\n", expected)
    assert ("leaves out" in result.stderr.decode(), notice in result.stderr.decode()) == (bool(notice), True)
    assert [row["role"] for row in read_messages()] == ["user", "assistant"] * 5


@pytest.mark.promise("shortened")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fit", ["oldest", "compact"])
def test_a_request_that_is_still_too_large_is_refused(command: str, fit: str, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 420})
    write_turns(server, command, 3)
    result = aiml(command, *ASK_FLAGS, "-c", "--fit", fit, "more")
    assert (result.returncode, server.requests) == (2, [])
    assert b"the last turn and the new message do not fit into the model's context" in result.stderr
    alone = aiml(command, *ASK_FLAGS, "--fit", fit, "word " * 2000)
    assert (alone.returncode, server.requests) == (2, [])


def test_a_small_request_needs_no_catalog(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_answer("chat", "a"))
    for fit in ("oldest", "compact"):
        assert aiml("chat", *ASK_FLAGS, "--fit", fit, "short").stderr == b""
    assert len(server.requests) == 2


@pytest.mark.parametrize(("size", "code"), [(1, 0), (20, 2)])
def test_with_an_unknown_context_only_a_short_conversation_is_sent(
    size: int, code: int, server: Loopback, aiml: Aiml
) -> None:
    write_turns(server, "chat", 2)
    queue_answers(server, build_json_error("no", "404 Not Found"), build_answer("chat", "done"))
    result = aiml("chat", *ASK_FLAGS, "-c", "--fit", "oldest", HUNDRED_WORDS * size)
    assert (result.returncode, len(server.requests)) == (code, 2 if code == 0 else 1)
    assert (b"--fit: the context of m could not be looked up" in result.stderr) == bool(code)


def test_system_text_is_kept_and_counted(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 3, system="be brief " * 100)
    server.answer_with(build_answer("chat", "done"))
    aiml("chat", *ASK_FLAGS, "-c", "--fit", "oldest", "more")
    assert get_last_messages(server)[0]["role"] == "system"
    assert join_first_words(get_message_texts(server)) == "q2 a2 q3 a3 more"


@pytest.mark.parametrize("fit", ["oldest", "compact"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_shortened_conversation_is_not_sent_by_its_stored_id(
    command: str, fit: str, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, info={"contextLength": 1200})
    write_turns(server, command, 3, is_stored=command == "respond")
    queue_answers(
        server, *([build_answer(command, "in short")] if fit == "compact" else []), build_answer(command, "done")
    )
    aiml(
        command, *ASK_FLAGS, *(["--store"] if command == "respond" else []), "-c", "--fit", fit, f"more {HUNDRED_WORDS}"
    )
    assert "previous_response_id" not in server.requests[-1].json
    expected = ["q2", "a2", "q3", "a3", "more"] if fit == "oldest" else ["Summarize", "in", "q3", "a3", "more"]
    assert join_first_words(get_message_texts(server)).split() == expected
    server.answer_with(build_answer(command, "again"))
    aiml(command, *ASK_FLAGS, *(["--store"] if command == "respond" else []), "-c", "and")
    if command == "respond":
        assert (server.requests[-1].json["previous_response_id"], get_message_texts(server)) == ("resp_1", ["and"])


@pytest.mark.parametrize("flags", [[], ["-S"]])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_summary_replaces_the_older_turns_from_then_on(
    command: str, flags: list[str], server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, command, 4)
    queue_answers(
        server, build_answer(command, "in short"), build_answer(command, "done"), build_answer(command, "again")
    )
    result = aiml(command, *ASK_FLAGS, *flags, "-c", "--fit", "compact", "more", "-s", "Be brief")
    asked, sent = (request.json for request in server.requests)
    assert (result.returncode, result.stdout) == (0, b"done\n")
    told = result.stderr.decode()
    assert "asks for a summary of 3 older turns, about 1,032 tokens: the context of m is 1,300\n" in told
    assert ("in short" in told, "continues with the summary\n" in told) == (False, True)
    # The request for the summary is one text, without system text and token limit.
    (question,) = asked["messages"] if command == "chat" else [{"role": "user", "content": asked["input"]}]
    assert question["content"].startswith("<conversation>\n<user>\nq1 word")
    assert ("a3" in question["content"], "q4" in question["content"]) == (True, False)
    assert not {"instructions", "max_tokens", "max_completion_tokens", "max_output_tokens"} & asked.keys()
    assert get_message_texts(server)[:2] == SUMMARY
    assert join_first_words(get_message_texts(server)) == "Summarize in q4 a4 more"
    assert ("Be brief" in json.dumps(sent), bool(asked.get("stream"))) == (True, not flags)
    aiml(command, *ASK_FLAGS, "-c", "and")
    assert join_first_words(get_message_texts(server)) == "Summarize in q4 a4 more done and"
    # The other endpoint sends the same.
    other = COMMANDS[command == "chat"]
    replace_answers(server, build_answer(other, "other"))
    aiml(other, *ASK_FLAGS, "-c", "and")
    assert join_first_words(get_message_texts(server)) == "Summarize in q4 a4 more done and again and"


@pytest.mark.promise("shortened")
def test_the_history_shows_all_turns_and_marks_the_summary(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 4)
    queue_answers(server, build_answer("chat", "in short"), build_answer("chat", "done"))
    aiml("chat", *ASK_FLAGS, "-c", "--fit", "compact", "more")
    shown = aiml("history", "show").stdout.decode()
    assert all(f"\n{word}{number} word" in shown for word in "qa" for number in range(1, 5))
    assert "── request for a summary ·" in shown
    assert "── summary by m ·" in shown
    assert "in short\n[sent in place of the turns before the last one]" in shown
    page = aiml("history", "export", "--format", "md", "-o", "-").stdout.decode()
    assert "## summary by m\n\nin short\n\n> sent in place of the turns before the last one" in page
    facts = [row["facts"].get("summary") for row in json.loads(aiml("history", "show", "--json").stdout)["messages"]]
    assert facts == [*[None] * 8, {"turns": 3}, {"turns": 3}, None, None]


@pytest.mark.promise("shortened")
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (build_json_error("bad"), 4),
        (stream(delta("in sh"), end=b""), 8),
        (stream_text("chat", "in sh", "length"), 8),
        (stream_text("chat", "in sh", "content_filter"), 8),
        (stream_text("chat", ""), 9),
        (stream_text("chat", " \n"), 9),
        (stream(delta("", tool_calls=[CALL]), delta(finish="tool_calls"), event("[DONE]")), 9),
        (stream(delta(refusal="No."), delta(finish="stop"), event("[DONE]")), 8),
    ],
)
def test_a_failed_summary_changes_nothing(failure: bytes, code: int, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 4)
    queue_answers(server, failure, build_answer("chat", "done"))
    result = aiml("chat", *ASK_FLAGS, "-c", "--fit", "compact", "more")
    assert (result.returncode, result.stdout, len(server.requests)) == (code, b"", 1)
    assert b"the older turns could not be summarized: " in result.stderr
    assert b"--fit oldest leaves them out instead" in result.stderr
    assert b"--allow-cut" not in result.stderr  # it is for the answer, and not for the summary
    aiml("chat", *ASK_FLAGS, "-c", "more")
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 q3 a3 q4 a4 more"


@pytest.mark.promise("shortened")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_summary_changes_nothing(number: int, code: int, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 4)
    server.answer_with(stream(delta("in sh"), end=b""), SILENCE)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    command = build_command("chat", *ASK_FLAGS, "-c", "--fit", "compact", "more")
    with CliProcess(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert server.request_arrived.wait(30)
        assert wait_until_equal(read_streaming_text, "in sh")
        process.send_signal(number)
        assert (process.communicate()[0], process.returncode) == (b"", code)
    replace_answers(server, build_answer("chat", "done"))
    aiml("chat", *ASK_FLAGS, "-c", "more")
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 q3 a3 q4 a4 more"


@pytest.mark.parametrize("command", COMMANDS)
def test_turns_beyond_one_request_are_summarized_in_parts(command: str, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1000}, pricing=PRICES)
    write_turns(server, command, 5)
    queue_answers(server, *(build_answer(command, text) for text in ("part one", "in short", "done", "again")))
    result = aiml(command, *ASK_FLAGS, "-c", "--fit", "compact", "more", "--max-cost", "9")
    assert (result.returncode, result.stdout) == (0, b"done\n")
    assert b"the turns are too long for one request: the summary is made in 2 parts\n" in result.stderr
    first, second = ("\n".join(get_body_texts(request.json)) for request in server.requests[:2])
    assert [word in first for word in ("q1", "a2", "q3")] == [True, True, False]
    assert second.startswith("<conversation>\n<summary>\npart one\n</summary>\n<user>\nq3 word")
    assert [word in second for word in ("q1", "a4", "q5")] == [False, True, False]
    assert join_first_words(get_body_texts(server.requests[2].json)) == "Summarize in q5 a5 more"
    aiml(command, *ASK_FLAGS, "-c", "and")
    assert join_first_words(get_message_texts(server)) == "Summarize in q5 a5 more done and"
    assert b"[a part of the summary below]" in aiml("history", "show").stdout


def get_body_texts(body: Any) -> list[str]:
    messages = body["messages"] if "messages" in body else body["input"]
    return (
        [messages] if isinstance(messages, str) else [join_content(message["content"]).strip() for message in messages]
    )


@pytest.mark.promise("shortened")
@pytest.mark.parametrize("failure", [build_json_error("bad"), stream(delta("in sh"), end=b""), stream_text("chat", "")])
def test_an_incomplete_series_of_parts_replaces_nothing(failure: bytes, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1000})
    write_turns(server, "chat", 5)
    queue_answers(server, build_answer("chat", "part one"), failure, build_answer("chat", "done"))
    result = aiml("chat", *ASK_FLAGS, "-c", "--fit", "compact", "more")
    assert (result.stdout, len(server.requests)) == (b"", 2)
    aiml("chat", *ASK_FLAGS, "-c", "more")
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 q3 a3 q4 a4 q5 a5 more"


def test_the_cost_of_a_summary_is_shown_and_counts_toward_max_cost(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300}, pricing=PRICES)
    write_turns(server, "chat", 4)
    queue_answers(
        server, build_answer_with_cost("in short", "stop", 0.01), build_answer_with_cost("done", "stop", 0.02)
    )
    limit = ("--max-cost", "1")
    result = aiml("chat", *ASK_FLAGS, "-S", "-c", "--fit", "compact", "more", "--json", "-u", *limit)
    found = json.loads(result.stdout)
    assert (found["usage"]["total_tokens"], found["cost_usd"]) == (16, 0.03)
    costs = [row["cost_usd"] for row in read_messages() if row["role"] == "assistant"]
    assert costs[-2:] == [0.01, 0.02]
    # What the summary cost is taken from the limit before the answer is asked for.
    replace_answers(server, build_answer("chat", f"a {HUNDRED_WORDS}"), build_answer_with_cost("in short", "stop", 0.9))
    aiml("chat", *ASK_FLAGS, "-c", f"q {HUNDRED_WORDS * 4}")
    count = len(server.requests)
    result = aiml("chat", *ASK_FLAGS, "-S", "-c", "--fit", "compact", "more", "--max-cost", "0.905")
    assert (result.returncode, len(server.requests) - count) == (2, 1)
    assert b"$0.9 is spent, and this may cost" in result.stderr


def test_a_dry_run_sends_nothing_and_says_what_would_be_shortened(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 4)
    before = read_messages()
    oldest = aiml("chat", *ASK_FLAGS, "-c", "--fit", "oldest", "more", "--dry-run")
    assert b"would leave out the oldest turn of 4" in oldest.stderr
    assert len(json.loads(oldest.stdout)["body"]["messages"]) == 7
    compact = aiml("chat", *ASK_FLAGS, "-c", "--fit", "compact", "more", "--dry-run", "--fork")
    assert b"would first ask for a summary of 3 older turns" in compact.stderr
    assert json.loads(compact.stdout)["body"]["messages"][1]["content"] == "[the summary of the older turns]"
    assert (server.requests, read_messages()) == ([], before)


def test_messages_of_a_file_are_shortened_like_turns(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    store_catalog(server, info={"contextLength": 1200})
    names = ["q1", "a1", "q2", "a2", "q3", "a3"]
    roles = ["user", "assistant"] * 3
    messages = [{"role": role, "content": f"{name} {HUNDRED_WORDS}"} for role, name in zip(roles, names, strict=True)]
    file = tmp_path / "messages.json"
    file.write_text(json.dumps([{"role": "system", "content": "be brief"}, *messages]))
    server.answer_with(build_answer("chat", "done"))
    for fit in ("oldest", "compact"):
        result = aiml("chat", *ASK_FLAGS, "--messages", str(file), "--fit", fit, f"more {HUNDRED_WORDS}")
        assert (result.returncode, join_first_words(get_message_texts(server))) == (0, "q2 a2 q3 a3 more")
        assert get_last_messages(server)[0] == {"role": "system", "content": "be brief"}
        assert b"leaves out the oldest turn of 4" in result.stderr


def test_a_summary_request_includes_tool_calls_and_names_images(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    store_catalog(server, info={"contextLength": 1000}, modalities={"input": ["text", "image"]})
    (empty_home / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(90))
    calling = stream(delta("I look", tool_calls=[CALL]), delta(finish="tool_calls"), event("[DONE]"))
    queue_answers(server, build_answer("chat", "a1"), calling, build_answer("chat", "a2"), build_answer("chat", "a3"))
    aiml("chat", *ASK_FLAGS, "-f", "p.png", "q1 what is it")
    aiml("chat", *ASK_FLAGS, "-c", "q2")
    aiml("chat", *ASK_FLAGS, "-c", "--tool-result", f"c1=42 {HUNDRED_WORDS}")
    aiml("chat", *ASK_FLAGS, "-c", "q3")
    queue_answers(server, build_answer("chat", "in short"), build_answer("chat", "done"))
    aiml("chat", *ASK_FLAGS, "-c", "--fit", "compact", "q4")
    question = server.requests[-2].json["messages"]
    assert len(question) == 1
    text = question[0]["content"]
    assert "q1 what is it\n[image image/png, 98 B]" in text
    assert 'I look\n[call f {"a":1}]' in text
    assert "<tool>\n42 word" in text
    assert join_first_words(get_message_texts(server)) == "Summarize in q3 a3 q4"


@pytest.mark.promise("shortened")
@pytest.mark.parametrize("context", [700, 800, 900, 1000, 1100])
def test_a_tool_call_is_left_out_together_with_its_result(context: int, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": context})
    calling = stream(delta("I look", tool_calls=[CALL]), delta(finish="tool_calls"), event("[DONE]"))
    queue_answers(
        server,
        calling,
        build_answer("chat", f"a1 {HUNDRED_WORDS}"),
        build_answer("chat", f"a2 {HUNDRED_WORDS}"),
        build_answer("chat", "a3"),
    )
    aiml("chat", *ASK_FLAGS, f"q1 {HUNDRED_WORDS}")
    aiml("chat", *ASK_FLAGS, "-c", "--tool-result", f"c1=42 {HUNDRED_WORDS}")
    aiml("chat", *ASK_FLAGS, "-c", f"q2 {HUNDRED_WORDS}")
    aiml("chat", *ASK_FLAGS, "-c", "--fit", "oldest", "q3")
    messages = get_last_messages(server)
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    assert calls == [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert messages[-1]["content"] == "q3"


def test_tool_rounds_can_make_older_turns_drop_out(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 3)
    (empty_home / "t.py").write_text(
        f'def f(a: int) -> str:\n    """Return words."""\n    return "{HUNDRED_WORDS * 3}"\n'
    )
    calling = stream(delta("", tool_calls=[CALL]), delta(finish="tool_calls"), event("[DONE]"))
    queue_answers(server, calling, build_answer("chat", "done"))
    result = aiml(
        "chat", "-m", "m", "--max-tokens", "50", "-c", "--fit", "oldest", "-T", "t.py", "--allow", "f", "more"
    )
    assert result.stdout == b"done\n"
    sent = [len(request.json["messages"]) for request in server.requests]
    assert sent == [7, 5]
    assert [message["role"] for message in get_last_messages(server)[-3:]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("models", ["m,n", "n,m"])
def test_with_fallbacks_the_smallest_context_counts(models: str, server: Loopback, aiml: Aiml) -> None:
    entries = [
        {"id": name, "type": "openai/chat-completions", "info": {"contextLength": size}}
        for name, size in (("m", 9000), ("n", 1000))
    ]
    write_turns(server, "chat", 3)
    body = json.dumps({"data": entries}).encode()
    save_models(CachedModels(server.url, "", time.time(), body, parse_models(body)))
    server.answer_with(build_answer("chat", "done"))
    result = aiml("chat", "-m", models, "--max-tokens", "100", "-c", "--fit", "oldest", "more")
    assert b"leaves out the oldest turn of 3, about 344 tokens: the context of n is 1,000" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_fork_continues_and_the_original_is_unchanged(command: str, server: Loopback, aiml: Aiml) -> None:
    write_turns(server, command, 2)
    before = read_messages()
    (original,) = [row["name"] for row in select("SELECT name FROM conversations")]
    server.answer_with(build_answer(command, "done"))
    result = aiml(command, *ASK_FLAGS, "-c", "--fork", "more")
    assert f"continuing a copy of {original}, “" in result.stderr.decode()
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 more"
    rows = read_messages()
    assert [row for row in rows if row["conversation"] == 1] == before
    assert join_first_words([row["text"] for row in rows if row["conversation"] == 2]) == "q1 a1 q2 a2 more done"
    aiml(command, *ASK_FLAGS, "-c", "and")  # the copy is the last conversation of this terminal
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 more done and"
    aiml(command, *ASK_FLAGS, "-r", original, "--fork", "other", AIML_SESSION="elsewhere")
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 other"


def test_a_fork_has_its_own_summary(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1300})
    write_turns(server, "chat", 4)
    queue_answers(server, build_answer("chat", "in short"), build_answer("chat", "done"))
    aiml("chat", *ASK_FLAGS, "-c", "--fork", "--fit", "compact", "more")
    aiml("chat", *ASK_FLAGS, "-c", "--fork", "and")
    assert join_first_words(get_message_texts(server)) == "Summarize in q4 a4 more done and"
    counts = [row["count"] for row in select("SELECT count(*) AS count FROM messages GROUP BY conversation")]
    assert counts == [8, 12, 14]
    (first,) = select("SELECT name FROM conversations WHERE id = 1")
    aiml("chat", *ASK_FLAGS, "-r", first["name"], "and")
    assert join_first_words(get_message_texts(server)) == "q1 a1 q2 a2 q3 a3 q4 a4 and"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", [(), ("--no-log",)])
def test_a_fork_includes_all_parts_of_a_summary(
    command: str, flag: tuple[str, ...], server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, info={"contextLength": 1000})
    write_turns(server, command, 5)
    before = read_messages()
    queue_answers(server, *(build_answer(command, text) for text in ("part one", "in short", "done", "again")))
    result = aiml(command, *ASK_FLAGS, "-c", "--fork", "--fit", "compact", *flag, "more")
    assert (result.returncode, result.stdout) == (0, b"done\n")
    rows = read_messages()
    assert [row for row in rows if row["conversation"] == 1] == before
    assert len({row["conversation"] for row in rows}) == (1 if flag else 2)
    aiml(command, *ASK_FLAGS, "-c", "and")
    expected = "q1 a1 q2 a2 q3 a3 q4 a4 q5 a5 and" if flag else "Summarize in q5 a5 more done and"
    assert join_first_words(get_message_texts(server)) == expected


@pytest.mark.parametrize("arguments", [["--fork", "hi"], ["-i", "--fork"], ["--fork", "--messages", "x"]])
def test_fork_requires_a_conversation(arguments: list[str], server: Loopback, aiml: Aiml) -> None:
    result = aiml("chat", *arguments)
    assert (result.returncode, server.requests) == (2, [])
    if "-i" not in arguments:
        assert b"--fork only works with --continue or --resume" in result.stderr


def test_nothing_is_copied_if_the_request_is_not_sent_or_not_saved(server: Loopback, aiml: Aiml) -> None:
    write_turns(server, "chat", 2)
    server.answer_with(build_answer("chat", "done"))
    before = read_messages()
    for arguments in (["--no-log", "x"], ["--dry-run", "x"], ["-f", "no-such-file", "x"], ["--max-cost", "0", "x"]):
        aiml("chat", *ASK_FLAGS, "-c", "--fork", *arguments)
    assert read_messages() == before


CONTEXT_LENGTH_ERRORS = [
    ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", 400),
    ("Your input exceeds the context window of this model. Please adjust your input and try again.", 400),
    ("prompt is too long: 204569 tokens > 200000 maximum", 400),
    ("input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000", 400),
    ("The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).", 400),
    ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 422),
    ("This model's maximum prompt length is 131072 but the request contains 150000 tokens.", 400),
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081", 400),
    ("the request exceeds the available context size. try increasing the context size", 400),
    ("Input is too long for requested model.", 400),
    ("Please reduce the length of the messages or completion.", 413),
    ("Range of input length should be [1, 30720]", 400),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("message", "status"), CONTEXT_LENGTH_ERRORS)
def test_an_error_about_the_context_length_suggests_fit(
    message: str, status: int, command: str, server: Loopback, aiml: Aiml
) -> None:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    server.answer_with(json_response(body, f"{status} x"))
    result = aiml(command, "-m", "m", "hi")
    assert result.returncode == 4
    assert b"hint: --fit oldest leaves out the oldest turns; --fit compact, or /compact, " in result.stderr


@pytest.mark.parametrize("code", ["context_length_exceeded", "exceed_context_size_error", "prompt_too_long"])
def test_an_error_code_for_the_context_length_suggests_fit_too(code: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": {"message": "no", "code": code}}, "400 x"))
    assert b"--fit oldest" in aiml("chat", "-m", "m", "hi").stderr


@pytest.mark.parametrize(
    ("message", "status"),
    [("Rate limit reached: too many tokens per minute", 429), ("max_tokens is too large: 20000", 400), ("no", 413)],
)
def test_other_errors_keep_their_hints(message: str, status: int, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"error": {"message": message}}, f"{status} x"))
    assert b"--fit oldest" not in aiml("chat", "-m", "m", "hi", "--retries", "0").stderr


def test_the_example_in_the_documentation_works(empty_home: Path) -> None:
    page = (ROOT / "docs/conversations.md").read_text("utf-8")
    block = page.partition("```console\n")[2].partition("```")[0]
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    environ = {**os.environ, "PATH": install_program(empty_home / "bin")}
    done = subprocess.run(["sh", "-c", "\n".join(commands)], env=environ, capture_output=True, check=True, timeout=60)
    told = [line for line in block.splitlines() if not line.startswith("$ ")]
    names = re.compile(r"continuing \w+, “one”, \d+ s old")
    assert names.sub("", done.stderr.decode()).splitlines() == [names.sub("", line) for line in told]


def test_a_summary_is_sent_if_the_server_no_longer_has_the_stored_response(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, info={"contextLength": 1200})
    write_turns(server, "respond", 3, is_stored=True)
    queue_answers(server, build_answer("respond", "in short"), json_response(response_object("done")))
    aiml("respond", *ASK_FLAGS, "--store", "-c", "--fit", "compact", f"more {HUNDRED_WORDS}")
    gone = build_json_error("Previous response with id 'resp_1' not found.")
    replace_answers(server, gone, json_response(response_object("again")))
    aiml("respond", *ASK_FLAGS, "--store", "-c", "and")
    assert join_first_words(get_message_texts(server)) == "Summarize in q3 a3 more done and"
