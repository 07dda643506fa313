"""How an answer ended: finish reasons, errors in the stream, its last event, or a broken connection."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.endings import Ask
from support.loopback import SILENCE, STREAM, Drip, Loopback, chunk, delta, event, http_response, stream

DONE = event("[DONE]")
both_commands = pytest.mark.parametrize("command", ["chat", "respond"])
REFUSED, RATE_LIMITED, FAILED, CUT, EMPTY = 3, 5, 6, 8, 9


def build_finish(reason: str | None, **more: Any) -> bytes:
    """Return a chat event that ends the choice."""
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]})


def build_respond_event(name: str, **fields: Any) -> bytes:
    return event({"type": f"response.{name}", **fields})


def build_text_event(command: str, text: str) -> bytes:
    return delta(text) if command == "chat" else build_respond_event("output_text.delta", delta=text)


def build_end(command: str) -> bytes:
    if command == "chat":
        return build_finish("stop") + DONE
    return build_respond_event("completed", response={"status": "completed", "output": []})


FINISH_REASONS = {
    **dict.fromkeys(["error", "ERROR", "network_error", "insufficient_system_resource", "model-error"], FAILED),
    **dict.fromkeys(["abort", "sensitive", "refusal", "MALFORMED_FUNCTION_CALL", "RECITATION", "cancelled"], CUT),
    **dict.fromkeys(["PROHIBITED_CONTENT", "LENGTH", "MaxTokens", "model_context_window_exceeded", "timeout"], CUT),
    **dict.fromkeys(["stop", "STOP", "end_turn", "eos", "tool_calls", "a_new_word"], 0),
}


@pytest.mark.promise("failed-endings")
@pytest.mark.parametrize("flags", [[], ["-S"]], ids=["streamed", "whole"])
@pytest.mark.parametrize(("reason", "code"), FINISH_REASONS.items())
def test_a_finish_reason_decides_the_exit_code(
    reason: str, code: int, flags: list[str], server: Loopback, ask: Ask, tmp_path: Path
) -> None:
    whole = {"choices": [{"message": {"content": "Half"}, "finish_reason": reason}]}
    server.answer_with(
        http_response(json.dumps(whole).encode()) if flags else stream(delta("Half"), build_finish(reason), DONE)
    )
    result = ask("chat", "hi", *flags)
    assert (result.code, result.stdout) == (code, "Half\n")
    assert len([line for line in result.stderr.splitlines() if line.startswith("aiml: ")]) == bool(code)
    target = tmp_path / "answer.txt"
    target.write_text("old")
    assert ask("chat", "hi", *flags, "-o", str(target)).code == code
    assert target.read_text() == ("old" if code else "Half\n")


@pytest.mark.promise("failed-endings")
@pytest.mark.parametrize("reasons", [["length", "stop"], ["stop", "length"], ["stop", "error"], ["error", "stop"]])
def test_the_worst_of_several_finish_reasons_decides(reasons: list[str], server: Loopback, ask: Ask) -> None:
    server.answer_with(stream(delta("Half"), *map(build_finish, reasons), DONE))
    assert ask("chat", "hi").code == (FAILED if "error" in reasons else CUT)
    server.answer_with(stream(delta("a", reasons[0]), delta("b", reasons[1], index=1), DONE))
    assert ask("chat", "hi", "-n", "2").code == (FAILED if "error" in reasons else CUT)


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "model_context_window_exceeded"])
def test_a_user_may_accept_a_length_limit(reason: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(stream(delta("Half"), build_finish(reason), DONE))
    assert ask("chat", "hi", "--allow-cut").code == 0


STREAM_ERRORS = {
    "no class": ({"message": "M-words"}, FAILED),
    "status 502": ({"message": "M-words", "code": 502}, FAILED),
    "status 401": ({"message": "M-words", "code": 401}, REFUSED),
    "status 402": ({"message": "M-words", "code": 402}, REFUSED),
    "status 429": ({"message": "M-words", "code": 429}, RATE_LIMITED),
    "rate limit": ({"message": "M-words", "code": "rate_limit_exceeded"}, RATE_LIMITED),
    "no quota": ({"message": "M-words", "type": "insufficient_quota"}, REFUSED),
}


def build_error(command: str, place: str, error: dict[str, Any]) -> bytes:
    """Return an error at a place in a stream."""
    match place:
        case "event":
            return event({"error": error})
        case "named event":
            return b"event: error\n" + event({"type": "error", "error": error})
        case "line":
            return json.dumps({"error": error}).encode() + b"\n\n"
        case "lines":
            return json.dumps({"error": error}, indent=2).encode() + b"\n"
        case "field":
            return b"error: " + json.dumps({"error": error}).encode() + b"\n\n"
        case _ if command == "chat":
            return build_finish("error", error=error) + DONE
        case _:
            return build_respond_event("failed", response={"status": "failed", "error": error})


@pytest.mark.promise("failed-endings")
@both_commands
@pytest.mark.parametrize("name", STREAM_ERRORS)
@pytest.mark.parametrize("place", ["event", "named event", "line", "lines", "field", "answer"])
def test_an_error_has_its_exit_code_wherever_it_is_in_the_stream(
    place: str, name: str, command: str, server: Loopback, ask: Ask
) -> None:
    error, code = STREAM_ERRORS[name]
    for before in (b"", build_text_event(command, "Half")):
        server.answer_with(stream(*filter(None, [before, build_error(command, place, error)])))
        result = ask(command, "hi")
        assert (result.code, result.stdout.strip()) == (code, "Half" if before else "")
        assert "M-words" in result.stderr


@pytest.mark.promise("failed-endings")
@both_commands
@pytest.mark.parametrize(
    "text", [b"<html><body>M-words</body></html>\n", b"upstream said M-words\n\n", b"data: upstream said M-words\n\n"]
)
def test_a_page_or_a_sentence_in_a_stream_explains_the_missing_end(
    text: bytes, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(stream(build_text_event(command, "Half"), text))
    result = ask(command, "hi")
    assert (result.code, result.stdout) == (FAILED, "Half\n")
    assert "M-words" in result.stderr
    server.answer_with(stream(build_text_event(command, "Half"), text, build_end(command)))
    assert ask(command, "hi").code == 0


@pytest.mark.promise("legal-streams")
@both_commands
@pytest.mark.parametrize(
    "end_mark",
    [b"data: [DONE] \n\n", b"data:   [DONE]\t\n\n", b"data: DONE\n\n", b'data: "[DONE]"\n\n', b"data:[done]\n\n"],
)
def test_the_end_mark_may_be_written_in_other_ways(end_mark: bytes, command: str, server: Loopback, ask: Ask) -> None:
    end = b"" if command == "chat" else build_end(command)
    server.answer_with(stream(*filter(None, [build_text_event(command, "Hello"), end, end_mark])))
    assert ask(command, "hi") == (0, "Hello\n", "")


@pytest.mark.promise("terminal-event")
@both_commands
def test_text_after_the_end_is_not_shown(command: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(
        stream(build_text_event(command, "Hello"), build_end(command), build_text_event(command, " again"))
    )
    assert ask(command, "hi") == (0, "Hello\n", "")


@pytest.mark.promise("terminal-event")
@both_commands
@pytest.mark.parametrize("last_step", [SILENCE, Drip(b": ping\n\n" * 500, 9, 0.01)], ids=["silence", "comments"])
def test_a_connection_that_stays_open_is_closed(last_step: object, command: str, server: Loopback, ask: Ask) -> None:
    end = build_finish("stop") if command == "chat" else build_end(command)
    server.answer_with(STREAM + chunk(build_text_event(command, "Hello") + end), last_step)
    assert ask(command, "hi", timeout=60) == (0, "Hello\n", "")
    assert server.client_left.wait(20)


@pytest.mark.promise("terminal-event")
def test_text_and_usage_after_the_finish_reason_belong_to_the_answer(server: Loopback, ask: Ask) -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}})
    server.answer_with(stream(delta("Hello"), build_finish("stop"), delta(" you"), usage, DONE))
    result = ask("chat", "hi", "--json")
    assert json.loads(result.stdout)["text"] == "Hello you"
    assert json.loads(result.stdout)["usage"]["output_tokens"] == 5


COMPLETE_CHAT = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode()
COMPLETE_RESPONSE = json.dumps({"status": "completed", "output": [{"type": "message", "content": "Hello"}]}).encode()


@pytest.mark.promise("legal-streams")
@both_commands
@pytest.mark.parametrize("framing", ["no last chunk", "length too long", "open"])
def test_a_complete_json_body_is_the_answer_however_the_connection_ends(
    framing: str, command: str, server: Loopback, ask: Ask
) -> None:
    body = COMPLETE_CHAT if command == "chat" else COMPLETE_RESPONSE
    head = STREAM.replace(b"text/event-stream", b"application/json")
    too_long = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (len(body) + 9)
    server.answer_with(*{
        "no last chunk": (head + chunk(body),),
        "length too long": (too_long + body,),
        "open": (head + chunk(body), SILENCE),
    }[framing])  # fmt: skip
    assert ask(command, "hi", "-S") == (0, "Hello\n", "")
    server.answer_with(too_long + body[:-9])
    assert ask(command, "hi", "-S").code == CUT


@pytest.mark.promise("empty-answers")
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("chat", stream(build_finish("stop"))),
        ("chat", stream(DONE)),
        ("chat", stream(delta(reasoning_content="hm"), build_finish("stop"), DONE)),
        ("chat", http_response(b'{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}')),
        ("respond", stream(build_end("respond"))),
        ("respond", http_response(b'{"status":"completed","output":[]}')),
        ("respond", http_response(b'{"status":"completed","output":[{"type":"message","content":[]}]}')),
    ],
)
def test_an_empty_answer_is_complete_with_a_notice_and_replaces_no_file(
    command: str, answer: bytes, server: Loopback, ask: Ask, tmp_path: Path
) -> None:
    server.answer_with(answer)
    result = ask(command, "hi")
    assert (result.code, result.stdout) == (0, "")
    assert "aiml: the answer is empty\n" in result.stderr
    target = tmp_path / "answer.txt"
    target.write_text("old")
    assert ask(command, "hi", "-o", str(target)).code == EMPTY
    assert target.read_text() == "old"
    assert ask(command, "hi", "-o", str(tmp_path / "new.txt")).code == EMPTY
    assert not (tmp_path / "new.txt").exists()


@pytest.mark.promise("empty-answers")
def test_a_tool_call_or_a_refusal_is_not_an_empty_answer(server: Loopback, ask: Ask) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": "{}"}}
    server.answer_with(stream(delta(tool_calls=[call]), build_finish("tool_calls"), DONE))
    assert "empty" not in ask("chat", "hi").stderr
    server.answer_with(stream(delta(refusal="no"), build_finish("stop"), DONE))
    assert "empty" not in ask("chat", "hi").stderr
