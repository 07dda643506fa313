"""The type of a file follows from its first bytes, and text is never taken for anything else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.prompt.decode_text import detect_type

DATA_AND_TYPES = [
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
    (b"GIF89a\x01\0\x01\0\x80\0\0", "image/gif"),
    (b"GIF87a\x10\0\x10\0\xf0\0\0", "image/gif"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    (b"%PDF-1.7\n%\xe2\xe3", "application/pdf"),
    (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
    (b"ID3\x04\0\0\0\0\0\x23", "audio/mpeg"),
    (b"\xff\xfb\x90\x44\0\0\0\0", "audio/mpeg"),
    (b"\xff\xf3\x40\xc0\0\0\0\0", "audio/mpeg"),
    (b"fLaC\0\0\0\x22\x10\0", "audio/flac"),
    (b"OggS\0\x02\0\0\0\0", "audio/ogg"),
]


@pytest.mark.parametrize(("data", "kind"), DATA_AND_TYPES)
def test_the_type_of_a_file_follows_from_its_first_bytes(data: bytes, kind: str) -> None:
    assert detect_type(data) == kind


TEXTS_ABOUT_FORMATS = [
    "",
    "GIF89a or GIF87a?",
    "ID3 tags",
    "RIFF is a format",
    "OggSpeex",
    "fLaC files",
    "ÿûbercp",
    "RIFFxxxxAVI LIST",
]


@pytest.mark.parametrize("text", TEXTS_ABOUT_FORMATS)
def test_a_text_about_a_format_is_a_text(text: str) -> None:
    assert detect_type(text.encode()) == ""


@pytest.mark.parametrize("byte_order_mark", [b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0"])
def test_the_byte_order_mark_of_utf_16_is_not_taken_for_audio(byte_order_mark: bytes) -> None:
    assert detect_type(byte_order_mark + b"a\0b\0c\0") == ""


@settings(deadline=None)
@given(st.text())
def test_utf_8_text_is_never_taken_for_audio_or_an_image(text: str) -> None:
    data = f"x{text}".encode()
    assert detect_type(data) == ""


@pytest.mark.parametrize(
    "data", [b"\xff\xfb\xf0\x44", b"\xff\xfb\x00\x44", b"\xff\xfb\x9c\x44", b"\xff\xea\x90\x44", b"\xff"]
)
def test_an_audio_frame_with_an_invalid_rate_is_not_audio(data: bytes) -> None:
    assert detect_type(data) == ""
