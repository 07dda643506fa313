"""Requests and answers of chat completions, in every form that gateways use."""

import json
from typing import Any

import pytest

from aiml_cli.api import chat_completions
from aiml_cli.api.completion_builder import Completion, CompletionBuilder, ToolCall
from aiml_cli.api.messages import Conversation
from aiml_cli.api.sse import split_events
from aiml_cli.api.stream_events import Citation, ResponseStarted, TokenLogprob
from aiml_cli.settings.options import Options

CHUNK_SIZES = (1, 2, 3, 7, 64, 1_000_000)
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}


def parse_stream(raw: bytes) -> Completion:
    """Parse a stream, cut in several ways, and check that the answer is always the same."""
    answers = []
    for size in CHUNK_SIZES:
        builder = CompletionBuilder()
        for batch in chat_completions.parse_stream(
            split_events(raw[start : start + size] for start in range(0, len(raw), size))
        ):
            builder.add(batch)
        answers.append(builder.build())
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def parse_chunks(*chunks: bytes) -> Completion:
    """Parse chunks, each in an event of its own."""
    return parse_stream(b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks))


def parse_deltas(*deltas: bytes) -> Completion:
    """Parse deltas of the first choice, and a regular end."""
    chunks = [b'{"choices":[{"index":0,"delta":' + delta + b"}]}" for delta in deltas]
    return parse_chunks(*chunks, b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', b"[DONE]")


def parse_json(body: bytes) -> Completion:
    builder = CompletionBuilder()
    builder.add(chat_completions.parse_json(json.loads(body)))
    return builder.build()


def build_body(**options: Any) -> dict[str, Any]:
    return chat_completions.build_body(Conversation().add_message("user", "Hello"), Options(model="a/b", **options))


# ---- the body


def test_only_requested_options_are_sent() -> None:
    assert build_body() == {"model": "a/b", "messages": [{"role": "user", "content": "Hello"}]}


def test_the_system_text_comes_first() -> None:
    assert build_body(system="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}
    assert build_body(system="")["messages"][0] == {"role": "system", "content": ""}


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"stream": False}, {"stream": False}),
        ({"stream": False, "include_usage": True}, {"stream": False}),
        ({"stream": True, "include_usage": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": True, "include_usage": False}, {"stream": True, "stream_options": {"include_usage": False}}),
        ({"temperature": 0, "top_p": 0.01, "seed": 1, "n": 2}, {"temperature": 0, "top_p": 0.01, "seed": 1, "n": 2}),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 5, "max_completion_tokens": 9}),
        ({"effort": "low"}, {"reasoning_effort": "low"}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"logprobs": False, "top_logprobs": 2}, {"logprobs": False, "top_logprobs": 2}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"tool_choice": "look"}, {"tool_choice": {"type": "function", "function": {"name": "look"}}}),
        ({"tools": []}, {"tools": []}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"option_": {"stop": ["x"], "provider.order": ["y"]}}, {"stop": ["x"], "provider": {"order": ["y"]}}),
        ({"temperature": 1, "option_": {"temperature": 0.5}}, {"temperature": 0.5}),
        ({"truncation": "auto", "store": True, "prompt_id": "p", "timeout": 5}, {}),
    ],
)
def test_each_option_is_sent_in_its_property(options: dict[str, Any], body: dict[str, Any]) -> None:
    assert {name: value for name, value in build_body(**options).items() if name not in ("model", "messages")} == body


def test_function_tools_are_sent_in_nested_form() -> None:
    function = {"name": "look", "parameters": {"type": "object"}, "strict": True}
    assert build_body(tools=[TOOL])["tools"] == [{"type": "function", "function": function}]


def test_building_a_body_does_not_change_the_options() -> None:
    response_format: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "x"}}
    build_body(response_format=response_format, option_={"response_format.json_schema.strict": True})
    assert response_format == {"type": "json_schema", "json_schema": {"name": "x"}}


# ---- the stream


