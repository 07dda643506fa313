"""Requests and answers of responses, in every form that gateways use."""

import json
from typing import Any

import pytest

from aiml_cli.api import responses
from aiml_cli.api.completion_builder import Completion, CompletionBuilder, ToolCall
from aiml_cli.api.messages import Conversation
from aiml_cli.api.sse import split_events
from aiml_cli.api.stream_events import Citation, EventBatch, Notice, ReasoningDelta, ResponseStarted, TokenLogprob
from aiml_cli.settings.options import Options

CHUNK_SIZES = (1, 2, 3, 7, 64, 1_000_000)
CREATED_EVENT = (
    b'{"type":"response.created","response":{"id":"resp_1","created_at":1.5,"model":"gpt","status":"in_progress"}}'
)
COMPLETED_EVENT = b'{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[]}}'


def parse_batches(raw: bytes, size: int) -> list[EventBatch]:
    return list(responses.parse_stream(split_events(raw[start : start + size] for start in range(0, len(raw), size))))


def parse_stream(raw: bytes) -> Completion:
    """Parse a stream, cut in several ways, and check that the answer is always the same."""
    answers = []
    for size in CHUNK_SIZES:
        builder = CompletionBuilder()
        for batch in parse_batches(raw, size):
            builder.add(batch)
        answers.append(builder.build())
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def build_stream(*events: bytes) -> bytes:
    return b"".join(b"data: " + event + b"\n\n" for event in events)


def parse_events(*events: bytes) -> Completion:
    """Parse events, and a regular end."""
    return parse_stream(build_stream(*events, COMPLETED_EVENT))


def parse_json(body: bytes) -> Completion:
    builder = CompletionBuilder()
    builder.add(responses.parse_json(json.loads(body)))
    return builder.build()


def build_body(conversation: Conversation | None = None, **options: Any) -> dict[str, Any]:
    return responses.build_body(
        conversation or Conversation().add_message("user", "Hello"), Options(model="a/b", **options)
    )


# ---- the body


def test_only_requested_options_are_sent() -> None:
    assert build_body() == {"model": "a/b", "input": "Hello"}


def test_a_longer_conversation_is_a_list_of_items() -> None:
    conversation = Conversation().add_message("user", "Hi").add_message("assistant", "Hello").add_message("user", "Bye")
    assert build_body(conversation)["input"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"stream": False}, {"stream": False}),
        ({"stream": True, "include_usage": True}, {"stream": True}),
        ({"system": "Be brief."}, {"instructions": "Be brief."}),
        ({"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1}),
        ({"max_tokens": 16}, {"max_output_tokens": 16}),
        ({"effort": "low", "reasoning_summary": "auto"}, {"reasoning": {"effort": "low", "summary": "auto"}}),
        ({"store": False, "background": True}, {"store": False, "background": True}),
        ({"previous_response_id": "resp_0"}, {"previous_response_id": "resp_0"}),
        ({"truncation": "auto"}, {"truncation": "auto"}),
        ({"include": ("reasoning.encrypted_content",)}, {"include": ["reasoning.encrypted_content"]}),
        (
            {"prompt_id": "p", "prompt_version": "2", "prompt_var": {"city": "Rome"}},
            {"prompt": {"id": "p", "version": "2", "variables": {"city": "Rome"}}},
        ),
        ({"response_format": {"type": "text"}}, {"text": {"format": {"type": "text"}}}),
        ({"tool_choice": "look"}, {"tool_choice": {"type": "function", "name": "look"}}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"option_": {"text.verbosity": "low"}}, {"text": {"verbosity": "low"}}),
        ({"n": 2, "seed": 1, "logprobs": True, "top_logprobs": 1, "max_completion_tokens": 5}, {}),
    ],
)
def test_each_option_is_sent_in_its_property(options: dict[str, Any], body: dict[str, Any]) -> None:
    assert {name: value for name, value in build_body(**options).items() if name not in ("model", "input")} == body


