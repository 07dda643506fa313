"""Background responses are started, waited for, shown and cancelled."""

import json
import signal
import subprocess
from typing import Any

import pexpect
import pyte
import pytest
from support.forked_process import CliProcess, TerminalProcess
from support.loopback import (
    STREAM,
    Loopback,
    chunk,
    event,
    http_response,
    json_response,
    response_object,
    stream,
    text_events,
)
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main
from aiml_cli.demo.server import serve

QUEUED_RESPONSE = json_response(response_object(status="queued", output=[], usage=None))
RUNNING_RESPONSE = json_response(response_object("Hel", "in_progress"))
COMPLETED_RESPONSE = json_response(response_object("Hello"))
CANCELLED_RESPONSE = json_response(response_object(status="cancelled", output=[]))
ERROR_BODY = {"message": "Not found", "statusCode": 404}


def test_background_prints_the_id_and_the_command_to_check_it(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(QUEUED_RESPONSE)
    ended = aiml("respond", "--background", "hi")
    assert (ended.returncode, ended.stdout) == (0, b"resp_1\n")
    assert ended.stderr == b"aiml: the response is queued; check it with: aiml respond --wait resp_1\n"
    assert server.requests[0].json == {
        "model": "openai/gpt-5-1", "input": "hi", "stream": False, "background": True
    }  # fmt: skip


def test_the_command_to_check_it_names_the_server(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(QUEUED_RESPONSE)
    ended = aiml("respond", "--background", "--base-url", server.url, "hi")
    assert f"aiml respond --base-url {server.url} --wait resp_1" in ended.stderr.decode()


def test_background_with_json_prints_the_whole_object(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(QUEUED_RESPONSE)
    found = json.loads(aiml("respond", "--background", "--json", "hi").stdout)
    assert (found["id"], found["finish_reason"], found["complete"]) == ("resp_1", "queued", False)


def test_a_queued_response_is_not_checked_against_the_schema(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(QUEUED_RESPONSE)
    ended = aiml("respond", "--background", "--schema", "name, age int", "hi")
    assert (ended.returncode, ended.stdout) == (0, b"resp_1\n")


def test_background_streams_if_stream_is_given(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(
        stream(*text_events("Hello"), event({"type": "response.completed", "response": response_object()}))
    )
    ended = aiml("respond", "--background", "--stream", "hi")
    assert (ended.returncode, ended.stdout) == (0, b"Hello\n")
    assert server.requests[0].json["stream"] is True


@pytest.mark.parametrize(("flags", "has_hint"), [((), True), (("--store",), False)])
def test_a_refused_background_request_gives_a_hint_about_store(
    server: Loopback, aiml: Aiml, flags: tuple[str, ...], *, has_hint: bool
) -> None:
    server.answer_with(json_response({"message": "store must be true"}, "400 Bad Request"))
    ended = aiml("respond", "--background", *flags, "hi")
    assert ended.returncode == 4
    assert (b"need --store for background responses" in ended.stderr) is has_hint


def test_wait_polls_until_the_response_has_ended(server: Loopback, aiml: Aiml) -> None:
    for reply in (RUNNING_RESPONSE, COMPLETED_RESPONSE):
        server.answer_with(reply)
    ended = aiml("respond", "--wait", "resp_1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"Hello\n", b"")
    assert [request.request_line for request in server.requests] == ["GET /v1/responses/resp_1 HTTP/1.1"] * 2
    assert {request.body for request in server.requests} == {b""}


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, 8),
        ({"status": "failed", "error": {"code": "e", "message": "It broke."}, "output": []}, 6),
        ({"status": "cancelled", "output": []}, 8),
    ],
)
def test_a_response_that_was_waited_for_has_the_usual_exit_code(
    server: Loopback, aiml: Aiml, ending: dict[str, Any], code: int
) -> None:
    server.answer_with(json_response(response_object(**{"text": "Hel", **ending})))
    assert aiml("respond", "--wait", "resp_1").returncode == code


def test_wait_shows_every_format(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(COMPLETED_RESPONSE)
    found = json.loads(aiml("respond", "--wait", "resp_1", "--json").stdout)
    assert (found["text"], found["complete"], found["attempts"]) == ("Hello", True, 1)
    assert json.loads(aiml("respond", "--wait", "resp_1", "--format", "raw").stdout) == response_object("Hello")


def test_ctrl_c_ends_the_wait_and_prints_the_command_to_check_it(server: Loopback) -> None:
    server.answer_with(STREAM, chunk(b" "), server.client_left)
    waiting = CliProcess(
        build_command("respond", "--base-url", server.url, "--wait", "resp_1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert server.request_arrived.wait(30)
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (130, b"")
    assert f"aiml respond --base-url {server.url} --wait resp_1" in err.decode()


def test_a_failure_while_waiting_prints_the_command_to_check_it(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"message": "Later."}, "503 Service Unavailable"))
    ended = aiml("respond", "--wait", "resp_1")
    assert ended.returncode == 6
    assert b"check again with: aiml respond --wait resp_1" in ended.stderr


def test_a_terminal_shows_the_status_while_waiting(server: Loopback) -> None:
    for reply in (QUEUED_RESPONSE, COMPLETED_RESPONSE):
        server.answer_with(reply)
    program, *rest = build_command("respond", "--base-url", server.url, "--wait", "resp_1")
    child = TerminalProcess(program, rest, dimensions=(24, 80), timeout=60)
    child.expect("aiml: resp_1 is queued, 0 s")
    child.expect(pexpect.EOF)
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(child.before)
    assert screen.display[0].rstrip() == "Hello"


def test_show_prints_the_text_so_far(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(RUNNING_RESPONSE)
    ended = aiml("respond", "--show", "resp_1")
    assert (ended.returncode, ended.stdout) == (8, b"Hel\n")
    assert b"its status is in_progress" in ended.stderr
    assert b"aiml respond --wait resp_1" in ended.stderr


def test_a_background_setting_does_not_make_an_unfinished_response_complete(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(RUNNING_RESPONSE)
    assert aiml("respond", "--show", "resp_1", AIML_BACKGROUND="on").returncode == 8


@pytest.mark.parametrize(
    "reply",
    [
        stream(*text_events("Hel", "lo"), event({"type": "response.completed", "response": response_object()})),
        json_response({"id": "resp_1", "stream": [{"type": "response.output_text.delta", "delta": "Hello"},
                                            {"type": "response.completed", "response": response_object()}]}),
        json_response({"id": "resp_1", "object": "response", "status": "completed", "output": [],
                 "stream": [{"type": "response.output_text.delta", "delta": "Hello"}]}),
    ],
    ids=["stream", "events in JSON", "events and a status"],
)  # fmt: skip
def test_a_stored_response_may_arrive_as_a_stream(server: Loopback, aiml: Aiml, reply: bytes) -> None:
    server.answer_with(reply)
    ended = aiml("respond", "--show", "resp_1")
    assert (ended.returncode, ended.stdout) == (0, b"Hello\n")


def test_cancel_shows_the_status(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(CANCELLED_RESPONSE)
    ended = aiml("respond", "--cancel", "resp_1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"cancelled\n", b"")
    assert server.requests[0].request_line == "POST /v1/responses/resp_1/cancel HTTP/1.1"


def test_a_finished_response_cannot_be_cancelled(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(COMPLETED_RESPONSE)
    ended = aiml("respond", "--cancel", "resp_1")
    assert (ended.returncode, ended.stdout) == (9, b"completed\n")
    assert b"was not cancelled" in ended.stderr


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented"])
@pytest.mark.parametrize("flag", ["--wait", "--show", "--cancel"])
def test_a_gateway_without_stored_responses_is_explained(server: Loopback, aiml: Aiml, status: str, flag: str) -> None:
    server.answer_with(json_response(ERROR_BODY, status))
    ended = aiml("respond", flag, "resp_1")
    assert (ended.returncode, ended.stdout) == (4, b"")
    assert b"resp_1: the server does not have this response" in ended.stderr
    assert b"gateway" in ended.stderr
    assert b"model" not in ended.stderr


def test_an_id_is_escaped_in_the_path(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(b"", "404 Not Found"))
    aiml("respond", "--show", "a?b#c%2F")
    assert server.requests[0].request_line == "GET /v1/responses/a%3Fb%23c%252F HTTP/1.1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--wait", "a/b"],
        ["--show", ".."],
        ["--cancel", "a\\b"],
        ["--show", "a b"],
        ["--wait", "a\x1b[31m"],
        ["--wait", "a", "hi"],
        ["--show", "a", "--file", "a.txt"],
        ["--wait", "a", "--tool-result", "call_1=5"],
        ["--wait", "a", "--show", "b"],
        ["--cancel", "a", "--wait", "a"],
        ["--wait", "a", "--as", "curl"],
        ["--show", "a", "--dry-run"],
    ],
)
def test_invalid_combinations_are_refused_before_anything_is_sent(
    server: Loopback, aiml: Aiml, arguments: list[str]
) -> None:
    ended = aiml("respond", *arguments)
    assert (ended.returncode, ended.stdout, server.requests) == (2, b"", [])


def test_standard_input_is_not_read_as_a_prompt(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(COMPLETED_RESPONSE)
    assert aiml("respond", "--show", "resp_1", stdin=b"ignored").stdout == b"Hello\n"


def test_the_demo_server_supports_background_wait_and_cancel(capfd: pytest.CaptureFixture[str]) -> None:
    with serve() as url:
        there = ["respond", "--base-url", url]
        assert main([*there, "--background", "-q", "-m", "demo/slow", "hi"]) == 0
        name = capfd.readouterr().out.strip()
        assert main([*there, "--wait", name]) == 0
        assert "You said “hi”" in capfd.readouterr().out
        assert main([*there, "--cancel", name]) == 9
        assert capfd.readouterr().out == "completed\n"


def test_the_demo_server_cancels_a_running_response(capfd: pytest.CaptureFixture[str]) -> None:
    with serve() as url:
        there = ["respond", "--base-url", url]
        assert main([*there, "--background", "-q", "-m", "demo/slow", "hi"]) == 0
        name = capfd.readouterr().out.strip()
        assert main([*there, "--cancel", name]) == 0
        assert main([*there, "--show", name]) == 8
        assert capfd.readouterr().out == "cancelled\n"
