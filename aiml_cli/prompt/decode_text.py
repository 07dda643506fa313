"""Decode bytes to text, Unicode or else cp1252; recognize images, PDFs, audio and other binary data."""

import io
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from aiml_cli.errors import UsageError

# The first bytes of files that are neither text nor can be attached.
BINARY_MAGIC = {
    **dict.fromkeys((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), "a zip archive or an office document"),
    b"\x1f\x8b": "compressed with gzip",
    b"\x1f\x9d": "compressed with compress",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    **dict.fromkeys((b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"), "compressed with lz4"),
    b"LZIP\x01": "compressed with lzip",
    b"\x89LZO\0": "compressed with lzop",
    b"\xff\x06\0\0sNaPpY": "compressed with snappy",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"MSCF\0": "a cabinet archive",
    b"!<arch>\n": "an ar archive",
    b"\xed\xab\xee\xdb": "an rpm package",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an office document",
    b"SQLite format 3\0": "a SQLite database",
    b"PAR1": "a Parquet file",
    b"PARE": "a Parquet file",
    b"FEA1": "a Feather file",
    b"ARROW1": "an Arrow or Feather file",
    b"ORC\n": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"CDF\x01": "a NetCDF file",
    b"CDF\x02": "a NetCDF file",
    b"\x93NUMPY": "a NumPy array",
    **{b"\x80" + bytes([version]): "a Python pickle" for version in (2, 3, 4, 5)},
    b"\x7fELF": "a program",
    b"MZ\x90\0": "a program",
    **dict.fromkeys((b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"), "a program"),
    b"\xca\xfe\xba\xbe": "a Java class or a program",
    b"\0asm": "a WebAssembly module",
    b"dex\n0": "an Android program",
    **dict.fromkeys((b"\0\x01\0\0\0", b"OTTO\0", b"ttcf\0", b"true\0", b"wOFF", b"wOF2"), "a font"),
    **dict.fromkeys((b"II*\0", b"MM\0*"), "a TIFF image"),
    b"\0\0\x01\0": "an icon",
    b"8BPS\0": "a Photoshop image",
    b"\x1aE\xdf\xa3": "a video",
    b"FLV\x01": "a video",
    b"MThd\0": "a MIDI file",
    b"\xfe\xed\xfe\xed": "a Java key store",
    b"age-encryption.org/v1\n": "encrypted with age",
    b"Salted__": "encrypted with OpenSSL",
    b"PACK\0": "a git pack",
    b"DIRC\0": "a git index",
}
# Control characters that text in an old encoding may have; any other means binary data.
TEXT_CONTROLS = b"\a\b\t\n\v\f\r\x1a\x1b"
CONTROLS = bytes(code for code in range(32) if code not in TEXT_CONTROLS) + b"\x7f"
SAMPLE_BYTES = 8192  # enough to distinguish text from binary data
PDF_REACH = 1024  # PDF readers accept this many bytes before the header
# The start of an OpenPGP packet that is not armored: an encrypted session key, a signature, a key, encrypted data.
GPG_TAGS = b"\x84\x85\x8c\x8d\x88\x89\x90\x94\x95\x98\x99\x9c\x9d\xa3\xa8\xc1\xc2\xc3\xc4\xc5\xc6\xc8\xc9\xd2"
MEBIBYTE = 1024 * 1024
MAX_INPUT_BYTES = 64 * MEBIBYTE  # of all inputs together; a request needs several times as much memory
MAX_ATTACHMENT_BYTES = 32 * MEBIBYTE  # of one image, PDF or audio file
PIECE_BYTES = MEBIBYTE
HEAD_BYTES = 16  # enough to detect a type
# The longer marks first: the mark of UTF-32 begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
IMAGE_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
GIF_MAGIC = (b"GIF87a", b"GIF89a")
# The API's names of the audio formats.
AUDIO_FORMATS = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/flac": "flac", "audio/ogg": "ogg"}
SUPPORTED_TYPES_HINT = "supported: text, PNG, JPEG, GIF, WEBP, PDF, WAV, MP3, FLAC, OGG"


def decode_text(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Return the text, and a notice or ""; raise UsageError if the data is not text. `charset` is from the server."""
    if kind := describe_binary(data):
        raise UsageError(f"{name} is {kind}, not text", SUPPORTED_TYPES_HINT)
    if encoding := find_wide_encoding(data):
        return _decode_wide(data, name, encoding), ""
    return decode_any_text(data, name, charset)


def describe_binary(data: bytes) -> str:
    """Return the kind of binary data, or "" if it is text."""
    if data.startswith(tuple(BYTE_ORDER_MARKS)):
        return ""
    if kind := detect_type(data) or _find_magic(data):
        return kind
    is_text = find_wide_encoding(data) or not _has_binary_controls(data)
    return "" if is_text else _name_binary(data)


def _find_magic(data: bytes) -> str:
    """Return the kind of data by its first bytes; if these are letters, it may also be text."""
    magic = next((magic for magic in BINARY_MAGIC if data.startswith(magic)), b"")
    is_word = magic.isascii() and not _count_controls(magic)
    return "" if is_word and _is_utf8(data) and not _count_controls(data) else BINARY_MAGIC.get(magic, "")


def describe_start(head: bytes) -> str:
    """Return the kind of binary data that begins with these bytes, or "" if it may be text."""
    cut = next((cut for cut in range(min(4, len(head))) if _is_utf8(head[: len(head) - cut])), 0)
    return describe_binary(head[: len(head) - cut] if cut else head[: len(head) // 4 * 4] or head)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _has_binary_controls(data: bytes) -> bool:
    """True for a zero byte and, if the data is not UTF-8, for other control characters that text does not contain."""
    return b"\0" in data or (not _is_utf8(data) and _count_controls(data) > 0)


def _count_controls(data: bytes) -> int:
    return len(data) - len(data.translate(None, CONTROLS))


def _name_binary(data: bytes) -> str:
    """Return the kind of binary data that has no single prefix."""
    if data[4:8] == b"ftyp":
        return "a video or a HEIC image"
    if data[257:262] == b"ustar":
        return "a tar archive"
    if data[:1] == b"\x30" and data[1:2] in (b"\x81", b"\x82", b"\x83", b"\x80"):
        return "a certificate or a key (DER)"
    return "encrypted or signed with GPG" if data[0] in GPG_TAGS else "binary"


def find_wide_encoding(data: bytes) -> str:
    """Return the encoding of UTF-16 or UTF-32 text, with a byte order mark or without; "" for anything else.

    Without a mark, the decoded text must contain ASCII characters and no control characters.
    """
    if mark := next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), b""):
        is_short = BYTE_ORDER_MARKS[mark] == "utf-32" and not _is_wide(data, "utf-32", 4)
        return "utf-16" if is_short and mark.startswith(b"\xff\xfe") else BYTE_ORDER_MARKS[mark]
    if b"\0" not in data[:SAMPLE_BYTES]:
        return ""
    encodings = (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2))
    found = ((_count_ascii(data, name, width), name) for name, width in encodings if _is_wide(data, name, width))
    return max(found, default=(0, ""))[1]


def _is_wide(data: bytes, encoding: str, width: int) -> bool:
    if len(data) % width:
        return False
    try:
        text = data[: SAMPLE_BYTES - 2 * width].decode(encoding) if len(data) > SAMPLE_BYTES else data.decode(encoding)
    except UnicodeDecodeError as error:  # the sample may end inside a surrogate pair
        if len(data) <= SAMPLE_BYTES or error.reason != "unexpected end of data":
            return False
        text = data[: error.start].decode(encoding)
    controls = CONTROLS.decode("ascii") + "\ufffe\uffff"
    return _count_ascii(data, encoding, width) > 0 and not any(map(controls.__contains__, text)) and _is_assigned(text)


def _is_assigned(text: str) -> bool:
    """True if Unicode assigns all characters; binary data soon contains unassigned ones."""
    from unicodedata import category  # few texts have this encoding

    return all(category(char) not in ("Cn", "Co", "Cs") for char in text)


def _count_ascii(data: bytes, encoding: str, width: int) -> int:
    """Return how many characters of the sample are ASCII."""
    text = data[: SAMPLE_BYTES // width * width].decode(encoding, "ignore")
    return sum(char.isascii() for char in text)


def decode_any_text(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Decode data of any kind; return the text, and a notice or ""."""
    for encoding in filter(None, ("utf-8-sig", charset)):
        try:
            return data.decode(encoding), ""
        except (UnicodeError, LookupError):  # another encoding, or an unknown one
            continue
    return data.decode("cp1252", "replace"), f"{name} is not UTF-8; it is read as Windows-1252"


def _decode_wide(data: bytes, name: str, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        message = f"{name} begins like {encoding[:6].upper()} text but cannot be decoded"
        raise UsageError(message, SUPPORTED_TYPES_HINT) from None


def _decode_pieces(pieces: Iterator[bytes]) -> str | bytes:
    """Return UTF-8 without zero bytes as text, and anything else as bytes."""
    text, decoder = "", getincrementaldecoder("utf-8")()
    for piece in chain(pieces, [b""]):
        pending = decoder.getstate()[0]
        try:
            decoded = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            decoded = "\0"
        if "\0" in decoded:
            return _join_pieces(chain([text.encode(), pending, piece], pieces))
        text += decoded  # in place, because nothing else refers to the text
    return text


def _join_pieces(pieces: Iterable[bytes]) -> bytes:
    buffer = io.BytesIO()  # returns its memory without a copy; joining a list would need twice as much
    buffer.writelines(pieces)
    return buffer.getvalue()


class SizeLimit:
    """The number of bytes that may still be read for the prompt, its files and standard input."""

    def __init__(self, limit: int = MAX_INPUT_BYTES) -> None:
        self._limit = self._left = limit

    def read(self, name: str, read_piece: Callable[[int], bytes]) -> bytes:
        """Read to the end; raise UsageError as soon as the limit is exceeded."""
        return _join_pieces(self._read_pieces(name, read_piece))

    def read_text(self, name: str, read_piece: Callable[[int], bytes]) -> str | bytes:
        """Read to the end; return long UTF-8 as text, and anything else as bytes; raise UsageError as `read` does.

        A long text is decoded while it is read: its bytes and its characters are never in memory together.
        """
        pieces = self._read_pieces(name, read_piece)
        head = next(pieces, b"")
        if (
            len(head) < PIECE_BYTES
            or describe_start(head)
            or head.startswith((BOM_UTF8, *BYTE_ORDER_MARKS, *BINARY_MAGIC))
        ):
            return _join_pieces(chain([head], pieces))
        return _decode_pieces(chain([head], pieces))

    def _read_pieces(self, name: str, read_piece: Callable[[int], bytes]) -> Iterator[bytes]:
        """Yield pieces of full length and a shorter one at the end; a pipe returns less at a time."""
        buffer = b""
        while data := read_piece(min(PIECE_BYTES, self._left + 1)):
            self.count(name, len(data))
            buffer += data
            if len(buffer) >= PIECE_BYTES:
                yield buffer
                buffer = b""
        if buffer:
            yield buffer

    def count(self, name: str, count: int) -> None:
        """Subtract bytes that were read; raise UsageError if the limit is exceeded."""
        if count > self._left:
            raise UsageError(
                f"{name}: more than {format_size(self._limit)} of input cannot be sent", "send a part of it"
            )
        self._left -= count


def format_size(count: int) -> str:
    """Format a number of bytes as file managers do, 123 kB or 4.5 MB, but a multiple of 1 MiB in MiB."""
    if count >= MEBIBYTE and count % MEBIBYTE == 0:
        return f"{count // MEBIBYTE} MiB"
    for unit, length in (("MB", 1_000_000), ("kB", 1000)):
        if count >= length:
            return f"{count / length:.1f} {unit}" if count < 10 * length else f"{count / length:.0f} {unit}"
    return f"{count} bytes"


def detect_type(data: bytes) -> str:
    """Return the media type of an image, a PDF or audio, or "" for anything else."""
    head = data[:HEAD_BYTES]
    return _detect_image(head) or ("application/pdf" if _is_pdf(data) else "") or _detect_audio(head)


def _is_pdf(data: bytes) -> bool:
    """True if the header is at the start, or after whitespace or binary data; text may quote it after words."""
    start = data.find(b"%PDF-", 0, PDF_REACH)
    before = data[:start].removeprefix(b"\xef\xbb\xbf") if start > 0 else b""
    is_text = before.strip().isascii() and not _count_controls(before) and before.strip()
    return start == 0 or (start > 0 and (not is_text or b" obj" in data[start : start + SAMPLE_BYTES]))


def _detect_image(head: bytes) -> str:
    if media_type := next((media_type for magic, media_type in IMAGE_MAGIC.items() if head.startswith(magic)), ""):
        return media_type
    # Text may begin with these letters; in an image, the sizes after them contain a zero byte.
    if head.startswith(GIF_MAGIC) and b"\0" in head[6:13]:
        return "image/gif"
    return "image/webp" if _riff_type(head) == b"WEBP" else ""


def _detect_audio(head: bytes) -> str:
    if _riff_type(head) == b"WAVE":
        return "audio/wav"
    if (head.startswith(b"ID3") and head[3:4] in (b"\2", b"\3", b"\4")) or _is_mp3_frame(head):
        return "audio/mpeg"
    if head.startswith(b"fLaC") and head[4:5] in (b"\0", b"\x80"):
        return "audio/flac"
    return "audio/ogg" if head.startswith(b"OggS\0") else ""


def _riff_type(head: bytes) -> bytes:
    return head[8:12] if head.startswith(b"RIFF") else b""


def _is_mp3_frame(head: bytes) -> bool:
    """True for the header of an MP3 frame, with valid rates; false for UTF-16's byte order mark."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # noqa: PLR2004 - ISO 11172-3, 2.4.2.3
        return False
    is_reserved = head[1] & 0x18 == 0x08  # noqa: PLR2004 - no such version
    return not is_reserved and head[2] >> 4 not in (0, 15) and head[2] & 0x0C != 0x0C  # noqa: PLR2004 - no such rates