def test_function_tools_are_sent_in_flat_form() -> None:
    function = {"name": "look", "parameters": {"type": "object"}, "strict": True}
    assert build_body(tools=[{"type": "function", "function": function}])["tools"] == [{"type": "function", **function}]


# ---- the text


@pytest.mark.parametrize(
    "fields",
    [
        b'"item_id":"m1","output_index":0,"content_index":0,"sequence_number":4',
        b'"item_id":"m1"',
        b'"item_id":"m1","output_index":-1,"content_index":-1,"sequence_number":-1',
        b'"output_index":0',
        b'"item_id":null,"output_index":null',
        b'"logprobs":[],"obfuscation":"xyz"',
    ],
)
def test_text_is_read_even_if_its_indexes_are_wrong_or_missing(fields: bytes) -> None:
    answer = parse_events(
        CREATED_EVENT,
        b'{"type":"response.output_text.delta","delta":"Hel",' + fields + b"}",
        b'{"type":"response.output_text.delta","delta":"lo",' + fields + b"}",
        b'{"type":"response.output_text.done","text":"Hello",' + fields + b"}",
    )
    assert (answer.first.text, answer.is_complete) == ("Hello", True)
    assert answer.started == ResponseStarted("resp_1", "gpt", 1.5)


def test_changing_indexes_do_not_matter() -> None:
    answer = parse_events(
        b'{"type":"response.output_text.delta","delta":"Hel","item_id":"m1","output_index":0}',
        b'{"type":"response.output_text.delta","delta":"lo","item_id":"m1","output_index":3}',
        b'{"type":"response.output_item.done","output_index":1,"item":{"id":"m1","type":"message",'
        b'"content":[{"type":"output_text","text":"Hello"}]}}',
    )
    assert answer.first.text == "Hello"


@pytest.mark.parametrize(
    "raw",
    [
        build_stream(b'{"type":"response.output_text.delta","delta":"Hi"}', COMPLETED_EVENT),
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
        b"event: response.completed\ndata: " + COMPLETED_EVENT + b"\n\n",
        (
            b'event: response.output_text.delta\ndata: {"delta":"Hi"}\n\n'
            b'event: response.completed\ndata: {"response":{"status":"completed"}}\n\n'
        ),
        b'event: message\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
        + build_stream(COMPLETED_EVENT, b"[DONE]"),
    ],
    ids=["no event lines", "both", "only event lines", "wrong event lines"],
)
def test_the_type_may_be_in_the_json_or_in_the_event_line(raw: bytes) -> None:
    answer = parse_stream(raw)
    assert (answer.first.text, answer.is_complete) == ("Hi", True)


@pytest.mark.parametrize(
    "events",
    [
        [
            (
                b'{"type":"response.output_item.done","output_index":0,"item":{"id":"m1","type":"message","role":'
                b'"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]}}'
            ),
            COMPLETED_EVENT,
        ],
        [
            (
                b'{"type":"response.completed","response":{"status":"completed","output":[{"id":"r1","type":"reasoning",'
                b'"summary":[]},{"id":"m1","type":"message","content":[{"type":"output_text","text":"Hello"}]}]}}'
            )
        ],
        [
            b'{"type":"response.completed","response":{"output":[{"type":"message","content":"Hello"}]}}',
            b"[DONE]",
        ],
    ],
    ids=["in the item", "in the response", "as a string"],
)
def test_text_without_a_delta_is_shown(events: list[bytes]) -> None:
    answer = parse_stream(build_stream(*events))
    assert (answer.first.text, answer.is_complete) == ("Hello", True)


