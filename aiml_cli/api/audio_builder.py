"""Decode base64 that comes in pieces, each padded on its own or cut anywhere."""

from binascii import Error, a2b_base64
from dataclasses import dataclass

from aiml_cli.api.stream_events import AudioDelta

QUANTUM = 4
STANDARD = bytes.maketrans(b"-_", b"+/")


class Base64Decoder:
    """Take pieces of base64; keep the bytes that they mean. What is no base64 means nothing."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._rest = b""

    def feed(self, piece: str) -> None:
        """Decode what is complete, and keep the rest for the next piece."""
        text = self._rest + _standard(piece)
        end = len(text) if text.endswith(b"=") else len(text) - len(text) % QUANTUM
        self._rest = text[end:]
        self._data += _decoded(text[:end])

    def finish(self) -> bytes:
        """Give all bytes, those of an end without padding too."""
        return bytes(self._data) + _decoded(self._rest)


def decode_base64(text: str) -> bytes:
    """Decode a whole text, in either of the two alphabets, with or without its padding."""
    return _decoded(_standard(text))


def _standard(text: str) -> bytes:
    return b"".join(text.encode("ascii", "ignore").translate(STANDARD).split())


def _decoded(text: bytes) -> bytes:
    try:
        return a2b_base64(text + b"=" * (-len(text) % QUANTUM))
    except Error:
        return b""


@dataclass(frozen=True, slots=True)
class SpokenAudio:
    """Hold spoken output: the bytes of the sound, and what was said."""

    id: str = ""
    data: bytes = b""
    transcript: str = ""


class AudioBuilder:
    """Hold spoken output while it grows."""

    def __init__(self) -> None:
        self._id, self._sound, self._transcript = "", Base64Decoder(), bytearray()

    def feed(self, piece: AudioDelta) -> None:
        """Add a piece."""
        self._id = self._id or piece.id
        self._sound.feed(piece.data)
        self._transcript += piece.transcript.encode("utf-8", "replace")

    def build(self) -> SpokenAudio:
        """Give what came so far."""
        return SpokenAudio(self._id, self._sound.finish(), self._transcript.decode())
