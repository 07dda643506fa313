"""A body is written as the same JSON, whether its texts are long or not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api import request_body
from aiml_cli.api.request_body import encode_body

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda each: st.lists(each) | st.dictionaries(TEXTS, each)
)


@pytest.mark.promise("stdin")
@given(VALUES)
def test_a_text_in_pieces_is_the_same_text(body: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_body, "PIECE_CHARS", 3)
        assert encode_body(body) == json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def test_half_a_character_becomes_a_question_mark() -> None:
    assert encode_body({"a": "x\ud83d"}) == b'{"a":"x?"}'
