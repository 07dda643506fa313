"""The demo's Responses endpoint: its JSON, its stream, its models, what it keeps."""

import json

import pytest
from support.demo_client import DemoClient, Json, select_events

DEMO_PREFIX = "[demo: no model ran]"
WEATHER = {
    "type": "function", "name": "weather", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # fmt: skip


def get_text(demo: DemoClient, *args: Json, **more: Json) -> str:
    [item] = demo.respond(*args, **more).json["output"]
    text: str = item["content"][0]["text"]
    return text


def test_the_json_has_every_documented_field(demo: DemoClient) -> None:
    reply = demo.respond(input_text="Hi", instructions="Be brief", temperature=0, metadata={"a": "b"})
    answer = reply.json
    assert answer["object"] == "response"
    assert (answer["status"], answer["error"], answer["incomplete_details"]) == ("completed", None, None)
    assert (answer["instructions"], answer["temperature"], answer["truncation"]) == ("Be brief", 0, "disabled")
    [item] = answer["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    [part] = item["content"]
    assert part["text"].startswith(f"{DEMO_PREFIX} You said “Hi” (1 word, 2 characters, 1 line")
    assert "system text has 2 words" in part["text"]
    usage = answer["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, -(-len(part["text"]) // 4))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_cost_is_in_the_headers(demo: DemoClient) -> None:
    headers = demo.respond().headers
    assert float(headers["x-aimlapi-usd-spent"]) > 0
    assert headers["x-inference-id"]


def test_the_events_of_a_stream_come_in_order(demo: DemoClient) -> None:
    reply = demo.respond(stream=True)
    kinds = list(dict.fromkeys(event["type"] for event in reply.events))
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert "x-aimlapi-usd-spent" not in reply.headers


def test_deltas_done_events_and_the_final_response_agree(demo: DemoClient) -> None:
    events = demo.respond(stream=True).events
    text = "".join(event["delta"] for event in select_events(events, "response.output_text.delta"))
    assert text == get_text(demo)
    assert select_events(events, "response.output_text.done")[0]["text"] == text
    [last] = select_events(events, "response.completed")
    assert last["response"]["output"] == [select_events(events, "response.output_item.done")[0]["item"]]
    assert last["response"]["usage"] == demo.respond().json["usage"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []


def test_every_event_of_an_item_has_the_id_of_the_item(demo: DemoClient) -> None:
    events = demo.respond("demo/reasoning", stream=True).events
    items = [event["item"]["id"] for event in select_events(events, "response.output_item.added")]
    assert len(items) == 2
    assert {items[event["output_index"]] == event["item_id"] for event in events if "item_id" in event} == {True}


def test_the_reasoning_summary_is_an_item_of_its_own(demo: DemoClient) -> None:
    answer = demo.respond("demo/reasoning").json
    thought, message = answer["output"]
    assert (thought["type"], message["type"]) == ("reasoning", "message")
    events = demo.respond("demo/reasoning", stream=True).events
    deltas = select_events(events, "response.reasoning_summary_text.delta")
    assert "".join(event["delta"] for event in deltas) == thought["summary"][0]["text"]
    assert events.index(deltas[-1]) < events.index(select_events(events, "response.output_text.delta")[0])
    assert answer["usage"]["output_tokens_details"]["reasoning_tokens"] == len(deltas)


def test_the_fragments_of_a_streamed_tool_call_join_to_the_arguments(demo: DemoClient) -> None:
    [call] = demo.respond("demo/tool", tools=[{"type": "web_search_preview"}, WEATHER]).json["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "weather",
        {"city": DEMO_PREFIX},
    )
    events = demo.respond("demo/tool", stream=True, tools=[WEATHER]).events
    deltas = [event["delta"] for event in select_events(events, "response.function_call_arguments.delta")]
    assert len(deltas) > 3
    assert "".join(deltas) == call["arguments"]
    assert select_events(events, "response.function_call_arguments.done")[0]["arguments"] == call["arguments"]
    assert select_events(events, "response.output_item.added")[0]["item"]["arguments"] == ""


def test_a_tool_result_is_answered_with_text(demo: DemoClient) -> None:
    items = [
        {"role": "user", "content": "Rain?"},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "It rains."},
    ]
    assert "gave back “It rains.”" in get_text(demo, "demo/tool", items, tools=[WEATHER])


def test_a_refusal_is_a_content_part_of_its_own(demo: DemoClient) -> None:
    [item] = demo.respond("demo/refusal").json["output"]
    assert item["content"][0]["type"] == "refusal"
    events = demo.respond("demo/refusal", stream=True).events
    refusal = "".join(event["delta"] for event in select_events(events, "response.refusal.delta"))
    assert refusal == item["content"][0]["refusal"]
    assert refusal.startswith(DEMO_PREFIX)
    assert select_events(events, "response.output_text.delta") == []


@pytest.mark.parametrize(("model", "reason"), [("demo/length", "max_output_tokens"), ("demo/filter", "content_filter")])
def test_models_for_an_early_end_stop_with_their_reason(demo: DemoClient, model: str, reason: str) -> None:
    answer = demo.respond(model).json
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert answer["output"][0]["status"] == "incomplete"
    last = demo.respond(model, stream=True).events[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": reason}


def test_a_token_limit_ends_the_answer(demo: DemoClient) -> None:
    answer = demo.respond(max_output_tokens=16, input_text="x" * 100).json
    assert len(answer["output"][0]["content"][0]["text"]) == 64
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["usage"]["output_tokens"] == 16
    assert demo.respond(max_output_tokens=16.0, input_text="x" * 100).json["status"] == "incomplete"
    assert demo.respond(max_output_tokens=1000).json["status"] == "completed"


def test_an_error_event_has_a_sequence_number_and_ends_the_stream(demo: DemoClient) -> None:
    events = demo.respond("demo/error", stream=True).events
    assert select_events(events, "response.output_text.delta")
    assert events[-1]["type"] == "error"
    assert events[-1].keys() == {"type", "sequence_number", "code", "message", "param"}
    failed = demo.respond("demo/error").json
    assert (failed["status"], failed["error"]["message"]) == ("failed", events[-1]["message"])


def test_the_answer_satisfies_the_requested_schema(demo: DemoClient) -> None:
    form = {"type": "json_schema", "name": "x", "schema": {"type": "array", "items": {"type": "boolean"}}}
    assert json.loads(get_text(demo, text={"format": form})) == [True]
    assert json.loads(get_text(demo, text={"format": {"type": "json_object"}}))["answer"].startswith(DEMO_PREFIX)


def test_attachments_are_counted_and_named(demo: DemoClient) -> None:
    parts = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "AAAA"},
    ]
    answer = get_text(demo, "demo/echo", [{"role": "user", "content": parts}])
    assert "2 attachments: image image/png, file a.pdf." in answer


def test_logprobs_are_included_on_request(demo: DemoClient) -> None:
    include = ["message.output_text.logprobs"]
    [item] = demo.respond(include=include).json["output"]
    assert "".join(entry["token"] for entry in item["content"][0]["logprobs"]) == get_text(demo)
    deltas = select_events(demo.respond(include=include, stream=True).events, "response.output_text.delta")
    assert {event["logprobs"][0]["token"] == event["delta"] for event in deltas} == {True}
    assert demo.respond().json["output"][0]["content"][0]["logprobs"] == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_response_can_be_continued_and_retrieved(demo: DemoClient, *, stream: bool) -> None:
    reply = demo.respond(store=True, stream=stream)
    stored = reply.events[-1]["response"] if stream else reply.json
    assert demo.respond(previous_response_id=stored["id"]).json["previous_response_id"] == stored["id"]
    assert demo.get(f"/v1/responses/{stored['id']}").json == stored


def test_a_response_that_was_not_stored_cannot_be_continued(demo: DemoClient) -> None:
    gone = demo.respond().json["id"]
    reply = demo.respond(previous_response_id=gone)
    assert (reply.status, reply.json["message"]) == (400, f"Previous response with id '{gone}' not found.")
    assert demo.get(f"/v1/responses/{gone}").status == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_background_response_is_queued_and_can_be_retrieved(demo: DemoClient, *, stream: bool) -> None:
    queued = demo.respond(background=True, stream=stream).json
    assert (queued["status"], queued["output"], queued["background"]) == ("queued", [], True)
    done = demo.get(f"/v1/responses/{queued['id']}").json
    assert (done["id"], done["status"]) == (queued["id"], "completed")
    assert demo.respond(previous_response_id=queued["id"]).status == 400


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "more"}]},
]


