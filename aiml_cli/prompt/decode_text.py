"""Turn bytes into text: UTF-8, UTF-16 by its mark, else cp1252; refuse what is no text."""

import io
from collections.abc import Callable

from aiml_cli.errors import UsageError

MAGIC = {
    b"PK\x03\x04": "a zip archive or an office document",
    b"\x1f\x8b": "compressed with gzip",
    b"\x7fELF": "a program",
}
MEBIBYTE = 1024 * 1024
MOST = 64 * MEBIBYTE  # of everything together; a request is some times as large in memory
MOST_ATTACHED = 32 * MEBIBYTE  # of one image, PDF or sound
PIECE = MEBIBYTE
HEAD = 16  # bytes that are enough to tell
IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
GIFS = (b"GIF87a", b"GIF89a")
# The formats of audio, as the API calls them.
SOUNDS = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/flac": "flac", "audio/ogg": "ogg"}
WHAT_CAN_BE_SENT = "what can be attached: text, PNG, JPEG, GIF, WEBP, PDF, WAV, MP3, FLAC, OGG"


def decode_text(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Give the text, and a notice ("" when there is nothing to say); raise UsageError for what is no text.

    `charset` is what a server said of it.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _utf16(data, name), ""
    kind = detect_type(data) or next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")
    if kind or b"\0" in data:
        raise UsageError(f"{name} is {kind or 'binary'}, not text", WHAT_CAN_BE_SENT)
    return decode_any_text(data, name, charset)


def decode_any_text(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Give text that is text for certain, whatever it begins with."""
    for encoding in filter(None, ("utf-8-sig", charset)):
        try:
            return data.decode(encoding), ""
        except (UnicodeError, LookupError):  # another encoding; one that is unknown here
            continue
    return data.decode("cp1252", "replace"), f"{name} is not UTF-8; it is read as Windows-1252"


def _utf16(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise UsageError(f"{name} begins like UTF-16 text but is none", WHAT_CAN_BE_SENT) from None


class SizeLimit:
    """Count what was read of the prompt, its files and standard input."""

    def __init__(self, most: int = MOST) -> None:
        self._most = self._left = most

    def read(self, name: str, piece: Callable[[int], bytes]) -> bytes:
        """Read to the end; raise UsageError as soon as it is too much."""
        whole = io.BytesIO()  # it gives away its buffer in the end: joining a list would take twice the memory
        while data := piece(min(PIECE, self._left + 1)):
            self.count(name, len(data))
            whole.write(data)
        return whole.getvalue()

    def count(self, name: str, count: int) -> None:
        """Count bytes that were read; raise UsageError when they are too many."""
        if count > self._left:
            raise UsageError(
                f"{name}: more than {format_size(self._most)} of input cannot be sent", "give a part of it"
            )
        self._left -= count


def format_size(count: int) -> str:
    """Say a number of bytes as file managers do: 123 kB, 4.5 MB; round ones of ours in MiB."""
    if count >= MEBIBYTE and count % MEBIBYTE == 0:
        return f"{count // MEBIBYTE} MiB"
    for unit, length in (("MB", 1_000_000), ("kB", 1000)):
        if count >= length:
            return f"{count / length:.1f} {unit}" if count < 10 * length else f"{count / length:.0f} {unit}"
    return f"{count} bytes"


def detect_type(data: bytes) -> str:
    """Name the type of an image, a PDF or a sound; "" for text and all else."""
    head = data[:HEAD]
    return _image(head) or ("application/pdf" if head.startswith(b"%PDF-") else "") or _sound(head)


def _image(head: bytes) -> str:
    for magic, kind in IMAGES.items():
        if head.startswith(magic):
            return kind
    # A text may begin with these letters; the sizes behind them hold a zero in any image.
    if head.startswith(GIFS) and b"\0" in head[6:13]:
        return "image/gif"
    return "image/webp" if _riff(head) == b"WEBP" else ""


def _sound(head: bytes) -> str:
    if _riff(head) == b"WAVE":
        return "audio/wav"
    if (head.startswith(b"ID3") and head[3:4] in (b"\2", b"\3", b"\4")) or _is_frame(head):
        return "audio/mpeg"
    if head.startswith(b"fLaC") and head[4:5] in (b"\0", b"\x80"):
        return "audio/flac"
    return "audio/ogg" if head.startswith(b"OggS\0") else ""


def _riff(head: bytes) -> bytes:
    """Give what a RIFF file says it holds."""
    return head[8:12] if head.startswith(b"RIFF") else b""


def _is_frame(head: bytes) -> bool:
    """Know the header of an MP3 frame: the sync, layer III, a rate that exists; UTF-16's mark is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # noqa: PLR2004 - ISO 11172-3, 2.4.2.3
        return False
    is_reserved = head[1] & 0x18 == 0x08  # noqa: PLR2004 - no such version
    return not is_reserved and head[2] >> 4 not in (0, 15) and head[2] & 0x0C != 0x0C  # noqa: PLR2004 - no such rates