def test_a_stream_is_parsed() -> None:
    answer = parse_chunks(
        b'{"id":"c1","object":"chat.completion.chunk","created":1700000000,"model":"gpt","choices":'
        b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null,"logprobs":null}],"usage":null}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
        b'{"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,'
        b'"prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":0}}}',
        b"[DONE]",
    )
    assert answer.first.text == "Hello"
    assert answer.first.finish_reason == "stop"
    assert answer.started == ResponseStarted("c1", "gpt", 1700000000)
    usage = answer.usage
    assert usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 2, 5)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (1, 0)
    assert answer.is_complete


@pytest.mark.parametrize(
    "chunk",
    [
        b"{}",
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"choices":[null]}',
        b'{"choices":[{"index":0,"delta":null,"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":null}}]}',
        b'{"choices":[{"index":null,"delta":{"content":""},"finish_reason":""}]}',
        b'{"choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}',
        b'{"id":"","model":"","obfuscation":"xyz","padding":"aaaa","p":"abcdef"}',
        (
            b'{"choices":[{"index":0,"delta":{"refusal":"","function_call":null,"audio":{},"tool_calls":[],'
            b'"reasoning_content":"","reasoning":null,"reasoning_details":[],"annotations":null}}]}'
        ),
        b'{"choices":[{"index":0,"delta":{"function_call":{"name":"","arguments":""},"audio":null}}]}',
        b'{"error":null,"choices":[]}',
        b'{"type":"ping"}',
    ],
)
def test_events_without_content_change_nothing(chunk: bytes) -> None:
    good = b'{"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}'
    end = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    assert parse_chunks(good, chunk, end) == parse_chunks(good, end) == parse_chunks(good, end, chunk)
    assert parse_chunks(chunk, good, end) == parse_chunks(good, end)


def test_an_index_may_be_missing() -> None:
    assert parse_chunks(b'{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}').first.text == "Hi"


def test_a_message_in_place_of_a_delta_is_read() -> None:
    assert parse_chunks(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}').first.text == "Hi"


@pytest.mark.promise("shown-once")
@pytest.mark.parametrize(
    "choices",
    [
        [b'{"text":"Hel"}', b'{"text":"lo"}'],
        [b'{"text":"Hel","delta":{"content":"Hel"}}', b'{"text":"lo","delta":{"content":"lo"}}'],
        [b'{"message":{"content":"Hel"}}', b'{"message":{"content":"lo"}}', b'{"message":{"content":""}}'],
        [b'{"message":{"content":"Hel"}}', b'{"message":{"content":"Hello"}}'],
        [b'{"delta":{"content":"Hel"},"message":{"content":"Hel"}}', b'{"delta":{},"message":{"content":"Hello"}}'],
        [b'{"delta":{"content":{"type":"text","text":"Hello"}}}'],
        [b'{"index":-1,"delta":{"content":"Hel"}}', b'{"index":-1,"delta":{"content":"lo"}}'],
        [b'{"index":"0","delta":{"content":"Hel"}}', b'{"index":null,"delta":{"content":"lo"}}'],
    ],
)
def test_text_is_found_in_every_field_that_servers_use(choices: list[bytes]) -> None:
    answer = parse_chunks(*(b'{"choices":[' + choice + b"]}" for choice in choices), b"[DONE]")
    assert (answer.first.text, len(answer.choices), answer.is_complete) == ("Hello", 1, True)


def test_a_complete_json_answer_may_arrive_as_a_chunk() -> None:
    assert parse_json(b'{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}').first.text == "Hi"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_without_blank_lines_between_them_are_separated(end: bytes) -> None:
    chunks = [b'{"choices":[{"index":0,"delta":{"content":"' + text + b'"}}]}' for text in (b"Hel", b"lo")]
    answer = parse_stream(end.join(b"data: " + chunk for chunk in [*chunks, b"[DONE]"]) + end)
    assert (answer.first.text, answer.is_complete) == ("Hello", True)


