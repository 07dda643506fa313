"""A process that has shown the first words of an answer, and waits for more."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from support.loopback import STREAM, Loopback, chunk, delta
from support.run_cli import command


@contextmanager
def streaming_process(server: Loopback, *arguments: str, **places: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program against a server that says two words and then waits; give it when the words are shown."""
    more = threading.Event()
    server.answers(STREAM + chunk(delta("Hel")) + chunk(delta("lo")), more)
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0"}
    places = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **places}
    process = subprocess.Popen(command("chat", "hi", *arguments), env=environ, **places)
    try:
        yield process
    finally:
        more.set()
        process.kill()
        process.wait(30)
        for place in (process.stdout, process.stderr):
            if place:
                place.close()


def read_bytes(place: IO[bytes] | None, count: int) -> bytes:
    """Read so many bytes."""
    assert place is not None
    return place.read(count)