def test_text_is_shown_once_even_if_items_change_their_ids() -> None:
    answer = parse_events(
        b'{"type":"response.output_item.added","output_index":0,"item":{"id":"x1","type":"message","content":[]}}',
        b'{"type":"response.output_text.delta","output_index":0,"item_id":"x2","delta":"Hello"}',
        b'{"type":"response.output_item.done","output_index":0,"item":{"id":"x3","type":"message",'
        b'"content":[{"type":"output_text","text":"Hello"}]}}',
        b'{"type":"response.completed","response":{"status":"completed","output":[{"id":"x4","type":"message",'
        b'"content":[{"type":"output_text","text":"Hello"}]}]}}',
    )
    assert answer.first.text == "Hello"


@pytest.mark.parametrize(
    ("second", "text"), [(b"two three", "one two three"), (b"two three four", "one two three four")]
)
def test_deltas_of_one_part_may_become_several_complete_parts(second: bytes, text: str) -> None:
    answer = parse_events(
        b'{"type":"response.output_text.delta","output_index":0,"item_id":"m1","delta":"one two three"}',
        b'{"type":"response.output_item.done","output_index":0,"item":{"id":"m1","type":"message",'
        b'"content":[{"type":"output_text","text":"one "},{"type":"output_text","text":"%s"}]}}' % second,
    )
    assert answer.first.text == text


def test_several_messages_are_joined_and_having_none_is_not_an_error() -> None:
    message = b'{"type":"message","content":[{"type":"output_text","text":"%s"}]}'
    answer = parse_json(b'{"status":"completed","output":[%s,{"type":"reasoning","id":"r"},%s]}' % (message, message))
    assert answer.first.text == "%s%s"
    assert parse_json(b'{"status":"completed","output":[{"type":"web_search_call","id":"w"}]}').is_complete


def test_a_character_split_over_deltas_is_joined() -> None:
    answer = parse_events(
        rb'{"type":"response.output_text.delta","delta":"\ud83c"}',
        rb'{"type":"response.output_text.delta","delta":"\udf89"}',
    )
    assert answer.first.text == "\U0001f389"


@pytest.mark.parametrize(
    "event",
    [
        b"{}",
        b'{"type":null}',
        b'{"type":"keepalive","sequence_number":3}',
        b'{"type":"response.new_kind.delta","delta":{"a":1}}',
        b'{"type":"response.in_progress","response":null}',
        b'{"type":"response.content_part.added","part":{"type":"output_text","text":""}}',
        b'{"type":"response.output_item.added","item":null}',
        b'{"type":"response.output_item.added","item":{"type":"brand_new_call"}}',
        b'{"type":"response.web_search_call.searching","item_id":"w"}',
        b'{"type":"response.output_text.delta","delta":null}',
        b'{"type":"response.image_generation_call.partial_image","partial_image_b64":"QUJD"}',
    ],
)
def test_events_without_content_change_nothing(event: bytes) -> None:
    delta = b'{"type":"response.output_text.delta","delta":"Hi"}'
    assert parse_events(event, delta) == parse_events(delta, event) == parse_events(delta)


# ---- reasoning, refusals, sources, tokens


@pytest.mark.parametrize("name", [b"reasoning_text", b"reasoning_summary_text"])
def test_reasoning_is_shown_once(name: bytes) -> None:
    answer = parse_events(
        b'{"type":"response.output_item.added","output_index":0,"item":{"id":"r1","type":"reasoning","summary":[]}}',
        b'{"type":"response.' + name + b'.delta","item_id":"r1","output_index":0,"delta":"Hm"}',
        b'{"type":"response.' + name + b'.done","item_id":"r1","output_index":0,"text":"Hm"}',
        b'{"type":"response.output_text.delta","item_id":"m1","output_index":1,"delta":"Yes"}',
        b'{"type":"response.output_item.done","output_index":0,"item":{"id":"r1","type":"reasoning",'
        b'"summary":[{"type":"summary_text","text":"Hm"}]}}',
    )
    assert (answer.first.reasoning, answer.first.text) == ("Hm", "Yes")


