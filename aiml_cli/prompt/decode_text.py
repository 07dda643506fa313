"""Decode bytes to text, UTF-8 or UTF-16 or else cp1252; recognize images, PDFs, sounds and other binary data."""

import io
from collections.abc import Callable

from aiml_cli.errors import UsageError

BINARY_MAGIC = {
    b"PK\x03\x04": "a zip archive or an office document",
    b"\x1f\x8b": "compressed with gzip",
    b"\x7fELF": "a program",
}
MEBIBYTE = 1024 * 1024
MAX_INPUT_BYTES = 64 * MEBIBYTE  # of all inputs together; a request takes several times as much memory
MAX_ATTACHMENT_BYTES = 32 * MEBIBYTE  # of one image, PDF or sound
PIECE_BYTES = MEBIBYTE
HEAD_BYTES = 16  # enough to detect a type
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
IMAGE_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
GIF_MAGIC = (b"GIF87a", b"GIF89a")
# The API's names of the audio formats.
AUDIO_FORMATS = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/flac": "flac", "audio/ogg": "ogg"}
SUPPORTED_TYPES_HINT = "what can be attached: text, PNG, JPEG, GIF, WEBP, PDF, WAV, MP3, FLAC, OGG"


def decode_text(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Return the text, and a notice or ""; raise UsageError if the data is not text. `charset` is the server's."""
    if data.startswith(UTF16_MARKS):
        return _decode_utf16(data, name), ""
    kind = detect_type(data) or next((kind for magic, kind in BINARY_MAGIC.items() if data.startswith(magic)), "")
    if kind or b"\0" in data:
        raise UsageError(f"{name} is {kind or 'binary'}, not text", SUPPORTED_TYPES_HINT)
    return decode_any_text(data, name, charset)


def decode_any_text(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Return the text, whatever the data begins with, and a notice or ""."""
    for encoding in filter(None, ("utf-8-sig", charset)):
        try:
            return data.decode(encoding), ""
        except (UnicodeError, LookupError):  # another encoding, or an unknown one
            continue
    return data.decode("cp1252", "replace"), f"{name} is not UTF-8; it is read as Windows-1252"


def _decode_utf16(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise UsageError(f"{name} begins like UTF-16 text but is none", SUPPORTED_TYPES_HINT) from None


class SizeLimit:
    """The number of bytes that may still be read for the prompt, its files and standard input."""

    def __init__(self, limit: int = MAX_INPUT_BYTES) -> None:
        self._limit = self._left = limit

    def read(self, name: str, read_piece: Callable[[int], bytes]) -> bytes:
        """Read to the end; raise UsageError as soon as the limit is exceeded."""
        buffer = io.BytesIO()  # returns its memory without a copy; joining a list would take twice as much
        while data := read_piece(min(PIECE_BYTES, self._left + 1)):
            self.count(name, len(data))
            buffer.write(data)
        return buffer.getvalue()

    def count(self, name: str, count: int) -> None:
        """Subtract bytes that were read; raise UsageError if the limit is exceeded."""
        if count > self._left:
            raise UsageError(
                f"{name}: more than {format_size(self._limit)} of input cannot be sent", "give a part of it"
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
    """Return the media type of an image, a PDF or a sound, "" for anything else."""
    head = data[:HEAD_BYTES]
    return _detect_image(head) or ("application/pdf" if head.startswith(b"%PDF-") else "") or _detect_audio(head)


def _detect_image(head: bytes) -> str:
    if media_type := next((media_type for magic, media_type in IMAGE_MAGIC.items() if head.startswith(magic)), ""):
        return media_type
    # A text may begin with these letters; in an image, the sizes after them contain a zero byte.
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
