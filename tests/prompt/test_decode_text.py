"""Bytes are decoded if they are text, and refused with a clear message if not."""

import io
import pickle
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import PIECE_BYTES, SizeLimit, decode_text, detect_type, find_wide_encoding

if TYPE_CHECKING:
    from collections.abc import Callable


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
def test_utf_8_text_is_read_without_a_notice(data: bytes, text: str) -> None:
    assert decode_text(data, "notes.txt") == (text, "")


@pytest.mark.parametrize(
    ("data", "text"), [(b"Gr\xfc\xdfe", "Grüße"), (b"\x80 \x93x\x94", "€ \u201cx\u201d"), (b"a\x81b", "a\ufffdb")]
)
def test_other_text_is_read_as_windows_1252_with_a_notice(data: bytes, text: str) -> None:
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
def test_binary_data_is_refused_with_its_name_and_type(data: bytes, kind: str) -> None:
    with pytest.raises(UsageError) as refused:
        decode_text(data, "thing.bin")
    assert refused.value.message.startswith("thing.bin is ")
    assert kind in refused.value.message


def test_the_charset_of_a_server_is_used_if_the_text_is_not_utf_8() -> None:
    assert decode_text("да".encode("koi8-r"), "x", "koi8-r") == ("да", "")
    assert decode_text("да".encode(), "x", "koi8-r") == ("да", "")
    assert decode_text(b"\xdf", "x", "no-such-charset")[0] == "ß"


@pytest.mark.parametrize("data", [b"\xff\xfea", b"\xfe\xff\xd8\x00\x00a"])
def test_data_that_only_begins_like_utf_16_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="UTF-16"):
        decode_text(data, "thing.txt")


@settings(deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=20).map(b"\xff\xfe".__add__))
@example(b"\xff\xfe\x00\xd8")
@example(b"\x00 ")
@example(b" \0\0\0")
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        text, notice = decode_text(data, "x")
    except UsageError:
        return
    assert text.encode().decode() == text
    is_unicode = data.startswith(b"\xef\xbb\xbf") or bool(find_wide_encoding(data))
    assert bool(notice) == (data != text.encode() and not is_unicode)


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_utf_8_is_never_changed(text: str) -> None:
    data = b"- " + text.encode()
    assert decode_text(data, "x") == (f"- {text}", "")


RANDOM = random.Random(5)  # noqa: S311 - the tests are to be the same each time
UTF_ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("byte_order_mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", UTF_ENCODINGS)
@pytest.mark.parametrize(
    "text", ["Hi", "Grüße, 1 € 😀\r\n", "Привет, мир!\n", "你好世界 1\n", "שלום עולם\n", "x" * 30_001]
)
def test_unicode_is_read_in_every_width_and_order(text: str, encoding: str, byte_order_mark: str) -> None:
    data = (byte_order_mark + text).encode(encoding)
    if byte_order_mark and encoding[-2:] not in ("le", "be"):
        data = text.encode(encoding)
    assert decode_text(data, "x") == (text, "")


BINARY_DATA = [
    (b"\x28\xb5\x2f\xfd\x04\x58\x41\0\0abc", "zstd"),
    (b"\xfd7zXZ\0\0\x04", "xz"),
    (b"BZh91AY&SY\x01\x02\xff", "bzip2"),
    (b"\x04\x22\x4d\x18\x64\x40\xa7", "lz4"),
    (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
    (b"Rar!\x1a\x07\x01\0", "rar"),
    (b"SQLite format 3\0\x10\0", "SQLite"),
    (b"PAR1\x15\x04\x15\x10", "Parquet"),
    (b"ARROW1\0\0\xff\xff", "Arrow"),
    (b"\xca\xfe\xba\xbe\0\0\0\x3d", "Java"),
    (b"\0asm\x01\0\0\0", "WebAssembly"),
    (pickle.dumps({"a": [1, 2]}), "pickle"),
    (b"\x93NUMPY\x01\0v\0{", "NumPy"),
    (b"OTTO\0\x0b\0\x80", "font"),
    (b"\0\x01\0\0\0\x11\x01\0", "font"),
    (b"wOF2\0\x01\0\0", "font"),
    (b"\x30\x82\x03\x1a\x30\x82\x02\x02\xa0\x03\x02\x01\x02\x02\x01\x01", "DER"),
    (b"\x85\x01\x0c\x03\x5b\x9a\x11\xd2\x07\xfe\x91\x01\x07\xff", "GPG"),
    (b"\x8c\x0d\x04\x09\x03\x02\x9b\xc1\x44\xfe\x01\xd2\x60", "GPG"),
    (b"\xca\xfe\xba\xbf\x01", "binary"),
    (b"MZ\x90\0\x03\0\0\0", "program"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
    (b"name\0" + b"\0" * 252 + b"ustar\x0000", "tar"),
    (RANDOM.randbytes(64), "binary"),
    (RANDOM.randbytes(5000), "binary"),
    (bytes(100), "binary"),
    (b"\x01\x02\xfe\xff", "binary"),
    (b"\0\0\0", "binary"),
    (b"text " * 100 + b"\0", "binary"),
]


@pytest.mark.promise("binary-rows")
@pytest.mark.parametrize(("data", "kind"), BINARY_DATA)
def test_binary_data_is_never_read_as_text(data: bytes, kind: str) -> None:
    with pytest.raises(UsageError) as refused:
        decode_text(data, "thing.bin")
    assert refused.value.message.startswith("thing.bin is ")
    assert kind in refused.value.message


@pytest.mark.promise("binary-rows")
@settings(deadline=None)
@given(st.binary(min_size=300, max_size=2000))
def test_data_with_zeros_is_refused_or_read_whole(data: bytes) -> None:
    try:
        text, _ = decode_text(data + b"\0\xd8\0\xd8", "x")
    except UsageError:
        return
    assert "\0" not in text or data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))


