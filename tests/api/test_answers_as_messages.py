"""What was said becomes items that say it again."""

from typing import Any

import pytest

from aiml_cli.api.completion_builder import Call, Choice, Completion
from aiml_cli.api.message_conversion import is_larger, items, items_of, words_of
from aiml_cli.api.messages import Conversation, Document, Given, Image, Message, ToolResult, Turn

FLAT = {"type": "function_call_output", "call_id": "c", "output": "42"}
PARTS = {
    "role": "user",
    "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
}


@pytest.mark.parametrize(
    ("turn", "role", "words"),
    [
        (Message("user", ("a", Image("https://x/y.png"), "b")), "user", "a\n\nb"),
        (ToolResult("c", "42"), "tool", "42"),
        (Given({"role": "system", "content": "Be brief"}), "system", "Be brief"),
        (Given(PARTS), "user", "a\n\nb"),
        (Given(FLAT), "tool", "42"),
        (Given({"type": "function_call", "call_id": "c"}), "assistant", ""),
    ],
)
def test_each_turn_has_a_role_and_words(turn: Turn, role: str, words: str) -> None:
    assert words_of(turn) == (role, words)


def test_a_given_item_is_kept_as_it_was() -> None:
    assert items_of(Given(FLAT)) == [FLAT]


def test_a_message_is_kept_in_the_form_of_chat() -> None:
    document = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
    said = Message("user", (Document("a.pdf", "AA=="), "read"))
    assert items_of(said) == [{"role": "user", "content": [document, {"type": "text", "text": "read"}]}]


def test_the_output_of_a_response_is_kept_as_it_came() -> None:
    output: Any = ({"type": "reasoning", "id": "rs_1"}, {"type": "web_search_call", "id": "ws_1"})
    assert items("responses", Completion(output=output)) == list(output)


def test_an_answer_of_chat_is_kept_as_its_message() -> None:
    function = {"name": "f", "arguments": "{}"}
    said = Completion(choices=(Choice(text="Hi", tool_calls=(Call("c", "f", "{}"),)),))
    calls = [{"id": "c", "type": "function", "function": function}]
    assert items("chat", said) == [{"role": "assistant", "content": "Hi", "tool_calls": calls}]
    assert items("chat", Completion()) == []


def test_a_refusal_is_kept_as_one() -> None:
    parts = [{"type": "text", "text": "Hm"}, {"type": "refusal", "refusal": "No."}]
    said = Completion(choices=(Choice(text="Hm", refusal="No."),))
    assert items("chat", said) == [{"role": "assistant", "content": parts}]


def test_all_that_is_said_counts_to_its_size() -> None:
    turns = (
        Message("user", ("12345", Image("12345"))),
        Given({"content": [{"text": "12345"}]}),
        ToolResult("c", "1234"),
    )
    assert is_larger(Conversation(turns), 23)
    assert not is_larger(Conversation(turns), 24)
