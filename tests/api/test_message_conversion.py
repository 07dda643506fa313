"""Messages are converted to the form of the endpoint that they are sent to."""

from typing import Any

import pytest

from aiml_cli.api.message_conversion import to_chat_messages, to_input_items
from aiml_cli.api.messages import Conversation, Document, Image, Message, Part, RawMessage, Sound, ToolResult

PDF_URL = "data:application/pdf;base64,JVBERg=="
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
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}},
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL},
    ),
    (
        Sound("UklGRg==", "wav"),
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ),
]


@pytest.mark.parametrize(("part", "chat_part", "responses_part"), PARTS)
def test_each_part_is_converted_to_the_form_of_the_endpoint(
    part: Part, chat_part: dict[str, Any], responses_part: dict[str, Any]
) -> None:
    conversation = Conversation().add_message("user", part, Image("x"))
    assert to_chat_messages(conversation)[0]["content"][0] == chat_part
    (item,) = to_input_items(conversation)
    assert isinstance(item, dict)
    assert item["content"][0] == responses_part


@pytest.mark.parametrize(("part", "chat_part", "responses_part"), PARTS)
def test_a_part_of_a_file_is_converted_both_ways(
    part: Part, chat_part: dict[str, Any], responses_part: dict[str, Any]
) -> None:
    for found in (chat_part, responses_part):
        conversation = Conversation((RawMessage({"role": "user", "content": [found]}),))
        assert to_chat_messages(conversation) == [{"role": "user", "content": [chat_part]}]
        assert to_input_items(conversation) == [{"role": "user", "content": [responses_part]}]


def test_content_that_is_only_text_stays_a_string() -> None:
    conversation = Conversation().add_message("user", "hi")
    assert to_chat_messages(conversation) == [{"role": "user", "content": "hi"}]
    assert to_input_items(conversation) == "hi"
    assert to_input_items(conversation.extend(ToolResult("c", "1"))) == [
        {"role": "user", "content": "hi"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ]


FIRST_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SECOND_CALL = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "[1]"}}
CHAT_MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [FIRST_CALL, SECOND_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "1"},
    {"role": "tool", "tool_call_id": "c2", "content": "2"},
    {"role": "assistant", "content": None, "tool_calls": [FIRST_CALL]},
]
RESPONSES_ITEMS = [
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


@pytest.mark.parametrize("turns", [CHAT_MESSAGES, RESPONSES_ITEMS], ids=["chat", "responses"])
def test_a_conversation_with_tools_goes_to_either_endpoint(turns: list[dict[str, Any]]) -> None:
    conversation = Conversation(tuple(map(RawMessage, turns)))
    assert to_chat_messages(conversation) == CHAT_MESSAGES
    assert to_input_items(conversation) == RESPONSES_ITEMS


def test_parts_of_the_assistant_become_its_text() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    conversation = Conversation((RawMessage({"role": "assistant", "content": parts}),))
    assert to_input_items(conversation) == [{"role": "assistant", "content": "Hello"}]


def test_an_output_message_is_sent_to_chat_without_its_id() -> None:
    part = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [part]}
    conversation = Conversation((RawMessage(item),))
    assert to_chat_messages(conversation) == [{"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}]
    assert to_input_items(conversation) == [item]


UNCONVERTIBLE_ITEMS = [
    {"type": "reasoning", "id": "r", "summary": []},
    {"type": "item_reference", "id": "m"},
    {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "u"}}]},
    {"role": "assistant", "content": None},
    {"role": "x", "new": 1},
]


@pytest.mark.parametrize("item", UNCONVERTIBLE_ITEMS)
def test_items_without_a_counterpart_are_passed_on_unchanged(item: dict[str, Any]) -> None:
    conversation = Conversation((RawMessage(item),))
    assert to_chat_messages(conversation) == [item]
    assert to_input_items(conversation) == [item]


def test_the_messages_of_the_user_are_not_modified() -> None:
    first: dict[str, Any] = {"role": "assistant", "content": "x", "tool_calls": [FIRST_CALL]}
    conversation = Conversation((RawMessage(first), RawMessage(RESPONSES_ITEMS[5]), Message("user", ("go on",))))
    assert len(to_chat_messages(conversation)[0]["tool_calls"]) == 2
    assert first["tool_calls"] == [FIRST_CALL]
