"""Fields other than text and tool calls never make an answer fail, whatever they contain."""

import json
from typing import Any

import pytest
from support.endings import Ask
from support.loopback import Loopback, delta, event, http_response, stream

DONE = event("[DONE]")
NAN, HUGE, HUGER = float("nan"), 10**20, 10**400
DEEP = json.loads('{"a":' * 600 + "1" + "}" * 600)
# The usage of a server, and the counts of input and output that can be read of it.
USAGES: dict[str, tuple[Any, Any]] = {
    "text": ({"prompt_tokens": "3", "completion_tokens": "4"}, (3, 4)),
    "floats": ({"prompt_tokens": 3.0, "completion_tokens": 4.5}, (3, 4)),
    "other names": ({"input_tokens": 3, "output_tokens": 4}, (3, 4)),
    "list": ([], None),
    "word": ("many", None),
    "NaN": ({"prompt_tokens": NAN, "completion_tokens": 4}, (None, 4)),
    "huge": ({"prompt_tokens": HUGE, "completion_tokens": 4}, (None, 4)),
    "more digits than Python reads": ({"prompt_tokens": HUGER * HUGER, "completion_tokens": 4}, (None, 4)),
    "negative": ({"prompt_tokens": -1, "completion_tokens": 4}, (None, 4)),
    "details": ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": [1]}, (3, 4)),
    "deep": ({"prompt_tokens": 3, "completion_tokens": 4, "x": DEEP}, (3, 4)),
    "odd cost": ({"prompt_tokens": 3, "completion_tokens": 4, "cost": HUGER}, (3, 4)),
}


def parse_answer(result: Any) -> Any:
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("place", ["chunk", "choice", "whole", "response", "whole response"])
@pytest.mark.parametrize("name", USAGES)
def test_usage_is_read_if_it_is_valid(name: str, place: str, server: Loopback, ask: Ask) -> None:
    usage, counts = USAGES[name]
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    message = {"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}
    response = {"status": "completed", "output": [{"type": "message", "content": "Hello"}], "usage": usage}
    server.answer_with({
        "chunk": stream(delta("Hello"), delta(finish="stop"), event({"choices": [], "usage": usage}), DONE),
        "choice": stream(delta("Hello"), event({"choices": [{**choice, "usage": usage}]}), DONE),
        "whole": http_response(json.dumps({"choices": [message], "usage": usage}).encode()),
        "response": stream(event({"type": "response.completed", "response": response})),
        "whole response": http_response(json.dumps(response).encode()),
    }[place])  # fmt: skip
    command = "respond" if "response" in place else "chat"
    for flags in (["--json"], ["--format", "jsonl"]):
        result = ask(command, "hi", *flags)
        found = parse_answer(
            result._replace(stdout=result.stdout.splitlines()[-1] if "jsonl" in flags else result.stdout)
        )
        found = found.get("answer", found)
        assert found["text"] == "Hello"
        if counts:
            assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == counts
    assert ask("history", "list").code == 0
    assert ask("history", "export").code == 0


LOGPROBS = (
    [{"token": "Hello", "logprob": -1}],
    {"content": [{"token": "Hello", "logprob": -HUGER}]},
    {"content": [{"token": "Hello", "logprob": "-1", "top_logprobs": {}}, 5, None]},
    {"content": {"token": "Hello"}},
    "none",
    5,
)


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("logprobs", LOGPROBS, ids=lambda value: str(value)[:30])
def test_log_probabilities_of_any_shape_do_not_prevent_an_answer(logprobs: Any, server: Loopback, ask: Ask) -> None:
    choice = {"index": 0, "delta": {"content": "Hello"}, "logprobs": logprobs, "finish_reason": "stop"}
    server.answer_with(stream(event({"choices": [choice]}), DONE))
    assert parse_answer(ask("chat", "hi", "--logprobs", "--json"))["text"] == "Hello"
    piece = {"type": "response.output_text.delta", "delta": "Hello", "logprobs": logprobs}
    end = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    server.answer_with(stream(event(piece), event(end)))
    assert parse_answer(ask("respond", "hi", "--json"))["text"] == "Hello"


SOURCES = (
    {"type": "url_citation", "url_citation": {"url": "https://a.example/", "start_index": "0", "end_index": HUGER}},
    {"type": "url_citation", "url": "https://a.example/", "title": 5, "start_index": []},
    {"type": "url_citation", "url": 5},
    {"type": "file_citation", "file_id": 5, "filename": {}},
    {"type": ["x"]},
    "https://a.example/",
    None,
)


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("source", SOURCES, ids=lambda value: str(value)[:60])
def test_a_source_of_any_shape_does_not_prevent_an_answer(source: Any, server: Loopback, ask: Ask) -> None:
    server.answer_with(stream(delta("Hello", annotations=[source]), delta(finish="stop"), DONE))
    assert parse_answer(ask("chat", "hi", "--json"))["text"] == "Hello"
    part = {"type": "output_text", "text": "Hello", "annotations": [source]}
    body = {"status": "completed", "output": [{"type": "message", "content": [part]}]}
    server.answer_with(http_response(json.dumps(body).encode()))
    assert parse_answer(ask("respond", "hi", "--json"))["text"] == "Hello"


ODD_VALUES = (None, 5, "x", [], {}, [5], {"x": 1}, True, HUGER)


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: str(value)[:20])
def test_ids_times_and_names_of_any_type_do_not_prevent_an_answer(value: Any, server: Loopback, ask: Ask) -> None:
    names = ("id", "model", "created", "object", "system_fingerprint", "service_tier", "meta", "citations")
    odd = dict.fromkeys([*names, "search_results"], value)
    choices = [{"index": value, "delta": {"content": "Hello"}, "finish_reason": None}]
    server.answer_with(
        stream(event({**odd, "choices": choices}), event({**odd, "choices": None}), delta(finish="stop"))
    )
    assert parse_answer(ask("chat", "hi", "--json"))["text"] == "Hello"
    places = dict.fromkeys(["item_id", "output_index", "content_index", "sequence_number"], value)
    odd = dict.fromkeys(["id", "model", "created_at", "incomplete_details", "instructions", "tools"], value)
    piece = {"type": "response.output_text.delta", "delta": "Hello", **places}
    end = {"type": "response.completed", "response": {**odd, "status": "completed", "output": []}}
    server.answer_with(stream(event(piece), event(end)))
    assert parse_answer(ask("respond", "hi", "--json"))["text"] == "Hello"


