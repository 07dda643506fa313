"""Run the program on a pty until it ends."""

import os
from typing import Any

import pexpect
import pyte
from support.forked_process import TerminalProcess
from support.loopback import Loopback
from support.run_cli import build_command

HOSTILE_TEXT = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\rgone\x08\u202e\U000e0041end"


def run_on_pty(server: Loopback, *arguments: str, **environ: str) -> tuple[bytes, int, "pyte.Screen"]:
    """Run the program on a pty; return the bytes it wrote, its exit code and the screen."""
    settings: Any = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", "TERM": "xterm", **environ}
    program, *rest = build_command(*arguments)
    child = TerminalProcess(program, rest, env=settings, dimensions=(24, 80), timeout=60)
    child.expect(pexpect.EOF)
    child.close()
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(child.before)
    return child.before, child.exitstatus, screen
