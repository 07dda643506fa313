"""Continuing a conversation: which one is found, and what of it is sent again."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, get_last_messages, queue_answers
from support.history_file import (
    history_path,
    read_answer_states,
    read_answers,
    read_messages,
    read_streaming_text,
    select,
    wait_until_equal,
)
from support.loopback import HELLO, HELLO_RESPONSE, Loopback, delta, json_response, response_object, stream
from support.run_cli import Aiml, build_command
from support.streaming import read_bytes, start_streaming

from aiml_cli.core.previous_turns import CONTINUE_PROMPT, CUT_MARK

pytestmark = pytest.mark.in_process

PNG = b"\x89PNG\r\n\x1a\n" + bytes(9)
PDF = b"%PDF-1.4\n%%EOF\n"
USER_MESSAGE, HELLO_MESSAGE = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}
MORE_MESSAGE = {"role": "user", "content": "more"}
TOOL_CALL_ANSWER = stream(
    delta("I look", tool_calls=[{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}]),
    delta(finish="tool_calls"),
)
NESTED_CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
ENCRYPTED_REASONING = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "sealed"}
SEARCH_CALL = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "q"},
}
FUNCTION_CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "f",
    "arguments": '{"a":1}',
    "status": "completed",
}
MESSAGE = response_object("Hello")["output"][0]
PLAIN_MESSAGE = {name: value for name, value in MESSAGE.items() if name != "id"}


def test_continue_sends_the_earlier_turns_and_names_the_conversation(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "hi")
    done = aiml("chat", "-c", "more")
    assert get_last_messages(server) == [USER_MESSAGE, HELLO_MESSAGE, MORE_MESSAGE]
    (name,) = [row["name"] for row in select("SELECT name FROM conversations")]
    assert re.fullmatch(rf"aiml: continuing {name}, “hi”, \d+ s old\n", done.stderr.decode())
    assert aiml("chat", "-c", "-q", "third").stderr == b""
    assert len(get_last_messages(server)) == 5
    assert read_answer_states() == [("complete", "Hello")] * 3


def test_a_dry_run_shows_the_whole_conversation(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "hi")
    shown_body = aiml("chat", "-c", "more", "--dry-run").stdout
    assert json.loads(shown_body)["body"]["messages"] == [USER_MESSAGE, HELLO_MESSAGE, MORE_MESSAGE]
    assert len(server.requests) == 1


@pytest.mark.parametrize("arguments", [["-c", "more"], ["-r", "more"], ["-r", "nosuch", "more"], ["-c"]])
def test_continue_without_a_conversation_is_a_usage_error(arguments: list[str], server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    done = aiml("chat", *arguments)
    assert (done.returncode, server.requests) == (2, [])
    aiml("chat", "hi", AIML_SESSION="elsewhere")
    assert aiml("chat", "-c", "more").returncode == 2
    assert aiml("chat", "-r", "nosuch", "more").returncode == 2
    assert len(server.requests) == 1


def test_sessions_are_kept_apart(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    pane = {"TMUX": "/run/tmux,1,0", "TMUX_PANE": "%1"}
    places = {
        "one": {"AIML_SESSION": "one"},
        "pane": pane,
        "two": {"AIML_SESSION": "two"},
        "terminal": {"TMUX_PANE": ""},
    }
    for name, place in places.items():
        aiml("chat", name, **place)
    for name, place in places.items():
        aiml("chat", "-c", "more", **place)
        assert get_last_messages(server)[0]["content"] == name


def test_terminals_are_kept_apart(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "hi")
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    there = f"{' '.join(build_command('chat', 'there'))}; {' '.join(build_command('chat', '-c', 'more'))}"
    subprocess.run(["setsid", "-w", "sh", "-c", there], env=environ, stdin=subprocess.DEVNULL, check=True, timeout=60)
    assert get_last_messages(server)[0]["content"] == "there"
    aiml("chat", "-c", "more")
    assert get_last_messages(server)[0] == USER_MESSAGE


@pytest.mark.parametrize("name_kind", ["id", "beginning", "words", "alone", "equals"])
def test_resume_finds_a_conversation_of_another_session(name_kind: str, server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "the first about tea", AIML_SESSION="one")
    aiml("chat", "the second about coffee", AIML_SESSION="two")
    first, second = (row["name"] for row in select("SELECT name FROM conversations ORDER BY id"))
    asked = {
        "id": ["-r", first],
        "beginning": ["-r", first[:5]],
        "words": ["-r", "about tea"],
        "equals": [f"-r={first}"],
    }
    done = aiml("chat", *asked.get(name_kind, []), "more", *(["-r"] if name_kind == "alone" else []))
    assert (second if name_kind == "alone" else first) in done.stderr.decode()
    assert get_last_messages(server)[0]["content"] == (
        "the second about coffee" if name_kind == "alone" else "the first about tea"
    )
    aiml("chat", "-c", "it is this terminal's now")
    assert len(get_last_messages(server)) == 5


def test_a_conversation_in_use_cannot_be_continued_until_its_writer_ends(server: Loopback, aiml: Aiml) -> None:
    with start_streaming(server) as process:
        read_bytes(process.stdout, 5)
        assert wait_until_equal(read_streaming_text, "Hello")
        done = aiml("chat", "-c", "more")
        assert (done.returncode, len(server.requests)) == (2, 1)
        (name,) = [row["name"] for row in select("SELECT name FROM conversations")]
        assert f"another process is writing the conversation {name}" in done.stderr.decode()
        process.kill()
        process.wait(30)
        server.scripts = [[HELLO]]
        assert aiml("chat", "-c", "more").returncode == 0
    assert get_last_messages(server) == [
        USER_MESSAGE,
        {"role": "assistant", "content": "Hello" + CUT_MARK},
        MORE_MESSAGE,
    ]


def test_a_conversation_can_switch_between_endpoints(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO, HELLO_RESPONSE, HELLO)
    aiml("chat", "hi", "-s", "Be brief", "-m", "a/b")
    aiml("respond", "-c", "more")
    body = server.requests[-1].json
    assert (body["input"], body["instructions"], body["model"]) == (
        [USER_MESSAGE, HELLO_MESSAGE, MORE_MESSAGE],
        "Be brief",
        "a/b",
    )
    aiml("chat", "-c", "back")
    assert get_last_messages(server)[0] == {"role": "system", "content": "Be brief"}
    assert [join_parts(each) for each in get_last_messages(server)[1:]] == [
        USER_MESSAGE,
        HELLO_MESSAGE,
        MORE_MESSAGE,
        HELLO_MESSAGE,
        {"role": "user", "content": "back"},
    ]


def join_parts(item: dict[str, Any]) -> dict[str, Any]:
    """Join the parts of a message."""
    content = item["content"]
    return {**item, "content": "".join(part["text"] for part in content) if isinstance(content, list) else content}


def test_a_call_and_its_result_are_sent_to_both_endpoints(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, TOOL_CALL_ANSWER, HELLO)
    aiml("chat", "hi", AIML_SESSION="a")
    calling = {"role": "assistant", "content": "I look", "tool_calls": NESTED_CALLS}
    aiml("chat", "-c", "--tool-result", "c1=42", AIML_SESSION="a")
    assert get_last_messages(server) == [USER_MESSAGE, calling, {"role": "tool", "tool_call_id": "c1", "content": "42"}]
    queue_answers(server, HELLO_RESPONSE)
    aiml("respond", "-c", "more", AIML_SESSION="a")
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
    result = {"type": "function_call_output", "call_id": "c1", "output": "42"}
    assert get_last_messages(server) == [
        USER_MESSAGE,
        {"role": "assistant", "content": "I look"},
        call,
        result,
        HELLO_MESSAGE,
        MORE_MESSAGE,
    ]


def test_a_result_for_an_unknown_call_is_a_usage_error(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, TOOL_CALL_ANSWER)
    aiml("chat", "hi")
    done = aiml("chat", "-c", "--tool-result", "c2=42")
    assert (done.returncode, len(server.requests)) == (2, 1)
    assert b"c1" in done.stderr


def test_a_call_from_responses_can_be_answered_in_chat(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, json_response(response_object(output=[REASONING, FUNCTION_CALL])), HELLO)
    aiml("respond", "hi")
    done = aiml("chat", "-c", "--tool-result", "c1=42")
    calling = {"role": "assistant", "content": None, "tool_calls": NESTED_CALLS}
    assert get_last_messages(server) == [USER_MESSAGE, calling, {"role": "tool", "tool_call_id": "c1", "content": "42"}]
    assert done.stderr.count(b"left out: reasoning\n") == 1


def test_reasoning_and_hosted_tool_items_are_sent_again_unchanged(server: Loopback, aiml: Aiml) -> None:
    output = [REASONING, ENCRYPTED_REASONING, SEARCH_CALL, MESSAGE]
    queue_answers(server, json_response(response_object(output=output)), HELLO_RESPONSE)
    aiml("respond", "hi")
    aiml("respond", "-c", "more")
    assert get_last_messages(server) == [USER_MESSAGE, *output, MORE_MESSAGE]
    done = aiml("chat", "-c", "more", "--dry-run")
    assert b"left out: reasoning, web_search_call\n" in done.stderr
    assert [each["role"] for each in json.loads(done.stdout)["body"]["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]


# What servers put before a message, and whether they need the message's id to know that it follows.
BEFORE_MESSAGES = [
    ([], False),
    ([SEARCH_CALL], False),
    ([ENCRYPTED_REASONING], True),
    ([REASONING], True),
    ([ENCRYPTED_REASONING, SEARCH_CALL], True),
    ([SEARCH_CALL, ENCRYPTED_REASONING], True),
]


@pytest.mark.parametrize(("before", "needs_id"), BEFORE_MESSAGES)
def test_the_id_of_a_message_is_sent_only_after_reasoning(
    before: list[dict[str, Any]], needs_id: bool, server: Loopback, aiml: Aiml
) -> None:
    queue_answers(server, json_response(response_object(output=[*before, MESSAGE])), HELLO_RESPONSE)
    aiml("respond", "hi")
    aiml("respond", "-c", "more")
    assert get_last_messages(server) == [USER_MESSAGE, *before, MESSAGE if needs_id else PLAIN_MESSAGE, MORE_MESSAGE]
    aiml("respond", "-c", "again")
    assert get_last_messages(server)[-3:-1] == [MORE_MESSAGE, PLAIN_MESSAGE]


def test_images_and_documents_are_sent_to_both_endpoints(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.pdf").write_bytes(PDF)
    queue_answers(server, HELLO)
    aiml("chat", "look", "-f", str(tmp_path / "a.png"), "-f", str(tmp_path / "a.pdf"))
    (asked,) = get_last_messages(server)
    aiml("chat", "-c", "more")
    assert get_last_messages(server) == [asked, HELLO_MESSAGE, MORE_MESSAGE]
    queue_answers(server, HELLO_RESPONSE)
    aiml("respond", "-c", "more")
    picture, document, words = asked["content"]
    assert get_last_messages(server)[0]["content"] == [
        {"type": "input_image", "image_url": picture["image_url"]["url"]},
        {"type": "input_file", **document["file"]},
        {"type": "input_text", "text": words["text"]},
    ]


def test_a_refusal_is_sent_again_as_one(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, stream(delta(refusal="No."), delta(finish="stop")), HELLO)
    aiml("chat", "hi")
    aiml("chat", "-c", "more")
    assert get_last_messages(server) == [
        USER_MESSAGE,
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        MORE_MESSAGE,
    ]


def test_model_and_system_text_are_kept_unless_given_again(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "hi", "-m", "a/b", "-s", "Be brief")
    aiml("chat", "-c", "more", AIML_MODEL="x/y")
    assert (server.requests[-1].json["model"], get_last_messages(server)[0]["content"]) == ("a/b", "Be brief")
    aiml("chat", "-c", "more", "-m", "c/d", "-s", "Be long")
    aiml("chat", "-c", "more")
    assert (server.requests[-1].json["model"], get_last_messages(server)[0]["content"]) == ("c/d", "Be long")


def test_a_stored_system_text_is_not_read_as_a_file_name(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("@handle is the user")
    queue_answers(server, HELLO)
    aiml("chat", "hi", "-s", f"@{tmp_path / 'system.txt'}")
    (tmp_path / "system.txt").unlink()
    assert aiml("chat", "-c", "more").returncode == 0
    assert get_last_messages(server)[0] == {"role": "system", "content": "@handle is the user"}


def test_a_system_text_from_a_pipe_is_read_once(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    queue_answers(server, HELLO)
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_text, args=("Be brief",), daemon=True)
    writer.start()
    assert aiml("chat", "hi", "-s", f"@{tmp_path / 'fifo'}").stderr == b""
    assert select("SELECT system FROM conversations") == [{"system": "Be brief"}]


def test_a_response_stored_on_the_server_is_continued_by_its_id(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO_RESPONSE)
    aiml("respond", "hi", "--store", "-s", "Be brief")
    told = json.loads(aiml("respond", "-c", "more", "--json").stdout)
    body = server.requests[-1].json
    assert (body["previous_response_id"], body["input"], body["instructions"]) == ("resp_1", "more", "Be brief")
    assert told["previous_response_id"] == "resp_1"
    assert "previous_response_id" not in json.loads(aiml("respond", "-c", "more", "--dry-run").stdout)["body"]


@pytest.mark.parametrize("reason", ["not stored", "cut", "another host"])
def test_the_whole_conversation_is_sent_if_the_server_may_not_have_it(
    reason: str, server: Loopback, aiml: Aiml
) -> None:
    incomplete = response_object("Hello", "incomplete", incomplete_details={"reason": "content_filter"})
    queue_answers(server, json_response(incomplete) if reason == "cut" else HELLO_RESPONSE, HELLO_RESPONSE)
    aiml("respond", "hi", *([] if reason == "not stored" else ["--store"]))
    with Loopback([[HELLO_RESPONSE]]) as other:
        asked = other if reason == "another host" else server
        aiml("respond", "-c", "more", AIML_BASE_URL=asked.url)
        assert "previous_response_id" not in asked.requests[-1].json
        assert [each["role"] for each in get_last_messages(asked)] == ["user", "assistant", "user"]


def test_a_previous_response_id_is_kept_in_later_turns(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO_RESPONSE)
    aiml("respond", "hi", "--previous-response-id", "resp_0")
    aiml("respond", "-c", "more")
    body = server.requests[-1].json
    assert (body["previous_response_id"], body["input"]) == ("resp_0", [USER_MESSAGE, PLAIN_MESSAGE, MORE_MESSAGE])
    assert b"left out: resp_0\n" in aiml("chat", "-c", "more", "--dry-run").stderr


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found"])
def test_the_whole_conversation_is_sent_if_the_server_no_longer_has_the_answer(
    status: str, server: Loopback, aiml: Aiml
) -> None:
    gone = build_json_error("Previous response with id 'resp_1' not found.", status)
    queue_answers(server, HELLO_RESPONSE, gone, HELLO_RESPONSE)
    aiml("respond", "hi", "--store")
    done = aiml("respond", "-c", "more")
    assert (done.returncode, done.stdout, len(server.requests)) == (0, b"Hello\n", 3)
    assert b"aiml: the server no longer has the last answer; the whole conversation is sent instead\n" in done.stderr
    assert get_last_messages(server) == [USER_MESSAGE, PLAIN_MESSAGE, MORE_MESSAGE]
    assert read_answer_states() == [("complete", "Hello")] * 2


def test_reasoning_that_the_server_no_longer_has_is_left_out(server: Loopback, aiml: Aiml) -> None:
    gone = build_json_error(
        "Item 'rs_1' not found. Items are not persisted when `store` is set to false.", "404 Not Found"
    )
    queue_answers(
        server, json_response(response_object(output=[REASONING, ENCRYPTED_REASONING, MESSAGE])), gone, HELLO_RESPONSE
    )
    aiml("respond", "hi")
    done = aiml("respond", "-c", "more")
    assert (done.returncode, get_last_messages(server)) == (
        0,
        [USER_MESSAGE, ENCRYPTED_REASONING, PLAIN_MESSAGE, MORE_MESSAGE],
    )
    assert b"no longer has the reasoning" in done.stderr


@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("words", ["temperature is too high", "reasoning.effort: not found", "no such response_format"])
def test_any_other_refusal_is_not_retried(words: str, command: str, server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, json_response(response_object(output=[REASONING, MESSAGE])), build_json_error(words))
    aiml("respond", "hi", "--store")
    done = aiml(command, "-c", "more")
    assert (done.returncode, len(server.requests)) == (4, 2)


def test_a_missing_response_error_is_not_retried_in_chat(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO_RESPONSE, build_json_error("Previous response with id 'resp_1' not found."))
    aiml("respond", "hi", "--store")
    assert (aiml("chat", "-c", "more").returncode, len(server.requests)) == (4, 2)


def test_a_damaged_history_is_an_error_and_nothing_is_sent(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    history_path().parent.mkdir()
    history_path().write_bytes(os.urandom(9000))
    done = aiml("chat", "-c", "more")
    assert (done.returncode, server.requests) == (2, [])
    assert b"damaged" in done.stderr


@pytest.mark.promise("stored-while-arriving")
def test_an_interrupted_answer_is_marked_and_its_calls_are_not_sent(server: Loopback, aiml: Aiml) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}}
    queue_answers(server, stream(delta("Hel", tool_calls=[call]), end=b""), HELLO)
    aiml("chat", "hi")
    aiml("chat", "-c", "more")
    assert get_last_messages(server) == [USER_MESSAGE, {"role": "assistant", "content": "Hel" + CUT_MARK}, MORE_MESSAGE]


def test_failed_questions_are_not_sent_again(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO, json_response({"message": "no"}, "400 Bad Request"), HELLO)
    aiml("chat", "hi")
    assert aiml("chat", "-c", "unanswered").returncode == 4
    aiml("chat", "-c", "more")
    assert get_last_messages(server) == [USER_MESSAGE, HELLO_MESSAGE, MORE_MESSAGE]


@pytest.mark.parametrize("stdin", [None, b""])
def test_continue_without_a_prompt_asks_for_the_rest_of_a_truncated_answer(
    stdin: bytes | None, server: Loopback, aiml: Aiml
) -> None:
    queue_answers(server, stream(delta("Hel"), end=b""), stream(delta("lo"), delta(finish="stop")))
    cut = aiml("chat", "hi")
    assert b"hint: -c asks for the rest; or try again\n" in cut.stderr
    done = aiml("chat", "-c", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"lo\n")
    assert get_last_messages(server) == [
        USER_MESSAGE,
        {"role": "assistant", "content": "Hel"},
        {"role": "user", "content": CONTINUE_PROMPT},
    ]


def test_no_hint_to_continue_is_given_with_no_log(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, stream(delta("Hel"), end=b""))
    assert b"-c" not in aiml("chat", "hi", "--no-log").stderr


def test_a_truncated_answer_can_be_continued_after_a_failed_attempt(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, stream(delta("Hel"), end=b""), json_response({}, "500 Broken"), HELLO)
    aiml("chat", "hi")
    assert aiml("chat", "-c").returncode == 6
    assert aiml("chat", "-c").returncode == 0
    assert get_last_messages(server) == [
        USER_MESSAGE,
        {"role": "assistant", "content": "Hel"},
        {"role": "user", "content": CONTINUE_PROMPT},
    ]


def test_continue_without_a_prompt_after_a_complete_answer_is_a_usage_error(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "hi")
    done = aiml("chat", "-c", stdin=b"")
    assert (done.returncode, len(server.requests)) == (2, 1)
    assert b"there is nothing to continue" in done.stderr


def test_messages_files_and_standard_input_can_be_added(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    (tmp_path / "turns.json").write_text(json.dumps([{"role": "user", "content": "between"}, HELLO_MESSAGE]))
    (tmp_path / "a.txt").write_text("in a file")
    queue_answers(server, HELLO)
    aiml("chat", "hi")
    arguments = ["--messages", str(tmp_path / "turns.json"), "-f", str(tmp_path / "a.txt")]
    aiml("chat", "-c", "more", *arguments, stdin=b"piped")
    *before, last = get_last_messages(server)
    assert before == [USER_MESSAGE, HELLO_MESSAGE, {"role": "user", "content": "between"}, HELLO_MESSAGE]
    assert all(words in last["content"] for words in ("in a file", "piped", "more"))
    assert [row["role"] for row in read_messages()] == ["user", "assistant"] * 3


@pytest.mark.parametrize("flags", [["--previous-response-id", "resp_1"], ["-r"]])
def test_two_ways_to_continue_cannot_be_combined(flags: list[str], server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO_RESPONSE)
    aiml("respond", "hi")
    done = aiml("respond", "-c", "more", *flags)
    assert (done.returncode, len(server.requests)) == (2, 1)
    assert b"cannot be used with" in done.stderr


def test_with_no_log_a_conversation_is_continued_without_storing_the_turn(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, HELLO)
    aiml("chat", "hi")
    aiml("chat", "-c", "more", "--no-log")
    assert get_last_messages(server) == [USER_MESSAGE, HELLO_MESSAGE, MORE_MESSAGE]
    assert len(read_answers()) == 1
