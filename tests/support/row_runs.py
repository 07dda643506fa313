"""A run over rows that is still going on, and what came of its rows."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.loopback import Loopback
from support.run_cli import command


def results(stdout: bytes) -> list[Any]:
    return [json.loads(line) for line in stdout.splitlines()]


@contextmanager
def started(server: Loopback, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    pipe = subprocess.PIPE
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0"}
    with subprocess.Popen(command(*arguments), env=environ, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        process.kill()


def fed(process: "subprocess.Popen[bytes]", rows: bytes) -> None:
    """Give rows, and leave the input open."""
    assert process.stdin
    process.stdin.write(rows)
    process.stdin.flush()


def setting(event: threading.Event) -> Iterator[bytes]:
    """Set an event when this is sent."""
    event.set()
    yield b""