def test_a_new_part_of_the_summary_is_a_new_paragraph() -> None:
    raw = build_stream(
        b'{"type":"response.reasoning_summary_part.added","summary_index":0}',
        b'{"type":"response.reasoning_summary_text.delta","delta":"One"}',
        b'{"type":"response.reasoning_summary_text.delta","delta":"!"}',
        b'{"type":"response.reasoning_summary_part.added","summary_index":1}',
        b'{"type":"response.reasoning_summary_text.delta","delta":"Two"}',
    )
    parts = [event.part for batch in parse_batches(raw, 9) for event in batch if isinstance(event, ReasoningDelta)]
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize(
    "events",
    [
        [
            b'{"type":"response.refusal.delta","item_id":"m1","delta":"I will"}',
            b'{"type":"response.refusal.delta","item_id":"m1","delta":" not."}',
            b'{"type":"response.refusal.done","item_id":"m1","refusal":"I will not."}',
            (
                b'{"type":"response.output_item.done","item":{"id":"m1","type":"message",'
                b'"content":[{"type":"refusal","refusal":"I will not."}]}}'
            ),
        ],
        [
            (
                b'{"type":"response.output_item.done","item":{"id":"m1","type":"message",'
                b'"content":[{"type":"refusal","refusal":"I will not."}]}}'
            ),
        ],
    ],
)
def test_a_refusal_is_shown_once(events: list[bytes]) -> None:
    answer = parse_events(*events)
    assert (answer.first.refusal, answer.first.text, answer.is_complete) == ("I will not.", "", False)


def test_sources_are_cited_once() -> None:
    source = b'{"type":"url_citation","url":"https://a.example","title":"A","start_index":0,"end_index":2}'
    item = b'{"id":"m1","type":"message","content":[{"type":"output_text","text":"Hi","annotations":[%s]}]}' % source
    answer = parse_events(
        b'{"type":"response.output_text.delta","item_id":"m1","delta":"Hi"}',
        b'{"type":"response.output_text.annotation.added","item_id":"m1","annotation":%s}' % source,
        b'{"type":"response.output_text.annotation.added","annotation":{"type":"file_citation","file_id":"f"}}',
        b'{"type":"response.output_item.done","item":%s}' % item,
        b'{"type":"response.completed","response":{"status":"completed","output":[%s]}}' % item,
    )
    assert answer.citations == (Citation("https://a.example", "A", 0, 2),)


def test_log_probabilities_are_kept() -> None:
    token = b'{"token":"Hi","logprob":-0.5,"top_logprobs":[{"token":"Ho","logprob":-2}]}'
    expected = (TokenLogprob("Hi", -0.5, ({"token": "Ho", "logprob": -2},)),)
    answer = parse_events(b'{"type":"response.output_text.delta","delta":"Hi","logprobs":[%s]}' % token)
    assert answer.first.logprobs == expected
    part = b'{"type":"output_text","text":"Hi","logprobs":[%s]}' % token
    assert parse_json(b'{"output":[{"type":"message","content":[%s]}]}' % part).first.logprobs == expected


def test_calls_of_hosted_tools_are_reported() -> None:
    raw = build_stream(
        b'{"type":"response.output_item.done","item":{"id":"w","type":"web_search_call","status":"completed"}}',
        b'{"type":"response.output_item.done","item":{"id":"c","type":"mcp_call","server_label":"docs","name":"find",'
        b'"error":"no such page"}}',
    )
    said = [event.text for batch in parse_batches(raw, 50) for event in batch if isinstance(event, Notice)]
    assert said == ["web search: completed", "docs: find: failed: no such page"]


# ---- tool calls


