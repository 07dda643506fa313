"""Bound what is read: more than could ever be sent is refused while it is read."""

import io
from collections.abc import Callable

from aiml_cli.errors import Misuse

MEBIBYTE = 1024 * 1024
MOST = 64 * MEBIBYTE  # of everything together; a request is some times as large in memory
MOST_ATTACHED = 32 * MEBIBYTE  # of one image, PDF or sound
PIECE = MEBIBYTE


class Budget:
    """Count what was read of the prompt, its files and standard input."""

    def __init__(self, most: int = MOST) -> None:
        self._most = self._left = most

    def read(self, name: str, piece: Callable[[int], bytes]) -> bytes:
        """Read to the end; raise Misuse as soon as it is too much."""
        whole = io.BytesIO()  # it gives away its buffer in the end: joining a list would take twice the memory
        while data := piece(min(PIECE, self._left + 1)):
            self.spend(name, len(data))
            whole.write(data)
        return whole.getvalue()

    def spend(self, name: str, count: int) -> None:
        """Count bytes that were read; raise Misuse when they are too many."""
        if count > self._left:
            raise Misuse(f"{name}: more than {size(self._most)} of input cannot be sent", "give a part of it")
        self._left -= count


def size(count: int) -> str:
    """Say a number of bytes as file managers do: 123 kB, 4.5 MB; round ones of ours in MiB."""
    if count >= MEBIBYTE and count % MEBIBYTE == 0:
        return f"{count // MEBIBYTE} MiB"
    for unit, length in (("MB", 1_000_000), ("kB", 1000)):
        if count >= length:
            return f"{count / length:.1f} {unit}" if count < 10 * length else f"{count / length:.0f} {unit}"
    return f"{count} bytes"
