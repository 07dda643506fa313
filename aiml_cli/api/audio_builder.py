"""Decode base64 that arrives in pieces, each padded or split anywhere, and build spoken audio from it."""

from binascii import Error, a2b_base64
from dataclasses import dataclass

from aiml_cli.api.stream_events import AudioDelta

GROUP_CHARS = 4
URLSAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class Base64Decoder:
    """A decoder for pieces of base64. Invalid base64 decodes to nothing."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._rest = b""

    def feed(self, piece: str) -> None:
        """Decode the complete groups, and keep the remaining characters for the next piece."""
        text = self._rest + _normalize(piece)
        end = len(text) if text.endswith(b"=") else len(text) - len(text) % GROUP_CHARS
        self._rest = text[end:]
        self._data += _decode(text[:end])

    def finish(self) -> bytes:
        """Return all bytes, including an unpadded last group."""
        return bytes(self._data) + _decode(self._rest)


def decode_base64(text: str) -> bytes:
    """Decode a complete string, in the standard or URL-safe alphabet, padded or not."""
    return _decode(_normalize(text))


def _normalize(text: str) -> bytes:
    return b"".join(text.encode("ascii", "ignore").translate(URLSAFE_TO_STANDARD).split())


def _decode(text: bytes) -> bytes:
    try:
        return a2b_base64(text + b"=" * (-len(text) % GROUP_CHARS))
    except Error:
        return b""


@dataclass(frozen=True, slots=True)
class SpokenAudio:
    """Spoken output: the bytes of the audio, and its transcript."""

    id: str = ""
    data: bytes = b""
    transcript: str = ""


class AudioBuilder:
    """The spoken output of one choice, built from deltas."""

    def __init__(self) -> None:
        self._id, self._decoder, self._transcript = "", Base64Decoder(), bytearray()

    def feed(self, delta: AudioDelta) -> None:
        """Add a delta."""
        self._id = self._id or delta.id
        self._decoder.feed(delta.data)
        self._transcript += delta.transcript.encode("utf-8", "replace")

    def build(self) -> SpokenAudio:
        """Return the audio received so far."""
        return SpokenAudio(self._id, self._decoder.finish(), self._transcript.decode())