@pytest.mark.parametrize("final_event", [COMPLETED_EVENT, b""], ids=["empty output", "with output"])
def test_a_tool_call_is_read_once(final_event: bytes) -> None:
    item = b'{"id":"fc_1","type":"function_call","call_id":"a","name":"look","arguments":"%s","status":"completed"}'
    whole = item.replace(b"%s", rb"{\"at\":\"Rome\"}")
    answer = parse_stream(
        build_stream(
            b'{"type":"response.output_item.added","output_index":1,"item":' + item.replace(b"%s", b"") + b"}",
            rb'{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{\"at\":"}',
            rb'{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"\"Rome\"}"}',
            b'{"type":"response.function_call_arguments.done","item_id":"fc_1","output_index":1,"arguments":"..."}',
            b'{"type":"response.output_item.done","output_index":1,"item":' + whole + b"}",
            final_event or b'{"type":"response.completed","response":{"status":"completed","output":[' + whole + b"]}}",
        )
    )
    assert answer.first.tool_calls == (ToolCall("a", "look", '{"at":"Rome"}'),)
    assert answer.is_complete


def test_arguments_without_a_delta_are_read_from_the_item() -> None:
    answer = parse_events(
        b'{"type":"response.output_item.added","output_index":0,"item":{"id":"fc_1","type":"function_call",'
        b'"call_id":"a","name":"look","arguments":""}}',
        b'{"type":"response.output_item.done","output_index":0,"item":{"id":"fc_1","type":"function_call",'
        b'"call_id":"a","name":"look","arguments":"{oops"}}',
    )
    assert answer.first.tool_calls == (ToolCall("a", "look", "{oops"),)


CALL_ADDED = (
    b'{"type":"response.output_item.added",%s"item":'
    b'{"id":"fc_%s","type":"function_call","call_id":"call_%s","name":"look","arguments":""}}'
)
CALL_DELTA = b'{"type":"response.function_call_arguments.delta",%s"item_id":"fc_%s","delta":"%s"}'


@pytest.mark.parametrize(
    ("first", "second"),
    [(b'"output_index":1,', b'"output_index":2,'), (b"", b""), (b'"output_index":-1,', b'"output_index":-1,')],
)
def test_interleaved_calls_are_separated_by_their_items(first: bytes, second: bytes) -> None:
    answer = parse_events(
        CALL_ADDED % (first, b"a", b"a"),
        CALL_ADDED % (second, b"b", b"b"),
        CALL_DELTA % (first, b"a", b"[1"),
        CALL_DELTA % (second, b"b", b"[2"),
        CALL_DELTA % (first, b"a", b",1]"),
        CALL_DELTA % (second, b"b", b",2]"),
    )
    assert answer.first.tool_calls == (ToolCall("call_a", "look", "[1,1]"), ToolCall("call_b", "look", "[2,2]"))


def test_calls_with_the_same_wrong_index_are_distinguished_by_their_ids() -> None:
    place = b'"output_index":0,'
    answer = parse_events(
        CALL_ADDED % (place, b"a", b"a"),
        CALL_DELTA % (place, b"a", b"[1]"),
        CALL_ADDED % (place, b"b", b"b"),
        CALL_DELTA % (place, b"b", b"[2]"),
    )
    assert answer.first.tool_calls == (ToolCall("call_a", "look", "[1]"), ToolCall("call_b", "look", "[2]"))


def test_a_call_whose_item_changes_its_id_is_one_call() -> None:
    place = b'"output_index":0,'
    done = (
        b'{"type":"response.output_item.done","output_index":0,"item":'
        b'{"id":"fc_z","type":"function_call","call_id":"call_a","name":"look","arguments":"[1]"}}'
    )
    answer = parse_events(
        CALL_ADDED % (place, b"a", b"a"), CALL_DELTA % (place, b"x", b"["), CALL_DELTA % (place, b"y", b"1]"), done
    )
    assert answer.first.tool_calls == (ToolCall("call_a", "look", "[1]"),)


