"""Messages are converted to the form of the endpoint that they are sent to."""

from typing import Any

import pytest

from aiml_cli.api.message_conversion import to_chat_messages, to_input_items
from aiml_cli.api.messages import Conversation, Document, Image, Message, Part, RawMessage, Sound, ToolResult

DATA = "data:application/pdf;base64,JVBERg=="
PARTS: list[tuple[Part, dict[str, Any], dict[str, Any]]] = [
    ("hi", {"type": "text", "text": "hi"}, {"type": "input_text", "text": "hi"}),
    (
        Image("u"),
        {"type": "image_url", "image_url": {"url": "u"}},
        {"type": "input_image", "image_url": "u"},
    ),
    (
        Image("u", "low"),
        {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
        {"type": "input_image", "image_url": "u", "detail": "low"},
    ),
    (
        Document("a.pdf", "JVBERg=="),
        {"type": "file", "file": {"filename": "a.pdf", "file_data": DATA}},
        {"type": "input_file", "filename": "a.pdf", "file_data": DATA},
    ),
    (
        Sound("UklGRg==", "wav"),
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ),
]


@pytest.mark.parametrize(("part", "on_chat", "on_responses"), PARTS)
def test_each_part_is_converted_to_the_form_of_the_endpoint(
    part: Part, on_chat: dict[str, Any], on_responses: dict[str, Any]
) -> None:
    said = Conversation().add_message("user", part, Image("x"))
    assert to_chat_messages(said)[0]["content"][0] == on_chat
    (item,) = to_input_items(said)
    assert isinstance(item, dict)
    assert item["content"][0] == on_responses


@pytest.mark.parametrize(("part", "on_chat", "on_responses"), PARTS)
def test_a_part_of_a_file_is_converted_both_ways(
    part: Part, on_chat: dict[str, Any], on_responses: dict[str, Any]
) -> None:
    for found in (on_chat, on_responses):
        given = Conversation((RawMessage({"role": "user", "content": [found]}),))
        assert to_chat_messages(given) == [{"role": "user", "content": [on_chat]}]
        assert to_input_items(given) == [{"role": "user", "content": [on_responses]}]


def test_content_that_is_only_text_stays_a_string() -> None:
    said = Conversation().add_message("user", "hi")
    assert to_chat_messages(said) == [{"role": "user", "content": "hi"}]
    assert to_input_items(said) == "hi"
    assert to_input_items(said.extend(ToolResult("c", "1"))) == [
        {"role": "user", "content": "hi"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ]


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OTHER = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "[1]"}}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, OTHER]},
    {"role": "tool", "tool_call_id": "c1", "content": "1"},
    {"role": "tool", "tool_call_id": "c2", "content": "2"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
]
ITEMS = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "Let me see."},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "[1]"},
    {"type": "function_call_output", "call_id": "c1", "output": "1"},
    {"type": "function_call_output", "call_id": "c2", "output": "2"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
]


@pytest.mark.parametrize("turns", [CHAT, ITEMS], ids=["chat", "responses"])
def test_a_conversation_with_tools_goes_to_either_endpoint(turns: list[dict[str, Any]]) -> None:
    given = Conversation(tuple(map(RawMessage, turns)))
    assert to_chat_messages(given) == CHAT
    assert to_input_items(given) == ITEMS


def test_parts_of_the_assistant_become_its_text() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    given = Conversation((RawMessage({"role": "assistant", "content": parts}),))
    assert to_input_items(given) == [{"role": "assistant", "content": "Hello"}]


def test_an_output_message_is_sent_to_chat_without_its_id() -> None:
    part = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [part]}
    given = Conversation((RawMessage(item),))
    assert to_chat_messages(given) == [{"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}]
    assert to_input_items(given) == [item]


OWN = [
    {"type": "reasoning", "id": "r", "summary": []},
    {"type": "item_reference", "id": "m"},
    {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "u"}}]},
    {"role": "assistant", "content": None},
    {"role": "x", "new": 1},
]


@pytest.mark.parametrize("item", OWN)
def test_items_without_a_counterpart_are_passed_on_unchanged(item: dict[str, Any]) -> None:
    given = Conversation((RawMessage(item),))
    assert to_chat_messages(given) == [item]
    assert to_input_items(given) == [item]


def test_the_messages_of_the_user_are_not_modified() -> None:
    first: dict[str, Any] = {"role": "assistant", "content": "x", "tool_calls": [CALL]}
    given = Conversation((RawMessage(first), RawMessage(ITEMS[5]), Message("user", ("go on",))))
    assert len(to_chat_messages(given)[0]["tool_calls"]) == 2
    assert first["tool_calls"] == [CALL]
