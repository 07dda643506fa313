"""Tell what bytes are by the first of them; a name's ending is not asked."""

HEAD = 16  # bytes that are enough to tell

IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
GIFS = (b"GIF87a", b"GIF89a")
# The formats of audio, as the API calls them.
SOUNDS = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/flac": "flac", "audio/ogg": "ogg"}
WHAT_CAN_BE_SENT = "what can be attached: text, PNG, JPEG, GIF, WEBP, PDF, WAV, MP3, FLAC, OGG"


def type_of(data: bytes) -> str:
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