@pytest.mark.parametrize("fields", [b"", b'"item_id":"fc_1",', b'"item_id":"fc_1","output_index":-1,'])
@pytest.mark.parametrize(
    ("item_type", "event_type"),
    [
        (b"function_call", b"response.function_call_arguments.delta"),
        (b"custom_tool_call", b"response.custom_tool_call_input.delta"),
    ],
)
@pytest.mark.parametrize("has_type", [True, False])
def test_arguments_that_name_no_known_item_belong_to_the_latest_call(
    fields: bytes, item_type: bytes, event_type: bytes, *, has_type: bool
) -> None:
    added = b'{"type":"response.output_item.added","item":{"type":"%s","call_id":"%s","name":"look"}}'
    type_ = b'"type":"%s",' % event_type if has_type else b""
    pieces = [
        b"event: %s\ndata: {%s%s" % (event_type, type_, fields) + b'"delta":"%s"}\n\n' % text for text in (b"[", b"]")
    ]
    answer = parse_stream(
        build_stream(added % (item_type, b"a"), added % (item_type, b"b"))
        + b"".join(pieces)
        + build_stream(COMPLETED_EVENT)
    )
    assert answer.first.tool_calls == (ToolCall("a", "look", ""), ToolCall("b", "look", "[]"))


def test_a_custom_tool_is_called_with_its_input() -> None:
    answer = parse_events(
        b'{"type":"response.output_item.added","item":{"id":"c1","type":"custom_tool_call","call_id":"a","name":"sql"}}',
        b'{"type":"response.custom_tool_call_input.delta","item_id":"c1","delta":"SELECT "}',
        b'{"type":"response.custom_tool_call_input.delta","item_id":"c1","delta":"1"}',
        b'{"type":"response.custom_tool_call_input.done","item_id":"c1","input":"SELECT 1"}',
    )
    assert answer.first.tool_calls == (ToolCall("a", "sql", "SELECT 1"),)


# ---- errors in the stream


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type":"error","code":"ERR","message":"busy","param":null,"sequence_number":1}\n\n',
        b'data: {"type":"error","error":{"type":"server_error","message":"busy"}}\n\n',
        b'data: {"error":{"message":"busy"}}\n\ndata: [DONE]\n\n',
        b'event: error\ndata: {"message":"busy"}\n\n',
        b'event: error\ndata: {"error":"busy"}\n\n',
        b"event: error\ndata: busy\n\n",
        b'error: {"message":"busy"}\n\n',
        b'data: {"type":"response.failed","response":{"status":"failed","error":{"code":"E","message":"busy"}}}\n\n',
        b'data: {"type":"response.failed","response":{"error":{"code":null,"message":"busy"}}}\n\n',
        b'data: {"type":"response.failed","response":{"status":null,"error":{"message":"busy"}}}\n\n',
        b'data: {"type":"response.completed","response":{"status":"failed","error":{"message":"busy"}}}\n\n',
        b'data: {"message":"busy","statusCode":429,"path":"/v1/responses","requestId":"r"}\n\n',
        b'data: {"object":"error","message":"busy","type":"BadRequestError","code":400}\n\n',
        b'data: {"type":"about:blank","title":"Unauthorized","status":401,"detail":"busy"}\n\n',
        b'event: error\ndata: {"type":"odd","message":"busy"}\n\n',
    ],
)
def test_an_error_after_valid_events_has_the_message_of_the_server(event: bytes) -> None:
    answer = parse_stream(build_stream(b'{"type":"response.output_text.delta","delta":"So far"}') + event)
    assert answer.first.text == "So far"
    assert answer.reported_error
    assert answer.reported_error.message == "busy"
    assert not answer.is_complete


