"""Odd metadata never affects an answer, and nonsensical requests are refused before they cost anything."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.loopback import HELLO, Loopback, delta, event, json_response, response_object, stream
from support.run_cli import Aiml

pytestmark = pytest.mark.in_process

FENCED_JSON = '```json\n{"name": "Ada"}\n```'


def build_chat_answer(text: str, **more: Any) -> dict[str, Any]:
    """Make a complete chat answer with something odd next to the text."""
    odd = {name: more.pop(name) for name in ("annotations",) if name in more}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **odd}, "finish_reason": "stop"}
    return {"id": "chat-1", "model": "m", "choices": [choice], **more}


ODD_ANSWERS = [
    ("chat", json_response(build_chat_answer("see", annotations=[5]))),
    ("chat", json_response(build_chat_answer("see", annotations={"a": 1}))),
    ("chat", json_response(build_chat_answer("see", meta=[]))),
    ("chat", json_response(build_chat_answer("see", usage={"prompt_tokens": 1, "prompt_tokens_details": []}))),
    ("chat", json_response(build_chat_answer("see", search_results=[1], citations=[2]))),
    ("chat", stream(delta("s"), delta("e", annotations={}), delta("e"), delta(finish="stop"), event({"meta": []}))),
    ("respond", json_response(response_object("see", usage={"input_tokens": 1, "output_tokens_details": []}))),
]


@pytest.mark.parametrize(("command", "reply"), ODD_ANSWERS)
def test_odd_metadata_does_not_affect_the_answer(command: str, reply: bytes, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(reply)
    done = aiml(command, "hi")
    assert (done.stdout, done.returncode) == (b"see\n", 0)


def test_a_code_fence_around_the_json_gives_a_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response(build_chat_answer(FENCED_JSON)))
    done = aiml("chat", "hi", "--schema", "name")
    assert (done.stdout.decode(), done.returncode) == (FENCED_JSON + "\n", 0)
    assert b"code fence" in done.stderr


def test_an_answer_without_the_requested_audio_is_an_error_and_keeps_the_file(server: Loopback, aiml: Aiml) -> None:
    Path("old.wav").write_bytes(b"old")
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "--audio-out", "old.wav")
    assert (done.returncode, done.stdout, Path("old.wav").read_bytes()) == (9, b"Hello\n", b"old")


INVALID_COMBINATIONS = [
    (["--background", "-o", "keep.txt"], "--wait"),
    (["--prompt-var", "a=b"], "--prompt-id"),
    (["--prompt-version", "2"], "--prompt-id"),
    (["--tools", '[{"type": "function", "name": "f", "parameters": []}]'], "not a JSON Schema object"),
    (["--messages", "tools.json"], "is a tool"),
    (["--messages", "empty.json"], "has no content"),
]


@pytest.mark.parametrize(("flags", "words"), INVALID_COMBINATIONS)
def test_nonsensical_combinations_are_refused_before_anything_is_sent(
    flags: list[str], words: str, server: Loopback, aiml: Aiml
) -> None:
    Path("keep.txt").write_text("precious")
    Path("tools.json").write_text(json.dumps([{"type": "function", "function": {"name": "f"}}]))
    Path("empty.json").write_text(json.dumps([{"role": "user"}]))
    done = aiml("respond", "hi", *flags)
    assert (done.returncode, server.requests) == (2, [])
    assert words in done.stderr.decode()
    assert Path("keep.txt").read_text() == "precious"


def test_an_invalid_answer_to_a_cancellation_is_a_server_error(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"data": []}))
    done = aiml("respond", "--cancel", "resp_1")
    assert (done.returncode, done.stdout) == (6, b"")


def test_the_time_of_the_first_token_is_null_if_none_arrived(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"id": "x", "choices": []}))
    found = json.loads(aiml("chat", "hi", "--json").stdout)
    assert found["timing"]["first_token_s"] is None