def test_an_empty_id_does_not_replace_an_earlier_one() -> None:
    first = b'{"id":"c1","model":"claude","created":1.5,"choices":[{"delta":{"content":"a"}}]}'
    assert parse_chunks(first, b'{"id":"","model":"","choices":[]}').started == ResponseStarted("c1", "claude", 1.5)


def test_the_finish_reason_may_come_before_the_last_text() -> None:
    answer = parse_chunks(
        b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"choices":[{"index":0,"delta":{"content":"b"}}]}',
        b"[DONE]",
    )
    assert (answer.first.text, answer.first.finish_reason, answer.is_complete) == ("ab", "stop", True)


def test_interleaved_choices_are_separated_by_their_index() -> None:
    answer = parse_chunks(
        b'{"choices":[{"index":1,"delta":{"content":"un"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"o"}},{"index":1,"delta":{"content":"o"}}]}',
        b'{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}',
        b'{"choices":[{"index":0,"delta":{"content":"ne"},"finish_reason":"stop"}]}',
    )
    assert [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices] == [
        (0, "one", "stop"),
        (1, "uno", "length"),
    ]


# ---- usage


@pytest.mark.parametrize(
    "chunks",
    [
        [b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'],
        [
            (
                b'{"choices":[{"index":0,"delta":{},"finish_reason":"end_turn"}],'
                b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
            ),
            b'{"id":"","choices":[{"index":0}],"usage":null}',
        ],
        [
            b'{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"total_tokens":4}}',
            (
                b'{"choices":[{"index":0,"delta":{"content":""}}],'
                b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5.0}}'
            ),
        ],
    ],
    ids=["own chunk", "then null", "growing"],
)
def test_the_last_usage_that_is_not_null_counts(chunks: list[bytes]) -> None:
    usage = parse_chunks(*chunks, b"[DONE]").usage
    assert usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 2, 5)


@pytest.mark.parametrize(
    "chunks",
    [
        [b'{"choices":[],"usage":{"total_tokens":5},"meta":{"usage":{"credits_used":9,"usd_spent":0.01}}}'],
        [b'{"choices":[],"usage":{"total_tokens":5,"cost":0.01}}'],
        [b'{"choices":[],"usage":{"total_tokens":5}}', b'{"choices":[],"meta":{"usage":{"usd_spent":0.01}}}'],
        [
            b'{"choices":[],"usage":{"total_tokens":5}}',
            b'{"choices":[],"usage":null,"meta":{"usage":{"usd_spent":0.01}}}',
        ],
    ],
    ids=["together", "as cost", "apart", "apart, usage null"],
)
def test_price_and_token_counts_are_both_kept(chunks: list[bytes]) -> None:
    usage = parse_chunks(*chunks, b"[DONE]").usage
    assert usage
    assert (usage.total_tokens, usage.cost_usd) == (5, 0.01)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[],"usage":{"prompt_tokens":"3","completion_tokens":" 4 "}}',
        b'{"choices":[{"index":0,"delta":{}}],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":4}}}',
    ],
)
def test_token_counts_are_found_wherever_a_server_puts_them(chunk: bytes) -> None:
    usage = parse_chunks(chunk, b"[DONE]").usage
    assert usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)


# ---- reasoning and parts


@pytest.mark.parametrize(
    "delta",
    [
        b'{"content":null,"reasoning_content":"Hm"}',
        b'{"reasoning":"Hm"}',
        b'{"reasoning_details":[{"type":"reasoning.text","text":"Hm"}]}',
        b'{"reasoning_details":[{"type":"reasoning.summary","summary":"Hm"}]}',
        b'{"reasoning":"Hm","reasoning_content":"Hm"}',
        b'{"reasoning":"Hm","reasoning_details":[{"text":"Hm"}]}',
        b'{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]}]}',
        b'{"content":[{"type":"thinking","thinking":"Hm"}]}',
        b'{"thinking":"Hm"}',
        b'{"thinking_content":"Hm"}',
        b'{"thought":"Hm"}',
        b'{"reasoning_text":"Hm"}',
        b'{"reasoning":{"content":"Hm"}}',
        b'{"reasoning_content":["H",{"text":"m"}]}',
        b'{"thinking_blocks":[{"type":"thinking","thinking":"Hm","signature":null}]}',
        b'{"thinking_blocks":[{"type":"thinking","thinking":"Hm"}],"reasoning_content":"Hm"}',
        b'{"thought":true,"reasoning":"Hm","thinking":false}',
    ],
)
def test_reasoning_is_read_under_all_its_names_and_shown_once(delta: bytes) -> None:
    answer = parse_deltas(delta, b'{"content":"Yes"}')
    assert (answer.first.reasoning, answer.first.text) == ("Hm", "Yes")