HEARTBEATS = ("2023-02-20 08:40:33", "5", '""', "null", "ping", "[]", '{"type":"ping"}', '{"status":"queued"}', "{}")


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("name", [b"", b"event: ping\n", b"event: status\n", b"event: keepalive\n"])
@pytest.mark.parametrize("data", HEARTBEATS)
def test_events_that_keep_the_connection_open_are_skipped(
    data: str, name: bytes, command: str, server: Loopback, ask: Ask
) -> None:
    if command == "chat":
        pieces, end = [delta("Hel"), delta("lo")], delta(finish="stop") + DONE
    else:
        pieces = [event({"type": "response.output_text.delta", "delta": text}) for text in ("Hel", "lo")]
        end = event({"type": "response.completed", "response": {"status": "completed", "output": []}})
    beat = name + event(data)
    server.answer_with(stream(beat, pieces[0], beat, pieces[1], beat, end))
    assert ask(command, "hi") == (0, "Hello\n", "")


PLACEHOLDERS: list[dict[str, Any]] = [{}, {"id": "", "model": "", "created": 0, "created_at": 0}]


@pytest.mark.promise("metadata")
@pytest.mark.parametrize(
    "first_facts", [*PLACEHOLDERS, {"id": None, "model": None, "created": None, "created_at": None}]
)
@pytest.mark.parametrize("command", ["chat", "respond"])
def test_the_model_that_is_named_last_is_shown(
    command: str, first_facts: dict[str, Any], server: Loopback, ask: Ask
) -> None:
    final = {"id": "r1", "model": "late", "created": 5, "created_at": 5}
    if command == "chat":
        end = event({**final, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        text = event({**first_facts, "choices": [{"index": 0, "delta": {"content": "Hello"}}]})
        server.answer_with(stream(text, end, DONE))
    else:
        end = event({"type": "response.completed", "response": {**final, "status": "completed", "output": []}})
        start = event({"type": "response.created", "response": first_facts})
        server.answer_with(stream(start, event({"type": "response.output_text.delta", "delta": "Hello"}), end))
    found = parse_answer(ask(command, "hi", "--json"))
    assert (found["id"], found["model"], found["created"]) == ("r1", "late", 5)
