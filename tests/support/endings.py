"""How a call ended, and what every ending must hold."""

import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from support.loopback import Loopback


class Ending(NamedTuple):
    """Hold how a call ended."""

    code: int
    stdout: str
    stderr: str


Ask = Callable[..., Ending]


def as_every_ending(ending: Ending) -> Ending:
    """Give an ending that tells what went wrong in words, with no traceback."""
    lines = ending.stderr.splitlines()
    assert "Traceback" not in ending.stderr
    assert "fault in aiml itself" not in ending.stderr
    assert not ending.code or any(line.startswith("aiml: ") for line in lines)
    return ending


PEAK = """
import re, sys
from pathlib import Path
from aiml_cli.__main__ import main
code = main(sys.argv[1:])
print(code, re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


def peak(server: Loopback, *arguments: str) -> tuple[int, int, bytes]:
    """Run the program; give its exit code, the most memory that it had, in KiB, and its standard output."""
    line = [sys.executable, "-c", PEAK, *arguments, "--base-url", server.url]
    done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True)
    code, size = done.stderr.splitlines()[-1].split()
    return int(code), int(size), done.stdout