def test_reasoning_may_come_after_the_text_too() -> None:
    answer = parse_deltas(b'{"content":"Yes"}', b'{"reasoning":"Hm"}', b'{"content":"."}')
    assert (answer.first.reasoning, answer.first.text) == ("Hm", "Yes.")


def test_content_may_be_parts_and_strings_in_one_stream() -> None:
    answer = parse_deltas(
        b'{"content":"a"}',
        b'{"content":[{"type":"text","text":"b"},"c",{"type":"thinking","thinking":[{"text":"Hm"},"m"]}]}',
        b'{"content":[{"type":"output_text","text":"d"},{"type":"refusal","refusal":"No"},{"text":null}]}',
    )
    assert (answer.first.text, answer.first.reasoning, answer.first.refusal) == ("abcd", "Hmm", "No")


def test_a_character_split_over_deltas_is_joined() -> None:
    answer = parse_deltas(rb'{"content":"\ud83c"}', rb'{"content":"\udf89"}', rb'{"reasoning":"\uD83C\uDF89"}')
    assert (answer.first.text, answer.first.reasoning) == ("\U0001f389", "\U0001f389")


def test_a_character_split_over_argument_deltas_is_joined() -> None:
    answer = parse_deltas(
        rb'{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"\"\ud83c"}}]}',
        rb'{"tool_calls":[{"index":0,"function":{"arguments":"\udf89\""}}]}',
    )
    assert answer.first.tool_calls == (ToolCall("a", "f", '"\U0001f389"'),)


def test_a_refusal_may_arrive_in_pieces() -> None:
    answer = parse_deltas(b'{"content":null,"refusal":"I "}', b'{"refusal":"will not."}')
    assert (answer.first.refusal, answer.first.text) == ("I will not.", "")


def test_log_probabilities_are_kept() -> None:
    answer = parse_chunks(
        b'{"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":{"content":[{"token":"Hi","logprob":-0.5,'
        b'"bytes":[72,105],"top_logprobs":[{"token":"Ho","logprob":-9999,"bytes":null}]}],"refusal":null},'
        b'"finish_reason":"stop"}]}'
    )
    assert answer.first.logprobs == (TokenLogprob("Hi", -0.5, ({"token": "Ho", "logprob": -9999, "bytes": None},)),)


def test_sources_are_cited_once() -> None:
    answer = parse_chunks(
        b'{"choices":[{"index":0,"delta":{"annotations":[{"type":"url_citation","url_citation":'
        b'{"start_index":0,"end_index":2,"title":"T","url":"https://a.example"}}]}}]}',
        b'{"choices":[],"citations":["https://b.example",{"url":"https://c.example","title":"C"}]}',
        b'{"choices":[],"citations":["https://b.example"]}',
        b"[DONE]",
    )
    assert answer.citations == (
        Citation("https://a.example", "T", 0, 2),
        Citation("https://b.example"),
        Citation("https://c.example", "C"),
    )


def test_audio_is_joined() -> None:
    answer = parse_deltas(
        b'{"audio":{"id":"au","transcript":"Hel"}}', b'{"audio":{"data":"QUJD","transcript":"lo"}}', b'{"audio":{}}'
    )
    audio = answer.first.audio
    assert audio
    assert (audio.id, audio.data, audio.transcript) == ("au", b"ABC", "Hello")


