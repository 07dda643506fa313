"""Audio is joined from pieces of Base64, however it was cut or padded."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api.audio_builder import Base64Decoder, decode_base64


def decode_pieces(*pieces: str) -> bytes:
    """Return the audio that the pieces join to."""
    decoder = Base64Decoder()
    for piece in pieces:
        decoder.feed(piece)
    return decoder.finish()


@given(st.binary(max_size=40), st.lists(st.integers(0, 60), max_size=6))
def test_audio_may_be_split_anywhere(data: bytes, cuts: list[int]) -> None:
    text = base64.b64encode(data).decode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert decode_pieces(*(text[start:end] for start, end in pairwise(places))) == data


@given(st.lists(st.binary(max_size=7), max_size=5))
def test_each_piece_may_be_padded_on_its_own(pieces: list[bytes]) -> None:
    assert decode_pieces(*(base64.b64encode(piece).decode() for piece in pieces)) == b"".join(pieces)


@pytest.mark.parametrize(
    ("text", "data"),
    [("QUI", b"AB"), ("QU\nI=", b"AB"), ("-_8=", b"\xfb\xff"), ("", b""), ("!", b""), ("\u00e9\ud83c", b"")],
)
def test_invalid_base64_is_ignored(text: str, data: bytes) -> None:
    assert decode_pieces(text) == decode_base64(text) == data