def test_the_input_of_a_stored_response_is_listed(demo: DemoClient) -> None:
    response_id = demo.respond(input_text=CONVERSATION, store=True).json["id"]
    page = demo.get(f"/v1/responses/{response_id}/input_items?order=asc").json
    parts = [(item["type"], item["role"], *item["content"][0].values()) for item in page["data"]]
    assert parts == [
        ("message", "system", "input_text", "Be brief."),
        ("message", "user", "input_text", "hi"),
        ("message", "assistant", "output_text", "yes"),
        ("message", "user", "input_text", "more"),
    ]
    ids = [item["id"] for item in page["data"]]
    assert len(set(ids)) == len(ids)
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[-1], False)
    assert [item["id"] for item in demo.get(f"/v1/responses/{response_id}/input_items").json["data"]] == ids[::-1]


def test_the_input_items_are_paginated(demo: DemoClient) -> None:
    address = f"/v1/responses/{demo.respond(input_text=CONVERSATION, store=True).json['id']}/input_items?limit=3"
    first = demo.get(address).json
    second = demo.get(f"{address}&after={first['last_id']}").json
    assert [len(page["data"]) for page in (first, second)] == [3, 1]
    assert [page["has_more"] for page in (first, second)] == [True, False]
    last = demo.get(f"{address}&after={second['last_id']}").json
    assert (last["data"], last["first_id"], last["has_more"]) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "status"),
    [("limit=0", 400), ("limit=101", 400), ("limit=x", 400), ("after=msg_nowhere", 404), ("limit=100", 200)],
)
def test_an_invalid_page_is_an_error(demo: DemoClient, query: str, status: int) -> None:
    response_id = demo.respond(store=True).json["id"]
    assert demo.get(f"/v1/responses/{response_id}/input_items?{query}").status == status


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("model", ["demo/echo", "demo/slow"])
def test_a_deleted_response_cannot_be_retrieved_or_continued(demo: DemoClient, model: str, *, background: bool) -> None:
    response_id = demo.respond(model, "hi", store=True, background=background).json["id"]
    address = f"/v1/responses/{response_id}"
    deleted = demo.send("DELETE", address)
    assert (deleted.status, deleted.json) == (200, {"id": response_id, "object": "response", "deleted": True})
    left = [demo.send("DELETE", address), demo.get(address), demo.get(f"{address}/input_items")]
    assert {(reply.status, reply.json["message"]) for reply in left} == {(404, "Response not found")}
    assert demo.respond(previous_response_id=response_id).status == 400


@pytest.mark.parametrize("path_end", ["", "/input_items", "/cancel"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_an_unknown_response_and_an_unknown_route_give_different_messages(
    demo: DemoClient, method: str, path_end: str
) -> None:
    address = f"/v1/responses/resp_nowhere{path_end}"
    reply = demo.send(method, address)
    is_route = (method, path_end) in {("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")}
    assert reply.status == 404
    assert reply.json["message"] == ("Response not found" if is_route else f"Cannot {method} {address}")