# ---- errors in the stream


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"message":"busy","code":429}}\n\n',
        b'data: {"error":{"message":"busy","code":null,"type":null}}\n\ndata: [DONE]\n\n',
        b'data: {"error":"busy"}\n\n',
        (
            b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],'
            b'"error":{"code":"502","message":"busy"}}\n\ndata: [DONE]\n\n'
        ),
        b'data: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n',
        b'event: error\ndata: {"error":{"message":"busy"}}\n\n',
        b'event: error\ndata: {"message":"busy"}\n\n',
        b"event: error\ndata: busy\n\n",
        b'data: {"message":"busy","statusCode":429,"path":"/v1/chat/completions","requestId":"r"}\n\n',
        b'data: {"choices":null,"base_resp":{"status_code":1002,"status_msg":"busy"}}\n\n',
        b'data: {"detail":"busy"}\n\n',
        b'error: {"message":"busy"}\n\n',
        b'error: {"error":{"message":"busy"}}',
    ],
)
def test_an_error_after_valid_chunks_has_the_message_of_the_server(event: bytes) -> None:
    answer = parse_stream(b'data: {"choices":[{"index":0,"delta":{"content":"So far"}}]}\n\n' + event)
    assert answer.first.text == "So far"
    assert answer.reported_error
    assert answer.reported_error.message == "busy"
    assert not answer.is_complete


def test_the_cause_is_read_from_the_raw_error_of_the_upstream() -> None:
    answer = parse_chunks(
        b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"too many tools"}},"choices":[]}'
    )
    assert answer.reported_error
    assert answer.reported_error.message == "Provider returned error: too many tools"


@pytest.mark.promise("malformed-events")
@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":{"0":1}}',
        b'{"choices":[5]}',
        b'{"choices":[{"delta":"text"}]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"tool_calls":"look"}}]}',
        b'{"choices":[{"delta":{"content":[5]}}]}',
        b"{not JSON",
        b"not JSON",
        b'{"choices":[],"x_groq":{"error":"over capacity"}}',
    ],
)
def test_an_invalid_chunk_is_an_error(chunk: bytes) -> None:
    answer = parse_chunks(b'{"choices":[{"index":0,"delta":{"content":"So far"}}]}', chunk, b"[DONE]")
    assert answer.first.text == "So far"
    assert answer.reported_error
    assert not answer.is_complete


@pytest.mark.promise("metadata")
@pytest.mark.parametrize("reason", [b"5", b"true", b"[1]", b'{"type":"stop"}', b'"a_new_word"'])
def test_a_finish_reason_of_any_type_ends_a_choice(reason: bytes) -> None:
    answer = parse_chunks(b'{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":' + reason + b"}]}")
    assert (answer.first.text, answer.is_complete) == ("Hi", True)


@pytest.mark.parametrize("indexes", [(0, 0, 0), (1, 1, 1), (None, None, None), (0, None, 0), (-1, True, 0)])
def test_choices_of_one_chunk_stay_apart_whatever_their_indexes(indexes: tuple[object, ...]) -> None:
    chunk = {"choices": [{"index": index, "delta": {"content": str(place)}} for place, index in enumerate(indexes)]}
    assert [choice.text for choice in parse_chunks(json.dumps(chunk).encode()).choices] == ["0", "1", "2"]


def test_choices_of_one_chunk_may_come_in_any_order() -> None:
    chunk = {"choices": [{"index": index, "delta": {"content": str(index)}} for index in (2, 0, 1)]}
    choices = parse_chunks(json.dumps(chunk).encode(), json.dumps(chunk).encode()).choices
    assert [(choice.index, choice.text) for choice in choices] == [(0, "00"), (1, "11"), (2, "22")]


# ---- the JSON answer


