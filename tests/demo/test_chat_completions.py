"""The demo's chat endpoint: its JSON, its stream, its models."""

import json
from itertools import groupby

import pytest
from support.demo_client import DemoClient, Json, join_text

DEMO_PREFIX = "[demo: no model ran]"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def build_tool(name: str) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": WEATHER}}


def get_text(demo: DemoClient, *args: Json, **more: Json) -> str:
    text: str = demo.chat(*args, **more).json["choices"][0]["message"]["content"]
    return text


def test_the_answer_says_that_no_model_ran_and_repeats_the_prompt(demo: DemoClient) -> None:
    answer = get_text(demo, "demo/echo", "Why is the sky blue?\nAnd the sea?")
    assert answer == (
        f"{DEMO_PREFIX} You said “Why is the sky blue? And the sea?” (8 words, 33 characters, 2 lines; English)."
    )


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("warum ist der Himmel nicht grün", "German"),
        ("pourquoi le ciel est bleu", "French"),
        ("почему небо голубое", "Cyrillic script"),
        ("天空为什么是蓝色的", "Chinese characters"),
        ("青空問題の理由", "Japanese"),
        ("xyzzy", "Latin script"),
        ("42", "no language"),
    ],
)
def test_the_language_is_guessed(demo: DemoClient, prompt: str, language: str) -> None:
    assert f"; {language})" in get_text(demo, "demo/echo", prompt)


def test_the_json_has_every_documented_field(demo: DemoClient) -> None:
    reply = demo.chat(content="12345678")
    answer = reply.json
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "demo/echo"
    assert answer["id"].startswith("chatcmpl-demo-")
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop"]
    message = answer["choices"][0]["message"]
    assert (message["role"], message["refusal"], message["annotations"]) == ("assistant", None, [])
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 2
    assert usage["completion_tokens"] == -(-len(message["content"]) // 4)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_cost_is_in_the_body_and_in_the_headers(demo: DemoClient) -> None:
    reply = demo.chat()
    usage = reply.json["meta"]["usage"]
    assert usage["usd_spent"] > 0
    assert float(reply.headers["x-aimlapi-usd-spent"]) == usage["usd_spent"]
    assert usage["credits_used"] == round(usage["usd_spent"] * 2_000_000)
    assert reply.headers["x-aimlapi-credits-used"] == str(usage["credits_used"])
    assert reply.headers["x-inference-id"]


def test_a_stream_has_the_same_text_and_no_cost_in_its_headers(demo: DemoClient) -> None:
    reply = demo.chat(stream=True)
    chunks = reply.chunks
    assert join_text(chunks) == get_text(demo)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "stop"]
    assert "x-aimlapi-usd-spent" not in reply.headers
    assert reply.headers["x-inference-id"]


def test_a_stream_includes_usage_only_if_requested_and_in_a_last_chunk_without_choices(demo: DemoClient) -> None:
    assert all("usage" not in chunk for chunk in demo.chat(stream=True).chunks)
    *chunks, last = demo.chat(stream=True, stream_options={"include_usage": True}).chunks
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert last["choices"] == []
    assert last["usage"] == demo.chat().json["usage"]


def test_the_path_without_v1_gives_the_same_answer(demo: DemoClient) -> None:
    body = {"model": "demo-echo", "messages": [{"role": "user", "content": "Hi"}]}
    assert demo.post("/chat/completions", body).json["model"] == "demo/echo"


def test_the_chunks_of_several_choices_alternate(demo: DemoClient) -> None:
    chunks = demo.chat(stream=True, n=3).chunks
    indexes = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    assert len(list(groupby(indexes))) > 30
    assert [f"choice {index + 1} of 3" in join_text(chunks, index) for index in range(3)] == [True] * 3
    whole = demo.chat(n=3).json
    assert [choice["message"]["content"] for choice in whole["choices"]] == [
        join_text(chunks, each) for each in range(3)
    ]


