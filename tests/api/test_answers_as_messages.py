"""Answers are converted to messages that continue the conversation."""

from typing import Any

import pytest

from aiml_cli.api.completion_builder import Choice, Completion, ToolCall
from aiml_cli.api.message_conversion import answer_to_items, get_role_and_text, is_longer_than, to_raw_items
from aiml_cli.api.messages import AnyMessage, Conversation, Document, Image, Message, RawMessage, ToolResult

TOOL_OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "42"}
MESSAGE_IN_PARTS = {
    "role": "user",
    "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
}


@pytest.mark.parametrize(
    ("turn", "role", "text"),
    [
        (Message("user", ("a", Image("https://x/y.png"), "b")), "user", "a\n\nb"),
        (ToolResult("c", "42"), "tool", "42"),
        (RawMessage({"role": "system", "content": "Be brief"}), "system", "Be brief"),
        (RawMessage(MESSAGE_IN_PARTS), "user", "a\n\nb"),
        (RawMessage(TOOL_OUTPUT), "tool", "42"),
        (RawMessage({"type": "function_call", "call_id": "c"}), "assistant", ""),
    ],
)
def test_each_turn_has_a_role_and_a_text(turn: AnyMessage, role: str, text: str) -> None:
    assert get_role_and_text(turn) == (role, text)


def test_a_given_item_is_kept_unchanged() -> None:
    assert to_raw_items(RawMessage(TOOL_OUTPUT)) == [TOOL_OUTPUT]


def test_a_message_is_kept_in_the_form_of_chat() -> None:
    document = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
    message = Message("user", (Document("a.pdf", "AA=="), "read"))
    assert to_raw_items(message) == [{"role": "user", "content": [document, {"type": "text", "text": "read"}]}]


def test_the_output_of_a_response_is_unchanged() -> None:
    output: Any = ({"type": "reasoning", "id": "rs_1"}, {"type": "web_search_call", "id": "ws_1"})
    assert answer_to_items("responses", Completion(output=output)) == list(output)


def test_an_answer_of_chat_is_kept_as_its_message() -> None:
    function = {"name": "f", "arguments": "{}"}
    completion = Completion(choices=(Choice(text="Hi", tool_calls=(ToolCall("c", "f", "{}"),)),))
    calls = [{"id": "c", "type": "function", "function": function}]
    assert answer_to_items("chat", completion) == [{"role": "assistant", "content": "Hi", "tool_calls": calls}]
    assert answer_to_items("chat", Completion()) == []


def test_a_refusal_is_kept_as_a_refusal() -> None:
    parts = [{"type": "text", "text": "Hm"}, {"type": "refusal", "refusal": "No."}]
    completion = Completion(choices=(Choice(text="Hm", refusal="No."),))
    assert answer_to_items("chat", completion) == [{"role": "assistant", "content": parts}]


def test_the_size_of_a_conversation_counts_all_its_parts() -> None:
    turns = (
        Message("user", ("12345", Image("12345"))),
        RawMessage({"content": [{"text": "12345"}]}),
        ToolResult("c", "1234"),
    )
    assert is_longer_than(Conversation(turns), 23)
    assert not is_longer_than(Conversation(turns), 24)
