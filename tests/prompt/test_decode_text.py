"""Bytes become text when they are text, and are refused in words when they are not."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import decode_text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"plain\r\n", "plain\r\n"),
        (b"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8e\x89", "Grüße \U0001f389"),
        (b"\xef\xbb\xbfwith a mark", "with a mark"),
        (b"\xff\xfeG\x00r\x00\xfc\x00", "Grü"),
        (b"\xfe\xff\x00G\x00r\x00\xfc", "Grü"),
        (b"\xff\xfe<\xd8\x89\xdf", "\U0001f389"),
        (b"\xff\xfe", ""),
        (b"a\x1b[31mb\x08", "a\x1b[31mb\x08"),
    ],
)
def test_text_is_read_without_a_word(data: bytes, text: str) -> None:
    assert decode_text(data, "notes.txt") == (text, "")


@pytest.mark.parametrize(
    ("data", "text"), [(b"Gr\xfc\xdfe", "Grüße"), (b"\x80 \x93x\x94", "€ \u201cx\u201d"), (b"a\x81b", "a\ufffdb")]
)
def test_other_text_is_read_as_windows_1252_and_the_user_is_told(data: bytes, text: str) -> None:
    found, notice = decode_text(data, "notes.txt")
    assert found == text
    assert notice.startswith("notes.txt is not UTF-8")
    assert "1252" in notice


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF89a\x01\x00", "image/gif"),
        (b"%PDF-1.7\n%\xe2\xe3", "application/pdf"),
        (b"PK\x03\x04\x14\x00", "zip archive"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x7fELF\x02", "program"),
        (b"text, then\x00zero", "binary"),
    ],
)
def test_what_is_no_text_is_refused_by_name_and_kind(data: bytes, kind: str) -> None:
    with pytest.raises(UsageError) as refused:
        decode_text(data, "thing.bin")
    assert refused.value.message.startswith("thing.bin is ")
    assert kind in refused.value.message


def test_what_a_server_says_of_its_text_holds_where_utf_8_does_not() -> None:
    assert decode_text("да".encode("koi8-r"), "x", "koi8-r") == ("да", "")
    assert decode_text("да".encode(), "x", "koi8-r") == ("да", "")
    assert decode_text(b"\xdf", "x", "no-such-charset")[0] == "ß"


@pytest.mark.parametrize("data", [b"\xff\xfea", b"\xfe\xff\xd8\x00\x00a"])
def test_what_begins_like_utf_16_and_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="UTF-16"):
        decode_text(data, "thing.txt")


@settings(deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=20).map(b"\xff\xfe".__add__))
@example(b"\xff\xfe\x00\xd8")
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    try:
        text, notice = decode_text(data, "x")
    except UsageError:
        return
    assert text.encode().decode() == text
    assert bool(notice) == (data != text.encode() and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")))


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_utf_8_is_never_changed(text: str) -> None:
    data = b"- " + text.encode()
    assert decode_text(data, "x") == (f"- {text}", "")
