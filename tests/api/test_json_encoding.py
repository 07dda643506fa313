"""A body is written as the same JSON, whether its texts are long or not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api import request_body
from aiml_cli.api.request_body import encode_body

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\r\t\b\0\x7f\u2028'), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda each: st.lists(each) | st.dictionaries(TEXTS, each)
)


@pytest.mark.promise("stdin")
@given(VALUES)
def test_a_body_encoded_in_pieces_is_the_same_json(body: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_body, "PIECE_CHARS", 3)
        patch.setattr(request_body, "LONG_TEXT", 2)
        encoded = encode_body(body)
        first, again = bytes(encoded), bytes(encoded)
        assert first == again == json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(encoded) == len(first)


@pytest.mark.parametrize("length", [1, request_body.LONG_TEXT + 1])
def test_half_a_character_becomes_a_question_mark(length: int) -> None:
    text = "x" * length
    assert bytes(encode_body({"a": f"{text}\ud83d"})) == b'{"a":"%b?"}' % text.encode()


def test_a_long_body_is_not_affected_by_later_changes_to_its_values() -> None:
    text, messages = "x" * (request_body.LONG_TEXT + 1), [{"role": "user"}]
    encoded = encode_body({"messages": messages, "text": text})
    before = bytes(encoded)
    messages.append({"role": "assistant"})
    assert bytes(encoded) == before
