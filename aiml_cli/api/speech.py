"""Join the pieces of spoken output."""

from dataclasses import dataclass

from aiml_cli.api.base64 import Base64
from aiml_cli.api.events import Audio


@dataclass(frozen=True, slots=True)
class Speech:
    """Hold spoken output: the bytes of the sound, and what was said."""

    id: str = ""
    data: bytes = b""
    transcript: str = ""


class Speaking:
    """Hold spoken output while it grows."""

    def __init__(self) -> None:
        self._id, self._sound, self._transcript = "", Base64(), bytearray()

    def take(self, piece: Audio) -> None:
        """Add a piece."""
        self._id = self._id or piece.id
        self._sound.take(piece.data)
        self._transcript += piece.transcript.encode("utf-8", "replace")

    def speech(self) -> Speech:
        """Give what came so far."""
        return Speech(self._id, self._sound.whole(), self._transcript.decode())
