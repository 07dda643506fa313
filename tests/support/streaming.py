"""A process that has received the first words of an answer and waits for more."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from support.forked_process import CliProcess
from support.loopback import STREAM, Loopback, chunk, delta
from support.run_cli import build_command


@contextmanager
def start_streaming(server: Loopback, *arguments: str, **streams: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the program against a server that sends `Hello` and then waits."""
    more = threading.Event()
    server.answer_with(STREAM + chunk(delta("Hel")) + chunk(delta("lo")), more)
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0"}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    process = CliProcess(build_command("chat", "hi", *arguments), env=environ, **streams)
    try:
        yield process
    finally:
        more.set()
        process.kill()
        process.wait(30)
        for output in (process.stdout, process.stderr):
            if output:
                output.close()


def read_bytes(stream: IO[bytes] | None, count: int) -> bytes:
    """Read this many bytes, and wait for them."""
    assert stream is not None
    return stream.read(count)
