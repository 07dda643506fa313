"""Read ahead in a thread, so that what came together over the network is handed on together.

The HTTP library hands out one piece per HTTP chunk, which for most servers is one token. Cutting, reading
and writing each alone costs twice as much as all the pieces of a network read at once, and whether more
is at hand can only be told by asking for it. docs/decisions/reading-ahead.md has the figures.
"""

import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Thread

from aiml_cli.signals import held

MOST_WAITING, MOST_BYTES = 400, 256 * 1024
PAUSE_S = 0.001


class _Queue(SimpleQueue[bytes | BaseException | None]):
    """Count the bytes that were put and taken; each count has one thread that writes it."""

    put_in = taken = 0


def ahead(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the pieces as they come, joined where several are there; raise what reading them raised."""
    queue = _Queue()
    with held():  # a start that is broken off leaves a thread that nobody can wait for
        Thread(target=_pump, args=(pieces, queue), daemon=True).start()
    while True:
        joined: list[bytes] = []
        piece = queue.get()
        while isinstance(piece, bytes):
            joined.append(piece)
            queue.taken += len(piece)
            if queue.empty():
                break
            piece = queue.get()
        if joined:
            yield b"".join(joined)
        if piece is None:
            return
        if isinstance(piece, BaseException):
            raise piece


def _pump(pieces: Iterable[bytes], queue: _Queue) -> None:
    try:
        for piece in pieces:
            queue.put_in += len(piece)
            queue.put(piece)
            # Memory stays bounded when the reader of our output is slower than the network.
            while queue.qsize() > MOST_WAITING or queue.put_in - queue.taken > MOST_BYTES:
                time.sleep(PAUSE_S)
        queue.put(None)
    except BaseException as fault:  # noqa: BLE001 - raised again where the pieces are read
        queue.put(fault)
