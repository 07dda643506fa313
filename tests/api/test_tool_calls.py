"""Pieces of tool calls are joined, however a gateway numbers them."""

import json

import pytest

from aiml_cli.api.completion_builder import CompletionBuilder, ToolCall
from aiml_cli.api.tool_calls import ToolCallAssembler

ROME_CALL = ToolCall("a", "look", '{"at":"Rome"}')
OSLO_CALL = ToolCall("b", "look", '{"at":"Oslo"}')
CLOCK_CALL = ToolCall("c", "clock", "{}")


def build_calls(*deltas: bytes) -> tuple[ToolCall, ...]:
    """Fold deltas of one choice into its calls."""
    calls, builder = ToolCallAssembler(), CompletionBuilder()
    for delta in deltas:
        builder.add(list(calls.feed(json.loads(delta), 0)))
    return builder.build().first.tool_calls


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                b'{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"look","arguments":""}}]}',
                b'{"tool_calls":[{"index":0,"function":{"arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":0,"function":{"arguments":"\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"index":1,"id":"b","function":{"name":"look","arguments":"{\\"at\\":\\"Oslo\\"}"}}]}',
            ],
            id="by index, one after the other",
        ),
        pytest.param(
            [
                (
                    b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{"}},'
                    b'{"index":1,"id":"b","function":{"name":"look","arguments":"{\\"at\\""}}]}'
                ),
                (
                    b'{"tool_calls":[{"index":0,"function":{"arguments":"\\"at\\":\\"Rome\\"}"}},'
                    b'{"index":1,"function":{"arguments":":\\"Oslo\\"}"}}]}'
                ),
            ],
            id="by index, both at once",
        ),
        pytest.param(
            [
                b'{"tool_calls":[{"index":1,"id":"a","function":{"name":"look","arguments":"{\\"at\\":\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"index":2,"id":"b","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":2,"id":"","function":{"name":"","arguments":"\\"Oslo\\"}"}}]}',
            ],
            id="index from 1, empty ids",
        ),
        pytest.param(
            [
                b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{\\"at\\":\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"index":0,"id":"b","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"\\"Oslo\\"}"}}]}',
            ],
            id="index 0 for all, told apart by id",
        ),
        pytest.param(
            [
                b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":0,"id":"b","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"index":0,"id":"b","function":{"arguments":"\\"Oslo\\"}"}}]}',
            ],
            id="index 0 for all, interleaved by id",
        ),
        pytest.param(
            [
                b'{"tool_calls":[{"id":"a","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"function":{"arguments":"\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"id":"b","function":{"name":"look","arguments":"{\\"at\\":\\"Oslo\\"}"}}]}',
            ],
            id="no index",
        ),
        pytest.param(
            [
                b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"index":1,"id":"b","function":{"name":"look","arguments":"{\\"at\\":"}}]}',
                b'{"tool_calls":[{"index":1,"id":"b","function":{"name":"look","arguments":"\\"Oslo\\"}"}}]}',
            ],
            id="id and name in every chunk",
        ),
        pytest.param(
            [
                b'{"tool_calls":[{"index":0,"function":{"name":"look","arguments":null}}]}',
                b'{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{\\"at\\":\\"Rome\\"}"}}]}',
                b'{"tool_calls":[{"index":1,"id":"b","function":{"name":"look","arguments":{"at":"Oslo"}}}]}',
            ],
            id="the id later, arguments as an object",
        ),
    ],
)
def test_two_calls_are_two_calls(deltas: list[bytes]) -> None:
    found = build_calls(*deltas)
    assert [(call.id, call.name, json.loads(call.arguments)) for call in found] == [
        (call.id, call.name, json.loads(call.arguments)) for call in (ROME_CALL, OSLO_CALL)
    ]


@pytest.mark.parametrize("ids", [("null", "null"), ('""', '""'), ('"a"', '"b"')])
def test_two_calls_of_one_function_in_one_message_are_two(ids: tuple[str, str]) -> None:
    calls = ",".join(f'{{"id":{call_id},"function":{{"name":"clock","arguments":"{{}}"}}}}' for call_id in ids)
    found = build_calls(b'{"tool_calls":[%s]}' % calls.encode())
    assert [(call.name, call.arguments) for call in found] == [("clock", "{}")] * 2