def test_a_json_answer_is_read() -> None:
    answer = parse_json(
        b'{"id":"c1","object":"chat.completion","created":1.5,"model":"gpt-5.1","choices":[{"index":0,'
        b'"finish_reason":"tool_calls","logprobs":null,"message":{"role":"assistant","content":"Hi","refusal":null,'
        b'"reasoning_content":"Hm","annotations":[],"tool_calls":[{"id":"a","type":"function","function":'
        b'{"name":"f","arguments":"{not JSON"}},{"id":"b","type":"custom","custom":{"name":"g","input":"x"}}]}}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"meta":{"usage":{"usd_spent":0.5}}}'
    )
    assert (answer.first.text, answer.first.reasoning) == ("Hi", "Hm")
    assert answer.first.tool_calls == (ToolCall("a", "f", "{not JSON"), ToolCall("b", "g", "x"))
    assert answer.started == ResponseStarted("c1", "gpt-5.1", 1.5)
    assert answer.usage
    assert (answer.usage.total_tokens, answer.usage.cost_usd) == (5, 0.5)
    assert answer.is_complete


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"Hi"}}]}',
        b'{"choices":[{"message":{"content":"Hi"},"finish_reason":null}]}',
        b'{"choices":[{"index":1,"message":{"content":[{"type":"text","text":"Hi"}]},"finish_reason":""}]}',
        b'{"error":null,"choices":[{"message":{"content":"Hi","refusal":""}}],"usage":null,"meta":null}',
    ],
)
def test_a_json_answer_needs_only_its_text(body: bytes) -> None:
    answer = parse_json(body)
    assert (answer.first.text, answer.is_complete) == ("Hi", True)
    assert not answer.first.finish_reason


def test_half_a_character_at_the_end_of_a_json_answer_is_replaced() -> None:
    assert parse_json(rb'{"choices":[{"message":{"content":"a\ud83c"}}]}').first.text == "a\ufffd"
    assert parse_json(rb'{"choices":[{"message":{"content":"\udf89a"}}]}').first.text == "\ufffda"


def test_choices_of_a_json_answer_need_no_index() -> None:
    answer = parse_json(b'{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}')
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "a"), (1, "b")]


def test_a_choice_without_a_message_does_not_crash() -> None:
    assert parse_json(b'{"choices":[{"index":0,"finish_reason":"stop"}]}').first.text == ""


@pytest.mark.parametrize(
    "body",
    [b"null", b"5", b'"text"', b"[]", b"{}", b'{"choices":null}', b'{"choices":[]}', b'{"choices":{}}', b'{"id":"c1"}'],
)
def test_a_json_body_without_an_answer_is_an_error(body: bytes) -> None:
    assert not parse_json(body).is_complete


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[5]}',
        b'{"choices":["text"]}',
        b'{"choices":[{"message":"text"}]}',
        b'{"choices":[{"message":{"content":5}}]}',
        b'{"choices":[{"message":{"content":[5]}}]}',
        b'{"choices":[{"message":{"tool_calls":"look"}}]}',
    ],
)
def test_a_json_answer_of_wrong_types_is_an_error(body: bytes) -> None:
    answer = parse_json(body)
    assert answer.reported_error
    assert not answer.is_complete


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"busy"}}',
        b'{"error":"busy"}',
        b'{"error":{"message":"busy"},"choices":[]}',
        b'{"error":{"message":"busy"},"choices":[{"message":{"content":""}}]}',
        b'{"message":"busy","path":"/v1","requestId":"r","statusCode":"429","timestamp":"now"}',
        b'{"title":"Unauthorized","status":401,"message":"busy","error":{"name":"E","message":"busy"}}',
        b'{"status":"error","message":"busy"}',
        b'{"choices":null,"base_resp":{"status_code":1008,"status_msg":"busy"}}',
        b'[{"error":{"message":"busy"}}]',
    ],
)
def test_an_error_under_200_has_the_message_of_the_server(body: bytes) -> None:
    answer = parse_json(body)
    assert answer.reported_error
    assert answer.reported_error.message == "busy"
    assert not answer.is_complete