@pytest.mark.parametrize(
    "text",
    ["Grüße\n", "naïve café — déjà vu", "Größe: 5 µm\r\n\tÄrger\n", "\x1b[1mfett\x1b[0m für"],
)
def test_text_of_old_files_with_control_characters_is_text(text: str) -> None:
    assert decode_text(text.encode("cp1252"), "x")[0] == text


@pytest.mark.parametrize(
    "prefix", [b"\n", b"\xef\xbb\xbf", b"  \r\n", b"\0\0\0", b"\xff\x01junk\n", b"\x1b%-12345X@PJL\r\n\x01"]
)
def test_a_pdf_may_begin_after_a_few_bytes(prefix: bytes) -> None:
    assert detect_type(prefix + b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n") == "application/pdf"


def test_a_text_that_quotes_the_header_of_a_pdf_is_text() -> None:
    text = b"A PDF begins with %PDF-1.7, and ends with %%EOF."
    assert (detect_type(text), decode_text(text, "x")) == ("", (text.decode(), ""))


LONG_TEXT = "words “and” 日本語 😀\n" * (PIECE_BYTES // 20)


def build_slow_reader(data: bytes, size: int) -> "Callable[[int], bytes]":
    """Return a function that reads at most `size` bytes at a time, as a pipe does."""
    source = io.BytesIO(data)
    return lambda limit: source.read(min(size, limit))


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("size", [997, 65_536, PIECE_BYTES + 3])
@pytest.mark.parametrize(
    "text", [LONG_TEXT, LONG_TEXT.replace("😀", "x"), "x" * PIECE_BYTES, "x" * 2 * PIECE_BYTES, LONG_TEXT + "😀"]
)
def test_a_long_text_is_decoded_while_it_is_read(text: str, size: int) -> None:
    data = text.encode()
    assert SizeLimit().read_text("x", build_slow_reader(data, size)) == text
    assert decode_text(data, "x") == (text, "")


SHORT_AND_BINARY_DATA = [
    b"", b"short", "é".encode(), b"x" * (PIECE_BYTES - 1),
    b"\xef\xbb\xbf" + LONG_TEXT.encode(), LONG_TEXT.encode("utf-16"), LONG_TEXT.encode("utf-32-le"), b"PK\x03\x04" + LONG_TEXT.encode(),
    b"BZh" + LONG_TEXT.encode(), b"%PDF-1.7\n" + LONG_TEXT.encode(), b"\x89PNG\r\n\x1a\n" + LONG_TEXT.encode(), b"\0" * PIECE_BYTES * 2,
    LONG_TEXT.encode() + b"\xff" + LONG_TEXT.encode(), LONG_TEXT.encode() + "é".encode("cp1252"), LONG_TEXT.encode() + "😀".encode()[:3],
    LONG_TEXT.encode() + b"\0" + LONG_TEXT.encode(), b"x" * (PIECE_BYTES - 1) + b"\xe2" + b"\x80" + b"x" * PIECE_BYTES,
]  # fmt: skip


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("size", [997, 65_536, PIECE_BYTES + 3])
@pytest.mark.parametrize("data", SHORT_AND_BINARY_DATA, ids=range(len(SHORT_AND_BINARY_DATA)))
def test_short_data_and_binary_data_keep_every_byte(data: bytes, size: int) -> None:
    assert SizeLimit().read_text("x", build_slow_reader(data, size)) == data


def test_a_long_text_is_refused_as_soon_as_it_is_too_long() -> None:
    endless = iter(lambda: b"x" * 100_000, b"")
    with pytest.raises(UsageError, match="more than 3 MiB"):
        SizeLimit(3 * PIECE_BYTES).read_text("x", lambda _: next(endless))
