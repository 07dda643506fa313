"""--auto-continue asks for the rest of a truncated answer, and joins the parts."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_answer_with_cost, build_json_error, get_last_messages, queue_answers
from support.forked_process import CliProcess
from support.history_file import read_answer_states, read_answers, read_streaming_text, wait_until_equal
from support.loopback import STREAM, Loopback, chunk, delta, event, json_response, response_object, stream
from support.run_cli import Aiml, build_command
from support.streaming import read_bytes

from aiml_cli.core.previous_turns import CONTINUE_PROMPT

USER_MESSAGE, CONTINUE_MESSAGE = {"role": "user", "content": "hi"}, {"role": "user", "content": CONTINUE_PROMPT}
CAPPED_ANSWER = stream(delta("Hel"), delta(finish="length"))
TRUNCATED_ANSWER = stream(delta("Hel"), end=b"")
LAST_PART = stream(delta("lo"), delta(finish="stop"), event("[DONE]"))


@pytest.mark.parametrize("first", [CAPPED_ANSWER, TRUNCATED_ANSWER, stream(delta("Hel"))])
def test_a_truncated_answer_is_continued_and_joined(first: bytes, server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, first, LAST_PART)
    done = aiml("chat", "hi", "--auto-continue", "3")
    assert (done.returncode, done.stdout, len(server.requests)) == (0, b"Hello\n", 2)
    assert get_last_messages(server) == [USER_MESSAGE, {"role": "assistant", "content": "Hel"}, CONTINUE_MESSAGE]
    assert done.stderr.count(b"asking for the rest (1 of 3)\n") == 1
    assert read_answer_states() == [("complete", "Hello")]


def test_responses_are_joined_too(server: Loopback, aiml: Aiml) -> None:
    cut = response_object("Hel", "incomplete", incomplete_details={"reason": "max_output_tokens"})
    queue_answers(server, json_response(cut), json_response(response_object("lo", id="resp_2")))
    done = aiml("respond", "hi", "--auto-continue", "1")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert get_last_messages(server) == [USER_MESSAGE, {"role": "assistant", "content": "Hel"}, CONTINUE_MESSAGE]
    assert read_answers()[0]["items"] == [{"role": "assistant", "content": "Hello"}]


def test_json_output_contains_the_joined_text_and_the_total_cost(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, build_answer_with_cost("Hel", "length", 0.25), build_answer_with_cost("lo", "stop", 0.5))
    found = json.loads(aiml("chat", "hi", "--json", "--auto-continue", "1").stdout)
    assert (found["text"], found["finish_reason"], found["complete"]) == ("Hello", "stop", True)
    assert (found["usage"]["output_tokens"], found["usage"]["total_tokens"], found["cost_usd"]) == (10, 16, 0.75)
    assert read_answers()[0]["cost_usd"] == 0.75


def test_the_number_of_parts_is_limited_and_the_last_one_sets_the_exit_code(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, CAPPED_ANSWER)
    done = aiml("chat", "hi", "--auto-continue", "2")
    assert (done.returncode, done.stdout, len(server.requests)) == (8, b"HelHelHel\n", 3)
    assert b"asking for the rest (2 of 2)\n" in done.stderr
    assert b"hint: -c asks for the rest; or raise the limit" in done.stderr
    assert read_answer_states() == [("incomplete", "HelHelHel")]


def test_a_refused_part_keeps_the_earlier_ones(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, TRUNCATED_ANSWER, build_json_error("no more"))
    done = aiml("chat", "hi", "--auto-continue", "2")
    assert (done.returncode, done.stdout, len(server.requests)) == (4, b"Hel\n", 2)
    assert read_answer_states() == [("incomplete", "Hel")]


@pytest.mark.parametrize(
    "reply",
    [
        stream(delta("Hel"), delta(finish="content_filter")),
        stream(delta("Hel"), delta(refusal="No."), end=b""),
        stream(
            delta("Hel", tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]), end=b""
        ),
        stream(event({"choices": [{"index": index, "delta": {"content": "Hel"}} for index in (0, 1)]}), end=b""),
        stream(delta(reasoning_content="Hm"), end=b""),
        stream(delta("Hel"), event({"error": {"message": "It broke."}})),
    ],
)
def test_an_answer_that_cannot_be_continued_as_text_is_left_unchanged(
    reply: bytes, server: Loopback, aiml: Aiml
) -> None:
    queue_answers(server, reply, LAST_PART)
    assert aiml("chat", "hi", "--auto-continue", "3").returncode in (6, 8)
    assert len(server.requests) == 1


def test_a_file_gets_the_joined_text(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    queue_answers(server, TRUNCATED_ANSWER, LAST_PART)
    done = aiml("chat", "hi", "--auto-continue", "1", "-o", str(tmp_path / "out"))
    assert (done.returncode, (tmp_path / "out").read_text()) == (0, "Hello\n")


@pytest.mark.promise("stored-while-arriving")
def test_ctrl_c_in_the_second_part_keeps_both(server: Loopback) -> None:
    more = threading.Event()
    server.answer_with(TRUNCATED_ANSWER)
    server.answer_with(STREAM + chunk(delta("lo")), more)
    environ: dict[str, Any] = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(
        build_command("chat", "hi", "--auto-continue", "1"), env=environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert read_bytes(process.stdout, 5) == b"Hello"
        assert wait_until_equal(read_streaming_text, "Hello")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == b"\n"
    more.set()
    assert (process.returncode, read_answer_states()) == (130, [("interrupted", "Hello")])


def test_a_continued_conversation_is_continued_automatically_too(server: Loopback, aiml: Aiml) -> None:
    queue_answers(server, TRUNCATED_ANSWER, TRUNCATED_ANSWER, LAST_PART)
    aiml("chat", "hi")
    assert aiml("chat", "-c", "--auto-continue", "1").stdout == b"Hello\n"
    said = {"role": "assistant", "content": "Hel"}
    assert get_last_messages(server) == [USER_MESSAGE, said, CONTINUE_MESSAGE, said, CONTINUE_MESSAGE]