@pytest.mark.promise("malformed-events")
@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"response.output_text.delta","delta":5}',
        b'{"type":"response.output_text.delta","delta":"a","item_id":["m1"]}',
        b'{"type":"response.output_item.added","item":"text"}',
        b'{"type":"response.output_item.done","item":{"id":{},"type":"message","content":"a"}}',
        b'{"type":"response.output_item.done","item":{"type":"message","content":5}}',
        b'{"type":"response.completed","response":[1]}',
        b'{"type":"response.completed","response":{"output":{"0":1}}}',
        b'{"type":"response.completed","response":{"output":["text"]}}',
        b"null",
        b"not JSON",
    ],
)
def test_an_invalid_event_is_an_error_or_ignored(event: bytes) -> None:
    answer = parse_stream(build_stream(b'{"type":"response.output_text.delta","delta":"So far"}', event))
    assert answer.first.text.startswith("So far")
    assert not answer.is_complete


CALL_FIELDS = b'"type":"function_call","name":"look","arguments":"{\\"at\\":\\"%s\\"}"'


@pytest.mark.promise("shown-once")
@pytest.mark.parametrize("index", [b"", b',"output_index":4'])
@pytest.mark.parametrize("ids", [(b"", b""), (b',"id":"a","call_id":"c"', b"")])
def test_repeated_calls_without_ids_are_recognized_by_their_content(ids: tuple[bytes, bytes], index: bytes) -> None:
    items = [b"{" + CALL_FIELDS % place + b"%s}" for place in (b"Rome", b"Oslo", b"Rome")]
    first = b'{"type":"response.output_item.done","item":' + items[0] % ids[0] + index + b"}"
    end = b'{"type":"response.completed","response":{"output":[' + b",".join(item % ids[1] for item in items) + b"]}}"
    answer = parse_stream(build_stream(first, end))
    assert [json.loads(call.arguments)["at"] for call in answer.first.tool_calls] == ["Rome", "Oslo", "Rome"]


def test_events_that_name_an_item_by_its_call_id_belong_to_that_call() -> None:
    begin = b'{"type":"response.output_item.added","item":{"type":"function_call","call_id":"%d","name":"f"}}'
    piece = b'{"type":"response.function_call_arguments.delta","item_id":"%d","delta":"[%d]"}'
    answer = parse_events(begin % 1, begin % 2, piece % (1, 1), piece % (2, 2))
    assert [call.arguments for call in answer.first.tool_calls] == ["[1]", "[2]"]


def test_the_initial_text_of_an_item_is_shown_if_no_delta_follows() -> None:
    begin = b'{"type":"response.output_item.added","item":{"type":"message","id":"m","content":[{"text":"Hi"}]}}'
    assert parse_events(begin).first.text == "Hi"


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"response.reasoning.delta","delta":"Hm"}',
        b'{"type":"response.reasoning_summary.delta","delta":"Hm"}',
        b'{"type":"response.reasoning.done","text":"Hm"}',
        b'{"type":"response.reasoning_part.done","part":{"type":"reasoning_text","text":"Hm"}}',
        b'{"type":"response.output_item.done","item":{"type":"reasoning","summary":"Hm"}}',
        b'{"type":"response.output_item.done","item":{"type":"reasoning","content":"Hm"}}',
        b'{"type":"response.output_item.done","item":{"type":"reasoning","text":"Hm"}}',
    ],
)
def test_reasoning_is_read_under_every_name(event: bytes) -> None:
    assert parse_events(event).first.reasoning == "Hm"


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"status","message":"working on it","code":"busy"}',
        b'{"type":"queue.position","message":"3 before you","code":3}',
    ],
)
def test_the_message_of_an_unknown_event_is_not_an_error(event: bytes) -> None:
    assert not parse_events(event).reported_error


# ---- the JSON answer


