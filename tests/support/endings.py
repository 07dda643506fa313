"""The result of a command line, and checks that every result must pass."""

import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from support.loopback import Loopback


class CliResult(NamedTuple):
    """The exit code and the output of a command line."""

    code: int
    stdout: str
    stderr: str


Ask = Callable[..., CliResult]


def check_result(result: CliResult) -> CliResult:
    """Check that a failure is explained in a message, without a traceback; return the result."""
    lines = result.stderr.splitlines()
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    assert not result.code or any(line.startswith("aiml: ") for line in lines)
    return result


MEMORY_SCRIPT = """
import re, sys
from pathlib import Path
from aiml_cli.__main__ import main
code = main(sys.argv[1:])
print(code, re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


def measure_peak_memory(server: Loopback, *arguments: str) -> tuple[int, int, bytes]:
    """Run the program; return its exit code, its peak memory in KiB, and its standard output."""
    line = [sys.executable, "-c", MEMORY_SCRIPT, *arguments, "--base-url", server.url]
    done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True)
    code, size = done.stderr.splitlines()[-1].split()
    return int(code), int(size), done.stdout
