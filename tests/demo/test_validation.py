"""What the demo refuses, and in which words: the gateway's."""

import json

import pytest
from support.demo_client import DemoClient, Json

from aiml_cli.demo.validate_request import list_json_types
from aiml_cli.settings.options import ROWS

FUNCTION = {"name": "f", "parameters": {}}
USER = {"role": "user", "content": "Hi"}

INVALID_CHAT = [
    ({"temperature": 2.5}, "temperature: Number must be less than or equal to 2"),
    ({"temperature": -1}, "temperature: Number must be greater than or equal to 0"),
    ({"temperature": "1"}, "temperature: Expected number, received string"),
    ({"temperature": True}, "temperature: Expected number, received boolean"),
    ({"temperature": None}, "temperature: Expected number, received null"),
    ({"top_p": 0}, "top_p: Number must be greater than or equal to 0.01"),
    ({"seed": 0}, "seed: Number must be greater than or equal to 1"),
    ({"seed": 1.5}, "seed: Expected integer, received float"),
    ({"n": 0}, "n: Number must be greater than or equal to 1"),
    ({"n": 10**9}, "n: Number must be less than or equal to 128"),
    ({"max_tokens": 0}, "max_tokens: Number must be greater than or equal to 1"),
    ({"stream": "true"}, "stream: Expected boolean, received string"),
    ({"stream": 1}, "stream: Expected boolean, received number"),
    ({"logprobs": "yes"}, "logprobs: Expected boolean, received string"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs: Number must be less than or equal to 20"),
    ({"top_logprobs": 2}, "top_logprobs: logprobs must be true"),
    ({"reasoning_effort": 3}, "reasoning_effort: Expected string, received number"),
    ({"stream_options": {}}, "stream_options.include_usage: Required"),
    ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage: Expected boolean, received string"),
    ({"stream_options": 1}, "stream_options: Expected object, received number"),
    ({"messages": "Hi"}, "messages: Expected array, received string"),
    ({"messages": []}, "messages: Array must contain at least 1 element(s)"),
    ({"messages": [1]}, "messages.0: Expected object, received number"),
    ({"messages": [{"content": "Hi"}]}, "messages.0.role: Required"),
    ({"messages": [{"role": "x", "content": "Hi"}]}, "messages.0.role: Invalid enum value. Expected 'user' | "),
    ({"messages": [{"role": "user"}]}, "messages.0.content: Required"),
    ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages.1.tool_call_id: Required"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages.0.tool_calls.0.id: Required"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text: Required"),
    ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages.0.content.0.type: Invalid enum value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages.0.content.0.image_url.url: Required",
    ),
    ({"tools": {}}, "tools: Expected array, received object"),
    ({"tools": [{"type": "function", **FUNCTION}]}, "tools.0.function: Required"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools.0.function.parameters: Required"),
    ({"tools": [{"type": "function", "function": {"parameters": {}}}]}, "tools.0.function.name: Required"),
    ({"tools": [{"type": "function", "function": {**FUNCTION, "name": "a b"}}]}, "tools.0.function.name: Invalid"),
    (
        {"tools": [{"type": "web_search", "function": FUNCTION}]},
        "tools.0.type: Invalid enum value. Expected 'function'",
    ),
    ({"tools": [{}] * 129}, "tools: Array must contain at most 128 element(s)"),
    ({"tool_choice": "f"}, "tool_choice: Invalid enum value. Expected 'none' | 'auto' | 'required', received 'f'"),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.function: Required"),
    ({"tool_choice": 1}, "tool_choice: Expected string | object, received number"),
    ({"response_format": {"type": "xml"}}, "response_format.type: Invalid enum value. Expected 'text' | "),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: Required"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name: Required"),
]
INVALID_RESPONSES = [
    ({"temperature": 3}, "temperature: Number must be less than or equal to 2"),
    ({"top_p": None}, "top_p: Expected number, received null"),
    ({"max_output_tokens": 15}, "max_output_tokens: Number must be greater than or equal to 16"),
    ({"max_output_tokens": 16.5}, "max_output_tokens: Expected integer, received float"),
    ({"truncation": "middle"}, "truncation: Invalid enum value. Expected 'auto' | 'disabled', received 'middle'"),
    ({"reasoning": "high"}, "reasoning: Expected object, received string"),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary: Invalid enum value"),
    ({"store": "yes"}, "store: Expected boolean, received string"),
    ({"include": "x"}, "include: Expected array, received string"),
    ({"include": [1]}, "include.0: Expected string, received number"),
    ({"previous_response_id": 3}, "previous_response_id: Expected string, received number"),
    ({"instructions": ["x"]}, "instructions: Expected string, received array"),
    ({"prompt": {}}, "prompt.id: Required"),
    ({"prompt": {"id": "p", "variables": []}}, "prompt.variables: Expected object, received array"),
    ({"text": {}}, "text.format: Required"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema: Required"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name: Required"),
    ({"tools": [{"type": "function", "function": FUNCTION}]}, "tools.0.name: Required"),
    ({"tools": [{"type": "function", **FUNCTION}]}, "tools.0.strict: Required"),
    ({"tools": [{"type": "function", "name": "f", "strict": True}]}, "tools.0.parameters: Required"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools.0.server_url: Required"),
    ({"tools": [{"type": "code_interpreter"}]}, "tools.0.container: Required"),
    ({"tools": [{"type": "magic"}]}, "tools.0.type: Invalid enum value"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice.name: Required"),
    ({"input": 3}, "input: Expected string | array, received number"),
    ({"input": []}, "input: Array must contain at least 1 element(s)"),
    ({"input": [{"content": "Hi"}]}, "input.0.role: Required"),
    ({"input": [{"role": "tool", "content": "Hi"}]}, "input.0.role: Invalid enum value"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input.0.output: Required"),
    ({"input": [{"type": "magic"}]}, "input.0.type: Invalid enum value"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input.0.content.0.type: Invalid enum"),
]
VALID_CHAT = [
    {"temperature": 0}, {"temperature": 2}, {"seed": 2.0}, {"n": None}, {"logprobs": None}, {"top_logprobs": None},
    {"invented": 1}, {"reasoning_effort": "xhigh"}, {"tools": []}, {"tool_choice": "auto"}, {"max_tokens": 1.5},
    {"response_format": {"type": "text"}}, {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
]  # fmt: skip
VALID_RESPONSES = [
    {"max_output_tokens": 16}, {"reasoning": None}, {"reasoning": {"effort": None}}, {"store": None}, {"stream": None},
    {"include": None}, {"instructions": None}, {"temperature": None}, {"invented": 1}, {"prompt": None},
    {"tool_choice": {"type": "mcp"}}, {"tools": [{"type": "web_search_preview"}]},
    {"text": {"format": {"type": "text"}}},
    {"input": [{"type": "message", "role": "user", "content": "Hi"}, {"type": "item_reference", "id": "x"}]},
]  # fmt: skip


def assert_refused(status: int, body: Json, line: str) -> None:
    assert status == 400
    title, *lines = body["message"].split("\n")
    assert title == "Body validation error"
    assert lines[0].startswith(line)
    assert len({each.partition(".")[0].partition(":")[0] for each in lines}) == 1, "nothing else is wrong"


@pytest.mark.parametrize(("change", "line"), INVALID_CHAT)
def test_chat_refuses_invalid_values_and_names_them(demo: DemoClient, change: Json, line: str) -> None:
    reply = demo.chat(**change)
    assert_refused(reply.status, reply.json, line)


@pytest.mark.parametrize(("change", "line"), INVALID_RESPONSES)
def test_responses_refuses_invalid_values_and_names_them(demo: DemoClient, change: Json, line: str) -> None:
    reply = demo.post("/v1/responses", {"model": "demo/echo", "input": "Hi", **change})
    assert_refused(reply.status, reply.json, line)


@pytest.mark.parametrize("change", VALID_CHAT)
def test_chat_accepts_valid_and_unknown_properties(demo: DemoClient, change: Json) -> None:
    assert demo.chat(**change).status == 200


@pytest.mark.parametrize("change", VALID_RESPONSES)
def test_responses_accepts_valid_and_unknown_properties(demo: DemoClient, change: Json) -> None:
    assert demo.post("/v1/responses", {"model": "demo/echo", "input": "Hi", **change}).status == 200


@pytest.mark.parametrize(
    ("path", "body", "line"),
    [
        ("/v1/chat/completions", {"messages": [USER]}, "model: Required"),
        ("/v1/chat/completions", {"model": 3, "messages": [USER]}, "model: Expected string, received number"),
        ("/v1/chat/completions", {"model": "demo/echo"}, "messages: Required"),
        ("/v1/responses", {"model": "demo/echo"}, "input: Required"),
        ("/v1/responses", {"input": "Hi"}, "model: Required"),
    ],
)
def test_a_missing_required_property_is_named(demo: DemoClient, path: str, body: Json, line: str) -> None:
    reply = demo.post(path, body)
    assert_refused(reply.status, reply.json, line)


def test_all_errors_are_reported_at_once(demo: DemoClient) -> None:
    lines = demo.chat(temperature=3, seed=0).json["message"].split("\n")
    assert [line.partition(":")[0] for line in lines[1:]] == ["temperature", "seed"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"hello", b'{"a": NaN}', b"\xff\xfe\xfd", b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000]
)
def test_a_body_that_is_not_json_is_refused(demo: DemoClient, body: bytes) -> None:
    reply = demo.send("POST", "/v1/chat/completions", body)
    assert reply.status == 400
    assert "not valid JSON" in reply.json["message"] or "nested too deeply" in reply.json["message"]


def test_a_body_that_is_not_an_object_is_refused(demo: DemoClient) -> None:
    reply = demo.post("/v1/responses", [1])
    assert reply.json["message"] == "Body validation error\nExpected object, received array"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "1e308"])
def test_a_number_out_of_range_is_refused(demo: DemoClient, number: str) -> None:
    for name in ("temperature", "seed", "max_tokens", "n"):
        body = json.dumps({"model": "demo/echo", "messages": [USER], name: 0}).replace(": 0}", f": {number}}}")
        assert demo.send("POST", "/v1/chat/completions", body.encode()).status == 400


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("model", ["demo/nope", "openai/gpt-5-1", "demo/status-418", ""])
def test_an_unknown_model_is_not_found(demo: DemoClient, path: str, model: str) -> None:
    reply = demo.post(path, {"model": model, "messages": [USER], "input": "Hi"})
    assert reply.status == 404
    assert reply.json["message"].startswith(f"Model not found: {model} (aiml models --demo")
    assert reply.json["error"]["name"] == "NotFoundException"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("stream", [False, True])
def test_a_status_model_answers_with_its_status(demo: DemoClient, path: str, status: int, *, stream: bool) -> None:
    model = f"demo/status-{status}"
    reply = demo.post(path, {"model": model, "messages": [USER], "input": "Hi", "stream": stream})
    assert reply.status == reply.json["status"] == status
    assert model in reply.json["message"]
    assert reply.json["error"]["name"].endswith("Exception")
    assert reply.json["instance"] == path


def test_status_403_mentions_credits_and_status_429_does_not(demo: DemoClient) -> None:
    assert "credits" in demo.chat("demo/status-403").json["message"]
    words = demo.chat("demo/status-429").json["message"].lower()
    assert not any(word in words for word in ("credit", "quota", "tier"))


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_every_option_has_a_type_that_the_demo_can_validate(endpoint: str) -> None:
    rows = [row for row in ROWS.values() if endpoint in row.body_paths]
    assert [row.name for row in rows if not list_json_types(row.value_type_on(endpoint))] == []