def test_a_json_answer_is_read() -> None:
    answer = parse_json(
        b'{"id":"resp_1","object":"response","created_at":1700000000.5,"model":"gpt","status":"completed","error":null,'
        b'"incomplete_details":null,"output_text":null,"output":[{"id":"r1","type":"reasoning","summary":'
        b'[{"type":"summary_text","text":"Hm"}]},{"id":"m1","type":"message","role":"assistant","content":'
        b'[{"type":"output_text","text":"Hi","annotations":[]}]},{"id":"fc","type":"function_call","call_id":"a",'
        b'"name":"f","arguments":"{}"}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5,'
        b'"input_tokens_details":{"cached_tokens":1},"output_tokens_details":{"reasoning_tokens":2}},'
        b'"meta":{"usage":{"credits_used":1,"usd_spent":0.5}}}'
    )
    assert (answer.first.text, answer.first.reasoning) == ("Hi", "Hm")
    assert answer.first.tool_calls == (ToolCall("a", "f", "{}"),)
    assert answer.started == ResponseStarted("resp_1", "gpt", 1700000000.5)
    usage = answer.usage
    assert usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 2, 5)
    assert (usage.cached_tokens, usage.reasoning_tokens, usage.cost_usd) == (1, 2, 0.5)
    assert answer.is_complete


@pytest.mark.parametrize(
    "body",
    [
        b'{"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}',
        b'{"error":null,"usage":null,"output":[{"type":"reasoning"},{"type":"message","content":[{"text":"Hi"}]}]}',
        b'{"status":"completed","output":[null,{"type":"message","content":[null,{"text":"Hi","refusal":null}]}]}',
        b'{"output":[{"role":"assistant","content":[{"text":"Hi"}]}]}',
        b'{"output":[{"role":"assistant","content":"Hi"}]}',
        b'{"output":[{"type":"message","content":{"type":"output_text","text":"Hi"}}]}',
        b'{"output":[{"type":"output_text","text":"Hi"}]}',
        b'{"type":"response.completed","response":{"output":[{"type":"message","content":[{"text":"Hi"}]}]}}',
    ],
)
def test_a_json_answer_needs_only_its_text(body: bytes) -> None:
    answer = parse_json(body)
    assert (answer.first.text, answer.is_complete) == ("Hi", True)


def test_half_a_character_at_the_end_of_a_json_answer_is_replaced() -> None:
    answer = parse_json(rb'{"output":[{"type":"message","content":[{"text":"a\ud83c"}]}]}')
    assert answer.first.text == "a\ufffd"


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        (b"{}", None),
        (b'{"usage":null,"meta":null}', None),
        (b'{"usage":{"total_tokens":0}}', (0, None)),
        (b'{"meta":{"usage":{"usd_spent":0.5}}}', (None, 0.5)),
    ],
)
def test_usage_is_shown_only_if_the_server_sent_it(fields: bytes, usage: tuple[Any, Any] | None) -> None:
    found = parse_json(json.dumps({"output": [], **json.loads(fields)}).encode()).usage
    assert (found and (found.total_tokens, found.cost_usd)) == usage


@pytest.mark.parametrize("body", [b"null", b"5", b'"text"', b"[]", b"{}", b'{"id":"resp_1"}'])
def test_a_json_body_without_an_answer_is_an_error(body: bytes) -> None:
    assert not parse_json(body).is_complete


@pytest.mark.parametrize(
    "body",
    [
        b'{"output":{"type":"message"}}',
        b'{"output":["text"]}',
        b'{"status":"completed","output":[{"type":"message","content":5}]}',
        b'{"status":"completed","output":[{"type":"function_call","name":5}]}',
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
        b'{"id":"resp_1","status":"failed","error":{"code":"E","message":"busy"},"output":[]}',
        b'{"id":"resp_1","error":{"code":"E","message":"busy"},"output":null}',
        b'{"message":"busy","path":"/v1","requestId":"r","statusCode":"429","timestamp":"now"}',
        b'{"title":"Unauthorized","status":401,"message":"busy","error":{"name":"E","message":"busy"}}',
        b'{"status":"error","message":"busy"}',
        b'[{"error":{"message":"busy"}}]',
    ],
)
def test_an_error_under_200_has_the_message_of_the_server(body: bytes) -> None:
    answer = parse_json(body)
    assert answer.reported_error
    assert answer.reported_error.message == "busy"
    assert not answer.is_complete
