"""A run over rows while it is running, and its results."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.forked_process import CliProcess
from support.loopback import Loopback
from support.run_cli import build_command


def parse_results(stdout: bytes) -> list[Any]:
    return [json.loads(line) for line in stdout.splitlines()]


@contextmanager
def start_run(server: Loopback, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the program with pipes; kill it at the end of the block."""
    pipe = subprocess.PIPE
    environ = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0"}
    with CliProcess(build_command(*arguments), env=environ, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        process.kill()


def write_rows(process: "subprocess.Popen[bytes]", rows: bytes) -> None:
    """Write rows to standard input, and leave it open."""
    assert process.stdin
    process.stdin.write(rows)
    process.stdin.flush()


def set_when_sent(event: threading.Event) -> Iterator[bytes]:
    """Return a step of a script that sets an event when the server reaches it."""
    event.set()
    yield b""
