"""demo/tools: which tools it calls, with which arguments, and what it does with their results, on both endpoints."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.demo_client import DemoClient, DemoResponse, Json, join_text, select_events

from aiml_cli.demo.tool_calls import SAMPLE_TOOLS
from aiml_cli.tools.tool_files import parse_tool_file

MODEL = "demo/tools"
TEXT = {"type": "string"}
WEATHER = {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}
ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
Calls = list[tuple[str, Json]]


def build_chat_tool(name: str, parameters: Json = WEATHER) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def build_responses_tool(name: str, parameters: Json = WEATHER) -> Json:
    return {"type": "function", "name": name, "parameters": parameters, "strict": False}


def get_chat_calls(demo: DemoClient, prompt: str, *tools: Json, **more: Json) -> Calls:
    message = demo.chat(MODEL, prompt, tools=list(tools), **more).json["choices"][0]["message"]
    functions = [call["function"] for call in message.get("tool_calls", [])]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def build_schema(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("weather in Paris", [("weather", {"city": "Paris"})]),
        ("What is the weather in Paris?", [("weather", {"city": "Paris"})]),
        ("weather in paris", [("weather", {"city": "paris"})]),
        ('weather in "New York"', [("weather", {"city": "New York"})]),
        ("weather city=Rome", [("weather", {"city": "Rome"})]),
        ('weather {"city": "Oslo", "x": 1}', [("weather", {"city": "Oslo", "x": 1})]),
        ("add 3 and 4", [("add", {"a": 3, "b": 4})]),
        ('add {"a": 1, "b": 2}', [("add", {"a": 1, "b": 2})]),
        ('add {"a": 1} and add {"a": 2}, then weather in Rome', [
            ("add", {"a": 1}), ("add", {"a": 2}), ("weather", {"city": "Rome"}),
        ]),
        ("weather in Paris; weather there", [("weather", {"city": "Paris"})]),
        ("what is it like in Paris", [("weather", {"city": "Paris"})]),
        ("fs.read_file notes/a.txt", [("fs__read_file", {"path": "notes/a.txt"})]),
        ("fs__read_file a.txt", [("fs__read_file", {"path": "a.txt"})]),
        ("weatherman", [("weather", {"city": "weatherman"})]),
    ],
)  # fmt: skip
def test_the_tools_that_the_prompt_names_are_called(demo: DemoClient, prompt: str, expected: Calls) -> None:
    tools = (
        build_chat_tool("weather"),
        build_chat_tool("add", ADD),
        build_chat_tool("fs__read_file", build_schema(path=TEXT)),
    )
    assert get_chat_calls(demo, prompt, *tools) == expected


@pytest.mark.parametrize(
    ("prompt", "parameters", "expected"),
    [
        ("route from Berlin to Paris", build_schema(start=TEXT, end=TEXT), {"start": "Berlin", "end": "Paris"}),
        ("in fahrenheit", build_schema(unit={"enum": ["celsius", "fahrenheit"]}), {"unit": "fahrenheit"}),
        ("please", build_schema(unit={"enum": ["celsius", "fahrenheit"]}), {"unit": "celsius"}),
        ("count 7", build_schema(n={"type": "number"}), {"n": 7}),
        ("count 2.5 times", build_schema(n={"type": "number"}), {"n": 2.5}),
        ("sum 1 2 3", build_schema(values={"type": "array", "items": {"type": "integer"}}), {"values": [1, 2, 3]}),
        ("tags 'a' 'b'", build_schema(tags={"type": "array", "items": TEXT}), {"tags": ["a", "b"]}),
        ("in Paris", build_schema(city={"anyOf": [TEXT, {"type": "null"}]}), {"city": "Paris"}),
        ("in Paris", build_schema(city={"type": ["string", "null"]}), {"city": "Paris"}),
        ("in Paris", {**build_schema(city={"$ref": "#/$defs/City"}), "$defs": {"City": TEXT}}, {"city": "Paris"}),
        ("now", build_schema(flag={"type": "boolean"}), {"flag": True}),
        ("now", {"type": "object", "properties": {"city": TEXT}}, {}),
        ("city=Rome", {"type": "object", "properties": {"city": TEXT}}, {"city": "Rome"}),
        ("now", {"type": "object"}, {}),
        ("now", {}, {}),
    ],
)
def test_arguments_follow_from_the_prompt_and_the_schema(
    demo: DemoClient, prompt: str, parameters: Json, expected: Json
) -> None:
    assert get_chat_calls(demo, f"please {prompt}", build_chat_tool("do_it", parameters)) == [("do_it", expected)]


@pytest.mark.parametrize("arguments", ['{"city": }', "{", '{"city": "Paris"', "{]}"])
def test_invalid_json_arguments_are_used_unchanged(demo: DemoClient, arguments: str) -> None:
    answer = demo.chat(MODEL, f"weather {arguments}", tools=[build_chat_tool("weather")]).json
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize("parameters", [{"properties": 5}, {"properties": {"a": 5}, "required": ["a"]}, {"type": "x"}])
def test_an_odd_schema_does_not_cause_a_server_error(demo: DemoClient, parameters: Json) -> None:
    assert demo.chat(MODEL, "now", tools=[build_chat_tool("weather", parameters)]).status in (200, 400)


def test_text_and_all_calls_are_in_one_answer_streamed_or_not(demo: DemoClient) -> None:
    tools = [build_chat_tool("weather"), build_chat_tool("add", ADD)]
    prompt = "weather in Paris and add 1 and 2"
    message = demo.chat(MODEL, prompt, tools=tools).json["choices"][0]["message"]
    chunks = demo.chat(MODEL, prompt, tools=tools, stream=True).chunks
    assert message["content"] == "I will look that up: weather, add." == join_text(chunks)
    parts = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    joined = ["".join(part["function"]["arguments"] for part in parts if part["index"] == index) for index in (0, 1)]
    assert joined == [call["function"]["arguments"] for call in message["tool_calls"]]
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def converse_in_chat(demo: DemoClient, prompt: str, result: str, rounds: int, **more: Json) -> list[Json]:
    """Answer calls until there are none, for at most `rounds` rounds; return all messages of the model."""
    messages: list[Json] = [{"role": "user", "content": prompt}]
    answers: list[Json] = []
    tools = [build_chat_tool("weather"), build_chat_tool("add", ADD)]
    while len(answers) < rounds:
        reply = demo.chat(MODEL, messages=messages, tools=tools, **more)
        assert reply.status == 200
        message = reply.json["choices"][0]["message"]
        answers.append(message)
        calls = message.get("tool_calls", [])
        messages += [message, *({"role": "tool", "tool_call_id": call["id"], "content": result} for call in calls)]
        if not calls:
            break
    return answers


def test_the_final_answer_quotes_the_results(demo: DemoClient) -> None:
    first, last = converse_in_chat(demo, "weather in Paris and add 1 and 2", "a result", 5)
    assert len(first["tool_calls"]) == 2
    assert "weather returned “a result”. add returned “a result”." in last["content"]


def test_without_parallel_calls_each_round_has_one_call(demo: DemoClient) -> None:
    prompt = "weather in Paris and add 1 and 2"
    answers = converse_in_chat(demo, prompt, "a result", 5, parallel_tool_calls=False)
    called = [[call["function"]["name"] for call in answer.get("tool_calls", [])] for answer in answers]
    assert called == [["weather"], ["add"], []]


@pytest.mark.parametrize("word", ["again", "forever", "AGAIN"])
def test_certain_words_make_the_model_call_in_every_round(demo: DemoClient, word: str) -> None:
    answers = converse_in_chat(demo, f"weather in Paris {word}", "a result", 6)
    assert [len(answer["tool_calls"]) for answer in answers] == [1] * 6


def test_the_next_prompt_starts_new_rounds(demo: DemoClient) -> None:
    answers = converse_in_chat(demo, "weather in Paris", "sunny", 5)
    call = answers[0]["tool_calls"][0]
    messages = [
        {"role": "user", "content": "weather in Paris"}, answers[0],
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}, answers[1],
        {"role": "user", "content": "and add 1 to 2"},
    ]  # fmt: skip
    reply = demo.chat(MODEL, messages=messages, tools=[build_chat_tool("weather"), build_chat_tool("add", ADD)]).json
    assert reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"


def test_images_of_a_result_do_not_count_as_a_new_prompt(demo: DemoClient) -> None:
    [first, _] = converse_in_chat(demo, "weather in Paris", "sunny", 5)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    media = {"role": "user", "content": [{"type": "text", "text": "What weather returned:"}, image]}
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "see the image"}
    messages = [{"role": "user", "content": "weather in Paris"}, first, result, media, media]
    reply = demo.chat(MODEL, messages=messages, tools=[build_chat_tool("weather")]).json["choices"][0]["message"]
    assert "weather returned “see the image”" in reply["content"]


@pytest.mark.parametrize("choice", ["none", None])
def test_without_tools_the_answer_is_text(demo: DemoClient, choice: Json) -> None:
    more = {"tools": [build_chat_tool("weather")], "tool_choice": choice} if choice else {}
    message = demo.chat(MODEL, "weather in Paris", **more).json["choices"][0]["message"]
    assert "tool_calls" not in message
    assert "There is no tool to call" in message["content"]


def test_a_forced_tool_is_called(demo: DemoClient) -> None:
    forced = {"type": "function", "function": {"name": "add"}}
    tools = build_chat_tool("weather"), build_chat_tool("add", ADD)
    assert [name for name, _ in get_chat_calls(demo, "weather", *tools, tool_choice=forced)] == ["add"]


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
USER = {"role": "user", "content": "weather"}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([USER, ASSISTANT], "did not have response messages: c1"),
        ([USER, ASSISTANT, USER], "did not have response messages: c1"),
        ([USER, {"role": "tool", "tool_call_id": "c1", "content": "x"}], "must be a response to a preceding message"),
        ([USER, ASSISTANT, {"role": "tool", "tool_call_id": "other", "content": "x"}], "must be a response"),
        ([USER, ASSISTANT, {"role": "tool", "tool_call_id": "c1", "content": "x"}], ""),
    ],
)
def test_each_call_in_chat_requires_exactly_one_result(demo: DemoClient, messages: Json, problem: str) -> None:
    reply = demo.chat(MODEL, messages=messages, tools=[build_chat_tool("weather")])
    assert reply.status == (400 if problem else 200)
    assert problem in reply.body.decode()


FUNCTION_CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([USER, FUNCTION_CALL], "No tool output found for function call c1"),
        ([USER, OUTPUT], "No tool call found for function call output with call_id c1"),
        ([USER, {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}], "No approval request"),
        ([USER, FUNCTION_CALL, OUTPUT], ""),
    ],
)
def test_each_call_in_responses_requires_exactly_one_result(demo: DemoClient, items: Json, problem: str) -> None:
    reply = demo.respond(MODEL, items, tools=[build_responses_tool("weather")])
    assert reply.status == (400 if problem else 200)
    assert problem in reply.body.decode()


def get_text(reply: DemoResponse) -> str:
    return "".join(item["content"][0]["text"] for item in reply.json["output"] if item["type"] == "message")


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_conversation_continues_from_its_items_or_the_stored_response(demo: DemoClient, is_stored: bool) -> None:
    tools = [build_responses_tool("weather"), build_responses_tool("add", ADD)]
    first = demo.respond(MODEL, "weather in Paris and add 1 and 2", tools=tools, store=is_stored).json
    calls = [item for item in first["output"] if item["type"] == "function_call"]
    assert [call["name"] for call in calls] == ["weather", "add"]
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "fine"} for call in calls]
    if is_stored:
        more: Json = {"previous_response_id": first["id"]}
        incomplete, whole = outputs[:1], outputs
    else:
        more = {}
        before = [{"role": "user", "content": "weather in Paris and add 1 and 2"}, *first["output"]]
        incomplete, whole = [*before, *outputs[:1]], [*before, *outputs]
    assert demo.respond(MODEL, incomplete, tools=tools, **more).status == 400
    assert "weather returned “fine”. add returned “fine”." in get_text(demo.respond(MODEL, whole, tools=tools, **more))


def test_the_stream_of_several_calls_agrees_with_its_last_response(demo: DemoClient) -> None:
    tools = [build_responses_tool("weather"), build_responses_tool("add", ADD)]
    events = demo.respond(MODEL, "weather in Paris and add 1 and 2", tools=tools, stream=True).events
    items = [event["item"] for event in select_events(events, "response.output_item.done")]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call"]
    assert select_events(events, "response.completed")[0]["response"]["output"] == items
    assert len({item["id"] for item in items}) == 3


def test_effort_puts_reasoning_before_the_calls(demo: DemoClient) -> None:
    tools = [build_responses_tool("weather")]
    output = demo.respond(MODEL, "weather in Paris", tools=tools, reasoning={"effort": "low"}).json["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    assert demo.chat(MODEL, "weather", tools=[build_chat_tool("weather")], reasoning_effort="low").json["choices"][0][
        "message"
    ]["reasoning_content"]


def build_mcp_tool(**more: Json) -> Json:
    return {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp", **more}


@pytest.mark.parametrize(
    ("more", "is_approval_requested"),
    [
        ({}, True), ({"require_approval": "always"}, True), ({"require_approval": "never"}, False),
        ({"require_approval": {"never": {"tool_names": ["lookup"]}}}, False),
        ({"require_approval": {"never": {"tool_names": ["other"]}}}, True),
    ],
)  # fmt: skip
def test_a_hosted_mcp_server_requests_approval_unless_none_is_required(
    demo: DemoClient, more: Json, is_approval_requested: bool
) -> None:
    for stream in (False, True):
        reply = demo.respond(MODEL, "look it up", tools=[build_mcp_tool(**more)], stream=stream)
        output = select_events(reply.events, "response.completed")[0]["response"]["output"] if stream else None
        types = [item["type"] for item in output or reply.json["output"]]
        assert types == (["message", "mcp_approval_request"] if is_approval_requested else ["mcp_call", "message"])


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("approve", [True, False])
def test_a_hosted_mcp_call_runs_only_if_approved(demo: DemoClient, approve: bool, is_stored: bool) -> None:
    first = demo.respond(MODEL, "look it up", tools=[build_mcp_tool()], store=is_stored).json
    request = first["output"][-1]
    assert request.keys() == {"id", "type", "server_label", "name", "arguments"}
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
    before = [] if is_stored else [{"role": "user", "content": "look it up"}, *first["output"]]
    more = {"previous_response_id": first["id"]} if is_stored else {}
    reply = demo.respond(MODEL, [*before, answer], tools=[build_mcp_tool()], **more)
    calls = [item for item in reply.json["output"] if item["type"] == "mcp_call"]
    assert [call["approval_request_id"] for call in calls] == ([request["id"]] if approve else [])
    assert ("docs.lookup returned" if approve else "docs.lookup was not approved") in get_text(reply)


@pytest.mark.parametrize("name", SAMPLE_TOOLS)
def test_the_samples_are_valid_tool_files(name: str, tmp_path: Path) -> None:
    assert parse_tool_file(name, tmp_path / "x.toml", SAMPLE_TOOLS[name]).run


@pytest.mark.parametrize("send", [DemoClient.chat, DemoClient.respond])
def test_thirty_calls_fit_in_one_round(demo: DemoClient, send: Callable[..., DemoResponse]) -> None:
    prompt = " ".join(f'add {{"a": {number}}}' for number in range(30))
    tool = build_chat_tool("add", ADD) if send is DemoClient.chat else build_responses_tool("add", ADD)
    assert send(demo, MODEL, prompt, tools=[tool]).body.decode().count('"arguments"') == 30