def test_an_id_that_arrives_late_does_not_merge_two_calls() -> None:
    found = build_calls(
        b'{"tool_calls":[{"index":0,"function":{"name":"look","arguments":"[1"}}]}',
        b'{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"]"}}]}',
        b'{"tool_calls":[{"index":0,"id":"b","function":{"name":"look","arguments":"[2]"}}]}',
    )
    assert found == (ToolCall("a", "look", "[1]"), ToolCall("b", "look", "[2]"))


def test_calls_without_index_and_id_are_distinguished_by_name() -> None:
    found = build_calls(
        b'{"tool_calls":[{"function":{"name":"look","arguments":"{}"}}]}',
        b'{"tool_calls":[{"function":{"name":"clock","arguments":"{"}}]}',
        b'{"tool_calls":[{"function":{"name":"clock","arguments":"}"}}]}',
    )
    assert found == (ToolCall("", "look", "{}"), ToolCall("", "clock", "{}"))


def test_arguments_that_are_not_json_are_unchanged() -> None:
    found = build_calls(b'{"tool_calls":[{"index":0,"id":"c","function":{"name":"clock","arguments":"{oops"}}]}')
    assert found == (ToolCall("c", "clock", "{oops"),)


def test_a_long_id_is_kept() -> None:
    call_id = "x" * 437
    found = build_calls(b'{"tool_calls":[{"index":0,"id":"%s","function":{"name":"f"}}]}' % call_id.encode())
    assert found == (ToolCall(call_id, "f", ""),)


def build_delta(call_id: str, name: str, arguments: str) -> bytes:
    return json.dumps(
        {"tool_calls": [{"index": 0, "id": call_id, "function": {"name": name, "arguments": arguments}}]}
    ).encode()


@pytest.mark.promise("shown-once")
@pytest.mark.parametrize(
    "deltas",
    [
        [build_delta("a", "look", ""), build_delta("b", "look", '{"at"'), build_delta("c", "look", ':"Rome"}')],
        [build_delta("a", "look", '{"at"'), build_delta("b", "look", ':"Ro'), build_delta("c", "look", 'me"}')],
        [
            build_delta("a", "look", '{"at"'),
            build_delta("a", "look", '{"at":"Ro'),
            build_delta("a", "look", '{"at":"Rome"}'),
        ],
        [build_delta("", "look", "{"), build_delta("", "look", '{"at":"Rome"}')],
        [b'{"tool_calls":{"index":0,"id":"a","function":{"name":"look","arguments":"{\\"at\\":\\"Rome\\"}"}}}'],
        [b'{"tool_calls":[{"id":"a","name":"look","arguments":"{\\"at\\":\\"Rome\\"}"}]}'],
        [
            (
                b'{"function_call":{"name":"look","arguments":"{\\"at\\":\\"Rome\\"}"},"tool_calls":[{"index":0,"id":"a",'
                b'"function":{"name":"look","arguments":"{\\"at\\":\\"Rome\\"}"}}]}'
            )
        ],
    ],
)
def test_one_call_in_pieces_stays_one_call(deltas: list[bytes]) -> None:
    found = build_calls(*deltas)
    assert [(each.name, each.arguments) for each in found] == [("look", '{"at":"Rome"}')]


def test_a_custom_tool_has_input_instead_of_arguments() -> None:
    found = build_calls(b'{"tool_calls":[{"id":"c","type":"custom","custom":{"name":"sql","input":"SELECT 1"}}]}')
    assert found == (ToolCall("c", "sql", "SELECT 1"),)


def test_the_older_function_call_field_is_read() -> None:
    found = build_calls(
        b'{"function_call":{"name":"clock","arguments":""}}',
        b'{"function_call":{"arguments":"{"}}',
        b'{"function_call":{"name":null,"arguments":"}"}}',
    )
    assert found == (ToolCall("", "clock", "{}"),)


@pytest.mark.parametrize(
    "delta",
    [
        b"{}",
        b'{"tool_calls":[{"index":0,"id":"","type":"function","function":{"name":"","arguments":""}}]}',
        b'{"tool_calls":[null]}',
        b'{"tool_calls":null}',
        b'{"tool_calls":[]}',
        b'{"function_call":{"name":"","arguments":""}}',
    ],
)
def test_placeholders_are_not_tool_calls(delta: bytes) -> None:
    assert build_calls(delta) == ()