def test_each_token_has_one_logprob_and_the_tokens_join_to_the_text(demo: DemoClient) -> None:
    for options in ({}, {"stream": True}):
        reply = demo.chat(logprobs=True, top_logprobs=2, **options)
        parts = [part for chunk in (reply.chunks if options else [reply.json]) for part in chunk["choices"]]
        entries = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert "".join(entry["token"] for entry in entries) == get_text(demo)
        assert all(bytes(entry["bytes"]).decode() == entry["token"] for entry in entries)
        assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2 for entry in entries)
    assert demo.chat().json["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("limit_name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_ends_the_answer(demo: DemoClient, limit_name: str) -> None:
    choice = demo.chat(**{limit_name: 3}).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (DEMO_PREFIX[:12], "length")
    assert demo.chat(**{limit_name: 1000}).json["choices"][0]["finish_reason"] == "stop"


def test_the_smaller_of_two_token_limits_applies_to_a_stream_too(demo: DemoClient) -> None:
    chunks = demo.chat(max_tokens=9, max_completion_tokens=2, stream=True).chunks
    assert join_text(chunks) == DEMO_PREFIX[:8]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(("model", "reason"), [("demo/length", "length"), ("demo/filter", "content_filter")])
def test_models_for_an_early_end_stop_with_their_finish_reason(demo: DemoClient, model: str, reason: str) -> None:
    choice = demo.chat(model).json["choices"][0]
    assert choice["finish_reason"] == reason
    assert 0 < len(choice["message"]["content"]) < len(get_text(demo))
    assert demo.chat(model, stream=True).chunks[-1]["choices"][0]["finish_reason"] == reason


def test_the_markdown_model_uses_every_construct(demo: DemoClient) -> None:
    page = get_text(demo, "demo/markdown", "the cat | the hat")
    assert page.startswith(DEMO_PREFIX)
    for part in ("\n# ", "the (2×)", "\n1. ", "\n   - ", "\n> the cat", "|:---", "```bash\n", "**", "`-u`", "$n_"):  # noqa: RUF001
        assert part in page


def test_a_refusal_is_in_its_own_field(demo: DemoClient) -> None:
    message = demo.chat("demo/refusal").json["choices"][0]["message"]
    assert message["content"] is None
    assert message["refusal"].startswith(DEMO_PREFIX)
    assert join_text(demo.chat("demo/refusal", stream=True).chunks, key="refusal") == message["refusal"]


def test_reasoning_comes_before_the_text_and_is_counted(demo: DemoClient) -> None:
    answer = demo.chat("demo/reasoning").json
    thoughts = answer["choices"][0]["message"]["reasoning_content"]
    assert thoughts.startswith(DEMO_PREFIX)
    chunks = demo.chat("demo/reasoning", stream=True).chunks
    assert join_text(chunks, key="reasoning_content") == thoughts
    keys = [key for chunk in chunks for key in chunk["choices"][0]["delta"] if key != "role"]
    assert [key for key, _ in groupby(keys[1:])] == ["reasoning_content", "content"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == -(-len(thoughts) // 4)


def test_a_small_token_limit_is_used_up_by_reasoning(demo: DemoClient) -> None:
    choice = demo.chat("demo/reasoning", max_tokens=2).json["choices"][0]
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("", DEMO_PREFIX[:8])
    assert choice["finish_reason"] == "length"


def test_the_first_tool_is_called_with_arguments_of_its_schema(demo: DemoClient) -> None:
    choice = demo.chat("demo/tool", tools=[build_tool("weather"), build_tool("other")]).json["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"], call["type"]) == ("tool_calls", None, "function")
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": DEMO_PREFIX}


def test_the_fragments_of_a_streamed_tool_call_join_to_valid_json(demo: DemoClient) -> None:
    chunks = demo.chat("demo/tool", stream=True, tools=[build_tool("weather")]).chunks
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [call.get("id") is not None for call in calls] == [True] + [False] * (len(calls) - 1)
    assert len(calls) > 3
    assert {call["index"] for call in calls} == {0}
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"city": DEMO_PREFIX}


def test_without_tools_get_time_is_called(demo: DemoClient) -> None:
    assert demo.chat("demo/tool").json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_time"


def test_tool_choice_is_respected(demo: DemoClient) -> None:
    tools = [build_tool("weather"), build_tool("other")]
    other = {"type": "function", "function": {"name": "other"}}
    called = demo.chat("demo/tool", tools=tools, tool_choice=other).json["choices"][0]["message"]["tool_calls"]
    assert called[0]["function"]["name"] == "other"
    assert get_text(demo, "demo/tool", tools=tools, tool_choice="none").startswith(DEMO_PREFIX)


def test_a_tool_result_is_answered_with_text(demo: DemoClient) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "It rains."},
    ]
    answer = demo.chat("demo/tool", messages=messages).json["choices"][0]["message"]["content"]
    assert "gave back “It rains.”" in answer
    assert "3 messages" in answer


def test_attachments_are_counted_and_named(demo: DemoClient) -> None:
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    answer = get_text(demo, "demo/echo", parts)
    assert "You said “Look”" in answer
    assert "4 attachments: image image/png, image https://example.com/a.jpg, file a.pdf, audio wav." in answer


def test_the_answer_mentions_the_system_text(demo: DemoClient) -> None:
    messages = [{"role": "system", "content": "Be brief now"}, {"role": "user", "content": "Hi"}]
    assert "system text has 3 words" in demo.chat(messages=messages).json["choices"][0]["message"]["content"]


def test_an_error_in_a_stream_follows_some_text_and_ends_the_stream(demo: DemoClient) -> None:
    *chunks, last = [json.loads(frame.removeprefix("data: ")) for frame in demo.chat("demo/error", stream=True).frames]
    assert join_text(chunks).startswith("[demo")
    assert "demo/error" in last["error"]["message"]
    assert demo.chat("demo/error").json["error"] == last["error"]


def test_any_unicode_is_returned_unchanged_and_a_lone_surrogate_is_accepted(demo: DemoClient) -> None:
    odd = "é\u2060 \U0001f469\u200d\U0001f467 \x1b[31m"
    reply = demo.chat("demo/echo", odd)
    assert odd in reply.json["choices"][0]["message"]["content"]
    assert "é\u2060 \U0001f469".encode() in reply.body
    for stream in (True, False):
        assert demo.chat("demo/echo", "\ud800", stream=stream, logprobs=True).status == 200
